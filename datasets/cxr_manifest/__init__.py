"""Radiographs that a table names, such as public sets: a root, a CSV and what its columns mean."""

from cxr_jax.datasets.cxr_manifest.column_map import ColumnMap
from cxr_jax.datasets.cxr_manifest.cxr_manifest_dataset_builder import (
    Builder,
    CxrManifestConfig,
    make_builder,
    make_config,
)
from cxr_jax.datasets.cxr_manifest.map_checks import choose_map
from cxr_jax.datasets.cxr_manifest.presets import PRESETS

__all__ = [
    "PRESETS",
    "Builder",
    "ColumnMap",
    "CxrManifestConfig",
    "choose_map",
    "make_builder",
    "make_config",
]
