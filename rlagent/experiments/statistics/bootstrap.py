"""Draws of runs, and the intervals that they give.

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

Sources: Davison and Hinkley 1997, section 3.8, for drawing in two stages; Hesterberg 2015
(arXiv:1411.5279) for the widening, there of the tails' probability.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

DRAWS = 2000
LEVEL = 0.95


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


def checked_table(values: ArrayLike) -> np.ndarray:
    """A table `[tasks, seeds, budgets]`, without the tasks that have no run.

    Raises:
        ValueError: if it has another shape, no run, or an infinite score.
    """
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


def drawn_runs(table: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """`resample` for the runs that a checked table has."""
    return resample(~np.isnan(table).all(axis=2), draws, seed)


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
    tasks = len(present)
    of_tasks = generator.multinomial(tasks, np.full(tasks, 1.0 / tasks), size=draws)
    counts = _draw_seeds(generator, of_tasks, present)
    counts.setflags(write=False)
    return counts


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


def times_drawn(counts: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """How often each task was drawn, `[draws, tasks]`; `numbers` is of its seeds, `[tasks]`."""
    return np.asarray(counts.sum(axis=2) / numbers)


def bounds(value: np.ndarray, drawn: np.ndarray, independent: int) -> np.ndarray:
    """Low and high, `[2, ...]`, of `value` `[...]` with draws `[draws, ...]`; see the module.

    Args:
        value: of all runs.
        drawn: the same of each draw.
        independent: of how many independent parts they are made; see `independent_parts`.
    """
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


def independent_parts(table: np.ndarray) -> int:
    """Of how many independent things a table is made: its tasks, or the seeds of its only one."""
    return len(table) if len(table) > 1 else int((~np.isnan(table[0]).all(axis=1)).sum())


@lru_cache
def _widening(independent: int) -> float:
    from scipy.special import ndtri, stdtrit

    tail = (1.0 + LEVEL) / 2.0
    student = stdtrit(independent - 1, tail) / ndtri(tail)
    return float(student * math.sqrt(independent / (independent - 1)))
