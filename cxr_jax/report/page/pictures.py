"""Pictures as data URIs, and outlines of masks as SVG paths.

Everything is WebP without loss: a reader who looks for a small change must not see an artefact of
a codec, and what the page shows is to the grey level what f was asked about. A walk is kept as what
each frame adds to the one before it and what it takes away, small numbers without the film's noise:
a third of the bytes of the frames themselves. A canvas puts them together again exactly, by adding
the one and subtracting the other, frame after frame.
"""

import base64
import io

import numpy as np
from PIL import Image

from cxr_jax import plots

OPAQUE = 255
STEPS = 64  # of the colours of a map


def data_uri(pixels: np.ndarray) -> str:
    """Grey [h, w], RGB [h, w, 3] or RGBA [h, w, 4] uint8 as an image that needs no file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", lossless=True, quality=30, method=2, exact=True)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def sheet_columns(count: int) -> int:
    """Frames in a row of a sheet: as many as rows, for WebP ends at 16,383 pixels a side."""
    return int(np.ceil(np.sqrt(count)))


def change_sheet(frames: np.ndarray) -> np.ndarray:
    """What each frame [k, h, w] adds to the one before (left half), and takes away (right half).

    Frame i lies in row i // c and column i % c of either half, with c of `sheet_columns`.
    """
    change = np.diff(frames.astype(np.int16), axis=0, prepend=frames[:1].astype(np.int16))
    parts = [np.maximum(change, 0), np.maximum(-change, 0)]
    return np.concatenate([_tile(part.astype(np.uint8)) for part in parts], axis=1)


def _tile(frames: np.ndarray) -> np.ndarray:
    count, height, width = frames.shape
    columns = sheet_columns(count)
    rows = -(-count // columns)
    sheet = np.zeros((rows * columns, height, width), frames.dtype)
    sheet[:count] = frames
    rows_first = sheet.reshape(rows, columns, height, width).transpose(0, 2, 1, 3)
    return rows_first.reshape(rows * height, columns * width)


def heat(values: np.ndarray, name: str) -> str:
    """A map [h, w], not below zero, in a colour map from nothing to its own largest value.

    In 64 steps, which an eye cannot tell from more and which take a third less room.
    """
    share = values / max(float(values.max()), np.finfo(np.float32).tiny)
    return data_uri(plots.colour(np.floor(share * (STEPS - 1) + 0.5) / (STEPS - 1), name))


def strip(frames: np.ndarray, side: int, *, gap: int) -> np.ndarray:
    """Frames [k, h, w] beside each other, at most `side` pixels high each, white between them."""
    height, width = frames.shape[1:]
    scale = min(1.0, side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    panels = []
    for frame in frames:
        small = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX))
        panels += [small, np.full((size[1], gap), 255, np.uint8)]
    return np.concatenate(panels[:-1], axis=1)


def tint(change: np.ndarray, limit: float, *, added: tuple, removed: tuple) -> np.ndarray:
    """A signed change [h, w] as RGBA: its colour says the sign, how opaque it is the size.

    Args:
      limit: size from which it is wholly opaque, the same for all films.
      added, removed: RGB of 0 to 255.
    """
    size = np.clip(np.abs(change) / limit, 0, 1)
    picture = np.zeros((*change.shape, 4), np.uint8)
    picture[..., :3] = np.where((change > 0)[..., None], np.uint8(added), np.uint8(removed))
    picture[..., 3] = np.round(OPAQUE * size)
    picture[picture[..., 3] == 0] = 0
    return picture


def outline(mask: np.ndarray) -> str:
    """The edge of a mask [h, w] bool between its pixels and others, as the `d` of an SVG path.

    One unit is a pixel. Edges of neighbours that follow each other are one line.
    """
    wide = np.pad(mask, 1).astype(np.int8)
    across, down = np.diff(wide, axis=0)[:, 1:-1] != 0, np.diff(wide, axis=1)[1:-1] != 0
    lines = [f"M{start} {row}h{length}" for row, start, length in _runs(across)]
    lines += [f"M{column} {start}v{length}" for column, start, length in _runs(down.T)]
    return "".join(lines)


def _runs(edges: np.ndarray) -> list[tuple[int, int, int]]:
    """(row, first column, length) of every unbroken run of a row [n, m] bool."""
    steps = np.diff(np.pad(edges, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    row, start = np.nonzero(steps == 1)
    _, end = np.nonzero(steps == -1)
    return [(int(r), int(s), int(e - s)) for r, s, e in zip(row, start, end, strict=True)]
