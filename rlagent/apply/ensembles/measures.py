"""What is said of an ensemble besides its score: how much members differ, and calibration."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

BINS = 15


def disagreement(kind: str, values: Sequence[np.ndarray]) -> float:
    """How much networks differ.

    Args:
        kind: classification or regression.
        values: of each network, `[rows, *targets, outputs]`: probabilities, or values in units.

    Returns:
        Classification: the share of targets that two networks label differently, the mean over
        pairs.
        Regression: the standard deviation between networks, the mean over targets, in units.
    """
    if len(values) < 2:
        return 0.0
    if kind == "regression":
        return float(np.mean(np.std(np.stack(values), axis=0)))
    labels = [one.argmax(axis=-1) for one in values]
    return float(np.mean([np.mean(one != other) for one, other in combinations(labels, 2)]))


def calibration_error(probabilities: np.ndarray, targets: np.ndarray, bins: int = BINS) -> float:
    """The expected calibration error: how far confidence is from accuracy, on average over targets.

    Args:
        probabilities: of each class, `[rows, *targets, classes]`.
        targets: class numbers, `[rows, *targets]`.
        bins: of equal width that confidences are sorted into; one on an edge is in the lower bin.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks" (arXiv:1706.04599).
    """
    confidence = probabilities.max(axis=-1).reshape(-1)
    right = (probabilities.argmax(axis=-1) == targets).reshape(-1)
    places = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(places, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / targets.size)
