"""The tables of metrics.json, made of walks and evaluators simple enough to know the answer."""

import dataclasses
import json

import numpy as np
import pytest
from builders import (
    fade,
    make_guide,
    make_perfect_films,
    make_stopped,
    make_thresholds,
    make_walk,
)

from cxr_jax.datasets.cxr_phantom.phantom import PhantomSpec
from cxr_jax.evaluate import realism, scores
from cxr_jax.evaluate.disentanglement import severity_ranks
from cxr_jax.explain.explained import Calibration, Explained, Group
from cxr_jax.explain.explainer import Explainer
from cxr_jax.explain.films import Films
from cxr_jax.explain.paths import DIRECTIONS
from cxr_jax.explain.traversal import StoppedWalk
from cxr_jax.metrics import Bootstrap
from cxr_jax.report import tables

SIDE, K, REACH = 8, 4, 10.0
BOOTSTRAP = Bootstrap(resamples=100, seed=0)
THRESHOLDS = make_thresholds()  # walks stop at -3 and 3
BACKGROUND, LESION = -0.5, 0.4
EMPTY = {"segmenter": "", "regressor": ""}


def make_films(rows: int, seed: int) -> Films:
    """Films that differ, with a bright square each."""
    rng = np.random.default_rng(seed)
    origin = np.float32(rng.uniform(BACKGROUND - 0.1, BACKGROUND + 0.1, (rows, SIDE, SIDE, 1)))
    image = origin.copy()
    image[:, 2:4, 2:4] += LESION
    return make_perfect_films(
        image,
        np.linspace(1, 3, rows),
        z_structure=rng.normal(size=(rows, 3)),
        z_class=rng.normal(size=(rows, 2)),
        origin=origin,
    )


def walk_to(start, end, margins=(3.0, -3.0), *, towards=-1, detour=0.0) -> StoppedWalk:
    """A walk that fades from start to end, f going from one margin to the other and h with it.

    `detour` is how far the drawn frames go up and down on the way.
    """
    carried = fade(start, end, K)
    drawn = carried + detour * (np.arange(K + 1) % 2).reshape(1, -1, 1, 1, 1)
    return make_stopped(make_walk(carried, np.linspace(*margins, K + 1), drawn=drawn), towards)


def make_groups() -> dict[str, Group]:
    """Four positives that are walked by every way of comparing lengths, three negatives too."""
    positives, negatives = make_films(4, seed=0), make_films(3, seed=1)
    there = walk_to(positives.image, positives.origin)
    back = walk_to(negatives.origin, negatives.image, (-3.0, 3.0), towards=1)
    idle = walk_to(negatives.origin, negatives.origin, (-3.0, -3.0), towards=1)
    truth = {
        "twin": positives.origin,
        "severity": np.linspace(0.2, 0.9, 4),
        "lesion_mask": np.zeros(positives.image.shape, np.uint8),
        "lookalike_mask": np.zeros(positives.image.shape, np.uint8),
        "lung_mask": np.full(positives.image.shape, 255, np.uint8),
    }
    truth["lesion_mask"][:, 2:4, 2:4] = 255
    down = {name: there for name in ("linear", "aligned", "chord", "random", "geodesic")}
    up = {"linear": idle, "aligned": back, "chord": back, "geodesic": back}
    return {
        "pos_to_neg": Group(towards=-1, films=positives, truth=truth, walks=down),
        "neg_to_pos": Group(
            towards=1, films=negatives, truth={"severity": np.array([0.0, 0.1, 0.0])}, walks=up
        ),
    }


def make_explained(groups: dict[str, Group], **coverage: float) -> Explained:
    rows = sum(len(group.films.margin) for group in groups.values())
    return Explained(
        rows=np.arange(rows),
        reasons=[""] * rows,
        looked_at=np.ones(rows),
        groups=groups,
        coverage={"pos_to_neg": 0.5, "neg_to_pos": 1.0} | coverage,
        rmse=np.zeros(rows),
        lung_rmse=np.zeros(rows),
        margin=np.zeros(rows),
    )


def make_explainer(**fields) -> Explainer:
    """Nothing but what the tables ask."""

    def unasked(*arguments, **keywords):
        pytest.fail("the tables do not ask this")

    rest = {field.name: unasked for field in dataclasses.fields(Explainer)}
    rest["felt_share"] = lambda image, change: np.full(len(image), 0.5)
    empty = dict(
        draw_latents=None,
        find_lungs=None,
        seen=None,
        features=None,
        traced_maps={},
        missing_maps={},
        reasons=EMPTY,
    )
    return Explainer(**rest | empty | fields)


CALIBRATION = Calibration(
    thresholds=THRESHOLDS, guide=make_guide(num_class=2), reach=REACH, path="linear"
)
REAL = make_films(20, seed=2).image, make_films(20, seed=3).image


def bright(image) -> np.ndarray:
    """A segmenter whose lungs are the upper half, whatever is drawn."""
    mask = np.zeros(image.shape, bool)
    mask[:, : SIDE // 2] = True
    return mask


def features(image) -> np.ndarray:
    return np.stack([image.mean(axis=(1, 2, 3)), image.std(axis=(1, 2, 3)), image[:, 2, 2, 0]], 1)


def score(explainer=None, groups=None, **coverage: float):
    explained = make_explained(groups or make_groups(), **coverage)
    explainer = explainer or make_explainer(find_lungs=bright, features=features)
    return tables.score_paths(explainer, explained, CALIBRATION, real=REAL, bootstrap=BOOTSTRAP)


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
        *(
            "necessity",
            "flip_rate",
            "flip_rate_f",
            "flip_rate_all",
            "flip_auc",
            "flip_distance",
            "reached",
        ),
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
    for metric, entry in table["random"]["neg_to_pos"].items():
        assert entry == {"mean": None, "reason": tables.NOT_WALKED}, metric
    assert {e["mean"] for _, e in entries({"l": {"d": table["linear"]["pos_to_neg"]}})} != {None}


def test_every_score_of_a_path_is_one_number_a_film():
    each, table = score()
    for direction, rows in (("pos_to_neg", 4), ("neg_to_pos", 3)):
        for path, by_metric in each[direction].items():
            assert {values.shape for values in by_metric.values()} == {(rows,)}, path
    assert each["neg_to_pos"].keys() == {"linear", "aligned", "chord", "geodesic"}
    flips = {path: table[path]["neg_to_pos"]["flip_rate"]["mean"] for path in ("linear", "aligned")}
    assert flips == {"linear": 0.0, "aligned": 1.0}


def test_rejected_films_count_as_unflipped_in_their_own_direction():
    _, table = score()
    assert table["aligned"]["pos_to_neg"]["flip_rate_all"]["mean"] == 0.5
    assert table["aligned"]["neg_to_pos"]["flip_rate_all"]["mean"] == 1.0


def test_only_positives_are_measured_against_a_twin():
    groups = make_groups()
    # Were it looked at, this would be no truth for a negative.
    groups["neg_to_pos"] = dataclasses.replace(groups["neg_to_pos"], truth={"twin": REAL[0][:3]})
    _, table = score(groups=groups)
    assert table["linear"]["pos_to_neg"]["twin_error"]["mean"] == pytest.approx(0, abs=1e-6)
    assert table["linear"]["neg_to_pos"]["twin_error"] == {"mean": None, "reason": scores.NO_TWIN}


def test_lengths_are_compared_with_the_straight_path_of_the_same_ends():
    groups = make_groups()
    walks = groups["pos_to_neg"].walks
    films = groups["pos_to_neg"].films
    # Frames that swerve by 0.1: of aligned two steps count, to its stop, of geodesic all four.
    # It stops there too, but its straight path is judged whole, and so is it.
    walks["geodesic"] = walk_to(films.image, films.origin, (3.0, -9.0), detour=0.1)
    walks["aligned"] = walk_to(films.image, films.origin, (3.0, -9.0), detour=0.1)
    walks["natural"] = walks["aligned"]
    each, table = score(groups=groups)
    straight = walks["linear"].walk.distance[:, -1]
    pieces = np.diff(walks["geodesic"].walk.drawn, axis=1)
    pieces = np.sqrt(np.square(pieces).mean(axis=(2, 3, 4)))
    expected = {"geodesic": 1 - pieces.sum(axis=1) / straight}
    expected["aligned"] = 1 - pieces[:, :2].sum(axis=1) / straight
    for path, gain in expected.items():
        np.testing.assert_allclose(each["pos_to_neg"][path]["length_gain"], gain, rtol=1e-5)
        mean = table[path]["pos_to_neg"]["length_gain"]["mean"]
        assert mean == pytest.approx(gain.mean(), rel=1e-5)
    # From negatives too: of `linear` the way is a fade, and this one's is longer.
    group = groups["neg_to_pos"]
    start, end = group.films.origin, group.films.image
    group.walks["linear"] = walk_to(start, end, (-3.0, 9.0), towards=1)
    group.walks["geodesic"] = walk_to(start, end, (-3.0, 9.0), towards=1, detour=0.1)
    each, _ = score(groups=groups)
    pieces = np.diff(group.walks["geodesic"].walk.drawn, axis=1)
    length = np.sqrt(np.square(pieces).mean(axis=(2, 3, 4))).sum(axis=1)
    expected = 1 - length / group.walks["linear"].walk.distance[:, -1]
    np.testing.assert_allclose(each["neg_to_pos"]["geodesic"]["length_gain"], expected, rtol=1e-5)
    for path in ("linear", "natural", "chord"):
        assert table[path]["pos_to_neg"]["length_gain"]["reason"] == tables.NO_STRAIGHT


def test_evaluators_that_were_not_trained_give_their_reason():
    reasons = {"segmenter": "no segmenter", "regressor": "no regressor"}
    each, table = score(make_explainer(reasons=reasons))
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
    walk = walk_to(films.image, films.origin, (3.0, -9.0)).walk
    carried = walk.carried.copy()
    carried[:, 3:] = black[:, None]  # after the stop at frame 2
    walks["aligned"] = make_stopped(walk.replace(carried=carried))
    walks["linear"] = walk_to(films.image, black)
    seen = lambda image: image > -0.9
    each, table = score(make_explainer(find_lungs=seen, features=features), groups)
    np.testing.assert_array_equal(each["pos_to_neg"]["aligned"]["structure"], np.ones(4))
    np.testing.assert_array_equal(each["pos_to_neg"]["linear"]["structure"], np.zeros(4))
    realism = {p: table[p]["pos_to_neg"]["realism"]["mean"] for p in ("aligned", "linear")}
    assert realism["linear"] > 10 * abs(realism["aligned"])


def test_walks_from_negatives_are_judged_too():
    structure, realism = tables.judge_walks(
        make_explainer(find_lungs=lambda image: image < BACKGROUND + 0.15, features=features),
        make_groups()["neg_to_pos"],
        REAL,
        bootstrap=BOOTSTRAP,
    )
    # That of `linear` is idle.
    assert (structure["linear"] == 1).all() and (structure["aligned"] < 1).all()
    assert realism["linear"]["mean"] == 0.0 != realism["aligned"]["mean"]


def test_of_rejected_films_nothing_is_told():
    """Not even what could be computed: phantoms of which f values no component here."""
    group = make_groups()["pos_to_neg"]
    made, rejected = {"latent": group.films.image}, dict(coverage=0.0, bootstrap=BOOTSTRAP)
    spec, asked = PhantomSpec(size=SIDE), make_explainer()  # of which nothing may be asked
    told = tables.score_faithfulness(asked, group, made, spec=spec, **rejected)
    assert told == ({}, {"maps": {}, "paths": {}, "reason": tables.NONE_COVERED})
    thresholds = CALIBRATION.thresholds
    _, told = tables.score_deletion(asked, group, made, thresholds=thresholds, **rejected)
    assert told["maps"] == {} and told["reason"] == tables.NONE_COVERED


def score_maps(maps, group, coverage=1.0):
    return tables.score_maps(maps, group, CALIBRATION, coverage=coverage, bootstrap=BOOTSTRAP)


def test_maps_are_scored_on_films_that_have_lesions():
    group = make_groups()["pos_to_neg"]
    change = group.films.origin - group.films.image  # negative: the size is what counts
    group.truth["lesion_mask"][1] = 0
    change[1] = change[1, ::-1]  # this film's map is somewhere else
    made = {"latent": change, "latent_integrated_gradients": change, "oracle": change}
    each, table = score_maps(made, group)
    assert table.keys() == made.keys()
    for name in made:
        assert each[name]["on_target"].shape == (3,)
        assert table[name]["on_target"]["mean"] == pytest.approx(1.0)
    assert "completeness" not in table["latent"] and "completeness" not in table["oracle"]
    json.dumps(table, allow_nan=False)


def test_a_map_along_the_walk_is_complete_if_it_sums_to_what_f_moved_by():
    """By hand: f falls by 6, from 3 to -3; maps that sum to -6, -3, -7.5 and 0."""
    group = make_groups()["pos_to_neg"]
    signed = np.zeros(group.films.image.shape)
    signed[:, 2, 2, 0] = [-6, -3, -7.5, 0]
    each, table = score_maps({"latent": signed, "latent_integrated_gradients": signed}, group)
    along = each["latent_integrated_gradients"]["completeness"]
    np.testing.assert_allclose(along, [0, 0.5, 0.25, 1])
    group.truth["lesion_mask"][1] = 0
    _, table = score_maps({"latent": signed, "latent_integrated_gradients": signed}, group)
    along = table["latent_integrated_gradients"]["completeness"]
    assert along["mean"] == pytest.approx(1.25 / 3) and along["images"] == 3


def test_maps_without_masks_have_reasons():
    group = make_groups()["pos_to_neg"]
    unknown = dataclasses.replace(group, truth={"severity": np.ones(4)})
    each, table = score_maps({"latent": np.ones((4, SIDE, SIDE, 1))}, unknown)
    assert each == {} and table.keys() == {"latent", "prior", "oracle"}
    assert all(
        entry["mean"] is None and entry["reason"] for e in table.values() for entry in e.values()
    )


def additive_draw(z_structure, z_class) -> np.ndarray:
    """Lungs as wide as z_structure says, and as bright within as z_class says."""
    image = np.full((len(z_structure), SIDE, SIDE, 1), -1.0)
    for one, s, c in zip(image, z_structure, z_class, strict=True):
        one[:, : 3 + int(s[0])] = 0.1 + c[0]
    return image


def test_disentanglement_pairs_every_structure_with_every_class_latent():
    groups = make_groups()
    rng = np.random.default_rng(0)
    for name, group in groups.items():
        rows = len(group.films.margin)
        z_class = rng.uniform(0, 0.5, (rows, 2)) * (name == "pos_to_neg")
        z_structure = 1.0 * (rng.permutation(rows)[:, None] % 3)
        # What f says of the films without their finding turns the order of its rise around.
        origin = group.films.origin + np.arange(rows).reshape(-1, 1, 1, 1) ** 2
        films = group.films.replace(z_structure=z_structure, z_class=z_class, origin=origin)
        groups[name] = dataclasses.replace(group, films=films)
    explainer = make_explainer(
        find_lungs=lambda image: image > 0,
        draw=additive_draw,
        classify=lambda image: image.max(axis=(1, 2, 3)),
    )
    table = tables.disentangle(explainer, make_explained(groups))
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
    groups = {
        direction: Group(towards=towards, films=films, truth={}, walks={})
        for direction, towards in DIRECTIONS.items()
    }
    drawn = []

    def draw(z_structure, z_class):
        drawn.append((z_structure, z_class))
        return np.zeros((len(z_structure), 1, 1, 1))

    explainer = make_explainer(draw=draw, classify=lambda image: np.zeros(len(image)))
    table = tables.disentangle(explainer, make_explained(groups))
    ((z_structure, z_class),) = drawn
    count = 2 * tables.NUM_FACTORS
    assert len(z_structure) == len(z_class) == count**2
    pairs = {(*s, *c) for s, c in zip(z_structure, z_class, strict=True)}
    assert len(pairs) == tables.NUM_FACTORS**2  # both halves are the same films here
    np.testing.assert_array_equal(z_structure[:count], np.repeat(z_structure[:1], count, axis=0))
    assert table["margin"] == dict.fromkeys(("z_structure", "z_class", "both"))
    assert table.keys() == {"margin", "margin_of_graded"}


def test_graded_class_latents_are_also_looked_at_alone():
    """Of two negatives and two positives: what z_class governs there is mostly its yes or no."""
    groups = make_groups()
    for name, group in groups.items():
        rows = np.arange(len(group.films.margin))[:, None]
        z_class = (name == "pos_to_neg") * (5.0 + 0.1 * (rows % 2))
        films = group.films.replace(z_structure=1.0 * (rows % 3), z_class=z_class)
        groups[name] = dataclasses.replace(group, films=films, truth={})
    explainer = make_explainer(
        draw=lambda z_structure, z_class: z_structure + z_class,
        classify=lambda sums: sums[:, 0],
    )
    table = tables.disentangle(explainer, make_explained(groups))
    found = groups["pos_to_neg"].films
    lungs = np.concatenate([group.films.z_structure for group in groups.values()])
    expected = lungs.var() / (lungs.var() + found.z_class.var())
    assert table["margin_of_graded"]["z_structure"] == pytest.approx(expected)
    assert table["margin_of_graded"]["z_class"] == pytest.approx(1 - expected)
    assert table["margin"]["z_class"] > 0.7 > 0.1 > table["margin_of_graded"]["z_class"]


def test_frames_that_are_judged_include_start_and_stop():
    stopped = make_groups()["pos_to_neg"].walks["linear"]
    frames = realism.frames_of(stopped.walk.carried, stopped.frame)
    np.testing.assert_array_equal(frames[:, 0], stopped.walk.carried[:, 0])
    np.testing.assert_array_equal(frames[:, -1], stopped.walk.carried[:, K])


def test_where_no_film_is_covered_it_is_said_only_that_none_flips():
    groups = make_groups()
    each, table = score(groups=groups, pos_to_neg=0.0)
    for path in each["pos_to_neg"]:
        assert all(len(rows) == 0 for rows in each["pos_to_neg"][path].values())
        unflipped = table[path]["pos_to_neg"].pop("flip_rate_all")
        assert unflipped["mean"] == 0.0 and unflipped["images"] == 4
        for entry in table[path]["pos_to_neg"].values():
            assert entry == {"mean": None, "reason": tables.NONE_COVERED}
    assert table["aligned"]["neg_to_pos"]["flip_rate"]["mean"] == 1.0
    kept, maps = score_maps(
        {"latent": np.ones((4, SIDE, SIDE, 1))}, groups["pos_to_neg"], coverage=0.0
    )
    assert kept == {} and maps["latent"]["on_target"]["reason"] == tables.NONE_COVERED


def audit(group, coverage=1.0, by_truth=False, **fields):
    return tables.audit_films(
        make_explainer(classify=lambda image: image.sum(axis=(1, 2, 3)), **fields),
        group,
        CALIBRATION,
        maps={"latent": group.films.image - group.films.origin},
        coverage=coverage,
        bootstrap=BOOTSTRAP,
        by_truth=by_truth,
    )


def test_the_audit_is_of_a_phantoms_regions_and_of_a_real_films():
    group = make_groups()["pos_to_neg"]
    truth = group.truth | {"marker_mask": 0 * group.truth["lesion_mask"]}
    phantom = audit(dataclasses.replace(group, truth=truth), by_truth=True)
    assert list(phantom.each) == ["lesions", "marker", "lungs", "elsewhere"]
    # f is a sum, and the walk takes LESION from each of four pixels.
    np.testing.assert_allclose(phantom.each["lesions"]["evidence"], 4 * LESION, rtol=1e-5)
    np.testing.assert_allclose(phantom.each["lesions"]["latent"], 1.0)
    np.testing.assert_allclose(phantom.other, group.films.origin, atol=1e-6)
    assert not phantom.table["flagged"]
    film = audit(dataclasses.replace(group, truth=truth), find_lungs=bright)
    assert list(film.each) == ["lungs", "border", "rest"]
    np.testing.assert_allclose(film.each["lungs"]["evidence"], 4 * LESION, rtol=1e-5)
    everything = lambda image: np.ones(image.shape, bool)
    shown = audit(dataclasses.replace(group, truth=truth), find_lungs=bright, seen=everything)
    assert list(shown.each) == ["lungs", "rim", "border", "rest"]
    assert not shown.regions["rest"].any() and shown.regions["rim"].any()
    # So is what f comes to see once the film has become its counterfactual.
    later = lambda image: np.full(image.shape, not np.array_equal(image, group.films.image))
    cleared = audit(dataclasses.replace(group, truth=truth), find_lungs=bright, seen=later)
    np.testing.assert_array_equal(cleared.regions["rim"], shown.regions["rim"])


def test_without_lungs_or_covered_films_there_is_no_verdict():
    group = make_groups()["pos_to_neg"]
    unknown = audit(dataclasses.replace(group, truth={}))
    assert unknown.regions is None and unknown.each == {}
    assert unknown.table["verdict"] == f"No verdict: {tables.NO_LUNGS}."
    unmasked = audit(dataclasses.replace(group, truth={}), by_truth=True, find_lungs=bright)
    assert unmasked.table["verdict"] == f"No verdict: {scores.NO_MASK}."
    rejected = audit(group, coverage=0.0, find_lungs=bright)
    assert rejected.regions is None
    assert rejected.table["verdict"] == f"No verdict: {tables.NONE_COVERED}."
