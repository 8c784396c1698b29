"""Shapley values (Shapley, 1953): what each player adds to a game, over all orders of joining."""

import math
from collections.abc import Callable

import numpy as np

MOST_EXACT = 8  # players, up to whom every coalition is played
PERMUTATIONS = 32  # beyond, of which each is played forwards and backwards

# Coalitions [m, k] bool to what they are worth [m].
Play = Callable[[np.ndarray], np.ndarray]


def shapley(worth: np.ndarray) -> np.ndarray:
    """Shapley values [k, ...] of a game of k players, exactly.

    Args:
      worth: [2^k, ...]; that of the coalition whose members are the set bits of its index.
    """
    players = len(worth).bit_length() - 1
    coalitions = np.arange(len(worth))
    values = []
    for player in range(players):
        without = coalitions[(coalitions >> player) % 2 == 0]
        sizes = [coalition.bit_count() for coalition in without.tolist()]
        weight = [1 / (players * math.comb(players - 1, size)) for size in sizes]
        gain = worth[without | 1 << player] - worth[without]
        values.append(np.tensordot(weight, gain, axes=1))
    return np.array(values)


def shapley_values(play: Play, players: int, seed: int) -> np.ndarray:
    """Shapley values [k]: exact up to MOST_EXACT players, sampled for more.

    Sampled ones are means over PERMUTATIONS orders and their reverses (Mitchell et al., 2022,
    antithetic sampling): what a player adds in each is asked exactly, so that one who never adds
    anything gets exactly 0, and the values sum to what all are worth less what none is.
    """
    if players <= MOST_EXACT:
        bits = np.arange(2**players)[:, None] >> np.arange(players) & 1
        return shapley(play(bits.astype(bool)))
    shuffle = np.random.Generator(np.random.Philox(seed)).permutation
    forwards = [shuffle(players) for _ in range(PERMUTATIONS)]
    orders = np.array([order for one in forwards for order in (one, one[::-1])])
    rank = orders.argsort(axis=1)  # when each player joins
    members = rank[:, None, :] < np.arange(players + 1)[None, :, None]
    worth = play(members.reshape(-1, players)).reshape(len(orders), players + 1)
    gain = np.diff(worth, axis=1)
    return np.take_along_axis(gain, rank, axis=1).mean(axis=0)
