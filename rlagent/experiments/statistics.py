"""How results are compared: aggregates over tasks and seeds, and what a search would find.

A table holds scores, lower is better, as `[tasks, seeds]` or `[tasks, seeds, budgets]`, NaN where a
run is missing. Tasks may have different numbers of seeds.

Intervals are of 95 % and answer for other tasks and other seeds: the bootstrap draws tasks with
replacement, then seeds within each task drawn, and a seed brings all its budgets along; with one
task only its seeds are drawn. Quantiles of few drawn things are too narrow, so that their distances
from the value are widened by t(n - 1) / z x sqrt(n / (n - 1)), n the number of tasks (or of seeds,
with one task): what makes a bootstrap of a mean of n normal values the interval of Student.

Coverage of an interquartile mean, seen in 400 simulations a case with 3 to 10 seeds, and effects of
tasks that are normal, exponential or of heavy tails (t with 3 degrees of freedom):

| tasks | plain quantiles | as here |
| --- | --- | --- |
| 2 | 0.56 to 0.84 | 0.99 to 1.00 |
| 3 | 0.72 to 0.89 | 0.96 to 0.99 |
| 5 | 0.87 to 0.94 | 0.96 to 0.99 |
| 10 | 0.90 to 0.96 | 0.95 to 0.99 |
| 20 | 0.93 to 0.97 | 0.94 to 0.99 |
| 1, of 5 or 10 seeds | 0.89 to 0.94 | 0.97 |

Where tasks do not differ at all and only seeds are noisy, drawing both counts the noise twice, and
the intervals cover 0.99 to 1.00: too careful there. One task with one seed has no interval: its
bounds are NaN.

Sources: Agarwal et al. 2021 (arXiv:2108.13264) for the aggregates; Davison and Hinkley 1997,
section 3.8, for drawing in two stages; Hesterberg 2015 (arXiv:1411.5279) for the widening, there
of the tails' probability.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

DRAWS = 2000
LEVEL = 0.95
_BLOCK = 250  # draws that are worked on together: they stay in the processor's cache
Verdict = Literal["better", "equal", "worse"]


class Interval(NamedTuple):
    """A value with its 95 % interval; the bounds are NaN where one run is all there is."""

    value: float
    low: float
    high: float


class Band(NamedTuple):
    """Values with their 95 % intervals, each for itself."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Match(NamedTuple):
    """How many trials of a search are worth a score; beyond the ends it is a bound."""

    value: float
    at_least: bool = False  # not even the whole pool gets there
    at_most: bool = False  # a single trial is expected to be better already


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


def resample(present: ArrayLike, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """How often each run is drawn, by a bootstrap over tasks and the seeds within them.

    Args:
        present: which runs there are, `[tasks, seeds]`, at least one for each task.
        draws: how often to draw.
        seed: of the draws. The same seed and runs give the same draws, whatever the scores are.

    Returns:
        Counts, `[draws, tasks, seeds]`, whole numbers as float32. A task that is drawn c times and
        has n seeds has a sum of c x n. Not writeable, because it is kept for the next call.

    Raises:
        ValueError: if a task has no run.
    """
    runs = np.asarray(present, bool)
    if runs.size == 0 or not runs.any(axis=1).all():
        raise ValueError("each task needs at least 1 run to draw from")
    return _resample(np.packbits(runs).tobytes(), runs.shape, draws, seed)


# A scoreboard draws for the same few patterns of runs again and again.
@lru_cache(maxsize=16)
def _resample(packed: bytes, shape: tuple[int, int], draws: int, seed: int) -> np.ndarray:
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=math.prod(shape))
    present = bits.reshape(shape).astype(bool)
    generator = np.random.default_rng(seed)
    counts = _draw_seeds(generator, _draw_tasks(generator, len(present), draws), present)
    counts.setflags(write=False)
    return counts


def _draw_tasks(generator: np.random.Generator, tasks: int, draws: int) -> np.ndarray:
    """How often each task is drawn, `[draws, tasks]`."""
    return generator.multinomial(tasks, np.full(tasks, 1.0 / tasks), size=draws)


def _draw_seeds(
    generator: np.random.Generator, of_tasks: np.ndarray, present: np.ndarray
) -> np.ndarray:
    """How often each run is drawn, `[draws, tasks, seeds]`, from what a task has each time."""
    numbers = present.sum(axis=1)
    # The last category gets what is left over from rounding: it must be a run that is there.
    order = np.argsort(present, axis=1, kind="stable")
    chances = np.take_along_axis(present, order, axis=1) / numbers[:, None]
    in_order = generator.multinomial(of_tasks * numbers, chances)
    counts = np.zeros(in_order.shape, np.float32)
    np.put_along_axis(counts, order[None], in_order, axis=2)
    # In memory the draws come last: what walks through the runs then works on whole vectors.
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(counts, 0, -1)), -1, 0)


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
    table = _table(values)
    drawn = _interquartile_draws(table, _counts(table, draws, seed))
    value = interquartile_mean(table)
    low, high = _bounds(np.array(value), drawn, _independent(table))
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
    low, high = _bounds(value, np.moveaxis(drawn, -1, 0), count)
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
    table = _table(values)
    counts = _counts(table, draws, seed)
    there = ~np.isnan(table)
    sums, numbers = np.where(there, table, 0.0).sum(axis=2), there.sum(axis=2)
    value = float((sums.sum(axis=1) / numbers.sum(axis=1)).mean())
    drawn_numbers = np.einsum("dts,ts->dt", counts, numbers)
    means = np.einsum("dts,ts->dt", counts, sums) / np.maximum(drawn_numbers, 1)
    times = _times_drawn(counts, (numbers > 0).sum(axis=1))
    drawn = (times * means).sum(axis=1) / len(table)
    low, high = np.clip(_bounds(np.array(value), drawn, _independent(table)), least, most)
    return Interval(value, float(low), float(high))


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


def unpaired_improvement(
    ours: ArrayLike, theirs: ArrayLike, *, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """The same probability where seeds mean nothing: of all pairs of a task, U / (n x m).

    Args:
        ours: `[tasks, seeds]`.
        theirs: `[tasks, other seeds]`; a task that lacks either does not count.
        draws: of the bootstrap; both methods' seeds are drawn, of the same tasks.
        seed: of the draws.

    Source: Agarwal et al. 2021 (arXiv:2108.13264), section 4.3; U is that of Mann and Whitney.
    """
    mine, other = np.asarray(ours, float), np.asarray(theirs, float)
    both = (~np.isnan(mine)).any(axis=1) & (~np.isnan(other)).any(axis=1)
    mine, other = _table(mine[both])[..., 0], _table(other[both])[..., 0]
    wins = (mine[:, :, None] < other[:, None, :]) + 0.5 * (mine[:, :, None] == other[:, None, :])
    there = ~np.isnan(mine), ~np.isnan(other)
    numbers = [runs.sum(axis=1) for runs in there]
    value = float((wins.sum(axis=(1, 2)) / (numbers[0] * numbers[1])).mean())
    generator = np.random.default_rng(seed)
    of_tasks = _draw_tasks(generator, len(mine), draws)
    shares = [
        _draw_seeds(generator, of_tasks, runs) / number[:, None]
        for runs, number in zip(there, numbers, strict=True)
    ]
    pairs = np.einsum("dts,tsu,dtu->dt", shares[0], wins, shares[1], optimize=True)
    # A task that was drawn c times has c x c times the pairs, and counts c times.
    drawn = (pairs / np.maximum(of_tasks, 1)).sum(axis=1) / len(mine)
    independent = len(mine) if len(mine) > 1 else int(min(numbers[0][0], numbers[1][0]))
    low, high = np.clip(_bounds(np.array(value), drawn, independent), 0.0, 1.0)
    return Interval(value, float(low), float(high))


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
    table, grid = _table(regrets), np.asarray(thresholds, float)
    counts = _counts(table, draws, seed)
    below = (table[..., None] <= grid).sum(axis=2).reshape(-1, len(grid)).astype(float)
    numbers = (~np.isnan(table)).sum(axis=2).ravel()
    value = below.sum(axis=0) / numbers.sum()
    flat = counts.reshape(draws, -1).astype(float)
    drawn = (flat @ below) / (flat @ numbers)[:, None]
    low, high = np.clip(_bounds(value, drawn, _independent(table)), 0.0, 1.0)
    return Band(value, low, high)


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


def expected_best(valid: ArrayLike, test: ArrayLike, k: int) -> float:
    """The expected test score of the best of k trials, chosen by validation score.

    The k trials are drawn without replacement from a pool of n that were made: the i-th best by
    validation is chosen with the probability that it is drawn and no better one is,
    C(n - 1 - i, k - 1) / C(n, k). Trials of equal validation score share their chances.

    Args:
        valid: validation scores of the pool, `[n]`, lower is better.
        test: their test scores, `[n]`.
        k: from 1 to n.

    Raises:
        ValueError: if k is not from 1 to n.

    Source: Dodge et al. 2019 (arXiv:1909.03004), section 3, without replacement.
    """
    ranked = _by_validation(valid, test)
    n = len(ranked)
    if not 1 <= k <= n:
        raise ValueError(f"k must be from 1 to the {n} trials of the pool, got {k}")
    return float(_chances(n)[k - 1] @ ranked)


def expected_bests(valid: ArrayLike, test: ArrayLike) -> np.ndarray:
    """`expected_best` for k = 1 to n, `[n]`."""
    ranked = _by_validation(valid, test)
    return np.asarray(_chances(len(ranked)) @ ranked)


def trials_to_match(expected: ArrayLike, score: float) -> Match:
    """After how many trials the best of a search is expected to be as good as a score.

    Args:
        expected: the expected best of k = 1 to n trials, `[n]`, of one task or the mean over tasks.
        score: to be matched, of one task or the mean over the same tasks.

    Returns:
        The first k that is good enough, interpolated linearly from the one before.
    """
    curve = np.asarray(expected, float)
    enough = np.flatnonzero(curve <= score)
    if not enough.size:
        return Match(float(len(curve)), at_least=True)
    k = int(enough[0])
    if k == 0:
        return Match(1.0, at_most=bool(curve[0] < score))
    gained = (curve[k - 1] - score) / (curve[k - 1] - curve[k])
    return Match(k + float(gained))


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
    low, high = _bounds(np.array(value), drawn, _independent(np.where(complete, 0.0, np.nan)))
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
    times = _times_drawn(counts, complete.any(axis=2).sum(axis=1))
    weights = np.where(numbers[..., 0] > 0, times.T[..., None], 0.0)
    return np.asarray((weights * logs).sum(axis=(0, 2)) / weights.sum(axis=(0, 2)))


def _table(values: ArrayLike) -> np.ndarray:
    """A checked table `[tasks, seeds, budgets]`, without the tasks that have no run."""
    table = np.asarray(values, float)
    if table.ndim not in (2, 3):
        raise ValueError(f"a table is [tasks, seeds] or [tasks, seeds, budgets], got {table.shape}")
    if np.isinf(table).any():
        raise ValueError("a table has NaN where a run is missing, and no infinite score")
    table = table.reshape(*table.shape[:2], -1)
    table = table[~np.isnan(table).all(axis=(1, 2))]
    if not table.size:
        raise ValueError("there is no run to take a mean of")
    return table


def _counts(table: np.ndarray, draws: int, seed: int) -> np.ndarray:
    return resample(~np.isnan(table).all(axis=2), draws, seed)


def _times_drawn(counts: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """How often each task was drawn, `[draws, tasks]`; `numbers` is of its seeds, `[tasks]`."""
    return np.asarray(counts.sum(axis=2) / numbers)


def _independent(table: np.ndarray) -> int:
    """Of how many independent things a table is made: its tasks, or the seeds of its only one."""
    return len(table) if len(table) > 1 else int((~np.isnan(table[0]).all(axis=1)).sum())


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


def _bounds(value: np.ndarray, drawn: np.ndarray, independent: int) -> np.ndarray:
    """Low and high, `[2, ...]`, of `value` `[...]` with draws `[draws, ...]`; see the module."""
    if independent < 2:
        return np.full((2, *value.shape), np.nan)
    tail = (1.0 - LEVEL) / 2.0
    low, high = np.quantile(drawn, [tail, 1.0 - tail], axis=0)
    factor = _widening(independent)
    return np.stack(
        [
            value - factor * np.maximum(value - low, 0.0),
            value + factor * np.maximum(high - value, 0),
        ]
    )


@lru_cache
def _widening(independent: int) -> float:
    from scipy.special import ndtri, stdtrit

    tail = (1.0 + LEVEL) / 2.0
    student = stdtrit(independent - 1, tail) / ndtri(tail)
    return float(student * math.sqrt(independent / (independent - 1)))


def _by_validation(valid: ArrayLike, test: ArrayLike) -> np.ndarray:
    """Test scores, the best by validation first, `[n]`; ties in validation share their mean."""
    chosen, scores = np.asarray(valid, float), np.asarray(test, float)
    if chosen.shape != scores.shape or chosen.ndim != 1 or not chosen.size:
        raise ValueError(
            f"a pool needs as many test scores as validation scores, got {scores.shape}"
        )
    _, group, numbers = np.unique(chosen, return_inverse=True, return_counts=True)
    means = np.bincount(group, weights=scores) / numbers
    return np.asarray(np.repeat(means, numbers))


@lru_cache(maxsize=2)
def _chances(n: int) -> np.ndarray:
    """The chance of the i-th best of n to be the best of k that are drawn, `[k, i]`."""
    k, i = np.arange(1, n + 1)[:, None], np.arange(n - 1)
    # C(n - 1 - i, k - 1) / C(n, k) as a product from i to i + 1: no factorial can overflow.
    factors = np.maximum(n - k - i, 0) / (n - 1 - i)
    return np.asarray(np.cumprod(np.concatenate([k / n, factors], axis=1), axis=1))
