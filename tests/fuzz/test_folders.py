"""Folders of films: names, pictures and tables as they come."""

import io
import os
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
from fuzzing import both_suites, damaged, explore
from hypothesis import strategies as st
from PIL import Image

from cxr_jax.datasets.cxr_folder import make_builder
from cxr_jax.datasets.cxr_folder.image_files import fit_film, read_grey

SIZE = 16
MOST_OF_A_FILM = 10 * Image.MAX_IMAGE_PIXELS  # bytes: a film may have so many pixels

# 1. Pictures.

KINDS = {  # by Pillow's mode, the pixels' type and channels
    "L": (np.uint8, ()),
    "RGB": (np.uint8, (3,)),
    "RGBA": (np.uint8, (4,)),
    "I;16": (np.uint16, ()),
    "1": (np.bool_, ()),
    "F": (np.float32, ()),
}
FORMATS = {
    "PNG": ("L", "RGB", "RGBA", "I;16", "1"),
    "JPEG": ("L", "RGB"),
    "TIFF": ("L", "RGB", "RGBA", "I;16", "1", "F"),
    "BMP": ("L", "RGB", "1"),
    "GIF": ("L", "RGB"),
    "WEBP": ("RGB", "RGBA"),
    "PPM": ("L", "RGB", "I;16"),
}


@st.composite
def pictures(draw: st.DrawFn) -> bytes:
    """A small picture of any format."""
    format_ = draw(st.sampled_from(sorted(FORMATS)))
    kind, channels = KINDS[draw(st.sampled_from(FORMATS[format_]))]
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 3)))
    most = draw(st.sampled_from([1, 255, 4095, 65535]))
    pixels = rng.integers(0, most + 1, (height, width, *channels)).astype(kind)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format=format_)
    return stream.getvalue()


@st.composite
def lying_png(draw: st.DrawFn) -> bytes:
    """A header of any size, depth and colour before the few pixels of another picture."""
    stream = io.BytesIO()
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(stream, format="PNG")
    side = st.sampled_from([0, 1, 20, 9000, 2**31 - 1])
    header = b"IHDR" + struct.pack(
        ">IIBBBBB",
        *(draw(side), draw(side), draw(st.sampled_from([1, 2, 8, 16, 3]))),
        *(draw(st.sampled_from([0, 2, 3, 4, 6, 9])), 0, 0, draw(st.integers(0, 2))),
    )
    data = stream.getvalue()
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


PICTURES = damaged(st.one_of(pictures(), lying_png()))
SUFFIXES = st.sampled_from([".png", ".jpg", ".tiff", ".gif", ".dcm", ".PNG"])


def check_picture(data: bytes, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"film{suffix}"
        path.write_bytes(data)
        grey = read_grey(path)
        assert grey.mode == "L" and min(grey.size) >= 16
        square = np.asarray(fit_film(grey, SIZE))
        assert square.shape == (SIZE, SIZE) and square.dtype == np.uint8


@both_suites(quick=400, thorough=6000)
def test_pictures(num_examples):
    explore(check_picture, num_examples, PICTURES, SUFFIXES, most_memory=MOST_OF_A_FILM)


# 2. Folders and tables.

ANY_NAME = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), max_size=12),
    st.binary(min_size=1, max_size=4).map(os.fsdecode).filter(lambda name: not {*name} & {*"/\0"}),
)
CLASS_NAMES = st.one_of(st.sampled_from(["covid", "normal", "lung_masks", ".git", "1"]), ANY_NAME)
FILE_NAMES = st.one_of(
    st.builds(lambda stem, suffix: f"{stem}{suffix}", st.integers(0, 30), SUFFIXES), ANY_NAME
)


def film(number: int) -> bytes:
    """A good one, like no other."""
    stream = io.BytesIO()
    pixels = (np.arange(400).reshape(20, 20) * (number + 1) % 251).astype(np.uint8)
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


GOOD = {
    f"{name}/{i}.png": film(10 * (name == "covid") + i)
    for name in ("covid", "normal")
    for i in range(8)
}
CELLS = st.one_of(
    st.sampled_from(
        [*GOOD, "covid", "normal", "0", "1", "train", "val", "test", "p1", "p2", "", "nan"]
    ),
    st.text(max_size=6),
)
COLUMNS = st.sampled_from(
    ["filename", "label", "patient_id", "group_id", "split", "Split", "age", ""]
)


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """A right table, or lines that look like one."""
    if draw(st.booleans()):
        columns = draw(st.lists(COLUMNS, min_size=1, max_size=4))
        rows = [[draw(CELLS) for _ in columns] for _ in range(draw(st.integers(0, 4)))]
    else:
        columns = ["filename", *draw(st.lists(COLUMNS, max_size=2))]
        rows = [[name, *(draw(CELLS) for _ in columns[1:])] for name in GOOD]
    text = "\n".join(",".join(cells) for cells in [columns, *rows])
    return text.encode(draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"])))


MASK_NAMES = st.sampled_from(
    [
        *("lung_masks/covid/0.png", "lung_masks/normal/1_mask.tif", "lung_masks/2.png"),
        *("Lung Masks/covid/0.jpg", "covid/masks/3.png", "covid/4_lung_mask.PNG", "masks/5.png"),
    ]
)


@st.composite
def masks(draw: st.DrawFn) -> bytes:
    """A few values in blocks, some of them specks, of the films' size or near it."""
    shape = draw(st.sampled_from([(20, 20), (40, 40), (20, 21), (20, 40), (200, 200)]))
    values = draw(st.lists(st.integers(0, 255), min_size=1, max_size=3))
    mask = np.full(shape, values[0], np.uint8)
    for value in values[1:]:
        top, left = draw(st.integers(0, 19)), draw(st.integers(0, 19))
        mask[top : top + draw(st.integers(1, 20)), left : left + draw(st.integers(1, 20))] = value
    stream = io.BytesIO()
    Image.fromarray(mask).save(stream, "PNG")
    return stream.getvalue()


@st.composite
def folders(draw: st.DrawFn) -> dict[str, bytes]:
    """Files by their names in it: good films, and others among them or in their place."""
    files = dict(GOOD) if draw(st.integers(0, 4)) else {}
    for _ in range(draw(st.integers(0, 4))):
        name = f"{draw(CLASS_NAMES)}/{draw(FILE_NAMES)}"
        files[name] = draw(st.one_of(PICTURES, st.binary(max_size=20), st.just(film(0))))
    for name in draw(st.lists(MASK_NAMES, max_size=3)):
        files[name] = draw(st.one_of(masks(), damaged(masks()), PICTURES))
    if draw(st.booleans()):
        files["metadata.csv"] = draw(damaged(tables()))
    return files


def write(folder: Path, files: dict[str, bytes]) -> None:
    """As far as a file system takes such names."""
    for name, data in files.items():
        try:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        except (OSError, ValueError):
            continue


def check_folder(files: dict[str, bytes], skip: bool) -> None:
    """Every film is used, skipped or refused, and no patient is on two sides."""
    with tempfile.TemporaryDirectory() as root:
        folder, data_dir = Path(root) / "films", Path(root) / "cache"
        folder.mkdir()
        write(folder, files)
        # What it would write; writing takes TFDS a second.
        contents = make_builder(
            folder, data_dir, size=SIZE, positive_class="covid", skip_unreadable=skip
        )._read_contents()
    films = {split: [one for one, _ in each] for split, each in contents.splits.items()}
    names = [one.filename for each in films.values() for one in each]
    assert len(names) == len({*names}) == contents.report["films"]
    assert skip or not contents.report["skipped"]
    for each in films.values():
        assert {one.label for one in each} == {0, 1}
        assert all(one.label == one.filename.startswith("covid/") for one in each)
    groups = [{one.group for one in each} for each in films.values()]
    assert sum(map(len, groups)) == len(set.union(*groups))
    for each in contents.splits.values():
        for _, square in each:
            assert Image.open(io.BytesIO(square.image)).size == (SIZE, SIZE)
            if square.lung_mask is not None:
                mask = np.asarray(Image.open(io.BytesIO(square.lung_mask)))
                assert mask.shape == (SIZE, SIZE) and {*np.unique(mask)} == {0, 255}


@both_suites(quick=150, thorough=1500)
def test_folders(num_examples):
    explore(check_folder, num_examples, folders(), st.booleans(), most_memory=MOST_OF_A_FILM)
