"""The tables of metrics.json on the page: every row, and a reason wherever there is no figure."""

import numpy as np
import pytest

from cxr_jax.explain.maps import MAPS
from cxr_jax.report.page import run_tables
from cxr_jax.report.page.content import Cell


def entry(mean: float) -> dict:
    return {"mean": mean, "ci95": [mean - 0.1, mean + 0.1], "images": 9}


def walked(mean: float) -> dict:
    names = ("flip_rate", "flip_rate_f", "twin_error", "necessity", "structure")
    return {name: entry(mean) for name in names}


@pytest.fixture
def metrics() -> dict:
    unknown = {"mean": None, "reason": "no twin"}
    on_mask = ("on_target", "pixel_auroc_lung", "lookalike")
    deleted = {"deletion_f": entry(0.3), "insertion_f": entry(0.9)}
    return {
        "paths": {
            "linear": {
                "pos_to_neg": walked(0.5),
                "neg_to_pos": walked(0.6) | {"twin_error": unknown},
            },
            "geodesic": {"pos_to_neg": walked(0.7), "neg_to_pos": walked(0.8)},
        },
        "maps": {
            name: {m: entry(0.2) for m in on_mask} for name in ("latent", "grad_cam", "prior")
        },
        "faithfulness": {
            "paths": {"linear": {"partial": entry(0.4)}},
            "maps": {"latent": {"partial": entry(0.75)}},
        },
        "deletion": {"maps": {"latent": deleted, "grad_cam": deleted}},
        "classifier": {"auroc": 0.97, "accuracy": 0.9},
        "judge": {"auroc": 0.96, "accuracy": 0.8},
        "audit": {"evidence": {}, "verdict": "No verdict: none."},
        "audit_true_masks": {
            "evidence": {"lesions": entry(5.0), "marker": entry(0.0)},
            "truth": {"lesions": entry(6.0), "marker": entry(0.1)},
            "verdict": "No shortcut found outside the lungs: 0%.",
        },
    }


def test_a_figure_has_its_interval_and_its_absence_a_reason():
    assert run_tables.cell(entry(0.5)) == Cell(text="0.50 [0.40, 0.60]")
    assert run_tables.cell({"mean": 0.5, "ci95": None}).text == "0.50"
    assert run_tables.cell({"mean": None, "reason": "no mask"}) == Cell(text="–", reason="no mask")


def test_every_path_has_a_row_in_both_directions(metrics):
    table = run_tables.walk_table(metrics)
    named = [(row.title, row.note) for row in table.rows]
    assert named == [
        ("linear", "positive to negative"),
        ("geodesic (robust features)", "positive to negative"),
        ("linear", "negative to positive"),
        ("geodesic (robust features)", "negative to positive"),
    ]
    titles = [column.title for column in table.columns]
    cells = [dict(zip(titles, row.cells, strict=True)) for row in table.rows]
    assert [row["flips"].text[:4] for row in cells] == ["0.50", "0.70", "0.60", "0.80"]
    assert cells[0]["faithfulness"].text.startswith("0.40")
    assert cells[1]["faithfulness"].reason == "the run did not make it"
    assert "positive to negative alone" in cells[2]["faithfulness"].reason
    assert cells[2]["error of the twin"] == Cell(text="–", reason="no twin")


def test_every_map_has_a_row_and_controls_are_called_so(metrics):
    table = run_tables.map_table(metrics)
    assert [row.title for row in table.rows] == ["latent", "Grad-CAM", "prior"]
    assert [row.note.split(":")[0] for row in table.rows] == [
        "the change of the walk shown above",
        "published method",
        "control",
    ]
    titles = [column.title for column in table.columns]
    prior = dict(zip(titles, table.rows[2].cells, strict=True))
    assert prior["deletion"].reason == prior["faithfulness"].reason == "the run did not make it"


def test_films_whose_components_nobody_knows_have_the_runs_own_reason(metrics):
    metrics["faithfulness"] = {"maps": {}, "paths": {}, "reason": "not rendered"}
    for table in (run_tables.walk_table(metrics), run_tables.map_table(metrics)):
        place = [column.title for column in table.columns].index("faithfulness")
        assert table.rows[0].cells[place].reason == "not rendered"


def test_what_a_control_is_stands_beside_its_name():
    for name, map_ in MAPS.items():
        assert run_tables.map_note(name) or map_.kind in ("ours", "rival"), name
    assert run_tables.map_note("grad_cam") == "published method"
    assert run_tables.map_note("shuffled").startswith("control: ")


def test_the_classifiers_have_the_figures_that_they_were_given(metrics):
    table = run_tables.classifier_table(metrics)
    assert [column.title for column in table.columns] == ["AUROC", "accuracy"]
    assert [[cell.text for cell in row.cells] for row in table.rows] == [
        ["0.970", "0.900"],
        ["0.960", "0.800"],
    ]


def test_the_audit_is_told_where_there_is_one_beside_the_truth(metrics):
    (table,) = run_tables.audit_tables(metrics)
    assert "No shortcut found outside the lungs: 0%." in table.about
    rows = {row.title: [cell.text[:4] for cell in row.cells] for row in table.rows}
    assert rows == {"lesions": ["5.00", "6.00"], "lead marker": ["0.00", "0.10"]}


@pytest.mark.parametrize("columns", [run_tables.WALK_COLUMNS, run_tables.MAP_COLUMNS])
def test_every_column_says_which_way_is_better(columns):
    assert {column.best for column in columns.values()} <= {"0", "1"}
    assert np.unique([column.title for column in columns.values()]).size == len(columns)
