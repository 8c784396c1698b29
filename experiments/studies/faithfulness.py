"""Does the change show what this classifier uses, and better than anything cheaper?

Of every lesion, look-alike and marker of a phantom f's Shapley value is known, by rendering the
patient with every subset of them (cxr_jax/evaluate/faithfulness.py); the mass of a map on each is
held against it, within films. Every map, ours and every rival, is taken in its best variant (which
sign counts, how much it is smoothed, which layer, which window), chosen by the partial correlation
on validation positives, as are the map of ours and the rival that are held against each other; the
test films are others, and were in no choice. Of several GANs, the first one's films choose, and
each explains test films of its own.

  partial    correlation of a film's log masses and log values, given how plainly each is seen
  minus      our best map's less this one's, paired over films
  rank, top, unvalued   see `faithfulness.score`
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping

import ml_collections
import numpy as np
from scipy import ndimage

from cxr_jax import metrics
from cxr_jax.data.arrays import Arrays, load_splits, phantom_spec
from cxr_jax.errors import InputError
from cxr_jax.evaluate import faithfulness, scores
from cxr_jax.explain import films, maps
from cxr_jax.explain.explained import Calibration, Group
from cxr_jax.explain.explainer import Explainer
from cxr_jax.explain.paths import DIRECTIONS
from cxr_jax.pipeline.calibrate import calibrate
from cxr_jax.pipeline.explain import load_explainer, map_inputs
from cxr_jax.pipeline.select import accepted, lungs_of, truth_of
from cxr_jax.runtime import precision
from experiments import markdown
from experiments.markdown import cell, entry_table
from experiments.reading import BOOTSTRAP, finished_seeds
from experiments.study import Flag, Options, Study

PATHS = ("linear", "aligned", "ray", "necessary")
OURS = maps.of_kind("ours")
RIVALS = (
    *("gradient", "integrated_gradients", "integrated_gradients_mean", "smoothgrad"),
    *("expected_gradients", "grad_cam", "layer_cam", "occlusion", "latent_shift"),
    *("healthy_subspace", "healthy_subspace_gradients"),
)
CONTROLS = ("prior", "lungs", "shuffled", "oracle")
SIGNS = {"size": np.abs, "positive": lambda m: m.clip(0), "negative": lambda m: (-m).clip(0)}
RADII = (0.0, 1 / 64, 2 / 64, 3 / 64)  # of the blur, in the image's side
FURTHER = {  # fields of config.explain that a map may choose
    "layer_cam": ("layer_cam_stage", ("stage_1", "stage_2", "stage_3")),
    "occlusion": ("occlusion_windows", (4, 8, 16)),
    "latent_occlusion": ("occlusion_windows", (4, 8, 16)),
}
PRODUCT = "subspace_times_expected_gradients"

Maps = dict[str, np.ndarray]  # by name [N, h, w, 1]


# 1. Films, their maps and what f values.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen:
    """Covered positives of one split: their walks, what f values on them, and all maps as made.

    Attributes:
      made: by name of a map, and by what it may choose ("" for nothing), signed.
    """

    group: Group
    valued: list[faithfulness.Valued]
    made: Mapping[str, Maps]
    coverage: float


def walk_positives(
    explainer: Explainer, arrays: Arrays, calibration: Calibration, *, picked: slice, gate: float
) -> tuple[Group, float]:
    """Of the films that f calls positive those picked, if they pass, and which part did."""
    margin, _ = explainer.margins(arrays["image"])
    rows = np.flatnonzero(margin > 0)[picked]
    if len(rows) == 0:
        raise InputError("f calls too few films positive for so many seeds: lower --films")
    inverted = explainer.invert(arrays["image"][rows])
    lungs = lungs_of(explainer, arrays, rows)
    passed = accepted(films.reasons_to_reject(inverted, calibration.thresholds, gate, lungs=lungs))
    if not passed.any():
        raise InputError("no positive passes the gate: train the GAN longer")
    some, towards = inverted.rows(passed), DIRECTIONS["pos_to_neg"]
    walks = explainer.walk(some, calibration.guide, calibration.thresholds, towards=towards)
    truth = truth_of(arrays, rows[passed])
    return Group(towards=towards, films=some, truth=truth, walks=walks), float(passed.mean())


def see(
    config: ml_collections.ConfigDict,
    explainer: Explainer,
    calibration: Calibration,
    *,
    splits: Mapping[str, Arrays],
    split: str,
    picked: slice,
) -> Seen:
    """Explains positives of a split by a finished run."""
    section = config.explain
    group, coverage = walk_positives(
        explainer, splits[split], calibration, picked=picked, gate=section.gate_margin
    )
    train = splits["train"]
    inputs = map_inputs(  # a rival that learns from healthy films is given all of them
        explainer,
        group,
        calibration,
        train=train,
        seed=config.seed,
        num_healthy=len(train["image"]),
    )
    names = [name for name in section.maps if name not in FURTHER]  # those are made below
    plain = maps.make_maps(inputs, names, explainer.traced_maps)
    plain[PRODUCT] = np.abs(plain["healthy_subspace"]) * plain["expected_gradients"].clip(0)
    made = {name: {"": saliency} for name, saliency in plain.items()}
    for name, (field, choices) in FURTHER.items():
        made[name] = {}
        for choice in choices:
            other = section.copy_and_resolve_references()
            other.update({field: choice, "maps": (name,)})
            traced = maps.compile_maps(explainer.walk.models, other, config.seed)
            made[name][f"{choice}"] = maps.make_maps(inputs, (name,), traced)[name]
    for name in group.walks:
        made[f"path {name}"] = {"": group.walks[name].change}
    spec = phantom_spec(config.data, split)
    valued = faithfulness.value_films(group.truth["patient_id"], spec, explainer.classify)
    return Seen(group=group, valued=valued, made=made, coverage=coverage)


# 2. The best variant of each map.


def variant(saliency: np.ndarray, sign: str, radius: float) -> np.ndarray:
    """A signed map [N, h, w, 1] as one that is never negative."""
    kept = SIGNS[sign](saliency.astype(np.float32))
    blur = radius * saliency.shape[1]
    return ndimage.gaussian_filter(kept, (0, blur, blur, 0)) if blur else kept


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """What validation films have chosen.

    Attributes:
      variants: by name of a map, its (choice, sign, radius).
      ours, rival: the maps that are held against each other, in these variants.
    """

    variants: dict[str, tuple[str, str, float]]
    ours: str
    rival: str


def choose(seen: Seen) -> Choice:
    """Variants by the highest partial correlation, then the best map of ours and of the others."""
    variants, reached = {}, {}
    for name, choices in seen.made.items():
        tried = itertools.product(choices, SIGNS, RADII)
        partial = {picked: _partial(seen, name, picked) for picked in tried}
        variants[name] = max(partial, key=partial.get)
        reached[name] = partial[variants[name]]
    return Choice(
        variants=variants,
        ours=max(OURS, key=reached.get),
        rival=max((*RIVALS, PRODUCT), key=reached.get),
    )


def _partial(seen: Seen, name: str, picked: tuple[str, str, float]) -> float:
    choice, sign, radius = picked
    saliency = variant(seen.made[name][choice], sign, radius)
    pairs = zip(saliency, seen.valued, strict=True)
    moments = sum(faithfulness.products(*pair) for pair in pairs)
    found = float(faithfulness.partial_correlation(moments))
    return found if np.isfinite(found) else -2.0


# 3. What is said of them.


def measure(seen: list[Seen], chosen: Choice) -> dict:
    """The tables over the films of all runs.

    Args:
      seen: the test films of each run.
      chosen: on other films.
    """
    each: dict[str, list] = {}
    for one in seen:
        best = {
            name: variant(one.made[name][choice], sign, radius)
            for name, (choice, sign, radius) in chosen.variants.items()
        }
        for name, columns in faithfulness.score_maps(best, one.valued).items():
            each.setdefault(name, []).append(columns)
    joined = {
        name: {metric: np.concatenate([part[metric] for part in parts]) for metric in parts[0]}
        for name, parts in each.items()
    }
    table = faithfulness.summarise(joined, BOOTSTRAP, ours=chosen.ours)
    for name, parts in each.items():
        each_seed = [
            float(faithfulness.partial_correlation(part["products"].sum(axis=0))) for part in parts
        ]
        table[name]["each_seed"] = [value if np.isfinite(value) else None for value in each_seed]
        table[name]["variant"] = list(chosen.variants[name])
    return {
        "films": sum(len(one.valued) for one in seen),
        "components": sum(len(film.names) for one in seen for film in one.valued),
        "hidden": sum(film.hidden for one in seen for film in one.valued),
        "coverage": float(np.mean([one.coverage for one in seen])),
        "ours": chosen.ours,
        "best_rival": chosen.rival,
        "faithfulness_partial": table[chosen.ours]["partial"],
        "faithfulness_minus_best_rival": table[chosen.rival]["minus"],
        "maps": table,
        "walks": {name: flips(seen, name) for name in seen[0].group.walks},
        **against_subspace(seen),
    }


def flips(seen: list[Seen], name: str) -> dict[str, dict]:
    """How many walks of a path flip f, and f and h, with exact intervals."""
    stopped = [one.group.walks[name] for one in seen]
    return {
        "flip_rate_f": metrics.summarise_proportion(
            np.concatenate([walk.flip_f >= 0 for walk in stopped])
        ),
        "flip_rate": metrics.summarise_proportion(
            np.concatenate([walk.flip >= 0 for walk in stopped])
        ),
    }


def against_subspace(seen: list[Seen]) -> dict[str, dict]:
    """Our map's `twin_error` and AUROC in the lungs less the healthy subspace's, film by film."""
    error, auroc = [], []
    for one in seen:
        truth, image = one.group.truth, one.group.films.image
        lesioned = np.flatnonzero(truth["lesion_mask"].any(axis=(1, 2, 3)))
        masks = {name: truth[name][lesioned] for name in truth if name.endswith("_mask")}
        changes = [one.made[name][""] for name in ("latent", "healthy_subspace")]
        left = [
            np.array(
                [
                    metrics.relative_error(image[i] + c[i], truth["twin"][i], image[i])
                    for i in lesioned
                ]
            )
            for c in changes
        ]
        found = [scores.score_map(np.abs(c[lesioned]), masks)["pixel_auroc_lung"] for c in changes]
        error.append(left[0] - left[1])
        auroc.append(found[0] - found[1])
    return {
        "twin_error_minus_subspace": metrics.summarise(np.concatenate(error), BOOTSTRAP),
        "lung_auroc_minus_subspace": metrics.summarise(np.concatenate(auroc), BOOTSTRAP),
    }


def to_markdown(result: Mapping) -> str:
    """The tables for people."""
    ranked = sorted(
        result["maps"], key=lambda name: -(result["maps"][name]["partial"]["mean"] or -2)
    )
    rows = {f"{name}{' (ours)' if name in OURS else ''}": result["maps"][name] for name in ranked}
    lines = [
        "## Faithfulness",
        "",
        f"{result['films']} covered test positives ({result['coverage']:.0%} of those taken) with "
        f"{result['components']} components; {result['hidden']} more lie hidden. `minus`: "
        f"`{result['ours']}` less the map, paired.",
        "",
        entry_table(rows, ("partial", "minus", "rank", "top", "unvalued"), "map"),
        "",
        *markdown.table(
            ["map", "variant: choice, sign, blur in the image's side"],
            (
                [f"`{name}`", ", ".join(str(part) for part in result["maps"][name]["variant"])]
                for name in ranked
            ),
        ),
        "",
        entry_table(result["walks"], ("flip_rate_f", "flip_rate"), "walk"),
        "",
        *(
            f"- `{name}`: {cell(result[name])}"
            for name in ("twin_error_minus_subspace", "lung_auroc_minus_subspace")
        ),
    ]
    return "\n".join(lines) + "\n"


def study_config(options: Options) -> ml_collections.ConfigDict:
    """The runs' config with the paths and maps that are compared."""
    config = options.config.copy_and_resolve_references()
    config.explain.paths = PATHS
    config.explain.maps = (*OURS, *RIVALS, *CONTROLS)
    return config


@precision.exactly
def run(options: Options) -> Iterator[dict]:
    """Explains films of finished runs."""
    config, count = study_config(options), options.own["films"]
    chosen, test = None, []
    for seed, (own, workdir) in enumerate(finished_seeds(options, config, "encoder")):
        splits, _ = load_splits(own.data, own.seed)
        explainer = load_explainer(own, workdir, prior=False)  # which compiles for both splits
        calibration = calibrate(explainer, splits, own.explain, seed=own.seed)
        explained = functools.partial(see, own, explainer, calibration, splits=splits)
        if chosen is None:
            chosen = choose(explained(split="validation", picked=slice(count)))
        # Each GAN has films of its own: the intervals are over films, and none counts twice.
        picked = slice(seed * count, (seed + 1) * count)
        test.append(explained(split="test", picked=picked))
    yield measure(test, chosen)


STUDY = Study(
    name="faithfulness",
    doc=__doc__,
    run=run,
    to_markdown=to_markdown,
    config="configs/phantom.py",
    workdir="runs/phantom",
    seeds=0,
    flags=(Flag(name="films", default=96, help="Positives of each split and GAN."),),
)
