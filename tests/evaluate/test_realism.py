"""What the evaluators say of frames whose answers are known."""

import json

import numpy as np
import pytest

from cxr_jax import metrics
from cxr_jax.evaluate import realism
from cxr_jax.metrics import Bootstrap

N, K, SIDE = 3, 8, 8
BOOTSTRAP = Bootstrap(resamples=100, seed=0)


def test_precision_and_recall_by_hand():
    """Films at 0, 1, 2 and 3 reach their first neighbours; of the images one is far off."""
    real = np.array([[0.0], [1.0], [2.0], [3.0]])
    drawn = np.array([[0.5], [1.4], [50.0]])
    precision, recall = realism.precision_recall(real, drawn, neighbours=1)
    assert precision == pytest.approx(2 / 3)
    # Images reach .9, .9 and 48.6: from .5 the films 0 and 1, from 1.4 1 and 2, from 50 3 too.
    assert recall == 1.0
    precision, recall = realism.precision_recall(real, drawn[:2], neighbours=1)
    assert (precision, recall) == (1.0, 3 / 4)


def test_copies_of_one_film_are_precise_and_miss_the_rest():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(50, 4))
    precision, recall = realism.precision_recall(real, np.repeat(real[:1], 50, axis=0))
    assert precision == 1.0 and recall < 0.1


def numbered_frames() -> np.ndarray:
    """Every pixel of frame k of film i is 100 i + k."""
    number = 100 * np.arange(N)[:, None] + np.arange(K + 1)[None]
    return np.broadcast_to(number[..., None, None, None], (N, K + 1, SIDE, SIDE, 1))


def test_frames_are_evenly_spread_from_the_start_to_each_stop():
    frames = realism.frames_of(numbered_frames(), np.array([8, 4, 0]))
    assert frames.shape == (N, realism.NUM_FRAMES, SIDE, SIDE, 1)
    np.testing.assert_array_equal(
        frames[..., 0, 0, 0], [[0, 2, 4, 6, 8], [100, 101, 102, 103, 104], [200] * 5]
    )


def moving_lungs(shifts) -> np.ndarray:
    """Frames [1, k, h, w, 1] with a bright block, moved down by each of `shifts` rows."""
    frames = np.zeros((1, len(shifts), SIDE, SIDE, 1))
    for k, shift in enumerate(shifts):
        frames[0, k, shift : shift + 4, 2:6] = 1.0
    return frames


def segment(image) -> np.ndarray:
    return image > 0.5


def test_structure_is_1_for_what_stands_still_and_falls_when_lungs_move():
    assert realism.structure(segment, moving_lungs([2, 2, 2])) == [1.0]
    # Of four rows, three, two and one are shared: the worst frame counts, wherever it stands.
    for shifts, expected in (([0, 1, 0], 3 / 4), ([0, 1, 2], 2 / 4), ([0, 3, 1], 1 / 4)):
        assert realism.structure(segment, moving_lungs(shifts)) == [expected]
    assert realism.structure(segment, moving_lungs([0, 4, 0])) == [0.0]


def test_structure_is_of_the_lungs_and_not_of_what_is_in_them():
    frames = moving_lungs([1, 1, 1])
    frames[0, 1:, 2:4, 3:5] = 0.9  # a finding within
    assert realism.structure(segment, frames) == [1.0]


def test_structure_is_each_walks_own():
    frames = np.concatenate([moving_lungs([0, 2]), moving_lungs([3, 3]), moving_lungs([0, 1])])
    calls = []

    def counted(image):
        calls.append(image.shape)
        return segment(image)

    np.testing.assert_array_equal(realism.structure(counted, frames), [0.5, 1.0, 0.75])
    assert calls == [(6, SIDE, SIDE, 1)]  # one call for all frames


def test_structure_is_undefined_without_lungs():
    # No frame has any; all but the first, or only a later one has.
    frames = np.zeros((4, 3, SIDE, SIDE, 1))
    frames[1, 1:] = frames[2, 1] = frames[3, 0] = 1.0
    found = realism.structure(segment, frames)
    np.testing.assert_array_equal(found, [np.nan, np.nan, np.nan, 0.0])


def flat(image) -> np.ndarray:
    """Features: the first eight pixels."""
    return image.reshape(len(image), -1)[:, :8]


def films(rows, seed, offset=0.0) -> np.ndarray:
    return offset + np.random.default_rng(seed).normal(size=(rows, SIDE, SIDE, 1))


def test_realism_is_about_0_for_frames_that_stay_real_and_positive_for_noise():
    # Each frame of a walk is another real film: nothing gets less real.
    real = films(200, seed=0)
    staying = np.stack([films(60, seed=1 + k) for k in range(2)], axis=1)
    standing = np.repeat(staying[:, :1], 3, axis=1)
    leaving = np.stack([films(60, seed=1, offset=k) for k in (0.0, 0.5, 1.0)], axis=1)
    noise = np.stack([films(60, seed=1), 4 * films(60, seed=2)], axis=1)
    found = [
        realism.realism(flat, f, (real, real), bootstrap=BOOTSTRAP)
        for f in (staying, leaving, noise)
    ]
    means = [entry["mean"] for entry in found]
    assert realism.realism(flat, standing, (real, real), bootstrap=BOOTSTRAP)["mean"] == 0.0
    assert abs(means[0]) < 0.1 * means[1] and abs(means[0]) < 0.1 * means[2]
    low, high = found[0]["ci95"]
    assert low < 0 < high
    for entry in found[1:]:
        assert 0 < entry["ci95"][0] < entry["mean"] < entry["ci95"][1]
        assert entry["images"] == 60


def test_realism_is_of_the_least_real_frame_less_the_first():
    real = films(50, seed=0)
    walk = np.stack([films(20, 1, 0.2), films(20, 2, 1.0), films(20, 3, 0.5)], axis=1)
    scale = np.sqrt(np.square(flat(real)).mean())
    far = [metrics.kernel_distance(flat(walk[:, k]) / scale, flat(real) / scale) for k in range(3)]
    assert far[1] > far[2] > far[0]
    found = realism.realism(flat, walk, (real, real), bootstrap=BOOTSTRAP)
    assert found["mean"] == pytest.approx(far[1] - far[0])
    # A first frame that is far from real itself is not held against the walk.
    back = realism.realism(flat, walk[:, [1, 0]], (real, real), bootstrap=BOOTSTRAP)
    assert back["mean"] == pytest.approx(far[0] - far[1])


def test_realism_does_not_depend_on_the_scale_of_features():
    real, walk = films(30, 0), np.stack([films(10, 1), films(10, 2, 1.0)], axis=1)
    one = realism.realism(flat, walk, (real, real), bootstrap=BOOTSTRAP)
    other = realism.realism(lambda image: 50 * flat(image), walk, (real, real), bootstrap=BOOTSTRAP)
    assert one["mean"] == pytest.approx(other["mean"])
    assert one["ci95"] == pytest.approx(other["ci95"])


@pytest.mark.parametrize("rows", [2, 3])
def test_realism_of_few_walks_is_a_number(rows):
    # Half of the resamples of two walks have one of them twice, and no pair to compare.
    walk = np.stack([films(rows, 1), films(rows, 2, 1.0)], axis=1)
    entry = realism.realism(flat, walk, (films(9, 0), films(9, 1)), bootstrap=BOOTSTRAP)
    json.dumps(entry, allow_nan=False)
    assert np.isfinite(entry["mean"])


def test_realism_of_one_walk_is_undefined():
    entry = realism.realism(
        flat, films(2, 0)[None], (films(9, 0), films(9, 1)), bootstrap=BOOTSTRAP
    )
    assert entry["mean"] is None and entry["reason"]


def test_realism_asks_for_the_nearer_decision():
    # Walks from one kind of real films to the other; half-way frames are of neither.
    positives, negatives = films(60, 0, 1.0), films(60, 1, -1.0)
    there = np.stack([films(40, 2, 1.0), films(40, 3, -1.0)], axis=1)
    half = np.stack([films(40, 2, 1.0), films(40, 3, 0.0)], axis=1)
    to_either, to_none = (
        realism.realism(flat, walk, (positives, negatives), bootstrap=BOOTSTRAP)
        for walk in (there, half)
    )
    assert abs(to_either["mean"]) < 0.2 * to_none["mean"]
    assert to_none["ci95"][0] > 0
