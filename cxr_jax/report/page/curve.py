"""The response curve of a walk, as coordinates of an SVG."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.special import expit

WIDTH, HEIGHT = 320, 170
LEFT, RIGHT, TOP, BOTTOM = 40, 310, 12, 138  # of what is drawn within


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
    """f and h against the frame.

    Attributes:
      x, f, h: of every frame, in units of the picture.
      f_line, h_line: the same as the `points` of a polyline.
      stop: where the walk stops; `threshold`, `target`: half, and where walks of this direction
        stop, both heights.
      ticks: frame number and place of some frames.
    """

    x: Sequence[float]
    f: Sequence[float]
    h: Sequence[float]
    f_line: str
    h_line: str
    stop: float
    threshold: float
    target: float
    ticks: Sequence[tuple[int, float]]


def draw_curve(
    margin: np.ndarray, judge_margin: np.ndarray, numbers: np.ndarray, *, stop: int, target: float
) -> Curve:
    """The curve of some frames.

    Args:
      margin, judge_margin: f and h on them [k].
      numbers: of the frames [k], rising.
      stop: frame number; `target`: margin at which walks of this direction stop.
    """
    last = max(int(numbers[-1]), 1)
    x = _rounded(LEFT + (RIGHT - LEFT) * numbers / last)
    f, h = (_height(expit(np.float64(each))) for each in (margin, judge_margin))
    step = -(-last // 6)
    ticks = list(range(0, last + 1, step))
    return Curve(
        x=x,
        f=f,
        h=h,
        f_line=_points(x, f),
        h_line=_points(x, h),
        stop=round(LEFT + (RIGHT - LEFT) * stop / last, 1),
        threshold=_height(np.array([0.5]))[0],
        target=_height(expit(np.array([target])))[0],
        ticks=[(tick, round(LEFT + (RIGHT - LEFT) * tick / last, 1)) for tick in ticks],
    )


def _height(share: np.ndarray) -> list[float]:
    return _rounded(BOTTOM - (BOTTOM - TOP) * share)


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 1) for value in values]


def _points(x: Sequence[float], y: Sequence[float]) -> str:
    return " ".join(f"{one},{other}" for one, other in zip(x, y, strict=True))
