"""Interventions fill what they say they fill, and rank what they measured."""

import numpy as np
import pytest

from cxr_jax import metrics
from cxr_jax.runtime.workdir import mark_done, read_json
from experiments.studies import intervention


def make_splits() -> dict[str, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return {
        split: {
            "image": rng.integers(256, size=(6, 4, 4, 1), dtype=np.uint8),
            "label": np.arange(6) % 2,
        }
        for split in ("train", "validation", "test")
    }


def make_masks() -> dict[str, np.ndarray]:
    mask = np.zeros((6, 4, 4, 1), bool)
    mask[:, :2] = True
    return {split: mask for split in ("train", "validation", "test")}


def test_a_region_is_filled_with_the_training_films_mean_over_it():
    splits, masks = make_splits(), make_masks()
    filled = intervention.fill(splits, masks)
    level = round(splits["train"]["image"][:, :2].mean())
    for split, arrays in filled.items():
        assert arrays["image"].dtype == np.uint8
        assert (arrays["image"][:, :2] == level).all()
        np.testing.assert_array_equal(arrays["image"][:, 2:], splits[split]["image"][:, 2:])
        np.testing.assert_array_equal(arrays["label"], splits[split]["label"])


def test_the_complement_leaves_the_region_alone():
    splits, masks = make_splits(), make_masks()
    alone = intervention.fill(splits, intervention.complement(masks))
    np.testing.assert_array_equal(alone["test"]["image"][:, :2], splits["test"]["image"][:, :2])
    assert len(np.unique(alone["test"]["image"][:, 2:])) == 1


def test_the_class_gap_by_hand():
    margin, label = np.array([3.0, 1.0, -2.0, -4.0]), np.array([1, 1, 0, 0])
    assert metrics.class_gap(margin, label) == 5.0


def test_an_exchange_takes_the_region_of_another_film_and_leaves_the_rest():
    image = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1) + np.zeros((5, 4, 4, 1), np.uint8)
    mask = np.zeros(image.shape, bool)
    mask[:, 1:3, 1:3] = True
    partners = set()
    for exchanged in intervention.exchange(image, mask):
        np.testing.assert_array_equal(exchanged[~mask], image[~mask])
        given = exchanged[:, 1, 1, 0]
        assert sorted(given) == list(range(5)) and (given != np.arange(5)).all()
        partners.add(tuple(given))
    assert len(partners) > 3


def test_auroc_with_its_interval():
    label = np.arange(200) % 2
    noise = np.random.default_rng(0).normal(size=200)
    entry = intervention.auroc(label + noise, label)
    assert entry["ci95"][0] < entry["mean"] < entry["ci95"][1] and entry["images"] == 200
    assert intervention.auroc(label * 1.0, label)["mean"] == 1.0


def test_the_gap_lost_by_hand():
    label = np.array([1, 1, 0, 0] * 20)
    whole = np.where(label == 1, 3.0, -1.0)
    found = intervention.gap_lost(whole / 4, whole, label)
    assert found["mean"] == pytest.approx(0.75)
    np.testing.assert_allclose(found["ci95"], [0.75, 0.75])


def test_only_the_region_that_a_classifier_reads_costs_it_anything():
    rows = make_masks()
    films = intervention.Films(
        splits=make_splits(), regions={"lungs": rows, "rest": intervention.complement(rows)}
    )
    image, label = films.splits["test"]["image"], films.splits["test"]["label"]
    image[:, :2] = np.where(label == 1, 200, 50)[:, None, None, None]
    table = intervention.fill_same(lambda image: image[:, :2].mean((1, 2, 3)) - 125.0, films)
    assert table["none"]["auroc"]["mean"] == 1.0
    assert table["lungs"]["auroc"]["mean"] == 0.5 and table["lungs"]["gap_lost"]["mean"] == 1.0
    assert table["lungs"]["exchanged_gap_lost"]["mean"] > 0.5
    assert table["rest"]["auroc"]["mean"] == 1.0
    assert table["rest"]["gap_lost"]["mean"] == table["rest"]["exchanged_gap_lost"]["mean"] == 0


def entry(value: float, off: float = 0.0) -> dict:
    return {"mean": value, "ci95": [value - off, value + off], "images": 9}


@pytest.fixture
def result() -> dict:
    audited = {
        "evidence": {"lungs": entry(1.0), "border": entry(3.0), "rest": entry(0.5, 0.6)},
        "verdict": "Shortcut.",
    }
    filled = {
        "none": {"auroc": entry(0.99)},
        "lungs": {"auroc": entry(0.9), "gap_lost": entry(0.2), "exchanged_gap_lost": entry(0.3)},
        "border": {"auroc": entry(0.8), "gap_lost": entry(0.7), "exchanged_gap_lost": entry(0.1)},
        "rest": {"auroc": entry(0.98), "gap_lost": entry(0.1), "exchanged_gap_lost": entry(0.2)},
    }
    retrained = {
        "split": {
            "none": {"without": entry(0.99)},
            "lungs": {"without": entry(0.95), "only": entry(0.9)},
            "border": {"without": entry(0.97), "only": entry(0.91)},
            "rest": {"without": entry(0.98), "only": entry(0.7)},
            "outline": {"only": entry(0.6)},
        }
    }
    filled = {"split": filled}
    ranked = intervention.rank(audited, filled, retrained)
    return {"audit": audited, "filled": filled, "retrained": retrained, "ranking": ranked}


def test_what_costs_most_is_ranked_first_and_ties_are_marked(result):
    assert result["ranking"] == {
        "audit": "border > lungs ≈ rest",
        "filled, gap lost, split": "border > lungs > rest",
        "exchanged, gap lost, split": "lungs > rest > border",
        "retrained without, split": "lungs > border > rest",
        "retrained on, split": "border > lungs > rest",
    }


def test_the_table_has_a_row_for_every_region(result):
    text = intervention.to_markdown(result)
    assert "| none | 0.990 [0.990, 0.990] | – | – | 0.990 [0.990, 0.990] | – |" in text
    assert "| border | 3.000 [3.000, 3.000] | 67% |" in text
    assert "| border | 0.800 [0.800, 0.800] | 0.700 [0.700, 0.700] | 0.100 [0." in text
    assert "| outline | – | – | – | – | 0.600 [0.600, 0.600] |" in text


def test_what_is_retrained_is_kept_for_this_very_training(tmp_path, monkeypatch, tiny_config):
    calls = []

    def train(section, size, seed, *, directory, splits):
        directory.mkdir(parents=True)
        calls.append(directory)

    monkeypatch.setattr(intervention.classifier, "train", train)
    monkeypatch.setattr(
        intervention, "load_classifier", lambda *_: lambda pixels: np.arange(6) % 2 - 0.5
    )
    splits = make_splits()
    one = intervention.retrain(tiny_config, tmp_path, splits)
    assert intervention.retrain(tiny_config, tmp_path, splits) == one
    assert read_json(one / "done.json")["mean"] == 1.0 and len(calls) == 1
    intervention.retrain(tiny_config, tmp_path, intervention.fill(splits, make_masks()))
    tiny_config.classifier.num_steps += 1
    intervention.retrain(tiny_config, tmp_path, splits)
    assert len(set(calls)) == 3


def test_the_outline_shows_two_levels_and_nothing_else(tmp_path, monkeypatch, tiny_config):
    seen = {}

    def retrain(config, directory, splits):
        seen[directory.name] = splits["test"]["image"]
        directory.mkdir()
        mark_done(directory, **entry(0.5))
        return directory

    monkeypatch.setattr(intervention, "retrain", retrain)
    masks = make_masks()
    films = intervention.Films(
        splits=make_splits(), regions={"lungs": masks, "rest": intervention.complement(masks)}
    )
    table = intervention.retrain_all(tiny_config, tmp_path, films)
    assert table.keys() == {"none", "lungs", "rest", "outline"}
    assert seen.keys() == {"none", "no_lungs", "only_lungs", "no_rest", "only_rest", "outline"}
    assert len(np.unique(seen["outline"][:, :2])) == len(np.unique(seen["outline"][:, 2:])) == 1
    np.testing.assert_array_equal(seen["no_lungs"], seen["only_rest"])
