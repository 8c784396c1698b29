"""The study of faithfulness: exact intervals, variants that are chosen, and tables that fit."""

import dataclasses

import numpy as np
import pytest
from builders import SIDE, invert_squares, make_square_split, make_thresholds, walk_squares

from cxr_jax.evaluate.faithfulness import Valued
from cxr_jax.explain.explained import Group
from cxr_jax.pipeline.select import truth_of
from experiments.studies import faithfulness as study


def make_group(count: int) -> Group:
    """Positives with a bright square, and their walks."""
    split = make_square_split(np.ones(count), seed=0)
    films = invert_squares(split["image"])
    walks = walk_squares(films, None, make_thresholds(positive=3.0, negative=-1.0), towards=-1)
    return Group(towards=-1, films=films, truth=truth_of(split, np.arange(count)), walks=walks)


def make_seen(seed: int, count: int = 30) -> study.Seen:
    """Films with four components each, a map of what f values whose sign is turned, and noise."""
    rng = np.random.default_rng(seed)
    regions = np.zeros((4, SIDE, SIDE, 1), bool)
    for number in range(4):
        regions[number, 2 * number : 2 * number + 1] = True
    valued, honest, noise = [], [], []
    for _ in range(count):
        value = rng.lognormal(size=4)
        film = Valued(
            names=("lesion",) * 4,
            regions=regions,
            visibility=rng.lognormal(size=4),
            value=value,
            hidden=1,
        )
        valued.append(film)
        honest.append(-np.einsum("k,khwc->hwc", value, regions))
        noise.append(rng.normal(size=(SIDE, SIDE, 1)))
    honest, noise = np.float32(honest), np.float32(noise)
    # Beside the evidence there is as much that points the other way, and means nothing.
    made = {name: {"": noise} for name in (*study.OURS, *study.RIVALS, study.PRODUCT)}
    made["latent"] = {"": honest + 20 * np.abs(noise)}
    made["layer_cam"] = {"stage_1": noise, "stage_2": -honest}
    return study.Seen(group=make_group(count), valued=valued, made=made, coverage=0.5)


def test_each_map_gets_its_best_variant():
    chosen = study.choose(make_seen(0))
    choice, sign, _ = chosen.variants["layer_cam"]
    assert choice == "stage_2" and sign in ("size", "positive")
    assert chosen.variants["latent"][1] == "negative"
    assert (chosen.ours, chosen.rival) == ("latent", "layer_cam")


def test_tables_are_of_the_chosen_variants_and_ours_is_compared_with_all():
    chosen = study.choose(make_seen(0))
    result = study.measure([make_seen(1), make_seen(2)], chosen)
    assert result["films"] == 60 and result["components"] == 240 and result["hidden"] == 60
    assert result["best_rival"] == "layer_cam" and result["ours"] == "latent"
    assert result["maps"]["layer_cam"]["partial"]["mean"] == pytest.approx(1.0)
    assert len(result["maps"]["latent"]["each_seed"]) == 2
    minus = result["faithfulness_minus_best_rival"]
    ours = result["faithfulness_partial"]
    assert minus["mean"] == pytest.approx(ours["mean"] - 1.0) and minus["ci95"][1] <= 0
    assert result["walks"]["linear"]["flip_rate"]["images"] == 60
    text = study.to_markdown(result)
    other = dataclasses.replace(
        chosen, ours="residual", rival="grad_cam"
    )  # whatever these films say
    result = study.measure([make_seen(1)], other)
    assert (result["ours"], result["best_rival"]) == ("residual", "grad_cam")
    assert result["faithfulness_partial"] == result["maps"]["residual"]["partial"]
    assert "| `layer_cam` | stage_2" in text and "`twin_error_minus_subspace`" in text
