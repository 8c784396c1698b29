"""Hand-built networks, films, walks, thresholds and files that several test modules share.

The networks are as smooth and as crooked as the real ones but compile in a moment.
"""

import dataclasses
import functools
import json
import struct
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from cxr_jax.configs import base
from cxr_jax.errors import InputError
from cxr_jax.explain.explainer import Explainer
from cxr_jax.explain.films import Films, Thresholds
from cxr_jax.explain.paths import Guide
from cxr_jax.explain.traversal import StoppedWalk, Walk, stop_walk
from cxr_jax.models.model import Model
from cxr_jax.networks.grading import Scale
from cxr_jax.networks.restore import TrainedModels

SIDE, NUM_Z_STRUCTURE, NUM_Z_CLASS = 8, 6, 4


# 0. Configs.


def make_tiny_config() -> ConfigDict:
    """The default experiment on 16 x 16 pixels with the narrowest networks of the same depth."""
    config = base.get_config()
    base.shrink(config)
    config.data.image_size = 16
    evaluators = [config.evaluators[name] for name in ("segmenter", "regressor", "robust")]
    for section in (config.classifier, config.judge, config.gan, *evaluators):
        for field, value in section.items():
            if field.endswith("widths"):
                section[field] = (8,) * len(value)
            elif field.endswith("channels"):
                section[field] = (2,) * len(value)
    return config


# 1. Networks.


class ToyGenerator(nn.Module):
    """Two layers from both latents to a film."""

    latent_sizes = (NUM_Z_STRUCTURE, NUM_Z_CLASS)  # not a field

    @nn.compact
    def __call__(self, z_structure, z_class):
        x = nn.tanh(nn.Dense(12)(z_structure) + nn.Dense(12)(z_class))
        return nn.tanh(nn.Dense(SIDE * SIDE)(x)).reshape(-1, SIDE, SIDE, 1)


class ToyEncoder(nn.Module):
    """A linear guess at both latents."""

    @nn.compact
    def __call__(self, image):
        x = image.reshape(len(image), -1)
        guess = [nn.Dense(n)(x) for n in (NUM_Z_STRUCTURE, NUM_Z_CLASS)]
        return tuple((mean, jnp.zeros_like(mean)) for mean in guess)


class ToyClassifier(nn.Module):
    """Two layers of features and a margin."""

    last_stage = "stage_2"  # not a field

    @nn.compact
    def __call__(self, image):
        first = nn.tanh(nn.Dense(8)(image.reshape(len(image), -1)))
        second = self.perturb("stage_2", nn.tanh(nn.Dense(8)(first))[:, None, None])
        features = {"stage_1": first[:, None, None], "stage_2": second}
        return nn.Dense(1)(second[:, 0, 0])[:, 0], features


_generate = jax.jit(lambda models, *latents: models.generator(*latents))
_classify = jax.jit(TrainedModels.classify)
_judge = jax.jit(TrainedModels.judge_margin)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ToyGan:
    """Everything that is trained, with random weights, and its answers in NumPy arrays."""

    models: TrainedModels

    def draw(self, z_structure, z_class) -> np.ndarray:
        """G."""
        return np.asarray(_generate(self.models, z_structure, z_class))

    def classify(self, image) -> np.ndarray:
        """f."""
        return np.asarray(_classify(self.models, image))

    def judge_films(self, image) -> np.ndarray:
        """h."""
        return np.asarray(_judge(self.models, image))


@functools.cache
def make_gan(seed: int = 0) -> ToyGan:
    """Networks with the weights of a seed; f, h and the robust classifier differ in weights."""
    keys = jax.random.split(jax.random.key(seed), 5)
    image = jnp.zeros((1, SIDE, SIDE, 1))
    latents = jnp.zeros((1, NUM_Z_STRUCTURE)), jnp.zeros((1, NUM_Z_CLASS))

    def model(network: nn.Module, key: jax.Array, *inputs: jax.Array) -> Model:
        return Model(network, jax.jit(network.init)(key, *inputs)["params"])

    return ToyGan(
        models=TrainedModels(
            classifier=model(ToyClassifier(), keys[0], image),
            judge=model(ToyClassifier(), keys[1], image),
            generator=model(ToyGenerator(), keys[2], *latents),
            encoder=model(ToyEncoder(), keys[3], image),
            scale=Scale(negative=np.float32(-1.0), strong=np.float32(1.0)),
            robust=model(ToyClassifier(), keys[4], image),
        )
    )


# 2. Films.


def make_films(gan: ToyGan, rows: int, positive: bool) -> Films:
    """Films that the generator draws, and some noise that it does not."""
    rng = np.random.default_rng(int(positive))
    z_structure = np.float32(rng.normal(size=(rows, NUM_Z_STRUCTURE)))
    z_class = np.float32(rng.normal(size=(rows, NUM_Z_CLASS)) * positive)
    drawn = gan.draw(z_structure, z_class)
    image = np.clip(drawn + rng.normal(size=drawn.shape) / 50, -1, 1).astype(np.float32)
    return Films(
        image=image,
        margin=gan.classify(image),
        judge_margin=gan.judge_films(image),
        z_structure=z_structure,
        z_class=z_class,
        drawn=drawn,
        drawn_margin=gan.classify(drawn),
        drawn_judge_margin=gan.judge_films(drawn),
        origin=gan.draw(z_structure, 0 * z_class),
    )


def make_perfect_films(image, margin, **fields) -> Films:
    """Films that are reconstructed without error and whose z_class changes nothing.

    h says half of what f says, and both latents are zeros; `fields` replace some of it.
    """
    margin = 1.0 * np.asarray(margin)
    rows = len(margin)
    perfect = Films(
        image=image,
        margin=margin,
        judge_margin=margin / 2,
        z_structure=np.zeros((rows, 3), np.float32),
        z_class=np.zeros((rows, 2), np.float32),
        drawn=image,
        drawn_margin=margin,
        drawn_judge_margin=margin / 2,
        origin=image,
    )
    return perfect.replace(**fields)


# 3. Walks.


def make_thresholds(**fields) -> Thresholds:
    """Walks stop at -3 and 3, f's gap is 8 and h's 4; `fields` replace some of it."""
    plain = dict(gap=8.0, judge_gap=4.0, positive=3.0, negative=-3.0)
    return Thresholds(**plain | dict(lung_error=0.1, film_error=0.2) | fields)


def make_guide(
    num_ends: int = 2,
    num_class: int = NUM_Z_CLASS,
    num_structure: int = NUM_Z_STRUCTURE,
    **fields,
) -> Guide:
    """Random ends, of films alike in z_structure, and a direction; `fields` replace some of it."""
    rng = np.random.default_rng(2)
    ends = np.float32(rng.normal(size=(num_ends, num_class)))
    plain = dict(step_length=0.02, ends=ends, direction=np.float32(rng.normal(size=num_class)))
    plain["end_structures"] = np.zeros((num_ends, num_structure), np.float32)
    return Guide(**plain | fields)


def fade(start: np.ndarray, end: np.ndarray, num_steps: int) -> np.ndarray:
    """Frames [b, k, h, w, 1] that fade from start to end, both [b, h, w, 1]."""
    t = np.linspace(0, 1, num_steps + 1, dtype=start.dtype).reshape(1, -1, 1, 1, 1)
    return start[:, None] + t * (end - start)[:, None]


def make_walk(carried: np.ndarray, margin, **fields) -> Walk:
    """A walk of these frames [b, k, h, w, 1], which the generator draws without error.

    h says half of what f says. `fields` replace some of it.

    Args:
      margin: f on every frame [b, k], or on those of any film [k].
    """
    margin = np.broadcast_to(margin, carried.shape[:2])
    plain = dict(
        points=np.zeros((*margin.shape, 1), np.float32),
        drawn=carried,
        carried=carried,
        margin=margin,
        judge_margin=margin / 2,
        distance=np.sqrt(np.square(carried - carried[:, :1]).mean(axis=(2, 3, 4))),
    )
    return Walk(**plain | fields)


def make_stopped(
    walk: Walk, towards: int = -1, thresholds: Thresholds | None = None
) -> StoppedWalk:
    """The walk, stopped by `make_thresholds()` or those given."""
    thresholds = thresholds or make_thresholds()
    return stop_walk(walk, thresholds.target(towards), towards)


def stop_at(walk: Walk, frame) -> StoppedWalk:
    """The walk, stopped at a frame of each film [b], where it also flips."""
    frame = np.asarray(frame)
    return StoppedWalk(
        walk=walk,
        frame=frame,
        reached=np.ones(len(frame), bool),
        flip=frame,
        flip_f=frame,
        change=walk.carried[np.arange(len(frame)), frame] - walk.carried[:, 0],
    )


# 4. Files.


def write_safetensors(path: Path, tensors: dict[str, np.ndarray]) -> Path:
    """The format as it is specified: the header's length, the header, the numbers."""
    header, data = {}, b""
    for name, tensor in tensors.items():
        header[name] = {
            "dtype": {"float32": "F32", "int64": "I64"}[tensor.dtype.name],
            "shape": tensor.shape,
            "data_offsets": [len(data), len(data) + tensor.nbytes],
        }
        data += tensor.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


# 5. A data set and an explainer without networks: f sees how bright a square is.

SQUARE = np.s_[:, 2:4, 2:4]
DARK, BRIGHT = 60, 160  # of the square in negatives and positives; f says positive from 110 on
NUM_SQUARE_STEPS = 4


def make_square_split(positive, seed: int) -> dict[str, np.ndarray]:
    """Films with a square that is bright in positives; each positive has another brightness."""
    rng = np.random.default_rng(seed)
    positive = np.asarray(positive, bool)
    rows = len(positive)
    twin = np.uint8(rng.integers(50, 70, (rows, SIDE, SIDE, 1)))
    twin[SQUARE] = DARK
    lesion = np.zeros_like(twin)
    lesion[SQUARE] = 255 * positive[:, None, None, None]
    brighter = np.uint8(BRIGHT - DARK + np.arange(rows)).reshape(-1, 1, 1, 1)
    image = twin + np.uint8(lesion > 0) * brighter
    return {
        "image": image,
        "label": positive.astype(int),
        "twin": twin,
        "severity": positive * 1.0,
        "lesion_mask": lesion,
        "lung_mask": np.full_like(twin, 255),
        "lookalike_mask": np.zeros_like(twin),
        "marker_mask": np.zeros_like(twin),
        "without_marker": image,
        "without_both": twin,
        "patient_id": np.array([f"patient{i}".encode() for i in range(rows)]),
    }


def classify_squares(image) -> np.ndarray:
    """From about -4 for a dark square to about 4 for a bright one."""
    return 10 * (image[SQUARE].mean(axis=(1, 2, 3)) + 0.135)


def invert_squares(pixels) -> Films:
    """Perfect reconstructions; z_class is the margin of positives, and 0 for negatives."""
    image = pixels.astype(np.float32) / 127.5 - 1
    margin = classify_squares(image)
    z_class = np.float32(np.maximum(margin, 0))[:, None]
    return make_perfect_films(image, margin, z_class=z_class, origin=without_square(image))


def spoil_squares(*rows: int):
    """An `invert_squares` that draws some films far too bright."""

    def spoilt(pixels) -> Films:
        films = invert_squares(pixels)
        too_bright = {name: getattr(films, name).copy() for name in ("drawn_margin", "drawn")}
        for array in too_bright.values():
            array[list(rows)] += 10
        return films.replace(**too_bright)

    return spoilt


def without_square(image) -> np.ndarray:
    """What nobody calls positive."""
    origin = image.copy()
    origin[SQUARE] = DARK / 127.5 - 1
    return origin


def follow_squares(image, end) -> Walk:
    """A walk that fades from one to the other."""
    carried = fade(image, end, NUM_SQUARE_STEPS)
    margin = np.stack([classify_squares(frames) for frames in carried])
    return make_walk(carried, margin)


def walk_squares(films, guide, thresholds, *, towards: int) -> dict[str, StoppedWalk]:
    """`linear` mends the square and brightens a corner, `aligned` overdoes it, `pixel` does it."""
    del guide
    end = without_square(films.image)
    if towards > 0:
        end[SQUARE] = 0.4
    harmed, overdone = end.copy(), end.copy()
    harmed[:, 6:, 6:] += 0.5
    overdone[SQUARE] += 0.02 * towards
    ends = {"linear": harmed, "aligned": overdone, "pixel": end}
    return {
        name: make_stopped(follow_squares(films.image, to), towards, thresholds)
        for name, to in ends.items()
    }


@dataclasses.dataclass(frozen=True)
class SquareWalker:
    """`walk_squares`, of all its paths or some of them."""

    names: tuple[str, ...] = ("linear", "aligned", "pixel")

    def only(self, *names: str) -> "SquareWalker":
        return SquareWalker(tuple(name for name in self.names if name in names))

    def __call__(self, *arguments, towards: int) -> dict[str, StoppedWalk]:
        walks = walk_squares(*arguments, towards=towards)
        return {name: walks[name] for name in self.names}


def share_on_square(image, change) -> np.ndarray:
    """The share of each change that lies on the square, all that f looks at."""
    size = np.abs(change)
    return size[SQUARE].sum(axis=(1, 2, 3)) / np.maximum(size.sum(axis=(1, 2, 3)), 1e-9)


def make_square_explainer(**fields) -> Explainer:
    """Every function is NumPy's; `fields` replace some."""
    plain = dict(
        margins=lambda pixels: (
            classify_squares(pixels / 127.5 - 1),
            classify_squares(pixels / 127.5 - 1) / 2,
        ),
        classify=classify_squares,
        judge=lambda image: classify_squares(image) / 2,
        invert=invert_squares,
        draw=lambda z_structure, z_class: (
            np.tanh(z_class[:, :1])[:, :, None, None] * np.ones((1, SIDE, SIDE, 1), np.float32)
        ),
        draw_latents=None,
        walk=SquareWalker(),
        felt_share=share_on_square,
        unit_gradient=lambda films: np.ones_like(films.z_class),
        traced_maps={"gradient": lambda image: 0 * image + 1.0},
        seen=None,
        find_lungs=None,
        features=None,
        reasons={"segmenter": "none", "regressor": "none"},
    )
    return Explainer(**plain | fields)


def refused(check, *arguments) -> str:
    """The one line by which a check refuses its arguments."""
    with pytest.raises(InputError) as raised:
        check(*arguments)
    text = str(raised.value)
    assert "\n" not in text and len(text) < 700
    return text
