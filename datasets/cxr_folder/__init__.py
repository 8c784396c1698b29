"""A user's own radiographs: a folder with one sub-folder per class, read into TFDS."""

from cxr_jax.datasets.cxr_folder.cxr_folder_dataset_builder import (
    Builder,
    CxrFolderConfig,
    make_builder,
    make_config,
)

__all__ = ["Builder", "CxrFolderConfig", "make_builder", "make_config"]
