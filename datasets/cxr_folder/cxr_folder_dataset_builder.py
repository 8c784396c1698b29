"""TFDS builder for a user's own folder of radiographs, keyed by the folder's contents.

    builder = make_builder("films", data_dir="prepared", size=64)
    builder.download_and_prepare()
    train = builder.as_data_source("train")   # {"image": uint8 [size, size, 1], "label": 0 | 1, …}
    builder.report["skipped"]                 # what was left out, and why

Works without TensorFlow.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from cxr_jax.datasets.cxr_folder.columns import DEFAULT_SPLIT_COLUMN
from cxr_jax.datasets.cxr_folder.folder_contents import (
    FolderContents,
    Reading,
    Square,
    content_digest,
    encode_png,
    read_contents,
)
from cxr_jax.datasets.cxr_folder.folder_report import log_report, tell_folders
from cxr_jax.datasets.cxr_folder.splits import Film, name_groups


@dataclasses.dataclass(kw_only=True)
class CxrFolderConfig(tfds.core.BuilderConfig):
    """One way of reading one state of one folder; make it with `make_config`.

    Attributes:
      folder: the user's folder. Not part of the name: the same contents elsewhere are the same.
      digest: SHA-256 over the names and bytes of the files used.
      reading: how.
    """

    folder: str
    digest: str
    reading: Reading


def make_config(
    folder: str | Path,
    *,
    size: int = 64,
    positive_class: str = "covid",
    negative_classes: Sequence[str] = (),
    split_column: str = DEFAULT_SPLIT_COLUMN,
    skip_unreadable: bool = False,
    square: str = "crop",
    bits: int = 0,
    lateral_views: str = "refuse",
) -> CxrFolderConfig:
    """Digests the folder and names the config by its contents and by all other fields."""
    folder, negative_classes = Path(folder).expanduser(), tuple(negative_classes)
    reading = Reading(
        size=size,
        positive_class=positive_class,
        negative_classes=negative_classes,
        split_column=split_column,
        skip_unreadable=skip_unreadable,
        square=square,
        bits=bits,
        lateral_views=lateral_views,
    )
    digest = content_digest(folder, positive_class, negative_classes)
    name = name_config({"digest": digest, **dataclasses.asdict(reading)})
    return CxrFolderConfig(name=name, folder=str(folder), digest=digest, reading=reading)


def make_builder(folder: str | Path, data_dir: str | Path, **fields) -> "Builder":
    """Returns the builder for a folder.

    Args:
      folder: the user's folder.
      data_dir: where prepared data are kept, one sub-folder for each state and way of reading.
      **fields: as for `make_config`.
    """
    config = make_config(folder, **fields)
    return Builder(config=config, data_dir=str(data_dir), file_format="array_record")


class Builder(tfds.core.GeneratorBasedBuilder):
    """Radiographs of a folder as train, validation and test; see the module's docstring."""

    # Raise it when the same files would give other pixels or splits: it is part of the path.
    VERSION = tfds.core.Version("2.3.0")
    RELEASE_NOTES = {
        "1.0.0": "First release.",
        "2.0.0": "One scale for a source's deep films; splits by patient and group together; "
        "sub-folders; masks of several values; refuses films of one value, and masks as films.",
        "2.1.0": "Where only train and test are given, validation is drawn from train.",
        "2.2.0": "DICOM films are read, with the patients of their headers.",
        "2.3.0": "Records say which films stay together; headers link films that the table leaves "
        "open.",
    }

    _contents: FolderContents | None = None  # only while the data are being written

    @property
    def report(self) -> dict:
        """What became of the folder's files, kept with the data: see `make_report`."""
        return dict(self.info.metadata)

    def download_and_prepare(self, **kwargs) -> None:
        """Reads and checks the whole folder first, then writes; does nothing if it is there."""
        try:
            if not self.data_path.exists():
                self._contents = self._read_contents()
            super().download_and_prepare(**kwargs)
        finally:
            self._contents = None
        self._log_report()

    def _info(self) -> tfds.core.DatasetInfo:
        shape = (self.builder_config.reading.size, self.builder_config.reading.size, 1)
        features = {
            "image": tfds.features.Image(shape=shape, dtype=np.uint8, encoding_format="png"),
            "label": tfds.features.ClassLabel(names=["negative", "positive"]),
            "patient_id": tfds.features.Text(),  # as the table has it; empty if unknown
            "group": tfds.features.Text(),  # the first of the films that stay together
            "filename": tfds.features.Text(),  # relative to the folder
            "lung_mask": tfds.features.Image(shape=shape, dtype=np.uint8, encoding_format="png"),
            "has_lung_mask": tfds.features.Scalar(np.bool_),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="A user's own chest radiographs, as 8-bit grey squares.",
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            metadata=tfds.core.MetadataDict(),
        )

    def _log_report(self) -> None:
        config = self.builder_config
        lines = tell_folders(self.report, config.reading.split_column)
        log_report(config.folder, self.report, sources=lines)

    def _read_contents(self) -> FolderContents:
        config = self.builder_config
        return read_contents(Path(config.folder), config.reading, config.digest)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        del dl_manager  # nothing is downloaded
        contents = self._contents or self._read_contents()
        self.info.metadata.update(contents.report)  # TFDS writes it beside the records
        return {split: self._generate_examples(films) for split, films in contents.splits.items()}

    def _generate_examples(
        self, films: Sequence[tuple[Film, Square]]
    ) -> Iterator[tuple[str, dict]]:
        size = self.builder_config.reading.size
        no_mask = encode_png(Image.new("L", (size, size), 0))
        first = name_groups([film for film, _ in films])
        for film, square in films:
            # Bytes, since NumPy arrays would make TFDS encode them with TensorFlow.
            yield (
                film.filename,
                {
                    "image": square.image,
                    "label": film.label,
                    "patient_id": film.patient_id,
                    "group": first[film.group],
                    "filename": film.filename,
                    "lung_mask": square.lung_mask or no_mask,
                    "has_lung_mask": square.lung_mask is not None,
                },
            )


def name_config(fields: dict) -> str:
    """The name of one state and way of reading.

    Readable fields, then a hash over all of them, since some may not suit a folder's name."""
    everything = json.dumps(fields, sort_keys=True).encode()
    positive = re.sub(r"[^A-Za-z0-9]+", "-", fields["positive_class"]).strip("-")[:24]
    unreadable = "skip" if fields["skip_unreadable"] else "strict"
    return "_".join(
        [
            f"{fields['size']}px",
            fields["square"],
            positive,
            unreadable,
            hashlib.sha256(everything).hexdigest()[:20],
        ]
    )
