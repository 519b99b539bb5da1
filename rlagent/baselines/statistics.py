"""How results are compared: paired intervals, and what a search of k runs is expected to find."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats


class Interval(NamedTuple):
    """A mean with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


def paired_interval(differences: ArrayLike, seed: int = 0) -> Interval:
    """The mean of paired differences, with a 95 % bootstrap interval (BCa, 10,000 draws).

    Args:
        differences: `[pairs]`, or `[tasks, seeds]`: then the tasks are drawn, each as the mean of
            its seeds, because seeds of one task are no independent evidence.
        seed: of the bootstrap.

    Raises:
        ValueError: if there are fewer than 2 pairs.
    """
    values = np.asarray(differences, float)
    if values.ndim == 2:
        values = values.mean(axis=1)
    if len(values) < 2:
        raise ValueError(f"an interval needs at least 2 pairs, got {len(values)}")
    mean = float(values.mean())
    if np.ptp(values) == 0.0:
        return Interval(mean, mean, mean)
    bounds = stats.bootstrap(
        (values,), np.mean, n_resamples=10_000, rng=np.random.default_rng(seed)
    ).confidence_interval
    return Interval(mean, float(bounds.low), float(bounds.high))


def expected_best(valid: ArrayLike, test: ArrayLike, k: int) -> float:
    """The expected test score of the best of k runs, chosen by validation score.

    The k runs are drawn without replacement from a pool of n that were made: the i-th best by
    validation is chosen with the probability that it is drawn and no better one is,
    C(n - 1 - i, k - 1) / C(n, k).

    Args:
        valid: validation scores of the pool, `[n]`, lower is better.
        test: their test scores, `[n]`.
        k: from 1 to n.

    Raises:
        ValueError: if k is not from 1 to n.

    Source: Dodge et al. 2019 (arXiv:1909.03004), section 3, without replacement.
    """
    order = np.argsort(np.asarray(valid, float), kind="stable")
    ranked = np.asarray(test, float)[order]
    n = len(ranked)
    if not 1 <= k <= n:
        raise ValueError(f"k must be from 1 to the {n} runs of the pool, got {k}")
    chances = special.comb(n - 1 - np.arange(n), k - 1) / special.comb(n, k)
    return float(ranked @ chances)


def trials_to_match(valid: ArrayLike, test: ArrayLike, score: float) -> int | None:
    """The smallest k whose expected best is at least as good as `score`; None if no k is."""
    for k in range(1, len(np.asarray(valid)) + 1):
        if expected_best(valid, test, k) <= score:
            return k
    return None
