"""Are chests that the prior draws like films, and does f answer them as was wanted?

Of finished runs. Images are compared with some training films in the regressor's features, as many
of each kind; what is encoded, or halfway between two encoded, is of as many other films, which
themselves say how near films are to each other. Midpoints are of films that f calls negative.

  frechet     Frechet distance to the films; `ratio`: to that of the other films
  precision   share of images within the films' reach, of films' third neighbours, and
  recall      share of films within theirs (Kynkaanniemi et al., 2019)
  spread      standard deviation of a pixel over images
  novelty     distance in pixels to the nearest training film, to that of test films: 1 or more
              where none is a copy
  answers     Spearman correlation of f's answer with the one that was wanted, of positives
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping

import ml_collections
import numpy as np

from cxr_jax import metrics
from cxr_jax.data.arrays import Arrays, load_splits, to_unit_range
from cxr_jax.evaluate.realism import precision_recall
from cxr_jax.explain.explainer import Explainer, bind, bind_evaluators, make_explainer
from cxr_jax.networks import restore
from cxr_jax.networks.grading import film_radius
from cxr_jax.networks.prior import make_prior
from cxr_jax.networks.restore import TrainedModels
from cxr_jax.runtime import precision
from cxr_jax.training.prior import Codes, encode_films
from cxr_jax.training.regressor import REGRESSOR
from experiments.markdown import entry_table
from experiments.reading import finished_seeds
from experiments.study import Flag, Options, Study

COLUMNS = ("frechet", "ratio", "precision", "recall", "spread", "novelty")
FILMS = "films"  # the row of the others


# 1. What is compared.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Half:
    """Training films, their codes, and f's answers to them.

    Attributes:
      image: [n, h, w, 1] in [-1, 1].
    """

    image: np.ndarray
    codes: Codes

    def at_radius(self, models: TrainedModels, direction: np.ndarray) -> np.ndarray:
        """z_class of directions [n, c], each at a film's own radius."""
        return np.asarray(film_radius(models.scale, self.codes.margin))[:, None] * direction


def halves(models: TrainedModels, train: Arrays, count: int) -> list[Half]:
    """Two sets of so many training films, apart."""
    order = np.random.Generator(np.random.Philox(0)).permutation(len(train["image"]))
    found = []
    for rows in (order[:count], order[count : 2 * count]):
        pixels = train["image"][rows]
        codes = encode_films(models, pixels)
        found.append(Half(image=to_unit_range(pixels), codes=codes))
    return found


def without_flow(config: ml_collections.ConfigDict, models: TrainedModels) -> TrainedModels:
    """The models with the prior's Gaussian alone: fields that move nothing."""
    still, prior = make_prior(config, seed=0), models.prior
    plain = {
        name: getattr(prior, name).replace(flow=getattr(still, name).flow)
        for name in ("structure", "direction")
    }
    return dataclasses.replace(models, prior=prior.replace(**plain))


def draw_kinds(
    config: ml_collections.ConfigDict, models: TrainedModels, explainer: Explainer, *, half: Half
) -> dict[str, np.ndarray]:
    """Images by kind, as many as a half has, f's answers wanted as it gives them to its films."""
    gaussian = make_explainer(without_flow(config, models), config.explain, config.seed)
    lungs, direction = half.codes.z_structure, half.codes.direction
    rng = np.random.Generator(np.random.Philox(1))
    noise = [rng.standard_normal(each.shape, np.float32) for each in (lungs, direction)]
    return {
        "reconstructions": explainer.draw(lungs, half.at_radius(models, direction)),
        "n_0_1": explainer.draw(noise[0], half.at_radius(models, noise[1])),
        "gaussian": explainer.draw(*draw_like(gaussian, half)),
        "prior": explainer.draw(*draw_like(explainer, half)),
    }


def draw_midpoints(
    config: ml_collections.ConfigDict, models: TrainedModels, explainer: Explainer, *, half: Half
) -> dict[str, np.ndarray]:
    """Images halfway between two films that f calls negative, by the way that is halved."""
    lungs = half.codes.z_structure[half.codes.margin <= 0]
    other, nothing = np.roll(lungs, 1, axis=0), np.zeros_like(half.codes.direction[: len(lungs)])
    halve = lambda prior, ends: prior.midpoints(*ends)
    bent = bind(halve, models.prior, config.explain.batch_size)
    return {
        "midpoints_straight": explainer.draw((lungs + other) / 2, nothing),
        "midpoints": explainer.draw(bent((lungs, other)), nothing),
    }


def draw_like(explainer: Explainer, half: Half) -> tuple[np.ndarray, np.ndarray]:
    """Both latents of patients whom f is to answer as it does these films."""
    number = np.arange(len(half.image), dtype=np.int32)
    return explainer.draw_latents(number, number, half.codes.margin)


# 2. What is said of it.


def nearest(images: np.ndarray, films: np.ndarray) -> np.ndarray:
    """Of each image the distance to the nearest film, in pixels RMS [n]."""
    one, other = (each.reshape(len(each), -1) for each in (images, films))
    return np.sqrt(metrics.squared_distances(one, other).min(axis=1) / one.shape[1])


def measure(
    config: ml_collections.ConfigDict,
    models: TrainedModels,
    splits: Mapping[str, Arrays],
    *,
    features: Callable,
    count: int,
) -> dict:
    """One run: a row a kind of image, and f's answers."""
    one, other = halves(models, splits["train"], count)
    explainer = make_explainer(models, config.explain, config.seed)
    train = to_unit_range(splits["train"]["image"])
    known = np.median(nearest(to_unit_range(splits["test"]["image"]), train))
    negative = [half.codes.margin <= 0 for half in (one, other)]
    seen = [np.float64(features(half.image)) for half in (one, other)]
    kinds = (
        (seen, draw_kinds(config, models, explainer, half=other)),
        (
            [each[picked] for each, picked in zip(seen, negative, strict=True)],
            draw_midpoints(config, models, explainer, half=other),
        ),
    )
    rows: dict[str, dict] = {}
    for (reference, others), drawn in kinds:
        between = metrics.frechet_distance(others, reference)
        rows.setdefault(FILMS, compare(others, reference, between) | of_films(other.image))
        for name, image in drawn.items():
            rows[name] = compare(np.float64(features(image)), reference, between)
            rows[name]["spread"] = float(image.std(axis=0).mean())
            rows[name]["novelty"] = float(np.median(nearest(image, train)) / known)
    return {"images": rows, "answers": answers(explainer, one)}


def compare(seen: np.ndarray, reference: np.ndarray, between: float) -> dict:
    """Two sets of features [n, d]; `between`: the distance of films among themselves."""
    precision, recall = precision_recall(reference, seen)
    distance = metrics.frechet_distance(seen, reference)
    return {
        "frechet": distance,
        "ratio": distance / between,
        "precision": precision,
        "recall": recall,
    }


def of_films(image: np.ndarray) -> dict:
    """What films of the training split say of themselves: the nearest to each is itself."""
    return {"spread": float(image.std(axis=0).mean()), "novelty": None}


def answers(explainer: Explainer, half: Half) -> dict:
    """f on drawn patients, against what was wanted of it."""
    drawn = explainer.classify(explainer.draw(*draw_like(explainer, half)))
    wanted = half.codes.margin
    positive = wanted > 0
    return {
        "spearman": metrics.spearman(drawn[positive], wanted[positive]),
        "called_positive": float((drawn[positive] > 0).mean()),
        "called_negative": float((drawn[~positive] <= 0).mean()),
    }


def summarise(found: list[dict]) -> dict:
    """The mean over runs, and each run's own."""

    def entry(values: list) -> dict:
        if None in values:
            return {"mean": None, "reason": "of the films themselves"}
        return {"mean": float(np.mean(values)), "each_seed": values}

    names = found[0]["images"]
    return {
        "images": {
            name: {
                column: entry([one["images"][name][column] for one in found]) for column in COLUMNS
            }
            for name in names
        },
        "answers": {
            name: entry([one["answers"][name] for one in found]) for name in found[0]["answers"]
        },
    }


def to_markdown(result: Mapping) -> str:
    """The tables for people."""
    images = entry_table(result["images"], COLUMNS, "images")
    answers = entry_table({"prior": result["answers"]}, list(result["answers"]), "answers")
    return f"## The prior\n\n{images}\n\n{answers}\n"


@precision.exactly
def run(options: Options) -> Iterator[dict]:
    """Draws from finished runs; the regressor is taught once, beside them."""
    found, features = [], None
    for own, workdir in finished_seeds(options, options.config, "prior"):
        splits, _ = load_splits(own.data, own.seed, REGRESSOR.truths)
        if features is None:
            REGRESSOR.run(own, options.workdir, splits)
            regressor = restore.load_regressor(precision.in_float32(own), options.workdir)
            features = bind_evaluators(None, regressor, own.explain.batch_size)["features"]
        models = restore.load_trained(own, workdir)
        count = min(options.own["films"], len(splits["train"]["image"]) // 2)
        found.append(measure(own, models, splits, features=features, count=count))
        yield summarise(found)


STUDY = Study(
    name="prior",
    doc=__doc__,
    run=run,
    to_markdown=to_markdown,
    config="configs/phantom.py",
    workdir="runs/phantom",
    seeds=0,
    flags=(Flag(name="films", default=2000, help="Images of each kind."),),
)
