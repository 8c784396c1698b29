"""Do explanations show more of a phantom's harmless look-alikes than the classifier reacts to?

    python benchmarks/lookalikes.py --config=configs/phantom.py:full --workdirs=runs/phantom

A nodule is no finding, but f may take it for a little of one, and an explanation of f that hid this
would not be true. Every test film is drawn with and without its lesions and its look-alikes, and f
is asked four times: the Shapley values (Shapley, 1953) of two players, exactly. What of both falls
to the look-alikes is what a map of f ought to put there, of what it puts on both. Compares the two
film by film, for the maps of finished runs of one classifier, on films with lesions
(`true_positives`); and on those that f calls positive for nothing (`false_positives`), where the
look-alikes' value is all, what a map puts there of all it has.
Writes benchmarks/results/lookalikes.json and .md.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import ml_collections
import numpy as np
from absl import app, flags, logging
from ml_collections import config_flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import runs  # noqa: E402
from benchmarks.markdown import cell  # noqa: E402
from cxr_jax.evaluate import audit
from cxr_jax.data import arrays
from cxr_jax import metrics
from cxr_jax.evaluate import scores
from cxr_jax.data.arrays import Arrays
from cxr_jax.datasets.cxr_phantom.phantom import PhantomSpec
from cxr_jax.datasets.cxr_phantom.phantom import draw

BOOTSTRAP = (2000, 0)
MAPS = (
    *("latent", "latent_occlusion", "latent_integrated_gradients", "grad_cam"),
    *("lungs", "shuffled", "oracle"),
)


class Answers(NamedTuple):
    """Margins [N] of f on every film and without its lesions, its look-alikes, or either."""

    film: np.ndarray
    without_lesions: np.ndarray
    without_lookalikes: np.ndarray
    without_both: np.ndarray


def shapley(answers: Answers) -> tuple[np.ndarray, np.ndarray]:
    """What lesions and look-alikes [N] are worth to f: a player's mean gain over both orders."""
    film, no_lesions, no_lookalikes, neither = answers
    lesions, lookalikes = audit.shapley(np.array([neither, no_lookalikes, no_lesions, film]))
    return lesions, lookalikes


def redraw(test: Arrays, spec: PhantomSpec, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The test films once more, without look-alikes; a phantom's name is its seed and index."""
    drawn = []
    for patient in test["patient_id"]:
        seed, index = (int(part) for part in patient.decode().split("-"))
        drawn.append(draw(seed, index, spec, lookalikes=False))
    return {name: np.stack([film[name] for film in drawn]) for name in names}


def ask(config: ml_collections.ConfigDict, workdir: Path, test: Arrays) -> Answers:
    """f on the four drawings of every test film."""
    classify = runs.load_classifier(config, workdir / "classifier")
    spec = PhantomSpec(config.data.image_size, *config.data.marker_test)
    bare = redraw(test, spec, ("image", "twin"))
    pictures = (test["image"], test["twin"], bare["image"], bare["twin"])
    return Answers(*(classify(picture) for picture in pictures))


def load_maps(workdirs: Sequence[Path]) -> dict[str, np.ndarray]:
    """The maps [N, h, w, 1] that all runs have, and their test films' `row` [N], run after run."""
    parts = []
    for workdir in workdirs:
        with np.load(workdir / "explain" / "maps.npz") as arrays:
            parts.append({name: arrays[name] for name in ("row", *MAPS) if name in arrays})
    shared = set.intersection(*map(set, parts))
    return {name: np.concatenate([part[name] for part in parts]) for name in shared}


def compare(
    saliency: np.ndarray, harmless: np.ndarray, lesions: np.ndarray, own: np.ndarray
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
    known = np.isfinite(of_both)  # a map that is zero everywhere has no shares
    return metrics.summarise(share, *BOOTSTRAP) | {
        "less_area": metrics.summarise(share - harmless.mean(axis=(1, 2, 3)), *BOOTSTRAP),
        "of_both": metrics.summarise(of_both, *BOOTSTRAP),
        "of_both_less_f": metrics.summarise(of_both - own, *BOOTSTRAP),
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
            "f": metrics.summarise(own, *BOOTSTRAP),
            "f_signed": metrics.summarise(signed[kept] / both, *BOOTSTRAP),
            "area": metrics.summarise(harmless.mean(axis=(1, 2, 3))[kept], *BOOTSTRAP),
        }
        for kind in (kind for kind in MAPS if kind in maps):
            saliency, lesioned = np.float32(maps[kind][kept]), test["lesion_mask"][rows][kept] > 0
            entry[kind] = compare(saliency, harmless[kept], lesioned, own)
        entry["negative_without_lookalikes"] = metrics.summarise(undone[kept], *BOOTSTRAP)
        table[name] = entry
    return table


def to_markdown(table: Mapping[str, Mapping]) -> str:
    """The table for people."""
    positives, false = table["true_positives"], table["false_positives"]
    lines = [
        "## Shares on look-alikes",
        "",
        "`f`: what of the Shapley values of lesions and look-alikes falls to the look-alikes, by",
        "size; `f_signed`: less where they speak against a finding.",
        f"True positives with look-alikes: {positives['f'].get('images', 0)}; false positives:",
        f"{false['f'].get('images', 0)}, of which f calls negative without them: "
        f"{cell(false['negative_without_lookalikes'])}.",
        "",
        "| true positives | of what is on look-alikes or lesions | less `f`, film by film "
        "| rank correlation with `f` | of all of it | less `area`, film by film |",
        "|---|---|---|---|---|---|",
    ]
    for name in ("f", "f_signed"):
        lines.append(f"| `{name}` | {cell(positives[name])} | – | – | – | – |")
    lines.append(f"| `area` | – | – | – | {cell(positives['area'])} | – |")
    for name in (name for name in MAPS if name in positives):
        entry = positives[name]
        ranked = entry["spearman_with_f"]
        correlation = "–" if ranked is None else f"{ranked:.2f}"
        of_both, less_f, less_area = (
            cell(entry[key]) for key in ("of_both", "of_both_less_f", "less_area")
        )
        cells = of_both, less_f, correlation, cell(entry), less_area
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    lines += ["", "| false positives | of all of it |", "|---|---|"]
    for name in ("f", "area", *(name for name in MAPS if name in false)):
        lines.append(f"| `{name}` | {cell(false[name])} |")
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> None:
    """Asks, compares and writes."""
    del argv
    logging.set_verbosity(logging.WARNING)  # Orbax narrates every load
    config, workdirs = flags.FLAGS.config, [Path(each) for each in flags.FLAGS.workdirs]
    if config.data.name != "cxr_phantom":
        sys.exit("lookalikes.py: config.data.name must be 'cxr_phantom': nobody can redraw a film")
    for workdir in workdirs:  # which may be of several GANs
        runs.check_finished(config, workdir, "explain", ("seed", "data", "classifier"))
    test = arrays.load_splits(config.data, config.seed)[0]["test"]
    table = summarise(test, ask(config, workdirs[0], test), load_maps(workdirs))
    content = {"config": config.to_dict(), **table}
    runs.write_results(Path(flags.FLAGS.out), "lookalikes", content, to_markdown(table))


if __name__ == "__main__":
    config_flags.DEFINE_config_file("config", "configs/phantom.py", "The experiment.")
    flags.DEFINE_list("workdirs", ["runs/phantom"], "Finished runs of one classifier.")
    flags.DEFINE_string("out", "benchmarks/results", "Folder of the results.")
    app.run(main)
