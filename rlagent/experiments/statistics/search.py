"""How many trials of a search a result is worth."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Match(NamedTuple):
    """How many trials of a search are worth a score; beyond the ends it is a bound."""

    value: float
    at_least: bool = False  # not even the whole pool gets there
    at_most: bool = False  # a single trial is expected to be better already


def expected_bests(valid: ArrayLike, test: ArrayLike) -> np.ndarray:
    """The expected test score of the best of k trials, chosen by validation score, k from 1 to n.

    The k trials are drawn without replacement from a pool of n that were made: the i-th best by
    validation is chosen with the probability that it is drawn and no better one is,
    C(n - 1 - i, k - 1) / C(n, k). Trials of equal validation score share their chances.

    Args:
        valid: validation scores of the pool, `[n]`, lower is better.
        test: their test scores, `[n]`.

    Returns:
        Expected scores, `[n]`.

    Source: Dodge et al. 2019 (arXiv:1909.03004), section 3, without replacement.
    """
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
