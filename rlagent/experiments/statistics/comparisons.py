"""Methods against each other: verdicts, probabilities, regrets, ranks, profiles."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from rlagent.experiments.statistics.aggregates import task_mean
from rlagent.experiments.statistics.bootstrap import (
    DRAWS,
    Band,
    Interval,
    bounds,
    checked_table,
    drawn_runs,
    independent_parts,
)

Verdict = Literal["better", "equal", "worse"]


def verdict(difference: Interval) -> Verdict | None:
    """What a paired difference (ours minus theirs, lower is better) says; None without interval.

    `equal` means that the interval holds 0: no difference was shown. Where there is none, up to 1
    verdict in 20 says that there is: mind how many verdicts one looks at.
    """
    if math.isnan(difference.low) or math.isnan(difference.high):
        return None
    return "better" if difference.high < 0.0 else "worse" if difference.low > 0.0 else "equal"


def improvement(
    ours: ArrayLike, theirs: ArrayLike, *, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """The probability that our run is better than theirs of the same task, seed and budget.

    P(ours < theirs) + P(ours = theirs) / 2 for each task, then the mean over tasks.

    Args:
        ours: `[tasks, seeds]` or `[tasks, seeds, budgets]`.
        theirs: of the same shape; a pair with a missing run does not count.
        draws: of the bootstrap.
        seed: of the draws.

    Source: Agarwal et al. 2021 (arXiv:2108.13264), section 4.3, here with paired seeds.
    """
    mine, other = np.asarray(ours, float), np.asarray(theirs, float)
    wins = np.where(mine < other, 1.0, np.where(mine == other, 0.5, 0.0))
    wins[np.isnan(mine) | np.isnan(other)] = np.nan
    return task_mean(wins, least=0.0, most=1.0, draws=draws, seed=seed)


def best_known(scores: ArrayLike) -> np.ndarray:
    """The best that any method reaches on a task: the lowest of their means over seeds.

    It is taken from the very scores that are judged, so with many methods of few noisy seeds it is
    a little too good; and it is the best of these methods, whatever they cost.

    Args:
        scores: `[methods, tasks, seeds]` or `[methods, tasks, seeds, budgets]`.

    Returns:
        `[tasks]` or `[tasks, budgets]`; NaN where no method has a run.
    """
    table = np.asarray(scores, float)
    there = ~np.isnan(table)
    numbers = there.sum(axis=2)
    sums = np.where(there, table, 0.0).sum(axis=2)
    means = np.where(numbers > 0, sums / np.maximum(numbers, 1), np.inf)
    best = means.min(axis=0)
    return np.where(np.isinf(best), np.nan, best)


def regrets(scores: ArrayLike) -> np.ndarray:
    """Each run's score minus the best known of its task and budget, in the shape of `scores`.

    A run that is better than the best mean over seeds has a negative regret.
    """
    table = np.asarray(scores, float)
    return table - np.expand_dims(best_known(table), 1)


def ranks(scores: ArrayLike) -> np.ndarray:
    """The rank of each method among those that have a run of the same task, seed and budget.

    Ties share their mean rank. Where some methods are missing, ranks are stretched to go from 1 to
    the number of all methods, so that who meets fewer rivals has no better rank for it.

    Args:
        scores: `[methods, ...]`.

    Returns:
        Ranks from 1 (best), NaN where a run is missing or alone.
    """
    from scipy.stats import rankdata

    table = np.asarray(scores, float)
    missing = np.isnan(table)
    rivals = (~missing).sum(axis=0) - 1
    raw = rankdata(np.where(missing, np.inf, table), axis=0)
    stretched = 1.0 + (raw - 1.0) * (len(table) - 1) / np.maximum(rivals, 1)
    return np.where(missing | (rivals < 1), np.nan, stretched)


def performance_profile(
    regrets: ArrayLike, thresholds: ArrayLike, *, draws: int = DRAWS, seed: int = 0
) -> Band:
    """The share of runs whose regret is at most a threshold, for each of a grid of them.

    Args:
        regrets: `[tasks, seeds]` or `[tasks, seeds, budgets]`.
        thresholds: `[thresholds]`, in units of the score.
        draws: of the bootstrap.
        seed: of the draws.

    Returns:
        Shares from 0 to 1, `[thresholds]`. The band is pointwise.

    Source: Agarwal et al. 2021 (arXiv:2108.13264), section 4.2; Dolan and More 2002.
    """
    table, grid = checked_table(regrets), np.asarray(thresholds, float)
    counts = drawn_runs(table, draws, seed)
    below = (table[..., None] <= grid).sum(axis=2).reshape(-1, len(grid)).astype(float)
    numbers = (~np.isnan(table)).sum(axis=2).ravel()
    value = below.sum(axis=0) / numbers.sum()
    flat = counts.reshape(draws, -1).astype(float)
    drawn = (flat @ below) / (flat @ numbers)[:, None]
    low, high = np.clip(bounds(value, drawn, independent_parts(table)), 0.0, 1.0)
    return Band(value, low, high)
