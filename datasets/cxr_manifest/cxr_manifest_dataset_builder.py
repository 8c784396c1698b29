"""TFDS builder for radiographs that a table names, keyed by the contents of all files used.

    builder = make_builder("nih", data_dir="prepared", positive_class="Pneumonia", preset="nih")
    builder.download_and_prepare()
    train = builder.as_data_source("train")  # the features of cxr_folder
    builder.report["left_out"]               # which films of the table are not used, and why

Works without TensorFlow.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import tensorflow_datasets as tfds

from cxr_jax.datasets.cxr_folder import cxr_folder_dataset_builder
from cxr_jax.datasets.cxr_folder.cxr_folder_dataset_builder import name_config
from cxr_jax.datasets.cxr_folder.folder_contents import FolderContents, Reading, read_listed
from cxr_jax.datasets.cxr_folder.folder_listing import digest_files, digest_folder
from cxr_jax.datasets.cxr_folder.folder_report import log_report, logger
from cxr_jax.datasets.cxr_manifest.column_map import ColumnMap
from cxr_jax.datasets.cxr_manifest.manifest_films import ManifestFilms, read_manifest
from cxr_jax.datasets.cxr_manifest.manifest_report import (
    describe_manifest,
    tell_left_out,
    tell_manifest,
)
from cxr_jax.datasets.cxr_manifest.map_checks import choose_map


@dataclasses.dataclass(kw_only=True)
class CxrManifestConfig(tfds.core.BuilderConfig):
    """One way of reading one state of one manifest; make it with `make_config`.

    Attributes:
      folder: the user's folder. Not part of the name: the same contents elsewhere are the same.
      digest: SHA-256 over the names and bytes of the films, masks and tables used.
      reading: how films are read; what it says of class folders is not used.
      columns: what the tables' columns mean.
      preset: whose fields they are; "" for the user's own alone.
    """

    folder: str
    digest: str
    reading: Reading
    columns: ColumnMap
    preset: str


def make_config(
    folder: str | Path,
    *,
    positive_class: str,
    preset: str = "",
    manifest: Mapping[str, object] | None = None,
    size: int = 64,
    skip_unreadable: bool = False,
    square: str = "crop",
    bits: int = 0,
    lateral_views: str = "refuse",
) -> CxrManifestConfig:
    """Digests what a manifest names and names the config by it and by all other fields.

    Args:
      folder: the user's, with the tables and films.
      positive_class: the finding.
      preset: a name of `presets.PRESETS`, or "".
      manifest: fields of `ColumnMap` that are not the preset's.
      size, skip_unreadable, square, bits, lateral_views: see `Reading`.
    """
    folder = Path(folder).expanduser()
    columns = choose_map(manifest or {}, preset, positive_class)
    reading = Reading(
        size=size,
        positive_class=positive_class,
        negative_classes=(),
        split_column="",
        skip_unreadable=skip_unreadable,
        square=square,
        bits=bits,
        lateral_views=lateral_views,
    )
    listing = _find(folder, columns, reading).listing
    digest = digest_folder(digest_files(listing))
    fields = {"digest": digest, "columns": dataclasses.asdict(columns)}
    return CxrManifestConfig(
        name=name_config(fields | dataclasses.asdict(reading)),
        folder=str(folder),
        digest=digest,
        reading=reading,
        columns=columns,
        preset=preset,
    )


def make_builder(folder: str | Path, data_dir: str | Path, **fields) -> "Builder":
    """Returns the builder for a manifest.

    Args:
      folder: the user's folder.
      data_dir: where prepared data are kept, one sub-folder for each state and way of reading.
      **fields: as for `make_config`.
    """
    config = make_config(folder, **fields)
    return Builder(config=config, data_dir=str(data_dir), file_format="array_record")


class Builder(cxr_folder_dataset_builder.Builder):
    """Radiographs of a manifest as train, validation and test; see the module's docstring."""

    # Raise it when the same files would give other pixels, labels or splits.
    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES = {"1.0.0": "First release.", "1.1.0": "As cxr_folder 2.3.0."}

    def _read_contents(self) -> FolderContents:
        config = self.builder_config
        found = _find(Path(config.folder), config.columns, config.reading)
        contents = read_listed(
            found.listing,
            found.table,
            config.reading,
            where=", ".join(map(str, found.listing.tables.values())) or config.folder,
            expected_digest=config.digest,
        )
        about = describe_manifest(found, config.columns, config.preset)
        return dataclasses.replace(contents, report=contents.report | about)

    def _log_report(self) -> None:
        config, report = self.builder_config, self.report
        log_report(
            config.folder,
            report,
            sources=tell_manifest(report),
            patients="known patient (data.manifest.patient)",
        )
        for line in tell_left_out(report["left_out"]):
            logger.warning("%s: %s", config.folder, line)


def _find(folder: Path, columns: ColumnMap, reading: Reading) -> ManifestFilms:
    return read_manifest(
        folder, columns, reading.positive_class, skip_missing=reading.skip_unreadable
    )
