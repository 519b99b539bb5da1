"""By what a finished model is judged, besides its loss; scikit-learn computes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rlagent_envs.tasks.task import Kind, Task

# A score of a model: (class numbers or values [rows], outputs [rows, outputs]) -> number, where the
# outputs are probabilities, or the one predicted value.
Score = Callable[[np.ndarray, np.ndarray], float]


def default_score(task: Task) -> str:
    """The score of a task for which none was asked for."""
    if task.target_shape and task.kind == "classification":
        return "mean_iou" if task.form == "image" else "bits_per_character"
    return next(iter(SCORES[task.kind]))


def check_score(name: str, kind: Kind) -> str:
    """The name of a score of a kind.

    Raises:
        ValueError: if the kind has no such score, naming those that it has.
    """
    known = SCORES[kind]
    if name not in known:
        raise ValueError(f"unknown score {name!r} for {kind}; there are: {', '.join(known)}")
    return name


def compute(name: str, kind: Kind, targets: np.ndarray, outputs: np.ndarray) -> float:
    """The score of predictions.

    Args:
        name: of a score of the kind.
        kind: classification or regression.
        targets: class numbers, or values in their units, `[rows, *targets]`.
        outputs: probabilities `[rows, *targets, classes]`, or predicted values
            `[rows, *targets, 1]`, in units too.

    Returns:
        The score; NaN where the rows do not define it, as R² of a single row.
    """
    return SCORES[kind][name](targets.reshape(-1), outputs.reshape(-1, outputs.shape[-1]))


def _accuracy(targets: np.ndarray, outputs: np.ndarray) -> float:
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(targets, outputs.argmax(axis=1)))


def _balanced_accuracy(targets: np.ndarray, outputs: np.ndarray) -> float:
    from sklearn.metrics import recall_score

    # Its own balanced_accuracy_score warns of classes that are predicted but not there.
    there = np.unique(targets)
    guesses = outputs.argmax(axis=1)
    return float(recall_score(targets, guesses, labels=there, average="macro", zero_division=0))


def _macro_f1(targets: np.ndarray, outputs: np.ndarray) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(targets, outputs.argmax(axis=1), average="macro", zero_division=0))


def _log_loss(targets: np.ndarray, outputs: np.ndarray) -> float:
    from sklearn.metrics import log_loss

    # In float64 and added up to 1 exactly: scikit-learn warns of float32's roundings.
    shares = outputs.astype(np.float64)
    shares /= shares.sum(axis=1, keepdims=True)
    return float(log_loss(targets, shares, labels=np.arange(outputs.shape[1])))


def _mean_iou(targets: np.ndarray, outputs: np.ndarray) -> float:
    """Intersection over union, the mean over the classes that targets or predictions have."""
    from sklearn.metrics import jaccard_score

    return float(jaccard_score(targets, outputs.argmax(axis=1), average="macro", zero_division=0))


def _bits_per_character(targets: np.ndarray, outputs: np.ndarray) -> float:
    shares = outputs[np.arange(len(targets)), targets]
    return float(-np.mean(np.log2(np.maximum(shares, np.finfo(np.float64).tiny))))


def _r2(targets: np.ndarray, outputs: np.ndarray) -> float:
    from sklearn.metrics import r2_score

    if len(targets) < 2:
        return float("nan")
    return float(r2_score(targets, outputs[:, 0]))


def _rmse(targets: np.ndarray, outputs: np.ndarray) -> float:
    from sklearn.metrics import root_mean_squared_error

    return float(root_mean_squared_error(targets, outputs[:, 0]))


def _mae(targets: np.ndarray, outputs: np.ndarray) -> float:
    from sklearn.metrics import mean_absolute_error

    return float(mean_absolute_error(targets, outputs[:, 0]))


# The first of each kind is its default where an example has one target. Errors and losses are the
# better the lower they are; a score only tells of a model, and chooses nothing.
SCORES: dict[str, dict[str, Score]] = {
    "classification": {
        "accuracy": _accuracy,
        "balanced_accuracy": _balanced_accuracy,
        "macro_f1": _macro_f1,
        "log_loss": _log_loss,
        "mean_iou": _mean_iou,
        "bits_per_character": _bits_per_character,
    },
    "regression": {"r2": _r2, "rmse": _rmse, "mae": _mae},
}
