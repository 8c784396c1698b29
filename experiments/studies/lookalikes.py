"""Do explanations show more of a phantom's harmless look-alikes than the classifier reacts to?

A nodule is no finding, but f may take it for a little of one, and an explanation of f that hid this
would not be true. Every test film is drawn with and without its lesions and its look-alikes, and f
is asked four times: the Shapley values (Shapley, 1953) of two players, exactly. What of both falls
to the look-alikes is what a map of f ought to put there, of what it puts on both. Compares the two
film by film, for the maps of finished runs of one classifier, on films with lesions
(`true_positives`); and on those that f calls positive for nothing (`false_positives`), where the
look-alikes' value is all, what a map puts there of all it has.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import ml_collections
import numpy as np

from cxr_jax import metrics
from cxr_jax.data.arrays import Arrays, load_splits, phantom_spec
from cxr_jax.datasets.cxr_phantom.phantom import PhantomSpec, draw, find_patient
from cxr_jax.errors import InputError
from cxr_jax.evaluate import audit, scores
from experiments import markdown, reading
from experiments.markdown import cell
from experiments.reading import BOOTSTRAP
from experiments.study import Options, Study

MAPS = (
    *("latent", "latent_occlusion", "latent_integrated_gradients", "grad_cam"),
    *("lungs", "shuffled", "oracle"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answers:
    """Margins [N] of f on every film and without its lesions, its look-alikes, or either."""

    film: np.ndarray
    without_lesions: np.ndarray
    without_lookalikes: np.ndarray
    without_both: np.ndarray


def shapley(answers: Answers) -> tuple[np.ndarray, np.ndarray]:
    """What lesions and look-alikes [N] are worth to f: a player's mean gain over both orders."""
    # Of the coalitions {}, {lesions}, {look-alikes} and both.
    worth = answers.without_both, answers.without_lookalikes, answers.without_lesions, answers.film
    lesions, lookalikes = audit.shapley(np.array(worth))
    return lesions, lookalikes


def redraw(test: Arrays, spec: PhantomSpec, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The test films once more, without look-alikes; a phantom's name is its seed and index."""
    drawn = []
    for patient in test["patient_id"]:
        seed, index = find_patient(patient.decode())
        drawn.append(draw(seed, index, spec, lookalikes=False))
    return {name: np.stack([film[name] for film in drawn]) for name in names}


def ask(config: ml_collections.ConfigDict, workdir: Path, test: Arrays) -> Answers:
    """f on the four drawings of every test film."""
    classify = reading.load_classifier(config, workdir / "classifier")
    spec = phantom_spec(config.data)
    bare = redraw(test, spec, ("image", "twin"))
    return Answers(
        film=classify(test["image"]),
        without_lesions=classify(test["twin"]),
        without_lookalikes=classify(bare["image"]),
        without_both=classify(bare["twin"]),
    )


def load_maps(workdirs: Sequence[Path]) -> dict[str, np.ndarray]:
    """The maps [N, h, w, 1] that all runs have, and their test films' `row` [N], run after run."""
    parts = []
    for workdir in workdirs:
        with np.load(workdir / "explain" / "maps.npz") as arrays:
            parts.append({name: arrays[name] for name in ("row", *MAPS) if name in arrays})
    shared = set.intersection(*map(set, parts))
    return {name: np.concatenate([part[name] for part in parts]) for name in shared}


def compare(
    saliency: np.ndarray, harmless: np.ndarray, lesions: np.ndarray, *, own: np.ndarray
) -> dict[str, dict]:
    """A map's shares [N] on look-alikes: of all of it, and of what is on them or on lesions.

    The first is also compared with the share of the film's area that look-alikes have.

    Args:
      saliency, harmless, lesions: maps and masks [N, h, w, 1].
      own: f's share [N], which the latter is compared with, film by film.
    """
    films = range(len(saliency))
    share = np.array([metrics.share_on(saliency[i], harmless[i]) for i in films])
    both = harmless | lesions
    of_both = np.array([metrics.share_on(saliency[i] * both[i], harmless[i]) for i in films])
    known = np.isfinite(of_both) & np.isfinite(own)  # of nothing there are no shares
    return metrics.summarise(share, BOOTSTRAP) | {
        "less_area": metrics.summarise(share - harmless.mean(axis=(1, 2, 3)), BOOTSTRAP),
        "of_both": metrics.summarise(of_both, BOOTSTRAP),
        "of_both_less_f": metrics.summarise(of_both - own, BOOTSTRAP),
        "spearman_with_f": metrics.spearman(of_both[known], own[known]),
    }


def summarise(test: Arrays, answers: Answers, maps: Mapping[str, np.ndarray]) -> dict[str, dict]:
    """The table: by group, f's own share, the area's and each map's; see `load_maps`."""
    rows = maps["row"]
    lesions, signed = (value[rows] for value in shapley(answers))
    lesions, lookalikes = np.abs(lesions), np.abs(signed)
    harmless = scores.harmless(test)[rows]
    with_lesions = test["label"][rows] == 1
    has = harmless.any(axis=(1, 2, 3))
    undone = answers.without_lookalikes[rows] <= 0
    table = {}
    for name, group in (("true_positives", with_lesions), ("false_positives", ~with_lesions)):
        kept = has & group
        both = (lookalikes + lesions)[kept]
        own = lookalikes[kept] / both
        entry = {
            "f": metrics.summarise(own, BOOTSTRAP),
            "f_signed": metrics.summarise(signed[kept] / both, BOOTSTRAP),
            "area": metrics.summarise(harmless.mean(axis=(1, 2, 3))[kept], BOOTSTRAP),
        }
        for kind in (kind for kind in MAPS if kind in maps):
            saliency, lesioned = np.float32(maps[kind][kept]), test["lesion_mask"][rows][kept] > 0
            entry[kind] = compare(saliency, harmless[kept], lesioned, own=own)
        entry["negative_without_lookalikes"] = metrics.summarise(undone[kept], BOOTSTRAP)
        table[name] = entry
    return table


def to_markdown(results: Mapping[str, Mapping]) -> str:
    """The tables for people."""
    positives, false = results["true_positives"], results["false_positives"]
    lines = [
        "## Shares on look-alikes",
        "",
        "`f`: what of the Shapley values of lesions and look-alikes falls to the look-alikes, by",
        "size; `f_signed`: less where they speak against a finding.",
        f"True positives with look-alikes: {positives['f'].get('images', 0)}; false positives:",
        f"{false['f'].get('images', 0)}, of which f calls negative without them: "
        f"{cell(false['negative_without_lookalikes'])}.",
        "",
    ]
    head = [
        *("true positives", "of what is on look-alikes or lesions", "less `f`, film by film"),
        *("rank correlation with `f`", "of all of it", "less `area`, film by film"),
    ]
    rows = [[f"`{name}`", cell(positives[name]), *"––––"] for name in ("f", "f_signed")]
    rows.append(["`area`", *"–––", cell(positives["area"]), "–"])
    for name in (name for name in MAPS if name in positives):
        entry = positives[name]
        ranked = entry["spearman_with_f"]
        correlation = "–" if ranked is None else f"{ranked:.2f}"
        of_both, less_f, less_area = (
            cell(entry[key]) for key in ("of_both", "of_both_less_f", "less_area")
        )
        rows.append([f"`{name}`", of_both, less_f, correlation, cell(entry), less_area])
    lines += markdown.table(head, rows)
    names = ("f", "area", *(name for name in MAPS if name in false))
    rows = ([f"`{name}`", cell(false[name])] for name in names)
    lines += ["", *markdown.table(["false positives", "of all of it"], rows)]
    return "\n".join(lines) + "\n"


def run(options: Options) -> Iterator[dict]:
    """Asks and compares."""
    config, workdirs = options.config, options.seed_dirs
    if config.data.name != "cxr_phantom":
        raise InputError("config.data.name must be 'cxr_phantom': nobody can redraw a film")
    for workdir in workdirs:  # which may be of several GANs
        reading.check_finished(config, workdir, "explain", sections=("seed", "data", "classifier"))
    reading.check_films_differ(workdirs)
    test = load_splits(config.data, config.seed)[0]["test"]
    found = summarise(test, ask(config, workdirs[0], test), load_maps(workdirs))
    yield {"config": config.to_dict(), **found}


STUDY = Study(
    name="lookalikes",
    doc=__doc__,
    run=run,
    to_markdown=to_markdown,
    config="configs/phantom.py",
    workdir="runs/phantom",
    seeds=0,
)
