"""Which figures are drawn of what, and under which names."""

import dataclasses

import numpy as np
import pytest
from builders import fade, make_guide, make_perfect_films, make_thresholds, make_walk, stop_at
from PIL import Image

from cxr_jax import plots
from cxr_jax.evaluate import audit
from cxr_jax.explain.explained import Calibration, Group
from cxr_jax.metrics import Bootstrap
from cxr_jax.report import figures
from cxr_jax.report.tables import AuditResult

SIDE, K = 16, 3
CALIBRATION = Calibration(
    thresholds=make_thresholds(), guide=make_guide(), reach=1.0, path="linear"
)


def make_group(towards: int, rows: int = 3) -> Group:
    image = np.random.default_rng(rows).uniform(-1, 0, (rows, SIDE, SIDE, 1))
    margin = np.linspace(-towards, towards, K + 1)
    walk = make_walk(fade(image, image + 0.5, K), margin)
    films = make_perfect_films(image, np.full(rows, -towards))
    mask = np.zeros(image.shape, np.uint8)
    mask[:, 4:8, 4:8] = 255
    stopped = stop_at(walk, np.full(rows, K))
    return Group(
        towards=towards,
        films=films,
        truth={"patient_id": np.array([f"p{i}".encode() for i in range(rows)])}
        | ({"lesion_mask": mask} if towards < 0 else {}),
        walks={"linear": stopped, "geodesic": stopped},
    )


def assert_picture(path) -> None:
    pixels = np.asarray(Image.open(path).convert("L"), float)
    assert min(pixels.shape) >= 100 and pixels.std() > 10, path


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("grad_cam", "Grad-CAM"),
        ("geodesic", "geodesic (robust features)"),
        ("latent_occlusion", "latent occlusion"),
        ("linear", "linear"),
        ("pixel", "pixel"),
    ],
)
def test_paths_and_maps_are_written_as_people_do(name, written):
    assert figures.title(name) == written


def test_every_path_has_a_strip_and_every_direction_its_curves(tmp_path):
    groups = {"pos_to_neg": make_group(-1), "neg_to_pos": make_group(1, rows=2)}
    maps = {"latent": np.ones((3, SIDE, SIDE, 1)), "grad_cam": -np.ones((3, SIDE, SIDE, 1))}
    figures.save_figures(tmp_path, groups, CALIBRATION, maps=maps, num_rows=2, style=plots.PLAIN)
    assert {path.name for path in tmp_path.iterdir()} == {
        *(f"traversal_{d}_{p}.png" for d in groups for p in ("linear", "geodesic")),
        *("responses_pos_to_neg.png", "responses_neg_to_pos.png", "changes.png"),
    }
    for path in tmp_path.iterdir():
        assert_picture(path)


def test_changes_are_shown_beside_published_maps_alone(tmp_path, monkeypatch):
    shown = {}

    def changes(films, stopped, names, *, lesion_mask, others, style):
        shown.update(names=names, others=others, stopped=stopped)
        return None

    monkeypatch.setattr(figures.plots, "changes", changes)
    monkeypatch.setattr(figures.plots, "save", lambda figure, path, style: None)
    group = make_group(-1)
    ones = np.ones((3, SIDE, SIDE, 1))
    maps = {"latent": ones, "smoothgrad": -2 * ones, "oracle": ones, "gradient": ones}
    figures.save_figures(
        tmp_path, {"pos_to_neg": group}, CALIBRATION, maps=maps, num_rows=2, style=plots.PLAIN
    )
    assert shown["names"] == ["p0", "p1"] and list(shown["others"]) == ["SmoothGrad", "gradient"]
    np.testing.assert_array_equal(shown["others"]["SmoothGrad"], 2 * ones)
    assert shown["stopped"] is group.walks["linear"]


def test_the_papers_figure(tmp_path, monkeypatch):
    """Films by their names, and below them patients whom nobody has seen."""
    frames = np.random.default_rng(0).uniform(-1, 1, (4, 11, SIDE, SIDE, 1))
    path, named, drawn = tmp_path / "interpolation.png", [], plots.interpolation

    def draw(frames, margin, names, **style):
        named.extend(names)
        return drawn(frames, margin, names, **style)

    monkeypatch.setattr(plots, "interpolation", draw)
    figures.save_interpolation(
        path, make_group(-1), frames, margin=np.zeros((4, 11)), num_films=2, style=plots.PLAIN
    )
    assert_picture(path)
    assert named == ["p0", "p1", "drawn 1", "drawn 2"]


def test_the_audit_is_drawn_unless_there_is_no_verdict(tmp_path):
    group, path = make_group(-1), tmp_path / "audit.png"
    lesions = group.truth["lesion_mask"] > 0
    regions = audit.partition({"lungs": lesions, "border": np.roll(lesions, 5, axis=1)}, "rest")
    each = {name: {"evidence": np.arange(1.0, 4.0)} for name in regions}
    result = AuditResult(
        other=group.films.origin,
        regions=regions,
        each=each,
        table=audit.summarise(each, Bootstrap(resamples=20, seed=0)),
    )
    figures.save_audit(
        path, group, dataclasses.replace(result, regions=None), num_rows=2, style=plots.PLAIN
    )
    assert not path.exists()
    figures.save_audit(path, group, result, num_rows=2, style=plots.PLAIN)
    assert_picture(path)
