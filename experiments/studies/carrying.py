"""How near could a walk come to the twin of every finding, if its latents were perfect?

Films x of the phantom with each finding, and their twins t. In place of a generator stands one
that misses nothing but what is fine: B, a Gaussian blur. So each way of carrying a change onto the
film is measured by `twin_error` alone, RMSE(frame, t) / RMSE(x, t), and what a walk's own error is
beyond that comes from its latents. The ways:

  drawn         B(t), the generator's own frame
  additive      x + B(t) - B(x), which the walks do
  detail        B(t) + s (x - B(x)), where s is how much stronger fine detail is in t than in x, by
                its standard deviation about each pixel
  warp          x moved as B(x) must move to resemble B(t)
  warp, added   the same, and what is then missing added
"""

import importlib
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from cxr_jax import metrics
from cxr_jax.configs.findings import FINDINGS
from cxr_jax.data.arrays import to_unit_range
from cxr_jax.datasets.cxr_phantom.phantom import PhantomSpec, draw
from cxr_jax.errors import InputError
from experiments.markdown import entry_table
from experiments.reading import BOOTSTRAP
from experiments.study import Flag, Options, Study

SIZE, SEED = 64, 3
SEVERITIES = (0.4, 1.0)  # fainter ones hardly differ from their twins
WINDOW = 2.0  # pixels, standard deviation: about a pixel, for how strong its detail is
STRONGEST = 4.0  # times; where a film has hardly any detail, none is made of its grain
ATTACHMENT = 15.0  # of the optical flow to the images; its default blurs these displacements


def blur(image: np.ndarray, pixels: float) -> np.ndarray:
    """What a generator draws of an image [h, w] whose latents are perfect."""
    return gaussian_filter(image, pixels)


def strength(detail: np.ndarray) -> np.ndarray:
    """Standard deviation about each pixel of detail [h, w] around zero."""
    return np.sqrt(gaussian_filter(np.square(detail), WINDOW) + 1e-6)


def warp(image: np.ndarray, *, seen: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Moves the pixels of an image [h, w] as those of `seen` must move to resemble `wanted`.

    By optical flow with total variation (Zach, Pock & Bischof, 2007), of scikit-image.
    """
    flow = find_flow()(wanted, seen, attachment=ATTACHMENT)
    return map_coordinates(image, np.indices(image.shape) + flow, order=1, mode="nearest")


def find_flow() -> Callable[..., np.ndarray]:
    """scikit-image's optical flow, which no other study needs.

    Raises:
      InputError: if it is not installed.
    """
    try:
        return importlib.import_module("skimage.registration").optical_flow_tvl1
    except ImportError as error:
        raise InputError("scikit-image is missing; pip install -e '.[test]' brings it") from error


def carry(film: np.ndarray, twin: np.ndarray, *, pixels: float) -> dict[str, np.ndarray]:
    """The last frame [h, w] of each way, and the film as it is drawn."""
    drawn, wanted = blur(film, pixels), blur(twin, pixels)
    share = np.minimum(strength(twin - wanted) / strength(film - drawn), STRONGEST)
    moved = warp(film, seen=drawn, wanted=wanted)
    return {
        "drawn": wanted,
        "additive": film + wanted - drawn,
        "detail": wanted + share * (film - drawn),
        "warp": moved,
        "warp, added": moved + wanted - blur(moved, pixels),
    }


def measure(finding: str, *, films: int, pixels: float) -> dict:
    """The errors of every way over films that show a finding."""
    severity = np.random.default_rng(SEED).uniform(*SEVERITIES, films)
    errors, reconstruction = [], []
    for number in range(films):
        spec = PhantomSpec(size=SIZE, finding=finding)
        record = draw(SEED, number, spec, label=1, severity=float(severity[number]))
        film, twin = (to_unit_range(record[name])[..., 0] for name in ("image", "twin"))
        frames = carry(film, twin, pixels=pixels)
        errors.append(
            {way: metrics.relative_error(frame, twin, film) for way, frame in frames.items()}
        )
        reconstruction.append(np.sqrt(np.square(blur(film, pixels) - film).mean()))
    return {
        "reconstruction_rmse": metrics.summarise(np.array(reconstruction), BOOTSTRAP),
        **{
            way: metrics.summarise(np.array([each[way] for each in errors]), BOOTSTRAP)
            for way in errors[0]
        },
    }


def run(options: Options) -> Iterator[dict]:
    """Finding by finding."""
    found = {}
    for finding in FINDINGS:
        found[finding] = measure(finding, films=options.own["films"], pixels=options.own["blur"])
        yield dict(found)


def to_markdown(results: Mapping[str, Mapping]) -> str:
    """One row a finding."""
    columns = list(next(iter(results.values())))
    text = (
        "`twin_error` with perfect latents. `drawn`: the generator's own frame; `additive`: its "
        "change added to the film, as walks do; `detail`: the film's own detail made weaker or "
        "stronger as the twin's is; `warp`: the film's pixels moved; `warp, added`: and what is "
        "then missing added. `reconstruction_rmse` is on the [-1, 1] scale."
    )
    return f"{text}\n\n{entry_table(results, columns, 'finding')}\n"


STUDY = Study(
    name="carrying",
    doc=__doc__,
    run=run,
    to_markdown=to_markdown,
    configs=lambda options: {},
    flags=(
        Flag(name="films", default=64, help="Of each finding."),
        Flag(name="blur", default=0.8, help="Of the drawn image, pixels: how sharp it is."),
    ),
)
