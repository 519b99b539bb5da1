"""How much less compute a method needs than the reference for what it reaches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from rlagent.experiments.statistics.bootstrap import (
    DRAWS,
    bounds,
    independent_parts,
    resample,
    times_drawn,
)


class SpeedUp(NamedTuple):
    """By how much less compute a result was reached than the reference needs for it."""

    value: float  # geometric mean over tasks, and budgets; the bounds below count as they stand
    low: float
    high: float
    cases: int  # pairs of task and budget
    at_least: int  # cases where the reference's largest budget was not enough
    at_most: int  # cases where its smallest was better already

    @property
    def censored(self) -> int:
        """In how many cases only a bound is known."""
        return self.at_least + self.at_most


def multiple_to_match(multiples: ArrayLike, curve: ArrayLike, score: ArrayLike) -> np.ndarray:
    """At how many budgets the reference reaches a score, by its runs at a few of them.

    Its scores are made monotone (the best of this and all smaller budgets), and interpolated
    linearly over the logarithm of the budget.

    Args:
        multiples: of the budget, ascending, `[multiples]`.
        curve: the reference's score at each, `[..., multiples]`.
        score: to be reached, `[...]`.

    Returns:
        The base-2 logarithm of the multiple, `[...]`; the first or last where the score is beyond.
    """
    at = np.log2(np.asarray(multiples, float))
    best = np.minimum.accumulate(np.asarray(curve, float), axis=-1)
    wanted = np.asarray(score, float)[..., None]
    after = (best > wanted).sum(axis=-1, keepdims=True)  # the first that is good enough
    right = np.clip(after, 1, len(at) - 1)
    above = np.take_along_axis(best, right - 1, axis=-1)
    below = np.take_along_axis(best, right, axis=-1)
    step = above - below
    share = np.clip((above - wanted) / np.where(step > 0.0, step, 1.0), 0.0, 1.0)
    inside = at[right - 1] + share * (at[right] - at[right - 1])
    result = np.where(after == 0, at[0], np.where(after == len(at), at[-1], inside))
    return result[..., 0]


def speed_up(
    scores: ArrayLike,
    reference: ArrayLike,
    multiples: Sequence[float],
    costs: ArrayLike,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> SpeedUp | None:
    """How much less compute a method needs than the reference for what it reaches.

    For each task and budget: the multiple of the budget at which the reference, as the mean over
    seeds, reaches the method's mean, divided by what the method itself cost. Beyond the reference's
    smallest and largest budget only a bound is known: it is used as it stands, and counted.

    Args:
        scores: of the method, `[tasks, seeds]` or `[tasks, seeds, budgets]`.
        reference: of separate runs of the reference, `[multiples, tasks, seeds]` or with budgets.
            Only seeds that the method and all multiples have are used.
        multiples: of the budget, ascending, at least 2.
        costs: of the method, in budgets of a single run, `[tasks]` or `[tasks, budgets]`.
        draws: of the bootstrap over tasks and seeds; costs are not drawn.
        seed: of the draws.

    Returns:
        Its geometric mean, or None if no task has all the runs.

    Raises:
        ValueError: if there are less than 2 multiples, or they do not ascend.
    """
    if len(multiples) < 2 or list(multiples) != sorted(set(multiples)) or multiples[0] <= 0:
        raise ValueError(f"a speed-up needs 2 or more ascending multiples, got {list(multiples)}")
    table = np.concatenate([np.asarray(reference, float), np.asarray(scores, float)[None]])
    cost = np.asarray(costs, float)
    if table.ndim == 3:
        table, cost = table[..., None], cost[:, None]
    complete = ~np.isnan(table).any(axis=0) & ~np.isnan(cost)[:, None]  # [tasks, seeds, budgets]
    kept = complete.any(axis=(1, 2))
    if not kept.any():
        return None
    table, cost, complete = table[:, kept], cost[kept], complete[kept]
    values = np.where(complete, table, 0.0)  # [multiples + 1, tasks, seeds, budgets]
    there = complete.any(axis=1)
    means = np.moveaxis(values.sum(axis=2) / np.maximum(complete.sum(axis=1), 1), 0, -1)
    curve, mine = np.minimum.accumulate(means[..., :-1], axis=-1), means[..., -1]
    own = np.log2(np.where(there, cost, 1.0))
    logs = multiple_to_match(multiples, curve, mine) - own
    counts = resample(complete.any(axis=2), draws, seed)
    drawn = _drawn_logs(values, complete, counts, multiples, own)
    value = float(logs[there].mean())
    low, high = bounds(np.array(value), drawn, independent_parts(np.where(complete, 0.0, np.nan)))
    return SpeedUp(
        2.0**value,
        float(2.0**low),
        float(2.0**high),
        cases=int(there.sum()),
        at_least=int((there & (mine < curve[..., -1])).sum()),
        at_most=int((there & (mine > curve[..., 0])).sum()),
    )


def _drawn_logs(
    values: np.ndarray,
    complete: np.ndarray,
    counts: np.ndarray,
    multiples: Sequence[float],
    own: np.ndarray,
) -> np.ndarray:
    """The mean logarithm of the speed-up in each draw, `[draws]`."""
    tasks, seeds, budgets = complete.shape
    # A matrix product for each task: [draws, seeds] x [seeds, (multiples + 1) x budgets].
    by_task = np.moveaxis(counts, 1, 0).astype(float)
    sums = by_task @ np.moveaxis(values, 0, -1).reshape(tasks, seeds, -1)
    numbers = (by_task @ complete.astype(float))[..., None]  # [tasks, draws, budgets, 1]
    means = sums.reshape(tasks, len(counts), budgets, -1) / np.maximum(numbers, 1.0)
    # A reference that is judged by itself must meet its own scores, whatever order they were added.
    means = means.round(12)
    logs = multiple_to_match(multiples, means[..., :-1], means[..., -1]) - own[:, None]
    times = times_drawn(counts, complete.any(axis=2).sum(axis=1))
    weights = np.where(numbers[..., 0] > 0, times.T[..., None], 0.0)
    return np.asarray((weights * logs).sum(axis=(0, 2)) / weights.sum(axis=(0, 2)))
