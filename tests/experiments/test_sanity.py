"""The sanity check of maps, on maps that are made up."""

import json
from pathlib import Path

import numpy as np
import pytest

from cxr_jax.configs.phantom import get_config
from cxr_jax.data.arrays import to_unit_range
from cxr_jax.datasets.cxr_phantom.phantom import PhantomSpec
from cxr_jax.datasets.cxr_phantom.phantom import draw as draw_phantom
from cxr_jax.metrics import Bootstrap
from cxr_jax.report.arrays import save_maps
from experiments import reading, runs
from experiments.studies import sanity
from experiments.studies.sanity import Controls

BOOTSTRAP = Bootstrap(resamples=50, seed=0)
SIDE = 6


def save(workdir, rows, maps, images, **masks):
    """A finished run, as far as the check reads it."""
    directory = workdir / "explain"
    directory.mkdir(parents=True)
    save_maps(directory / "maps.npz", {"latent": maps}, np.array(rows))
    arrays = {"row": np.array(rows), "image": images, **masks}
    arrays = {f"pos_to_neg/{name}": array for name, array in arrays.items()}
    np.savez(directory / "walks.npz", **arrays)
    report = {"paths": {"linear": {"pos_to_neg": {"flip_rate_f": {"mean": 0.5}}}}}
    (directory / "metrics.json").write_text(json.dumps(report))
    return workdir


def draw(rng, rows):
    return rng.uniform(size=(rows, SIDE, SIDE, 1))


def correlate(one, two, region="sanity"):
    """Of the maps of two runs, over a region of the first."""
    return sanity.correlations(
        sanity.load_maps(one), sanity.load_maps(two), sanity.load_regions(one)[region]
    )


def test_films_are_matched_by_their_row_and_air_does_not_count(tmp_path):
    rng = np.random.default_rng(0)
    images = np.full((3, SIDE, SIDE, 1), -1.0)
    images[:, :3] = 0.2
    maps = draw(rng, 3)
    other = maps[[2, 0]] ** 3  # the same ranks, films in another order, one missing
    other[:, 3:] = draw(rng, 2)[:, 3:]  # air
    one = save(tmp_path / "a", [4, 7, 9], maps, images)
    two = save(tmp_path / "b", [9, 4], other, images[:2])
    assert correlate(one, two) == pytest.approx({4: 1.0, 9: 1.0}, abs=1e-3)
    assert sanity.load_regions(one).keys() == {"sanity"}  # no lungs are known


def test_lungs_are_measured_apart_and_lesions_with_them(tmp_path):
    rng = np.random.default_rng(0)
    images, lung, lesion = np.zeros((3, 1, SIDE, SIDE, 1))
    lung[:, :2], lesion[:, 2] = 1, 1
    maps = draw(rng, 1)
    other = draw(rng, 1)
    other[:, :3] = 1 - maps[:, :3]
    one = save(tmp_path / "a", [0], maps, images, lung_mask=lung, lesion_mask=lesion)
    two = save(tmp_path / "b", [0], other, images)
    # What is strong here and weak there does not resemble it.
    assert correlate(one, two, "sanity_lung") == pytest.approx({0: -1.0}, abs=1e-3)
    assert correlate(one, two)[0] > -0.9


def test_a_map_that_is_the_same_everywhere_has_no_ranks(tmp_path):
    rng = np.random.default_rng(0)
    images, maps = np.zeros((2, SIDE, SIDE, 1)), draw(rng, 2)
    one = save(tmp_path / "a", [0, 1], maps, images)
    maps[1] = 0.5
    two = save(tmp_path / "b", [0, 1], maps, images)
    assert correlate(one, two) == pytest.approx({0: 1.0, 1: np.nan}, nan_ok=True)


def test_a_phantom_s_air_is_no_body(tmp_path):
    film = to_unit_range(draw_phantom(0, 3, PhantomSpec(64))["image"])
    one = save(tmp_path, [0], np.zeros((1, 64, 64, 1)), film[None])
    body = sanity.load_regions(one)["sanity"][0]
    assert 0.7 < body.mean() < 0.95 and not body[:3, :3].any() and body[50, 32]


def test_sanity_is_the_control_s_resemblance_over_that_between_seeds():
    resemblances = {
        "between_seeds": [{1: 0.9, 2: 0.6, 5: 0.1}, {1: 0.7, 2: 0.6, 3: 0.1}],
        "to_shuffled": [{1: 0.3, 2: 0.4, 3: 1.0}],
    }
    table = sanity.summarise("sanity", resemblances, BOOTSTRAP)
    # Films 1 and 2 alone are in all.
    assert table["sanity"]["mean"] == pytest.approx(0.35 / 0.7)
    assert table["sanity"]["images"] == 2
    assert table["sanity"]["ci95"] == pytest.approx([0.3 / 0.8, 0.4 / 0.6])
    assert table["sanity_between_seeds"]["mean"] == pytest.approx(0.7)
    assert table["sanity_between_seeds"]["each_pair"] == pytest.approx([0.75, 0.65])
    assert table["sanity_to_shuffled"]["mean"] == pytest.approx(0.35)


def test_films_without_ranks_are_left_out():
    resemblances = {"between_seeds": [{1: 0.8, 2: 0.6}], "to_shuffled": [{1: 0.4, 2: np.nan}]}
    table = sanity.summarise("sanity", resemblances, BOOTSTRAP)
    assert table["sanity"]["mean"] == pytest.approx(0.5) and table["sanity"]["images"] == 1


@pytest.mark.parametrize("other", [{2: 0.3}, {1: np.nan}])
def test_nothing_in_common_is_null_with_a_reason(other):
    resemblances = {"between_seeds": [{1: 0.8}], "to_shuffled": [other]}
    table = sanity.summarise("sanity_lung", resemblances, BOOTSTRAP)
    assert "sanity_lung_to_shuffled" in table
    assert all(entry["mean"] is None and entry["reason"] for entry in table.values())


def test_other_films_maps_are_those_of_the_next():
    maps = {2: np.array([2.0]), 7: np.array([7.0]), 5: np.array([5.0])}
    assert sanity.to_next_film(maps) == {2: [5.0], 5: [7.0], 7: [2.0]}


def test_the_whole_measure(tmp_path):
    rng = np.random.default_rng(0)
    images, maps = np.zeros((20, SIDE, SIDE, 1)), draw(rng, 20)
    rows, lungs = range(20), np.ones(images.shape)
    masks = dict(lung_mask=lungs, lesion_mask=0 * lungs)
    seeds = [
        save(tmp_path / f"seed{seed}", rows, maps + 0.1 * draw(rng, 20), images, **masks)
        for seed in range(3)
    ]
    shuffled = save(tmp_path / "shuffled", rows, draw(rng, 20), images)
    sane = sanity.compare(Controls(seeds=seeds, shuffled=shuffled), BOOTSTRAP)
    insane = sanity.compare(Controls(seeds=seeds[:2], shuffled=seeds[2]), BOOTSTRAP)
    assert 0.9 < insane["sanity"]["mean"] < 1.1
    for name in ("sanity", "sanity_lung"):
        assert sane[name]["ci95"][1] < 0.3
        assert sane[f"{name}_to_other_film"]["mean"] < 0.3
        assert len(sane[f"{name}_between_seeds"]["each_pair"]) == 3
    assert sane["sanity_control_flips"] == {"mean": 0.5}


@pytest.mark.parametrize(("known", "compared"), [(0.51, False), (0.97, True)])
def test_a_control_that_has_learned_nothing_is_none(known, compared, monkeypatch, tmp_path):
    """It draws nothing, which resembles no other map: it would pass for a proof."""
    trained = []
    monkeypatch.setattr(sanity, "learn_by_heart", lambda *_: tmp_path)
    monkeypatch.setattr(sanity, "known_by_heart", lambda *_: known)
    monkeypatch.setattr(sanity, "run_controls", lambda *_, **__: trained.append("a GAN"))
    monkeypatch.setattr(sanity, "compare", lambda *_: {"sanity": {"mean": 0.2}})
    table = sanity.measure(get_config(), "c.py", tmp_path, seeds=[], overrides=[])
    assert table["sanity_control_knows"] == {"mean": known}
    assert bool(trained) == compared  # which takes half an hour
    if not compared:
        assert table["sanity"] == {
            "mean": None,
            "reason": "the control knows only 51% of its labels",
        }
    else:
        assert table["sanity"] == {"mean": 0.2}


def finish(task: Path, what: str) -> None:
    """Marks a task of a run as finished."""
    task.mkdir(parents=True, exist_ok=True)
    (task / "done.json").write_text(f'"{what}"')


def read_flags(flags: list[str]) -> dict[str, str]:
    """The config's fields among a run's flags; the last of a name counts."""
    pairs = (flag.removeprefix("--config.").split("=", 1) for flag in flags)
    return {name: value for name, value in pairs if not name.startswith("--")}


def test_the_controls_are_gans_of_the_same_films_along_the_same_path(tmp_path, monkeypatch):
    seeds = [tmp_path / f"seed{seed}" for seed in range(3)]
    for workdir in seeds:
        finish(workdir / "gan", workdir.name)
    runs_of_main = {}

    def run_main(config, workdir, flags):
        runs_of_main[workdir.name] = read_flags(flags)
        if "--task=classifier" in flags:
            finish(workdir / "classifier", "by heart")

    monkeypatch.setattr(runs, "run_main", run_main)
    chosen = ["--config.explain.num_images=8"]
    by_heart = sanity.learn_by_heart("c.py", tmp_path, chosen)
    controls = sanity.run_controls("c.py", tmp_path, seeds, by_heart=by_heart, overrides=chosen)
    assert [seed.name for seed in controls.seeds] == ["seed0", "seed1", "seed2"]
    for seed in controls.seeds:
        assert seed not in seeds and (seed / "gan" / "done.json").read_text() == f'"{seed.name}"'
    assert (controls.shuffled / "classifier" / "done.json").read_text() == '"by heart"'
    assert not (controls.shuffled / "gan").exists()
    gans = [runs_of_main[workdir.name] for workdir in (*controls.seeds, controls.shuffled)]
    assert [fields["gan.seed"] for fields in gans] == ["0", "1", "2", "3"]
    assert [fields.get("data.shuffle_labels") for fields in gans] == [None] * 3 + ["True"]
    for fields in gans:
        assert fields["explain.num_images"] == "8" and fields["explain.paths"] == "('linear',)"
        assert "explain.num_skipped" not in fields and "data.num_train" not in fields
    assert runs_of_main["by_heart"].items() >= {
        ("data.num_train", "1024"),
        ("data.shuffle_labels", "True"),
    }


def test_every_field_that_the_controls_set_exists(tiny_config):
    """A view that is moved or dimmed is another film: no label of it is learned by heart."""
    tiny_config.classifier.augmentation.support_devices = 1.0
    tiny_config.update_from_flattened_dict(sanity.BY_HEART | sanity.LINEAR)
    assert tiny_config.data.shuffle_labels
    assert set(tiny_config.classifier.augmentation.values()) == {0.0}


def test_what_a_control_knows_is_asked_of_the_films_that_it_learned(monkeypatch, tiny_config):
    asked = []

    def load_splits(section, seed):
        asked.append(section)
        films = {"image": np.zeros((4, 8, 8, 1)), "label": np.array([1, 0, 1, 0])}
        return {"train": films}, "contents"

    monkeypatch.setattr(sanity, "load_splits", load_splits)
    answers = np.array([2.0, -1.0, -0.1, -3.0])
    monkeypatch.setattr(reading, "load_classifier", lambda *_: lambda pixels: answers)
    assert sanity.known_by_heart(tiny_config, Path("control")) == 0.75
    assert asked[0].shuffle_labels and asked[0].num_train == 1024
    assert not tiny_config.data.shuffle_labels
