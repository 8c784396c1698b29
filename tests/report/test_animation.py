"""Walks as moving pictures, read again by Pillow."""

import numpy as np
import pytest
from builders import fade, make_walk, refused, stop_at
from PIL import Image

from cxr_jax.report import animation
from cxr_jax.report.animation import FRAME_MS, LAST_MS, save_animation, save_animations


def read(path) -> tuple[list[np.ndarray], list[float], int]:
    """Frames, each one's milliseconds, and how often they are repeated (0: always)."""
    with Image.open(path) as picture:
        frames, times = [], []
        for number in range(picture.n_frames):
            picture.seek(number)
            frames.append(np.asarray(picture.convert("L")))
            times.append(picture.info["duration"])
        return frames, times, picture.info["loop"]


@pytest.mark.parametrize("ending", ["gif", "png"])
def test_every_frame_is_there_for_its_time_equal_ones_too(tmp_path, ending):
    rng = np.random.default_rng(0)
    still, moved = rng.integers(0, 256, (2, 8, 8), dtype=np.uint8)
    frames = np.stack([still, still, still, moved, moved])
    margin = np.array([2.0, 2.0, 2.0, -2.0, -2.0])
    path = tmp_path / f"walk.{ending}"
    save_animation(path, frames, margin=margin, judge_margin=margin)
    found, times, loop = read(path)
    assert len(found) == 5 and loop == 0
    assert times == [FRAME_MS] * 4 + [LAST_MS]
    scale = animation.SHOWN_SIDE // 8
    for frame, picture in zip(frames, found, strict=True):
        shown = picture[: 8 * scale]
        expected = np.asarray(
            Image.fromarray(frame).resize((8 * scale, 8 * scale), Image.Resampling.BICUBIC)
        )
        np.testing.assert_array_equal(shown, expected)
    captions = {picture[8 * scale :].tobytes() for picture in found}
    assert len(captions) == 5, "each frame says which it is"


def test_another_ending_is_refused(tmp_path):
    save = lambda: save_animation(
        tmp_path / "walk.mp4",
        np.zeros((2, 8, 8), np.uint8),
        margin=np.zeros(2),
        judge_margin=np.zeros(2),
    )
    assert ".gif or as .png" in refused(save)


def test_walks_move_up_to_their_stop(tmp_path):
    image = np.random.default_rng(1).uniform(-1, 0, (2, 8, 8, 1)).astype(np.float32)
    walk = make_walk(fade(image, image + 1, 4), np.linspace(2, -2, 5))
    save_animations(tmp_path, stop_at(walk, [1, 4]), ("gif", "png"), name="walk_pos_to_neg")
    names = [f"walk_pos_to_neg_{n}.{ending}" for n in ("01", "02") for ending in ("gif", "png")]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert [len(read(tmp_path / name)[0]) for name in names] == [2, 2, 5, 5]
