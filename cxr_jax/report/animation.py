"""Walks as moving pictures, for slides and mails: GIF, or APNG."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cxr_jax.errors import InputError
from cxr_jax.explain.traversal import StoppedWalk
from cxr_jax.report.arrays import to_pixels
from cxr_jax.report.wording import percents

ANIMATIONS = ("gif", "png")  # by their files' endings; the latter is an APNG
FRAME_MS, LAST_MS = 120, 1500  # GIF counts in hundredths of a second
SHOWN_SIDE = 320  # pixels, to which films are enlarged
LINE = 22  # pixels, of the caption


def save_animation(
    path: Path, frames: np.ndarray, *, margin: np.ndarray, judge_margin: np.ndarray
) -> None:
    """Writes frames as a picture that moves, and begins anew when it has ended.

    Pillow leaves out a frame that equals the one before it, and adds up their times; a caption with
    the frame's number keeps every frame apart, so that they can be counted and stepped through.

    Args:
      path: ending in .gif, or in .png for an APNG.
      frames: [k, h, w] as uint8.
      margin, judge_margin: f and h on them [k], in logits.

    Raises:
      InputError: if the ending is another.
    """
    if path.suffix.lower().removeprefix(".") not in ANIMATIONS:
        raise InputError(f"{path}: a walk moves as .gif or as .png, by the ending of the file")
    last = len(frames) - 1
    first, *others = [
        _caption(frame, f"frame {number} of {last}    f {f}    h {h}")
        for number, (frame, f, h) in enumerate(
            zip(frames, percents(margin), percents(judge_margin), strict=True)
        )
    ]
    times = [FRAME_MS] * last + [LAST_MS]
    first.save(path, save_all=True, append_images=others, duration=times, loop=0)


def save_animations(
    directory: Path, walked: StoppedWalk, endings: Sequence[str], *, name: str
) -> None:
    """Writes each film's walk up to its stop as NAME_01.gif and so on."""
    for row, stop in enumerate(walked.frame):
        shown = slice(int(stop) + 1)
        for ending in endings:
            save_animation(
                directory / f"{name}_{row + 1:02d}.{ending}",
                to_pixels(walked.walk.carried[row, shown, ..., 0]),
                margin=walked.walk.margin[row, shown],
                judge_margin=walked.walk.judge_margin[row, shown],
            )


def _caption(frame: np.ndarray, text: str) -> Image.Image:
    """A frame [h, w], enlarged, over a line of text."""
    height, width = frame.shape
    scale = max(1, -(-SHOWN_SIDE // max(height, width)))
    size = width * scale, height * scale
    sheet = Image.new("L", (size[0], size[1] + LINE))
    sheet.paste(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC))
    font = ImageFont.load_default(size=14)
    ImageDraw.Draw(sheet).text((6, size[1] + LINE // 2), text, fill=255, font=font, anchor="lm")
    return sheet
