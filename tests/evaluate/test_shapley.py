"""Shapley values: against all orders of joining, and the axioms that define them."""

import itertools
import math

import numpy as np
import pytest

from cxr_jax.evaluate import shapley
from cxr_jax.evaluate.shapley import shapley_values


def members(coalition: int, players: int) -> list[int]:
    return [i for i in range(players) if coalition >> i & 1]


def game(worth, players: int) -> np.ndarray:
    return np.array([worth(members(c, players)) for c in range(2**players)], float)


def by_all_orders(worth: np.ndarray, players: int) -> np.ndarray:
    """The definition: the mean gain over all orders in which the players may come."""
    values = np.zeros(players)
    for order in itertools.permutations(range(players)):
        coalition = 0
        for player in order:
            values[player] += worth[coalition | 1 << player] - worth[coalition]
            coalition |= 1 << player
    return values / math.factorial(players)


def test_players_of_an_additive_game_get_their_own():
    gains = [0.5, -2.0, 3.0]
    worth = game(lambda s: 7 + sum(gains[i] for i in s), 3)
    np.testing.assert_allclose(shapley.shapley(worth), gains)


def test_a_pure_interaction_is_shared_equally():
    worth = game(lambda s: 6.0 * (0 in s and 2 in s), 3)
    np.testing.assert_allclose(shapley.shapley(worth), [3, 0, 3])


def test_like_players_get_alike():
    worth = game(lambda s: len(s) ** 2, 4)
    np.testing.assert_allclose(shapley.shapley(worth), 4.0)


@pytest.mark.parametrize("players", [1, 2, 3, 4, 5])
def test_values_are_those_of_the_definition_and_sum_to_the_whole(players):
    worth = np.random.default_rng(players).normal(size=2**players)
    values = shapley.shapley(worth)
    np.testing.assert_allclose(values, by_all_orders(worth, players), atol=1e-12)
    assert values.sum() == pytest.approx(worth[-1] - worth[0])


def test_games_of_many_films_are_their_own():
    worth = np.random.default_rng(0).normal(size=(8, 5))
    together = shapley.shapley(worth)
    for film in range(5):
        np.testing.assert_allclose(together[:, film], shapley.shapley(worth[:, film]))


@pytest.mark.parametrize("players", [3, shapley.MOST_EXACT + 2])
def test_whoever_never_adds_anything_gets_exactly_nothing(players):
    gains = np.arange(players) / 4 - 0.5
    gains[1] = 0.0

    def play(members):
        assert members.shape[1] == players and members.dtype == bool
        return 3 + np.maximum(members @ gains, 0) ** 2

    values = shapley_values(play, players, seed=0)
    assert values[1] == 0
    whole = play(np.ones((1, players), bool)) - play(np.zeros((1, players), bool))
    assert values.sum() == pytest.approx(whole[0])


def test_sampled_values_are_near_the_exact_ones(monkeypatch):
    worth = np.random.default_rng(0).normal(size=(6, 6))

    def play(members):
        return np.einsum("mi,ij,mj->m", members, worth, members)

    exact = shapley_values(play, 6, seed=0)
    monkeypatch.setattr(shapley, "MOST_EXACT", 5)
    # Of pairwise interactions an order and its reverse are exact together.
    np.testing.assert_allclose(shapley_values(play, 6, seed=0), exact, atol=1e-9)
    assert not np.allclose(exact, exact[0])


def test_no_player_gets_nothing():
    assert shapley_values(lambda members: np.zeros(len(members)), 0, seed=0).shape == (0,)
