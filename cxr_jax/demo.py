"""`cxr-jax demo`: fresh phantom films explained by the networks that come with the package.

Nothing is trained. The films are of patients that no network has seen, and the same patients are
drawn without their lesions, so that the explanation can be held against the truth.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cxr_jax import metrics, plots
from cxr_jax.api import Explanation, FilmExplainer, demo_explainer
from cxr_jax.data.arrays import to_unit_range
from cxr_jax.datasets.cxr_phantom.phantom import PhantomSpec, draw
from cxr_jax.evaluate.scores import score_map, score_walk
from cxr_jax.explain.attribution import input_gradient
from cxr_jax.explain.explainer import bind
from cxr_jax.metrics import Bootstrap
from cxr_jax.report.page.content import Column, PageTable, Row
from cxr_jax.report.page.of_walks import Beside
from cxr_jax.report.page.run_tables import cell
from cxr_jax.runtime.user_path import make_folder, user_path
from cxr_jax.runtime.workdir import write_json

FIRST_PATIENT = 90_000_000  # beyond those of any split of a phantom data set
PICTURES = ("image", "twin", "lesion_mask", "lung_mask", "lookalike_mask")
SHOWN = 8  # films in the figure of changes
BOOTSTRAP = Bootstrap(resamples=2000, seed=0)
LINES = {
    "flip_rate": "f and h change their decision, positive to negative",
    "flip_rate_to_positive": "the same, negative to positive",
    "twin_error": "error left of the true twin (0 none, 1 nothing done)",
    "on_target": "share of the change on the lesions",
    "pixel_auroc_lung": "pixel AUROC of the change within the lungs",
    "gradient_pixel_auroc_lung": "the same of the input gradient",
}


def run(argv: Sequence[str]) -> int:
    """Explains films and writes figures, arrays and metrics; returns the exit status."""
    parser = argparse.ArgumentParser(prog="cxr-jax demo", description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="demo", help="folder of what is written")
    parser.add_argument("--films", type=int, default=24, help="phantom films that are drawn")
    parser.add_argument("--seed", type=int, default=0, help="of the patients")
    given = parser.parse_args(argv)
    if given.films < 2:
        parser.error("--films must be at least 2")
    if given.seed < 0:
        parser.error("--seed must be 0 or more")
    start, out = time.monotonic(), make_folder(user_path(given.out), "--out")
    explainer = demo_explainer()
    truth = draw_films(given.films, given.seed, explainer.image_size)
    print(f"explaining {given.films} phantom films; most of the time is the compiler's", flush=True)
    result = explainer.explain(truth["image"])
    gradient = input_gradients(explainer, result)
    table = measure(explainer, result, truth, gradient=gradient)
    masks = {name: truth[name] for name in PICTURES if name.endswith("_mask")}
    known = Beside(masks=masks, maps={"gradient": gradient}, tables=[page_table(table)])
    result.save(out, beside=known)
    save_changes(out / "changes.png", result, truth, gradient=gradient)
    write_json(out / "metrics.json", table)
    tell(table, out, time.monotonic() - start)
    return 0


def draw_films(count: int, seed: int, size: int) -> dict[str, np.ndarray]:
    """Films of new patients, half of them with lesions, and their truths.

    Returns:
      `PICTURES` by name, each [n, size, size, 1] uint8.
    """
    spec = PhantomSpec(size, 0.0, 0.0)
    drawn = [draw(seed, FIRST_PATIENT + index, spec) for index in range(count)]
    return {name: np.stack([film[name] for film in drawn]) for name in PICTURES}


def input_gradients(explainer: FilmExplainer, result: Explanation) -> np.ndarray:
    """|df/dx| of the films [n, h, w, 1], beside which the change is shown."""
    gradient = bind(
        lambda classifier, image: input_gradient(lambda x: classifier(x)[0], image),
        explainer.run.models.classifier,
        explainer.run.config.explain.batch_size,
    )
    return gradient(result.inverted.image)


def measure(
    explainer: FilmExplainer,
    result: Explanation,
    truth: Mapping[str, np.ndarray],
    *,
    gradient: np.ndarray,
) -> dict:
    """Figures of the films that passed the gate, with bootstrap intervals."""
    calibration = explainer.run.calibration
    thresholds, reach = calibration.thresholds, calibration.reach
    accepted = np.array([film.accepted for film in result])
    falling = accepted & (result.inverted.margin > 0)
    rising = accepted & (result.inverted.margin <= 0)
    twin = to_unit_range(truth["twin"])
    down = score_walk(
        result.walks.rows(falling), thresholds, -1, reach=reach, twin=np.asarray(twin[falling])
    )
    up = score_walk(result.walks.rows(rising), thresholds, 1, reach=reach, twin=None)
    lesioned = falling & truth["lesion_mask"].any(axis=(1, 2, 3))
    masks = {name: truth[name][lesioned] for name in PICTURES if name.endswith("_mask")}
    change = score_map(np.abs(result.walks.change[lesioned]), masks)
    beside = score_map(gradient[lesioned], masks)
    values = {
        "twin_error": down["twin_error"],
        "on_target": change["on_target"],
        "pixel_auroc_lung": change["pixel_auroc_lung"],
        "gradient_pixel_auroc_lung": beside["pixel_auroc_lung"],
    }
    return {
        "films": len(result),
        "coverage": float(accepted.mean()),
        "path": calibration.path,
        "flip_rate": metrics.summarise_proportion(down["flip_rate"]),
        "flip_rate_to_positive": metrics.summarise_proportion(up["flip_rate"]),
        **{name: metrics.summarise(each, BOOTSTRAP) for name, each in values.items()},
    }


def page_table(table: Mapping) -> PageTable:
    """The figures as report.html shows them."""
    column = Column(title="mean", meaning="over films that passed the gate", best="")
    rows = [Row(title=line, note="", cells=[cell(table[name])]) for name, line in LINES.items()]
    return PageTable(
        title="These films",
        about="Measured against the truth, which is known of synthetic films.",
        row_title="figure",
        columns=[column],
        rows=rows,
    )


def save_changes(
    path: Path, result: Explanation, truth: Mapping[str, np.ndarray], *, gradient: np.ndarray
) -> None:
    """Film, reconstruction, counterfactual, change, true lesions and gradient of some positives."""
    positive = np.flatnonzero(result.inverted.margin > 0)[:SHOWN]
    if len(positive) == 0:
        print(f"f calls no film positive, so there is no {path.name}; draw more by --films")
        return
    figure = plots.changes(
        result.inverted.rows(positive),
        result.walks.rows(positive),
        [result[row].name for row in positive],
        lesion_mask=truth["lesion_mask"][positive],
        others={"gradient": gradient[positive]},
    )
    plots.save(figure, path)


def tell(table: Mapping, out: Path, seconds: float) -> None:
    """Prints the table and where everything lies."""
    print(f"{table['coverage']:.0%} of {table['films']} films pass the gate; path {table['path']}")
    for name, line in LINES.items():
        entry = table[name]
        interval = entry.get("ci95")
        shown = "undefined" if entry["mean"] is None else f"{entry['mean']:.2f}"
        between = f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else ""
        print(f"  {line + ':':58} {shown}{between}")
    print(f"report.html, strips, changes.png, metrics.json and arrays: {out}/   ({seconds:.0f} s)")
