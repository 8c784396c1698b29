"""What validation and training films decide, and how it is kept.

On films without networks: f sees how bright a square is, and all that explaining calls is NumPy.
"""

import copy
import dataclasses
import json
import logging

import builders
import numpy as np
import pytest
from builders import (
    NUM_SQUARE_STEPS,
    SquareWalker,
    classify_squares,
    follow_squares,
    invert_squares,
    make_square_explainer,
    make_square_split,
    make_stopped,
    make_thresholds,
    refused,
    share_on_square,
    spoil_squares,
    walk_squares,
)

from cxr_jax.configs import base
from cxr_jax.errors import InputError
from cxr_jax.explain.explained import Calibration, Group
from cxr_jax.explain.films import Films, rms
from cxr_jax.pipeline.calibrate import (
    NUM_ENDS,
    NUM_GUIDES,
    best_path,
    calibrate,
    guide_rows,
    is_calibrated,
    load_calibration,
    make_guide,
    save_calibration,
)
from cxr_jax.runtime.workdir import flatten

THRESHOLDS = make_thresholds(positive=3.0, negative=-1.0)


@pytest.fixture
def section():
    section = base.get_config().explain
    section.update(
        dict(
            num_validation_images=8,
            num_images=8,
            walk_steps=NUM_SQUARE_STEPS,
            gate_percentile=100.0,
        )
    )
    return section


@pytest.fixture
def splits() -> dict[str, dict[str, np.ndarray]]:
    return {
        "train": make_square_split(np.arange(400) % 2, seed=0),
        "validation": make_square_split([1, 0, 0, 1, 1, 0, 0, 1, 0, 1], seed=1),
    }


# 1. Deciding.


def test_calibration_by_hand(splits, section):
    calibration = calibrate(make_square_explainer(), splits, section, seed=0)
    thresholds = calibration.thresholds
    margin = classify_squares(splits["validation"]["image"] / 127.5 - 1)
    label = splits["validation"]["label"]
    # All films set the margins and the gate's errors; four positives set the lengths.
    assert thresholds.gap == pytest.approx(margin[label == 1].mean() - margin[label == 0].mean())
    assert thresholds.judge_gap == pytest.approx(thresholds.gap / 2)
    assert thresholds.positive == pytest.approx(np.median(margin[label == 1]))
    assert thresholds.negative == pytest.approx(np.median(margin[label == 0]))
    assert thresholds.lung_error == thresholds.film_error == 0.0
    rows = np.flatnonzero(label)[:4]
    change = (
        splits["validation"]["image"][rows].astype(float) - splits["validation"]["twin"][rows]
    ) / 127.5
    reach = np.median(rms(change))
    assert calibration.reach == pytest.approx(reach, rel=1e-5)
    step_length = section.aligned_reach * reach / NUM_SQUARE_STEPS
    assert calibration.guide.step_length == pytest.approx(step_length, rel=1e-5)
    # `linear` changes a corner too, which f does not feel; `pixel` is no path of the latent space.
    assert calibration.path == "aligned"


def test_rejected_validation_films_set_no_lengths(splits, section):
    plain = calibrate(make_square_explainer(), splits, section, seed=0)
    # Row 7 of the chosen [0, 1, 2, 3, 4, 5, 6, 7] is a positive.
    spoilt = calibrate(make_square_explainer(invert=spoil_squares(7)), splits, section, seed=0)
    change = (
        splits["validation"]["image"][[0, 3, 4]] - 1.0 * splits["validation"]["twin"][[0, 3, 4]]
    )
    assert spoilt.reach == pytest.approx(np.median(rms(change / 127.5)), rel=1e-5)
    assert spoilt.reach != plain.reach


def test_errors_are_of_the_lungs_and_of_the_whole_film(splits, section):
    """By hand: every film is drawn too bright by 1 in the upper half, where its lungs are."""

    def find_lungs(image) -> np.ndarray:
        lungs = np.zeros(image.shape, bool)
        lungs[:, :4] = True
        return lungs

    def invert(pixels) -> Films:
        films = invert_squares(pixels)
        drawn = films.drawn.copy()
        drawn[:, :4] += 1
        return films.replace(drawn=drawn)

    section.gate_percentile = 50.0
    explainer = make_square_explainer(invert=invert, find_lungs=find_lungs)
    thresholds = calibrate(explainer, splits, section, seed=0).thresholds
    assert thresholds.lung_error == pytest.approx(1.0)
    assert thresholds.film_error == pytest.approx(0.5**0.5)
    thresholds = calibrate(make_square_explainer(invert=invert), splits, section, seed=0).thresholds
    assert thresholds.lung_error == thresholds.film_error == pytest.approx(0.5**0.5)


def test_of_many_validation_films_a_part_sets_the_gate(splits, section, monkeypatch):
    """As many of either decision; those that set the lengths are among them."""
    asked = []

    def invert(pixels) -> Films:
        asked.append(pixels)
        return invert_squares(pixels)

    monkeypatch.setattr("cxr_jax.pipeline.calibrate.NUM_GATE", 6)
    section.num_validation_images = 4
    whole = calibrate(make_square_explainer(invert=invert), splits, section, seed=0)
    np.testing.assert_array_equal(
        asked[0], splits["validation"]["image"][[0, 1, 2, 3, 4, 5]]
    )  # three positives: 0, 3, 4
    positives = splits["validation"]["image"][[0, 3]].astype(float)
    change = (positives - splits["validation"]["twin"][[0, 3]]) / 127.5
    assert whole.reach == pytest.approx(np.median(rms(change)), rel=1e-5)


def test_a_gate_that_rejects_all_is_told_and_does_not_end_the_run(splits, section, caplog):
    section.gate_percentile = 0.0
    explainer = make_square_explainer(invert=spoil_squares(*range(8)))
    with caplog.at_level(logging.WARNING, "cxr_jax.pipeline"):
        calibration = calibrate(explainer, splits, section, seed=0)
    assert "rejects every validation positive" in caplog.text
    assert calibration.reach > 5  # the spoilt ones


def test_films_that_are_drawn_as_nothing_set_no_lengths(splits, section):
    def invert(pixels):
        films = invert_squares(pixels)
        return films.replace(drawn=films.drawn * np.nan)

    with pytest.raises(InputError, match="validation films give a reach of nan"):
        calibrate(make_square_explainer(invert=invert), splits, section, seed=0)


def test_a_classifier_that_says_the_opposite_of_the_labels_is_told(splits, section, caplog):
    splits["validation"]["label"] = 1 - splits["validation"]["label"]
    with caplog.at_level(logging.WARNING, "cxr_jax.pipeline"):
        thresholds = calibrate(make_square_explainer(), splits, section, seed=0).thresholds
    assert "f says" in caplog.text and "h says" in caplog.text
    assert thresholds.gap > 0 and thresholds.judge_gap > 0


@pytest.fixture
def doubtful_train() -> dict[str, np.ndarray]:
    """Training films of which every other positive is labelled so, but f sees nothing."""
    train = make_square_split(np.arange(800) % 2, seed=0)
    doubtful = np.flatnonzero(train["label"])[::2]
    train["image"][doubtful] = train["twin"][doubtful]
    return train


class Inverting:
    """`invert_squares`, whose z_structure is the film's first pixels; keeps what it inverted."""

    def __init__(self):
        self.inverted = []

    def __call__(self, pixels) -> Films:
        self.inverted.append(pixels)
        films = invert_squares(pixels)
        return films.replace(z_structure=films.image[:, 0, :3, 0])


def guide_of(train, section, paths=("linear",), seed=0, least_margin=0.0, **fields):
    section.paths = paths
    explainer = make_square_explainer(**fields)
    return make_guide(
        explainer, train, section, step_length=0.5, least_margin=least_margin, seed=seed
    )


def test_ends_are_of_training_films_that_f_calls_positive(doubtful_train, section):
    invert = Inverting()
    guide = guide_of(doubtful_train, section, invert=invert)
    rows, _ = guide_rows(doubtful_train, 0)
    margin = classify_squares(doubtful_train["image"][rows] / 127.5 - 1)
    assert len(rows) == NUM_GUIDES and NUM_GUIDES > (margin > 0).sum() > 1
    picked = rows[margin > 0][:NUM_ENDS]
    # Both latents are of the same films.
    films = Inverting()(doubtful_train["image"][picked])
    np.testing.assert_array_equal(guide.ends, films.z_class)
    np.testing.assert_array_equal(guide.end_structures, films.z_structure)
    assert (guide.ends > 0).all() and len(np.unique(guide.ends)) > 1
    assert guide.step_length == 0.5


def test_there_are_no_more_ends_than_are_needed(splits, section):
    guide = guide_of(splits["train"], section)
    assert len(guide.ends) == len(guide.end_structures) == NUM_ENDS


def test_an_end_is_of_a_film_that_is_drawn_positive_enough(splits, section):
    rows, _ = guide_rows(splits["train"], 0)
    films = Inverting()(splits["train"]["image"][rows])
    films = films.rows(films.margin > 0)
    drawn = np.linspace(2, 3, len(films.margin), dtype=np.float32)
    weak = np.arange(len(drawn)) % 3 == 0  # f calls the film positive, and its drawing hardly so
    drawn[weak] = 0.1
    invert = lambda pixels: films.replace(drawn_margin=drawn)

    guide = guide_of(splits["train"], section, least_margin=1.5, invert=invert)
    np.testing.assert_array_equal(guide.ends, films.z_class[~weak][:NUM_ENDS])
    # Where none is, the most positive is better than nothing.
    guide = guide_of(splits["train"], section, least_margin=5.0, invert=invert)
    np.testing.assert_array_equal(guide.ends, films.z_class[[drawn.argmax()]])


def test_ends_are_drawn_by_the_seed(splits, section):
    ends, again, other = (guide_of(splits["train"], section, seed=seed).ends for seed in (0, 0, 1))
    np.testing.assert_array_equal(again, ends)
    assert set(other.ravel()) != set(ends.ravel())


def test_the_mean_gradient_is_taken_only_for_the_path_that_needs_it(doubtful_train, section):
    seen = []

    def gradient(films):
        seen.append(films)
        return np.float32(films.margin)[:, None]

    plain = guide_of(doubtful_train, section, ("linear", "aligned"), unit_gradient=gradient)
    np.testing.assert_array_equal(plain.direction, np.zeros(1))
    assert not seen
    guide = guide_of(doubtful_train, section, ("linear", "global"), unit_gradient=gradient)
    # Of films by their labels, whatever f says of them.
    (films,) = seen
    margin = films.margin
    assert len(margin) == 2 * NUM_GUIDES
    assert (margin[:NUM_GUIDES] <= 0).any() and (margin[:NUM_GUIDES] > 0).any()
    assert (margin[NUM_GUIDES:] <= 0).all()
    np.testing.assert_allclose(guide.direction, [margin.mean()], rtol=1e-5)
    np.testing.assert_array_equal(guide.ends, plain.ends)


def test_no_training_positive_is_left_to_walk_to(splits, section):
    train = splits["train"]
    train["image"] = train["twin"]
    with pytest.raises(InputError, match=f"none of {NUM_GUIDES} positive training films"):
        guide_of(train, section)


def test_only_paths_of_the_latent_space_are_walked_for_the_choice(splits, section):
    asked = []

    class Asked(SquareWalker):
        def only(self, *names):
            asked.append(names)
            return super().only(*names)

    section.paths = ("linear", "aligned", "pixel")
    calibrate(make_square_explainer(walk=Asked()), splits, section, seed=0)
    assert asked == [("linear", "aligned")]


def test_a_path_that_does_not_flip_is_not_taken_however_well_it_is_felt(splits):
    films = invert_squares(make_square_split([1, 1, 1], seed=2)["image"])
    walks = walk_squares(films, None, THRESHOLDS, towards=-1)
    idle = make_stopped(follow_squares(films.image, films.image))
    # `aligned` is felt more; neither the twin nor any mask is asked for.
    for other, name in (("pixel", "aligned"), ("aligned", "linear")):
        group = Group(towards=-1, films=films, truth={}, walks=walks | {other: idle})
        explainer = make_square_explainer(
            felt_share=lambda image, change: np.where(
                np.abs(change).max(axis=(1, 2, 3)) > 0, share_on_square(image, change), 1
            )
        )
        assert best_path(explainer, group, THRESHOLDS, reach=1.0) == name


def test_of_paths_that_are_felt_alike_the_shorter_is_taken(splits):
    films = invert_squares(make_square_split([1, 1, 1], seed=2)["image"])
    walks = walk_squares(films, None, THRESHOLDS, towards=-1)
    alike = make_square_explainer(felt_share=lambda image, change: np.ones(len(image)))
    group = Group(towards=-1, films=films, truth={}, walks=walks)
    lengths = {name: w.at_stop(w.walk.distance).mean() for name, w in walks.items()}
    shorter = min(("linear", "aligned"), key=lengths.get)
    assert lengths["linear"] != lengths["aligned"]
    assert best_path(alike, group, THRESHOLDS, reach=1.0) == shorter


# 2. Keeping.

TRAINED = {"classifier": "1a", "classifier/judge": "2b", "gan": "3c", "encoder": "4d"}
DATA = "made_up/1.0.0"

# The fields of `config.explain` that a calibration does not depend on, each with another value.
FREE = {
    "num_images": 32,
    "films": ("p1",),
    "dir": "elsewhere",
    "num_skipped": 1,
    "maps": ("latent",),
    "bootstrap": 7,
    "num_figure_rows": 3,
    "num_page_films": 5,
    "figures.formats": ("pdf",),
    "figures.font": "DejaVu Serif",
    "figures.font_size": 12.0,
    "figures.change_map": "PuOr_r",
    "figures.heat_map": "viridis",
    "figures.animations": (),
    "occlusion_windows": 4,
    "layer_cam_stage": "stage_1",
    "integrated_gradients_steps": 2,
    "smoothgrad_samples": 5,
    "smoothgrad_noise": 0.1,
}
# And those that it depends on; of its sections each field.
FIXED = {
    "num_validation_images": 16,
    "batch_size": 16,
    "inversion.start": "origin",
    "inversion.corrections": 1,
    "inversion.num_steps": 3,
    "inversion.alternate_lesion_free_steps": False,
    "inversion.learning_rate": 0.1,
    "inversion.beta1": 0.6,
    "inversion.beta2": 0.6,
    "inversion.z_class_lr_scale": 1.0,
    "inversion.weights.pixel": 1.0,
    "inversion.weights.feature": 0.5,
    "inversion.weights.margin": 1.0,
    "inversion.weights.cross_entropy": 1.0,
    "inversion.weights.prior": 0.0,
    "paths": ("linear",),
    "walk_steps": 3,
    "necessary.least_felt": 0.25,
    "necessary.gain": 1.0,
    "geodesic.num_points": 3,
    "geodesic.num_steps": 3,
    "geodesic.learning_rate": 0.1,
    "natural.damping": 0.2,
    "natural.num_products": 3,
    "aligned_reach": 1.0,
    "gate_margin": 0.5,
    "gate_percentile": 50.0,
}


def set_field(section, name: str, value):
    """A copy of `config.explain` with another value of one field."""
    changed = section.copy_and_resolve_references()
    *sections, field = name.split(".")
    inner = changed
    for each in sections:
        inner = inner[each]
    assert inner[field] != value
    inner[field] = value
    return changed


@pytest.fixture
def calibration() -> Calibration:
    """Numbers with all their digits, thirds and such, and arrays with all their bits."""
    thirds = {name: 1 / 3 + n for n, name in enumerate(("gap", "judge_gap", "positive"))}
    return Calibration(
        thresholds=make_thresholds(**thirds, negative=-(0.1 + 0.2), lung_error=5e-324),
        guide=builders.make_guide(
            num_ends=3,
            end_structures=np.full((3, 2), 1 / 7, np.float32),
            step_length=float(np.float32(0.1)),
        ),
        reach=float(np.nextafter(0.7, 1)),
        path="aligned",
    )


@pytest.fixture
def stored(tmp_path, section, calibration):
    """The folder in which it was saved."""
    save_calibration(tmp_path / "explain", calibration, section, trained=TRAINED, contents=DATA)
    return tmp_path / "explain"


def test_what_is_loaded_is_what_was_saved_bit_by_bit(stored, calibration):
    loaded = load_calibration(stored)
    assert loaded.thresholds == calibration.thresholds
    assert (loaded.reach, loaded.path) == (calibration.reach, calibration.path)
    assert loaded.guide.step_length == calibration.guide.step_length
    for name in ("ends", "end_structures", "direction"):
        old, new = getattr(calibration.guide, name), getattr(loaded.guide, name)
        assert (new.dtype, new.shape) == (old.dtype, old.shape) == (np.float32, old.shape)
        assert new.tobytes() == old.tobytes()


def test_what_is_calibrated_is_kept_bit_by_bit(splits, section, tmp_path):
    """Of what `calibrate` itself returns, whose numbers may be NumPy's."""
    made = calibrate(make_square_explainer(), splits, section, seed=0)
    save_calibration(tmp_path, made, section, trained=TRAINED, contents=DATA)
    loaded = load_calibration(tmp_path)
    assert dataclasses.asdict(loaded.thresholds) == dataclasses.asdict(made.thresholds)
    assert (loaded.reach, loaded.path) == (made.reach, made.path)
    assert np.float32(loaded.guide.step_length) == np.float32(made.guide.step_length)
    for name in ("ends", "end_structures", "direction"):
        assert getattr(loaded.guide, name).tobytes() == getattr(made.guide, name).tobytes()


def test_beside_it_stands_what_it_was_made_of(stored, section):
    kept = json.loads((stored / "calibration.json").read_text())
    assert kept["trained"] == TRAINED and kept["data"] == DATA
    assert kept["versions"].keys() == {"python", "jax", "flax", "numpy"}
    assert flatten(kept["explain"]).keys() == FIXED.keys()


def test_it_holds_for_the_same_models_and_fields(stored, section):
    assert is_calibrated(stored, section, dict(reversed(TRAINED.items())))


@pytest.mark.parametrize("name", ["ends", "end_structures", "direction"])
def test_one_of_an_earlier_version_is_made_anew(stored, section, name):
    with np.load(stored / "calibration.npz") as arrays:
        kept = {key: arrays[key] for key in arrays if key != name}
    np.savez(stored / "calibration.npz", **kept)
    assert not is_calibrated(stored, section, TRAINED)
    message = refused(load_calibration, stored)
    assert "earlier version" in message and "--task=explain" in message


@pytest.mark.parametrize("damage", [lambda data: data[:-40], lambda data: b"", lambda data: None])
def test_a_damaged_one_is_made_anew(stored, section, damage):
    path = stored / "calibration.npz"
    damaged = damage(path.read_bytes())
    if damaged is None:
        path.unlink()
    else:
        path.write_bytes(damaged)
    assert not is_calibrated(stored, section, TRAINED)
    assert "--task=explain" in refused(load_calibration, stored)


def test_nothing_is_calibrated_where_nothing_was_saved(tmp_path, section):
    assert not is_calibrated(tmp_path / "explain", section, TRAINED)
    with pytest.raises(InputError, match="calibration.json is missing.*--task=explain"):
        load_calibration(tmp_path / "explain")


@pytest.mark.parametrize("name", TRAINED)
def test_it_is_of_other_models_if_a_digest_has_changed(stored, section, name):
    assert not is_calibrated(stored, section, TRAINED | {name: "5e"})


def test_it_is_of_other_models_if_there_are_more_or_fewer(stored, section):
    assert not is_calibrated(stored, section, TRAINED | {"evaluators/segmenter": "5e"})
    fewer = copy.copy(TRAINED)
    del fewer["encoder"]
    assert not is_calibrated(stored, section, fewer)


@pytest.mark.parametrize("name", FREE)
def test_a_free_field_may_change(stored, section, name):
    assert is_calibrated(stored, set_field(section, name, FREE[name]), TRAINED)


@pytest.mark.parametrize("name", FIXED)
def test_a_field_that_it_depends_on_may_not(stored, section, name):
    assert not is_calibrated(stored, set_field(section, name, FIXED[name]), TRAINED)


def test_every_field_is_free_or_fixed(section):
    assert FREE.keys() | FIXED.keys() == flatten(section.to_dict()).keys()
