"""Data that two processes want prepared at once, and data that somebody else has prepared."""

import concurrent.futures
import time
from pathlib import Path
from unittest import mock

import tensorflow_datasets as tfds

from cxr_jax.configs import base
from cxr_jax.data import arrays


def make_builder(folder: Path) -> tfds.core.DatasetBuilder:
    """Of a data set that takes its time; of two at once one would fail."""
    prepared = folder / "slow" / "1.0.0"

    def prepare() -> None:
        if not prepared.exists():
            time.sleep(0.3)
            prepared.mkdir(parents=True)

    builder = mock.create_autospec(tfds.core.DatasetBuilder, instance=True)
    builder.data_dir_root, builder.data_path, builder.name = folder, prepared, "slow"
    builder.knows = prepared.exists()  # as TFDS: what lies there is read at first, or never
    builder.download_and_prepare.side_effect = prepare
    return builder


def test_two_that_prepare_the_same_data_do_it_one_after_the_other(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(arrays, "make_builder", lambda config, seed: make_builder(tmp_path))
    caplog.set_level("INFO", "cxr_jax")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        both = [pool.submit(arrays.prepare, base.get_config().data, 0) for _ in range(2)]
        knowing = [done.result().knows for done in both]
    assert sorted(knowing) == [False, True]  # the one that wrote it, and the one that waited
    assert [record.message for record in caplog.records] == [
        f"another process prepares data in {tmp_path}; waiting for it"
    ]


def test_prepared_data_may_lie_where_nothing_can_be_written(tmp_path, monkeypatch):
    builder = make_builder(tmp_path)
    builder.download_and_prepare()
    tmp_path.chmod(0o500)
    monkeypatch.setattr(arrays, "make_builder", lambda config, seed: builder)
    try:
        assert arrays.prepare(base.get_config().data, 0) is builder
    finally:
        tmp_path.chmod(0o700)
    assert not list(tmp_path.glob("*.lock"))
