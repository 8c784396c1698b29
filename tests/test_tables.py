"""The tables of metrics.json, made of walks and evaluators simple enough to know the answer."""

import json

import numpy as np
import pytest

from cxr_jax.evaluate import realism
from cxr_jax.evaluate import scores
from cxr_jax.report import tables
from cxr_jax.explain.explained import Calibration
from cxr_jax.explain.explained import Explained
from cxr_jax.explain.explained import Group
from cxr_jax.explain.films import Films
from cxr_jax.explain.films import Thresholds
from cxr_jax.explain.paths import Guide
from cxr_jax.explain.explainer import Tools
from cxr_jax.explain.traversal import Walk

SIDE, K, REACH = 8, 4, 10.0
BOOTSTRAP = (100, 0)
THRESHOLDS = Thresholds(gap=8.0, judged_gap=4.0, positive=3.0, negative=-3.0, lung_error=0.1)
BACKGROUND, LESION = -0.5, 0.4
EMPTY = {"segmenter": "", "regressor": ""}


def make_films(rows: int, seed: int) -> Films:
    """Films that differ, the first `rows` pixels of the lesion's row brighter by LESION."""
    rng = np.random.default_rng(seed)
    origin = np.float32(rng.uniform(BACKGROUND - 0.1, BACKGROUND + 0.1, (rows, SIDE, SIDE, 1)))
    image = origin.copy()
    image[:, 2:4, 2:4] += LESION
    margin = np.linspace(1, 3, rows)
    return Films(
        image=image,
        margin=margin,
        judged=margin / 2,
        structure=rng.normal(size=(rows, 3)),
        severity=rng.normal(size=(rows, 2)),
        drawn=image,
        drawn_margin=margin,
        drawn_judged=margin / 2,
        origin=origin,
    )


def make_walk(start, end, margins=(3.0, -3.0), detour=0.0) -> Walk:
    """A walk that fades from start to end, f going from one margin to the other and h with it.

    `detour` is how far the drawn frames go up and down on the way.
    """
    t = np.linspace(0, 1, K + 1).reshape(1, -1, 1, 1, 1)
    carried = start[:, None] + t * (end - start)[:, None]
    margin = np.repeat(np.linspace(*margins, K + 1)[None], len(start), axis=0)
    return Walk(
        points=np.zeros((*margin.shape, 2)),
        drawn=carried + detour * (np.arange(K + 1) % 2).reshape(1, -1, 1, 1, 1),
        carried=carried,
        margin=margin,
        judged=margin / 2,
        drawn_margin=margin,
        distance=np.sqrt(np.square(carried - carried[:, :1]).mean(axis=(2, 3, 4))),
    )


def make_groups(**more) -> dict[str, Group]:
    """Four positives that are walked by every way of comparing lengths, three negatives too."""
    positives, negatives = make_films(4, seed=0), make_films(3, seed=1)
    there = make_walk(positives.image, positives.origin)
    back = make_walk(negatives.origin, negatives.image, margins=(-3.0, 3.0))
    idle = make_walk(negatives.origin, negatives.origin, margins=(-3.0, -3.0))
    truth = {
        "twin": positives.origin,
        "severity": np.linspace(0.2, 0.9, 4),
        "lesion_mask": np.zeros(positives.image.shape, np.uint8),
        "lookalike_mask": np.zeros(positives.image.shape, np.uint8),
        "lung_mask": np.full(positives.image.shape, 255, np.uint8),
    }
    truth["lesion_mask"][:, 2:4, 2:4] = 255
    down = {name: [there] for name in ("linear", "aligned", "chord", "random", "geodesic")}
    up = {"linear": [idle, back], "aligned": [back], "chord": [back], "geodesic": [back]}
    return {
        "pos_to_neg": Group(positives, truth, down),
        "neg_to_pos": Group(negatives, {"severity": np.array([0.0, 0.1, 0.0])}, up),
    }


def make_explained(groups: dict[str, Group]) -> Explained:
    rows = sum(len(group.films.margin) for group in groups.values())
    shares = {"pos_to_neg": 0.5, "neg_to_pos": 1.0}
    return Explained(np.arange(rows), [""] * rows, groups, shares, np.zeros(rows), np.zeros(rows))


def make_tools(lungs=None, features=None, draw=None, classify=None, reasons=EMPTY) -> Tools:
    """Nothing but what the tables ask."""
    rest = dict.fromkeys(Tools._fields)
    return Tools(
        **rest | dict(lungs=lungs, features=features, draw=draw, classify=classify, reasons=reasons)
    )


KNOWN = Calibration(
    THRESHOLDS, Guide(0.1, np.zeros((2, 2)), np.zeros(2)), reach=REACH, path="linear"
)
REAL = make_films(20, seed=2).image, make_films(20, seed=3).image


def bright(image) -> np.ndarray:
    """A segmenter whose lungs are the upper half, whatever is drawn."""
    mask = np.zeros(image.shape, bool)
    mask[:, : SIDE // 2] = True
    return mask


def features(image) -> np.ndarray:
    return np.stack([image.mean(axis=(1, 2, 3)), image.std(axis=(1, 2, 3)), image[:, 2, 2, 0]], 1)


def score(tools=None, groups=None):
    explained = make_explained(groups or make_groups())
    tools = tools or make_tools(bright, features)
    return tables.score_paths(tools, explained, KNOWN, REAL, BOOTSTRAP)


def entries(table):
    """Every entry with where it stands."""
    for path, directions in table.items():
        for direction, metrics in directions.items():
            for metric, entry in metrics.items():
                yield (path, direction, metric), entry


def test_every_path_has_every_metric_in_both_directions():
    each, table = score()
    assert table.keys() == {*each["pos_to_neg"], *each["neg_to_pos"]}
    expected = {
        *("flip_rate", "flip_rate_f", "flip_rate_all", "flip_auc", "flip_distance", "reached"),
        *("transfer", "length", "monotonicity", "twin_error"),
        *("structure", "realism", "length_gain"),
    }
    for path, directions in table.items():
        assert directions.keys() == {"pos_to_neg", "neg_to_pos"}, path
        for direction, metrics in directions.items():
            assert metrics.keys() == expected, (path, direction)
    for where, entry in entries(table):
        assert entry["mean"] is not None or entry["reason"], where
    json.dumps(table, allow_nan=False)


def test_what_was_not_walked_says_so():
    _, table = score()
    for path, direction in (("random", "neg_to_pos"), ("linear_best", "pos_to_neg")):
        for metric, entry in table[path][direction].items():
            assert entry == {"mean": None, "reason": tables.NOT_WALKED}, (path, metric)
    assert {e["mean"] for _, e in entries({"l": {"d": table["linear"]["pos_to_neg"]}})} != {None}


def test_linear_best_is_the_better_walk_of_each_negative():
    each, table = score()
    assert "linear_best" not in each["pos_to_neg"]
    assert table["linear"]["neg_to_pos"]["flip_rate"]["mean"] == 0.5  # one walk of two is idle
    assert table["linear_best"]["neg_to_pos"]["flip_rate"]["mean"] == 1.0
    for metric in ("length", "flip_time", "flip_rate"):
        assert each["neg_to_pos"]["linear"][metric].shape == (3, 2)
        np.testing.assert_array_equal(
            each["neg_to_pos"]["linear_best"][metric], each["neg_to_pos"]["linear"][metric][:, 1]
        )
    for metric in ("structure", "realism"):
        assert table["linear_best"]["neg_to_pos"][metric]["reason"] == tables.FIRST_WALK


def test_rejected_films_count_as_unflipped_in_their_own_direction():
    _, table = score()
    assert table["aligned"]["pos_to_neg"]["flip_rate_all"]["mean"] == 0.5
    assert table["aligned"]["neg_to_pos"]["flip_rate_all"]["mean"] == 1.0


def test_only_positives_are_measured_against_a_twin():
    groups = make_groups()
    # Were it looked at, this would be no truth for a negative.
    groups["neg_to_pos"] = groups["neg_to_pos"]._replace(truth={"twin": REAL[:3]})
    _, table = score(groups=groups)
    assert table["linear"]["pos_to_neg"]["twin_error"]["mean"] == pytest.approx(0, abs=1e-6)
    assert table["linear"]["neg_to_pos"]["twin_error"] == {"mean": None, "reason": scores.NO_TWIN}


def test_lengths_are_compared_with_the_straight_path_of_the_same_ends():
    groups = make_groups()
    walks = groups["pos_to_neg"].walks
    films = groups["pos_to_neg"].films
    # Frames that swerve by 0.1: of aligned two steps count, to its stop, of geodesic all four.
    # It stops there too, but its straight path is judged whole, and so is it.
    walks["geodesic"] = [make_walk(films.image, films.origin, (3.0, -9.0), detour=0.1)]
    walks["aligned"] = [make_walk(films.image, films.origin, (3.0, -9.0), detour=0.1)]
    walks["natural"] = walks["aligned"]
    each, table = score(groups=groups)
    straight = walks["linear"][0].distance[:, -1]
    pieces = np.diff(walks["geodesic"][0].drawn, axis=1)
    pieces = np.sqrt(np.square(pieces).mean(axis=(2, 3, 4)))
    expected = {"geodesic": 1 - pieces.sum(axis=1) / straight}
    expected["aligned"] = 1 - pieces[:, :2].sum(axis=1) / straight
    for path, gain in expected.items():
        np.testing.assert_allclose(each["pos_to_neg"][path]["length_gain"], gain, rtol=1e-5)
        mean = table[path]["pos_to_neg"]["length_gain"]["mean"]
        assert mean == pytest.approx(gain.mean(), rel=1e-5)
    for path in ("linear", "natural", "chord"):
        assert table[path]["pos_to_neg"]["length_gain"]["reason"] == tables.NO_STRAIGHT


def test_evaluators_that_were_not_trained_give_their_reason():
    reasons = {"segmenter": "no segmenter", "regressor": "no regressor"}
    each, table = score(make_tools(reasons=reasons))
    for path in ("linear", "aligned"):
        for direction in ("pos_to_neg", "neg_to_pos"):
            assert "structure" not in each[direction][path]
            metrics = table[path][direction]
            assert metrics["structure"] == {"mean": None, "reason": "no segmenter"}
            assert metrics["realism"] == {"mean": None, "reason": "no regressor"}


def test_walks_are_judged_up_to_their_stop():
    groups = make_groups()
    walks, films = groups["pos_to_neg"].walks, groups["pos_to_neg"].films
    black = np.full_like(films.origin, -1.0)  # where the lungs are gone
    stopped = make_walk(films.image, films.origin, (3.0, -9.0))
    carried = stopped.carried.copy()
    carried[:, 3:] = black[:, None]  # after the stop at frame 2
    walks["aligned"] = [stopped._replace(carried=carried)]
    walks["linear"] = [make_walk(films.image, black)]
    seen = lambda image: image > -0.9
    each, table = score(make_tools(seen, features), groups)
    np.testing.assert_array_equal(each["pos_to_neg"]["aligned"]["structure"], np.ones(4))
    np.testing.assert_array_equal(each["pos_to_neg"]["linear"]["structure"], np.zeros(4))
    realism = {p: table[p]["pos_to_neg"]["realism"]["mean"] for p in ("aligned", "linear")}
    assert realism["linear"] > 10 * abs(realism["aligned"])


def test_the_first_of_several_walks_is_judged():
    structure, realism = tables.judge_walks(
        make_tools(lambda image: image < BACKGROUND + 0.15, features),
        make_groups()["neg_to_pos"],
        THRESHOLDS,
        1,
        REAL,
        BOOTSTRAP,
    )
    # The first walk of `linear` is the idle one.
    assert (structure["linear"] == 1).all() and (structure["aligned"] < 1).all()
    assert realism["linear"]["mean"] == 0.0 != realism["aligned"]["mean"]


def test_maps_are_scored_on_films_that_have_lesions():
    group = make_groups()["pos_to_neg"]
    change = np.abs(group.films.image - group.films.origin)
    group.truth["lesion_mask"][1] = 0
    change[1] = change[1, ::-1]  # this film's map is somewhere else
    made = {"latent": change, "latent_integrated_gradients": change, "oracle": change}
    incomplete = np.array([0.1, 0.9, 0.3, 0.2])
    each, table = tables.score_maps(made, incomplete, group.truth, 1.0, BOOTSTRAP)
    assert table.keys() == made.keys()
    for name in made:
        assert each[name]["on_target"].shape == (3,)
        assert table[name]["on_target"]["mean"] == pytest.approx(1.0)
    along = table["latent_integrated_gradients"]["completeness"]
    assert along["mean"] == pytest.approx(0.2) and along["images"] == 3
    assert "completeness" not in table["latent"] and "completeness" not in table["oracle"]
    json.dumps(table, allow_nan=False)


def test_maps_without_masks_have_reasons():
    made = {"latent": np.ones((2, SIDE, SIDE, 1))}
    each, table = tables.score_maps(made, np.zeros(2), {"severity": np.ones(2)}, 1.0, BOOTSTRAP)
    assert each == {} and table.keys() == {"latent", "prior", "oracle"}
    assert all(
        entry["mean"] is None and entry["reason"] for e in table.values() for entry in e.values()
    )


def additive_draw(structure, severity) -> np.ndarray:
    """Lungs as wide as z_structure says, and as bright within as z_class says."""
    image = np.full((len(structure), SIDE, SIDE, 1), -1.0)
    for one, s, c in zip(image, structure, severity, strict=True):
        one[:, : 3 + int(s[0])] = 0.1 + c[0]
    return image


def test_disentanglement_pairs_every_structure_with_every_class_latent():
    groups = make_groups()
    rng = np.random.default_rng(0)
    for name, group in groups.items():
        rows = len(group.films.margin)
        severity = rng.uniform(0, 0.5, (rows, 2)) * (name == "pos_to_neg")
        structure = rng.permutation(rows)[:, None] % 3
        # What f says of the films without their finding turns the order of its rise around.
        origin = group.films.origin + np.arange(rows).reshape(-1, 1, 1, 1) ** 2
        groups[name] = group._replace(
            films=group.films._replace(structure=structure, severity=severity, origin=origin)
        )
    tools = make_tools(
        lungs=lambda image: image > 0,
        draw=additive_draw,
        classify=lambda image: image.max(axis=(1, 2, 3)),
    )
    table = tables.disentangle(tools, make_explained(groups))
    # f sees the brightness alone, which z_class alone sets; the lungs' width is z_structure's.
    for name in ("margin", "margin_of_graded"):
        assert table[name] == pytest.approx({"z_structure": 0, "z_class": 1, "both": 0}, abs=1e-9)
    for name in ("lung_area", "lung_column"):
        assert table[name] == pytest.approx({"z_structure": 1, "z_class": 0, "both": 0}, abs=1e-9)
    # Lungs reach from top to bottom, wherever their sides are.
    assert table["lung_row"] == dict.fromkeys(("z_structure", "z_class", "both"))
    rise, margin, severity = (
        np.concatenate(each)
        for each in zip(
            *(
                (
                    group.films.drawn_margin - group.films.origin.max(axis=(1, 2, 3)),
                    group.films.margin,
                    group.truth["severity"],
                )
                for group in groups.values()
            ),
            strict=True,
        )
    )
    expected = severity_ranks(rise, margin, severity)
    assert {name: table[name] for name in expected} == pytest.approx(expected)
    json.dumps(table, allow_nan=False)


def test_disentanglement_looks_at_no_more_films_than_it_says():
    films = make_films(40, seed=3)
    group = Group(films, {}, {})
    drawn = []

    def draw(structure, severity):
        drawn.append((structure, severity))
        return np.zeros((len(structure), 1, 1, 1))

    tools = make_tools(draw=draw, classify=lambda image: np.zeros(len(image)))
    table = tables.disentangle(tools, make_explained({"pos_to_neg": group, "neg_to_pos": group}))
    ((structure, severity),) = drawn
    count = 2 * tables.NUM_FACTORS
    assert len(structure) == len(severity) == count**2
    pairs = {(*s, *c) for s, c in zip(structure, severity, strict=True)}
    assert len(pairs) == tables.NUM_FACTORS**2  # both halves are the same films here
    np.testing.assert_array_equal(structure[:count], np.repeat(structure[:1], count, axis=0))
    assert table["margin"] == dict.fromkeys(("z_structure", "z_class", "both"))
    assert table.keys() == {"margin", "margin_of_graded"}


def test_graded_class_latents_are_also_looked_at_alone():
    """Of two negatives and two positives: what z_class governs there is mostly its yes or no."""
    groups = make_groups()
    for name, group in groups.items():
        rows = np.arange(len(group.films.margin))[:, None]
        severity = (name == "pos_to_neg") * (5.0 + 0.1 * (rows % 2))
        groups[name] = group._replace(
            films=group.films._replace(structure=rows % 3, severity=severity), truth={}
        )
    tools = make_tools(
        draw=lambda structure, severity: structure + severity,
        classify=lambda sums: sums[:, 0],
    )
    table = tables.disentangle(tools, make_explained(groups))
    found = groups["pos_to_neg"].films
    lungs = np.concatenate([group.films.structure for group in groups.values()])
    expected = lungs.var() / (lungs.var() + found.severity.var())
    assert table["margin_of_graded"]["z_structure"] == pytest.approx(expected)
    assert table["margin_of_graded"]["z_class"] == pytest.approx(1 - expected)
    assert table["margin"]["z_class"] > 0.7 > 0.1 > table["margin_of_graded"]["z_class"]


def test_frames_that_are_judged_include_start_and_stop():
    walk = make_groups()["pos_to_neg"].walks["linear"][0]
    ended = end_walk(walk, THRESHOLDS, -1)
    frames = realism.frames_of(walk.carried, ended.frame)
    np.testing.assert_array_equal(frames[:, 0], walk.carried[:, 0])
    np.testing.assert_array_equal(frames[:, -1], walk.carried[:, K])


def test_where_no_film_is_covered_it_is_said_only_that_none_flips():
    groups = make_groups()
    explained = make_explained(groups)._replace(shares={"pos_to_neg": 0.0, "neg_to_pos": 1.0})
    each, table = tables.score_paths(
        make_tools(bright, features), explained, KNOWN, REAL, BOOTSTRAP
    )
    for path in each["pos_to_neg"]:
        assert all(len(rows) == 0 for rows in each["pos_to_neg"][path].values())
        unflipped = table[path]["pos_to_neg"].pop("flip_rate_all")
        assert unflipped["mean"] == 0.0 and unflipped["images"] == 4
        for entry in table[path]["pos_to_neg"].values():
            assert entry == {"mean": None, "reason": tables.NONE_COVERED}
    assert table["linear"]["neg_to_pos"]["flip_rate"]["mean"] == 0.5
    truth = groups["pos_to_neg"].truth
    kept, maps = tables.score_maps(
        {"latent": np.ones((4, SIDE, SIDE, 1))}, np.zeros(4), truth, 0.0, BOOTSTRAP
    )
    assert kept == {} and maps["latent"]["on_target"]["reason"] == tables.NONE_COVERED
