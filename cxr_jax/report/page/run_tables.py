"""The tables of metrics.json as report.html shows them: all rows, and what each column means."""

from collections.abc import Mapping, Sequence

from cxr_jax.evaluate.audit import REGION_NAMES
from cxr_jax.explain.maps import MAPS
from cxr_jax.explain.paths import DIRECTIONS
from cxr_jax.report.figures import title
from cxr_jax.report.page.content import Cell, Column, PageTable, Row
from cxr_jax.report.wording import DIRECTION_WORDS

WALK_COLUMNS = {
    "flip_rate": Column(
        title="flips",
        meaning="share of films on which f and h both change their decision before the walk stops",
        best="1",
    ),
    "flip_rate_f": Column(
        title="flips of f", meaning="the same of f alone, which may have been fooled", best="1"
    ),
    "twin_error": Column(
        title="error of the twin",
        meaning="how far the changed film is from the same patient drawn without the finding: "
        "0 is that patient, 1 is as if nothing had been done, above 1 is harm",
        best="0",
    ),
    "partial": Column(
        title="faithfulness",
        meaning="correlation, within a film, of how much the change shows of each lesion or "
        "look-alike with how much f really values it, which is known for phantoms",
        best="1",
    ),
    "necessity": Column(
        title="felt", meaning="share of the change that f reacts to at all", best="1"
    ),
    "structure": Column(
        title="lungs kept",
        meaning="overlap (Dice) of the lungs with those of the film, in the worst frame",
        best="1",
    ),
}
MAP_COLUMNS = {
    "partial": WALK_COLUMNS["partial"],
    "on_target": Column(
        title="on lesions", meaning="share of the map that lies on the true lesions", best="1"
    ),
    "pixel_auroc_lung": Column(
        title="AUROC in lungs",
        meaning="how well the map tells lesion pixels from other lung pixels; 0.5 is chance",
        best="1",
    ),
    "lookalike": Column(
        title="on look-alikes",
        meaning="share of the map on harmless things as bright as a lesion",
        best="0",
    ),
    "deletion_f": Column(
        title="deletion",
        meaning="what is left of f's answer once the map's strongest pixels are changed",
        best="0",
    ),
    "insertion_f": Column(
        title="insertion",
        meaning="what is there of f's answer once only those pixels are the film's",
        best="1",
    ),
}
EVIDENCE = Column(
    title="evidence (logits)",
    meaning="how much of f's answer comes from there: what those pixels add, averaged over all "
    "orders in which the regions can be put back",
    best="",
)


def cell(entry: Mapping) -> Cell:
    """A mean with its 95% interval, as metrics.json has it."""
    if entry["mean"] is None:
        return Cell(text="–", reason=entry["reason"])
    text, interval = f"{entry['mean']:.2f}", entry.get("ci95")
    between = f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else ""
    return Cell(text=text + between)


def _cells(columns: Mapping[str, Column], entry: Mapping, missing: str) -> list[Cell]:
    """In the columns' order; `missing` says why an entry lacks a figure."""
    nothing = {"mean": None, "reason": missing}
    return [cell(entry[name] if name in entry else nothing) for name in columns]


def walk_table(metrics: Mapping) -> PageTable:
    """Every path in both directions."""
    faithful, rows = metrics["faithfulness"], []
    for direction in DIRECTIONS:
        for name, entries in metrics["paths"].items():
            found = dict(entries[direction])
            if direction == "pos_to_neg":
                found |= _partial(faithful, "paths", name)
            cells = _cells(WALK_COLUMNS, found, "measured from positive to negative alone")
            rows.append(Row(title=title(name), note=DIRECTION_WORDS[direction], cells=cells))
    return PageTable(
        title="Walks",
        about="Does the walk change the decision, and does it change the film in the right way?",
        row_title="path",
        columns=list(WALK_COLUMNS.values()),
        rows=rows,
    )


def _partial(faithful: Mapping, kind: str, name: str) -> dict:
    """The figure `partial` of a map or a path; where nobody knows what f values, the reason."""
    if name in faithful[kind]:
        return {"partial": faithful[kind][name]["partial"]}
    reason = faithful["reason"] if "reason" in faithful else "the run did not make it"
    return {"partial": {"mean": None, "reason": reason}}


def map_table(metrics: Mapping) -> PageTable:
    """Every map that the run made, controls and published rivals too."""
    deleted, rows = metrics["deletion"]["maps"], []
    missing = "the run did not make it"
    if "reason" in metrics["deletion"]:
        missing = metrics["deletion"]["reason"]
    for name, entry in metrics["maps"].items():
        found = {**entry, **_partial(metrics["faithfulness"], "maps", name)}
        found |= deleted[name] if name in deleted else {}
        cells = _cells(MAP_COLUMNS, found, missing)
        rows.append(Row(title=title(name), note=map_note(name), cells=cells))
    return PageTable(
        title="Maps",
        about="Where does each method say that the evidence for a positive lies? A map that does "
        "not beat its controls has explained nothing. Maps are of the positive films.",
        row_title="map",
        columns=list(MAP_COLUMNS.values()),
        rows=rows,
    )


def map_note(name: str) -> str:
    """What kind of method a map is of; "" where its name says it."""
    published = "published method" if MAPS[name].kind == "published" else ""
    return MAPS[name].note or published


def classifier_table(metrics: Mapping) -> PageTable:
    """How good f and h are on the test films."""
    names = {
        "auroc": "how well it tells positive from negative films; 0.5 is chance",
        "accuracy": "share of films that it decides as labelled",
        "sensitivity": "share of positive films that it calls so",
        "specificity": "share of negative films that it calls so",
    }
    known, rows = [name for name in names if name in metrics["classifier"]], []
    for who, note in (("classifier", "f, which is explained"), ("judge", "h, the second one")):
        cells = [Cell(text=f"{metrics[who][name]:.3f}") for name in known]
        rows.append(Row(title=note, note="", cells=cells))
    return PageTable(
        title="The two classifiers",
        about="On all test films. An explanation of a classifier that errs shows its errors.",
        row_title="classifier",
        columns=[
            Column(title=name.replace("auroc", "AUROC"), meaning=names[name], best="1")
            for name in known
        ],
        rows=rows,
    )


def audit_table(audit: Mapping, heading: str, about: str) -> PageTable:
    """The evidence region by region; the truth beside it where a phantom can be drawn again."""
    columns, parts = [EVIDENCE], [audit["evidence"]]
    if "truth" in audit:
        columns.append(
            Column(
                title="truth",
                meaning="the same, by drawing the patient again without what is there",
                best="",
            )
        )
        parts.append(audit["truth"])
    rows = [
        Row(title=REGION_NAMES[name], note="", cells=[cell(part[name]) for part in parts])
        for name in audit["evidence"]
    ]
    return PageTable(title=heading, about=about, row_title="region", columns=columns, rows=rows)


def audit_tables(metrics: Mapping) -> Sequence[PageTable]:
    """By the segmenter's lungs, and on phantoms by the true masks; those with a verdict."""
    told = (
        ("audit", "By the lungs that a segmenter finds", "As for any film."),
        (
            "audit_true_masks",
            "By the phantom's true masks",
            "Which nobody has of a patient's film: how well the audit itself can be trusted.",
        ),
    )
    return [
        audit_table(metrics[key], heading, f"{about} {metrics[key]['verdict']}")
        for key, heading, about in told
        if metrics[key]["evidence"]
    ]
