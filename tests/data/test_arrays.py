"""Batches as pure functions of (seed, step), and data sets through TFDS without TensorFlow."""

import itertools
import sys

import numpy as np
import pytest
from film_folders import picture, save
from ml_collections import ConfigDict

from cxr_jax.configs import base
from cxr_jax.data.arrays import in_pairs, load_splits, shuffled, to_unit_range, train_batches
from cxr_jax.errors import InputError

ROWS = 10
ARRAYS = {"image": np.arange(ROWS)[:, None], "label": np.arange(ROWS) % 2}


def batches(count: int, batch_size: int = 4, seed: int = 0, start: int = 0) -> list[dict]:
    return list(itertools.islice(train_batches(ARRAYS, batch_size, seed, start_step=start), count))


def rows(found: list[dict]) -> np.ndarray:
    return np.concatenate([batch["image"][:, 0] for batch in found])


def test_to_unit_range():
    unit = to_unit_range(np.array([0, 255, 51], np.uint8))
    np.testing.assert_allclose(unit, [-1.0, 1.0, -0.6], atol=1e-6)
    assert unit.dtype == np.float32


def test_starting_at_a_step_equals_skipping_to_it():
    for start in (1, 3, 7):
        np.testing.assert_array_equal(rows(batches(5, start=start)), rows(batches(12)[start:][:5]))


def test_the_seed_alone_decides_the_order():
    np.testing.assert_array_equal(rows(batches(5, seed=1)), rows(batches(5, seed=1)))
    assert (rows(batches(5, seed=1)) != rows(batches(5, seed=2))).any()


def test_every_row_comes_once_an_epoch_in_a_new_order():
    epochs = rows(batches(ROWS, batch_size=4)).reshape(4, ROWS)
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(ROWS))
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_fields_stay_together_and_the_index_counts():
    for batch in batches(4):
        np.testing.assert_array_equal(batch["label"], batch["image"][:, 0] % 2)
        np.testing.assert_array_equal(batch["index"], np.arange(4))


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(InputError, match=r"10 images, fewer than a batch of 16"):
        next(train_batches(ARRAYS, 16, 0, start_step=0))
    assert len(batches(1, batch_size=ROWS)[0]["image"]) == ROWS


def make_section(tmp_path, **fields) -> ConfigDict:
    section = base.get_config().data
    section.update(dict(cache_dir=str(tmp_path), image_size=32, **fields))
    return section


def test_the_phantom_is_prepared_once_and_read_back(tmp_path):
    section = make_section(tmp_path, num_train=12, num_validation=6, num_test=8)
    splits, contents = load_splits(section, seed=0)
    assert {name: len(arrays["label"]) for name, arrays in splits.items()} == {
        "train": 12,
        "validation": 6,
        "test": 8,
    }
    for name, arrays in splits.items():
        assert arrays["image"].shape == (len(arrays["label"]), 32, 32, 1)
        assert arrays["image"].dtype == np.uint8
        assert arrays["image"].std() > 10
        assert set(arrays["label"]) == {0, 1}
        lesioned = arrays["lesion_mask"].any(axis=(1, 2, 3))
        assert not lesioned[arrays["label"] == 0].any(), name
    for name in ("twin", "lesion_mask", "lung_mask", "lookalike_mask", "severity"):
        assert name in splits["test"] and name in splits["validation"]
    assert splits["train"].keys() == {"image", "label", "lesion_mask", "patient_id"}
    again, same = load_splits(section, seed=0)
    assert same == contents
    for name, arrays in splits.items():
        for field, array in arrays.items():
            np.testing.assert_array_equal(array, again[name][field])
    assert "tensorflow" not in sys.modules


def test_train_has_the_truths_that_are_asked_for(tmp_path):
    section = make_section(tmp_path, num_train=4, num_validation=4, num_test=4)
    splits, _ = load_splits(section, 0, ("lung_mask", "severity", "has_lung_mask", "parameters"))
    asked = {"lung_mask", "severity", "parameters"}  # a phantom's lungs are always known
    assert splits["train"].keys() == {"image", "label", "lesion_mask", "patient_id"} | asked
    assert (splits["train"]["severity"] > 0).tolist() == splits["train"]["label"].tolist()
    assert 0.05 < (splits["train"]["lung_mask"] > 0).mean() < 0.6


def test_the_seed_makes_other_patients(tmp_path):
    section = make_section(tmp_path, num_train=4, num_validation=4, num_test=4)
    images = [load_splits(section, seed)[0]["train"]["image"] for seed in (0, 1)]
    assert (images[0] != images[1]).any()


def test_splits_have_different_patients(tmp_path):
    section = make_section(tmp_path, num_train=4, num_validation=4, num_test=4)
    splits, _ = load_splits(section, 0)
    films = [film.tobytes() for arrays in splits.values() for film in arrays["image"]]
    assert len(set(films)) == 12


def test_no_folder_is_an_error_that_says_how_to_name_one(tmp_path, monkeypatch):
    monkeypatch.delenv("CXR_DATA", raising=False)
    with pytest.raises(InputError, match="CXR_DATA"):
        load_splits(make_section(tmp_path, name="cxr_folder"), 0)


def test_a_missing_folder_is_an_error_that_names_it(tmp_path, monkeypatch):
    missing = str(tmp_path / "nowhere")
    with pytest.raises(InputError, match="nowhere"):
        load_splits(make_section(tmp_path, name="cxr_folder", dir=missing), 0)
    monkeypatch.setenv("CXR_DATA", missing)
    with pytest.raises(InputError, match="nowhere"):
        load_splits(make_section(tmp_path, name="cxr_folder"), 0)


def test_a_folder_is_read_as_the_config_says(tmp_path):
    for name in ("covid", "normal", "masks"):
        for i in range(6):
            film = picture(i, height=32, width=48).astype(np.uint16) << 4
            save(tmp_path / "films" / name / f"{name}{i}.png", film)
    section = make_section(tmp_path, name="cxr_folder", dir=str(tmp_path / "films"))
    section.update(dict(negative_classes=("normal",), square="pad", bits=14, image_size=48))
    splits, _ = load_splits(section, 0)
    images = np.concatenate([arrays["image"] for arrays in splits.values()])
    assert len(images) == 12  # masks/ is no class
    assert (images[:, :8] == 0).all() and (images[:, -8:] == 0).all()  # padded, not cut
    assert images.max() == (219 << 4) >> 6  # 14 bits, though 12 would do


def test_an_unknown_data_set_is_an_error_that_names_the_choices(tmp_path):
    with pytest.raises(InputError, match="cxr_phantom, cxr_folder, cxr_manifest"):
        load_splits(make_section(tmp_path, name="mnist"), 0)


@pytest.mark.parametrize("share", [0.5, 0.3, 0.9])
def test_pairs_alternate_as_far_as_there_are_both(share):
    label = (np.random.default_rng(0).uniform(size=32) < share).astype(int)
    order = in_pairs(label)
    assert sorted(order) == list(range(32))
    even = label[order][0::2].reshape(-1, 2)
    mixed = (even == [0, 1]).all(axis=1).sum()
    assert mixed >= min(label.sum(), 32 - label.sum()) // 2 - 1
    assert (even[:, 0] <= even[:, 1]).all()


def test_paired_batches_hold_the_same_films():
    arrays, positive = {"row": np.arange(40)}, np.arange(40) % 3 == 0
    plain, paired = (
        next(train_batches(arrays, 16, 3, start_step=5, positive=each)) for each in (None, positive)
    )
    assert sorted(plain["row"]) == sorted(paired["row"])
    np.testing.assert_array_equal(paired["index"], np.arange(16))
    order = in_pairs(positive[plain["row"]])
    np.testing.assert_array_equal(paired["row"], plain["row"][order])


def test_shuffled_labels_are_the_same_labels_and_mean_nothing():
    label = np.arange(1000) % 2
    one, again, other = (shuffled(label, 0, number) for number in (0, 0, 1))
    assert one.sum() == 500
    np.testing.assert_array_equal(one, again)
    for mixed in (one, other):
        assert abs(np.corrcoef(label, mixed)[0, 1]) < 0.1
    assert (one != other).any()


def test_train_and_validation_labels_are_shuffled_if_asked(tmp_path):
    config = base.get_config().data
    config.update(dict(num_train=64, num_validation=32, num_test=32, image_size=32))
    config.cache_dir = str(tmp_path)
    plain, _ = load_splits(config, seed=0)
    config.shuffle_labels = True
    mixed, _ = load_splits(config, seed=0)
    for split, changed in (("train", True), ("validation", True), ("test", False)):
        np.testing.assert_array_equal(plain[split]["image"], mixed[split]["image"])
        assert (plain[split]["label"] != mixed[split]["label"]).any() == changed
        assert plain[split]["label"].sum() == mixed[split]["label"].sum()
