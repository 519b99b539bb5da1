"""Means over tasks and seeds, with their intervals.

Source: Agarwal et al. 2021 (arXiv:2108.13264).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from rlagent.experiments.statistics.bootstrap import (
    DRAWS,
    Band,
    Interval,
    bounds,
    checked_table,
    drawn_runs,
    independent_parts,
    resample,
    times_drawn,
)

_BLOCK = 250  # draws that are worked on together: they stay in the processor's cache


def interquartile_mean(values: ArrayLike) -> float:
    """The mean of the middle half of all runs of a table; each run counts the same.

    Of n runs the n // 4 lowest and highest are left out, as by `scipy.stats.trim_mean`.

    Source: Agarwal et al. 2021 (arXiv:2108.13264), section 4.3.
    """
    flat = np.asarray(values, float).ravel()
    ranked = np.sort(flat[~np.isnan(flat)])
    if not ranked.size:
        raise ValueError("there is no run to take a mean of")
    cut = len(ranked) // 4
    return float(ranked[cut : len(ranked) - cut].mean())


def interquartile(values: ArrayLike, *, draws: int = DRAWS, seed: int = 0) -> Interval:
    """The interquartile mean of a table, with its interval over tasks and seeds.

    Of paired differences (ours minus theirs, of the same task and seed) it is the comparison of two
    methods; see `verdict`.

    Args:
        values: `[tasks, seeds]` or `[tasks, seeds, budgets]`.
        draws: of the bootstrap.
        seed: of the draws.

    Raises:
        ValueError: if no run is there, or one is infinite.
    """
    table = checked_table(values)
    drawn = _interquartile_draws(table, drawn_runs(table, draws, seed))
    value = interquartile_mean(table)
    low, high = bounds(np.array(value), drawn, independent_parts(table))
    return Interval(value, float(low), float(high))


def seeds_interquartile(values: ArrayLike, *, draws: int = DRAWS, seed: int = 0) -> Band:
    """Interquartile means over seeds, of many tables of one task each at once.

    Args:
        values: `[..., seeds]`, none missing.
        draws: of the bootstrap, the same for all tables.
        seed: of the draws.

    Returns:
        Values and bounds, `[...]`: as `interquartile` gives for each of them.
    """
    ranked = np.sort(np.asarray(values, float), axis=-1)
    if ranked.shape[-1] == 0 or not np.isfinite(ranked).all():
        raise ValueError("an interval over seeds needs finite values of at least 1 seed")
    count = ranked.shape[-1]
    cut = count // 4
    value = ranked[..., cut : count - cut].mean(axis=-1)
    # Seeds are exchangeable, so that what is drawn may be ranks: one set of weights fits all.
    upper = np.cumsum(resample(np.ones((1, count)), draws, seed)[:, 0], axis=1, dtype=float)
    kept = np.diff(np.clip(upper, cut, count - cut), axis=1, prepend=cut)
    drawn = ranked @ (kept / (count - 2 * cut)).T
    low, high = bounds(value, np.moveaxis(drawn, -1, 0), count)
    return Band(value, low, high)


def task_mean(
    values: ArrayLike,
    *,
    least: float = -math.inf,
    most: float = math.inf,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """The mean over tasks of the mean over their runs, with its interval over tasks and seeds.

    Args:
        values: `[tasks, seeds]` or `[tasks, seeds, budgets]`, for instance ranks.
        least: no bound can be lower, for instance 0 of a probability.
        most: no bound can be higher.
        draws: of the bootstrap.
        seed: of the draws.
    """
    table = checked_table(values)
    counts = drawn_runs(table, draws, seed)
    there = ~np.isnan(table)
    sums, numbers = np.where(there, table, 0.0).sum(axis=2), there.sum(axis=2)
    value = float((sums.sum(axis=1) / numbers.sum(axis=1)).mean())
    drawn_numbers = np.einsum("dts,ts->dt", counts, numbers)
    means = np.einsum("dts,ts->dt", counts, sums) / np.maximum(drawn_numbers, 1)
    times = times_drawn(counts, (numbers > 0).sum(axis=1))
    drawn = (times * means).sum(axis=1) / len(table)
    low, high = np.clip(bounds(np.array(value), drawn, independent_parts(table)), least, most)
    return Interval(value, float(low), float(high))


def _interquartile_draws(table: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The interquartile mean of each draw, `[draws]`, sorting the runs once for all draws."""
    flat = table.ravel()
    order = np.argsort(flat)[: np.count_nonzero(~np.isnan(flat))]
    ranked = flat[order]
    steps = np.diff(ranked)
    times = np.moveaxis(counts, 0, -1).reshape(-1, len(counts))  # [runs, draws]
    runs = order // table.shape[2]
    drawn = [
        ranked[0] + _above_lowest(times[:, start : start + _BLOCK][runs], steps)
        for start in range(0, len(counts), _BLOCK)
    ]
    return np.concatenate(drawn)


def _above_lowest(times: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Interquartile mean minus the lowest value, `[draws]`.

    Args:
        times: how often each value was drawn, the lowest first, `[values, draws]`; overwritten.
        steps: from each value to the next, `[values - 1]`.
    """
    # Whole numbers below 2^24 are exact in float32.
    upper = np.cumsum(times, axis=0, out=times)
    total = upper[-1].copy()
    cut = total // 4
    # A value is kept as far as it reaches into the middle half. The sum is one by parts: a step
    # counts for all that is kept above it.
    kept = np.clip(upper, cut, total - cut, out=upper)
    above = (total - cut) - kept[:-1]
    return np.asarray(steps @ above.astype(float) / (total - 2 * cut))
