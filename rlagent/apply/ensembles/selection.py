"""Which networks make up an ensemble, and with which weights: by their validation predictions."""

from __future__ import annotations

import numpy as np

from rlagent.apply.model import log_softmax
from rlagent_envs.tasks.task import Kind

ROUNDS = 50


def evidence(kind: Kind, raw: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """What the loss of an average is made of, for each target, float64.

    Args:
        kind: classification or regression.
        raw: outputs of a network, `[rows, *targets, outputs]`.
        targets: class numbers, or standardised values, `[rows, *targets]`.

    Returns:
        The probability of the right class, or the error, `[rows]`, or of examples with many
        targets one behind the other.
    """
    if kind == "regression":
        return (raw[..., 0].astype(np.float64) - targets).reshape(-1)
    logs = np.take_along_axis(log_softmax(raw), targets[..., None], axis=-1)
    return np.exp(logs).reshape(-1)


def mean_loss(kind: Kind, evidence: np.ndarray) -> np.ndarray:
    """The loss of evidence `[..., rows]`: nats, or squared standard deviations of the target."""
    if kind == "regression":
        return np.mean(np.square(evidence), axis=-1)
    return -np.mean(np.log(np.maximum(evidence, np.finfo(np.float64).tiny)), axis=-1)


def greedy_weights(kind: Kind, evidence: np.ndarray, rounds: int = ROUNDS) -> np.ndarray:
    """Weights of networks by greedy selection with replacement.

    It begins with the best network and adds, again and again, the one with which the average has
    the lowest loss; the best average on the way is taken. So it is never above the loss of the
    best network.

    Args:
        kind: classification or regression.
        evidence: of each network on validation rows, `[members, rows]`.
        rounds: how many are added.

    Returns:
        `[members]`, shares that add up to 1; 0 for a network that is left out.

    Source: Caruana et al. 2004, "Ensemble Selection from Libraries of Models".
    """
    counts = np.zeros(len(evidence), int)
    counts[np.argmin(mean_loss(kind, evidence))] = 1
    total = counts @ evidence
    best, best_loss = counts.copy(), mean_loss(kind, total)
    for size in range(2, rounds + 2):
        losses = mean_loss(kind, (total + evidence) / size)
        added = int(np.argmin(losses))
        counts[added] += 1
        total = total + evidence[added]
        if losses[added] < best_loss:
            best, best_loss = counts.copy(), losses[added]
    return best / best.sum()
