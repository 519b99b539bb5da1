"""Scores of rankings: how near the rows of each group are to the order of their targets."""

from __future__ import annotations

import numpy as np


def ndcg(targets: np.ndarray, predicted: np.ndarray, groups: np.ndarray, most: int) -> float:
    """Normalised discounted cumulative gain of the first places, the mean over groups.

    The gain of a row is its target; where there are negative ones, what it is above the lowest.
    Rows that are predicted to be equal share their places. Groups of a single row, or of rows that
    all have the same gain, have no order: they are left out.

    Args:
        targets: `[rows]`, in units.
        predicted: `[rows]`; the rows of a group are ranked by it.
        groups: the number of each row's group, `[rows]`, from 0.
        most: places that count.

    Returns:
        0 to 1; NaN if no group has two rows of different gains.

    Source: Järvelin and Kekäläinen 2002, "Cumulated gain-based evaluation of IR techniques", with
    the logarithm to base 2; ties: McSherry and Najork 2008.
    """
    gains = targets - min(0.0, float(np.min(targets)))
    lowest, highest = np.full((2, int(groups.max(initial=0)) + 1), [[np.inf], [-np.inf]])
    np.minimum.at(lowest, groups, gains)
    np.maximum.at(highest, groups, gains)
    ranked = highest > lowest
    if not ranked.any():
        return float("nan")
    best = _cumulative_gain(gains, gains, groups, most)
    return float(np.mean(_cumulative_gain(gains, predicted, groups, most)[ranked] / best[ranked]))


def items_of_users(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The items that choices are between, each of them once for a user.

    Item 0 stands for all that training had once or not at all, and for no item: it is left out.

    Args:
        x: choices `[rows, 3]`: the numbers of a user and of two items.
        y: which item the user took, `[rows]`: 0 for the first, 1 for the second.

    Returns:
        What the network can be asked of users and items, float32 `[pairs, 3]` with the other item
        0, and 1.0 for each item that its user took, else 0.0.
    """
    users, items = np.tile(x[:, 0], 2), x[:, 1:].T.reshape(-1)
    taken = np.concatenate([y == 0, y == 1])
    known = items > 0
    pairs, place = np.unique(
        np.stack([users[known], items[known]], axis=1), axis=0, return_inverse=True
    )
    gains = np.zeros(len(pairs))
    np.maximum.at(gains, place.reshape(-1), taken[known])
    return np.pad(pairs, [(0, 0), (0, 1)]).astype(np.float32), gains


def _cumulative_gain(
    gains: np.ndarray, predicted: np.ndarray, groups: np.ndarray, most: int
) -> np.ndarray:
    """The discounted gain of each group, `[groups]`."""
    order = np.lexsort((-predicted, groups))
    gains, predicted, groups = gains[order], predicted[order], groups[order]
    counts = np.bincount(groups)
    place = np.arange(len(groups)) - np.repeat(np.cumsum(counts) - counts, counts)
    discount = np.where(place < most, 1.0 / np.log2(place + 2.0), 0.0)
    begins = np.append(True, (np.diff(groups) != 0) | (np.diff(predicted) != 0))
    tie = np.cumsum(begins) - 1
    shared = np.bincount(tie, weights=gains) / np.bincount(tie)
    return np.bincount(groups, weights=shared[tie] * discount)
