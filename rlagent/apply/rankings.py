"""Scores of rankings: how near the rows of each group are to the order of their targets."""

from __future__ import annotations

import numpy as np


def ndcg(targets: np.ndarray, predicted: np.ndarray, groups: np.ndarray, most: int) -> float:
    """Normalised discounted cumulative gain of the first places, the mean over groups.

    The gain of a row is its target; where there are negative ones, what it is above the lowest.
    Rows that are predicted to be equal share their places. What is known of a single row, or of
    rows without any gain, is no ranking: such groups are left out.

    Args:
        targets: `[rows]`, in units.
        predicted: `[rows]`; the rows of a group are ranked by it.
        groups: the number of each row's group, `[rows]`, from 0.
        most: places that count.

    Returns:
        0 to 1; NaN if no group has two rows.

    Source: Järvelin and Kekäläinen 2002, "Cumulated gain-based evaluation of IR techniques", with
    the logarithm to base 2; ties: McSherry and Najork 2008.
    """
    gains = targets - min(0.0, float(np.min(targets)))
    best = _cumulative_gain(gains, gains, groups, most)
    ranked = (np.bincount(groups) > 1) & (best > 0)
    if not ranked.any():
        return float("nan")
    return float(np.mean(_cumulative_gain(gains, predicted, groups, most)[ranked] / best[ranked]))


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
