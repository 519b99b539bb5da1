"""By what a finished model is judged, besides its loss; scikit-learn computes it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from rlagent.apply.boxes import detections, mean_average_precision
from rlagent.apply.model import finite
from rlagent.apply.rankings import items_of_users, ndcg
from rlagent_envs.forms import has_boxes
from rlagent_envs.tasks.box_target import BoxTarget, of_images

if TYPE_CHECKING:
    from rlagent.apply.model import Predictor
    from rlagent_envs.forms import Form
    from rlagent_envs.tasks.preprocessing import Preprocessing
    from rlagent_envs.tasks.task import JudgedPart, Kind, Split, Task

# A score of a model: (class numbers or values [rows], outputs [rows, outputs]) -> number, where the
# outputs are probabilities, or the one predicted value.
Score = Callable[[np.ndarray, np.ndarray], float]
# A score of a ranking within groups: (values [rows], outputs [rows, 1], groups [rows]) -> number.
GroupScore = Callable[[np.ndarray, np.ndarray, np.ndarray], float]
ROUNDING = 1e-6  # probabilities that differ by less count as equal, as two items of one number are


def check_score(name: str | None, kind: Kind, form: Form, targets: tuple[int, ...] = ()) -> str:
    """The name of the score of a task; its default where none is asked for.

    Args:
        name: as it was asked for, or None.
        kind: of the task.
        form: of its examples.
        targets: shape of the targets of an example, () where it has one.

    Raises:
        ValueError: if the kind has no such score, naming those that it has.
    """
    what, known = str(kind), [*SCORES[kind]]
    if not targets:
        known = [one for one in known if one not in OF_MANY]
    if has_boxes(targets):
        what, known = "boxes", [*BOX_SCORES]
    if form == "pair" and kind == "regression":
        what, known = "ratings", ["rmse", "mae", *GROUP_SCORES, "r2"]
    if form == "choice":
        what, known = "a ranking", [*CHOICE_SCORES, *GROUP_SCORES]
    if name is None and targets and kind == "classification":
        if form == "image":
            return "map_50" if has_boxes(targets) else "mean_iou"
        return "bits_per_character"
    if name is None:
        return known[0]
    if name not in known:
        raise ValueError(f"unknown score {name!r} for {what}; there are: {', '.join(known)}")
    return name


def told_too(name: str, of: Task | Predictor) -> tuple[str, ...]:
    """The scores that are told beside the one asked for.

    Of many targets in an example people want to know how many are right, too.
    """
    each = of.target_shape and of.kind == "classification" and name != "map_50"
    return ("accuracy",) if each else ()


def score_shape(of: Task | Predictor) -> tuple[int, ...]:
    """The shape of targets that decides by what they are judged; see `check_score`.

    Boxes without preprocessing cannot be told from other choices.
    """
    return () if has_boxes(of.target_shape) and of.preprocessing is None else of.target_shape


def compute(
    name: str,
    kind: Kind,
    targets: np.ndarray,
    outputs: np.ndarray,
    x: np.ndarray | None = None,
    preprocessing: Preprocessing | None = None,
    boxes: np.ndarray | None = None,
) -> float:
    """The score of predictions.

    Args:
        name: of a score of the kind.
        kind: classification or regression.
        targets: class numbers, or values in their units, `[rows, *targets]`; see `judged_rows`.
        outputs: probabilities `[rows, *targets, classes]`, or predicted values
            `[rows, *targets, 1]`, in units too.
        x: preprocessed rows, `[rows, features]`, which scores of rankings need: the first number
            is the user. Number 0 is left out: those whom training lacked cannot be told apart.
        preprocessing: what targets mean, which scores of boxes need.
        boxes: that there are, `[rows, most, 5]`, see `read_boxes`; those that the targets stand for
            where None, which lack what shares a cell.

    Returns:
        The score; NaN where the rows do not define it, as R² of a single row.
    """
    if name in GROUP_SCORES:
        assert x is not None
        known = x[:, 0] > 0
        if not known.any():
            return math.nan
        return GROUP_SCORES[name](targets[known], outputs[known], x[known, 0].astype(np.int64))
    if name in BOX_SCORES:
        assert preprocessing is not None
        assert isinstance(preprocessing.target, BoxTarget)
        target = preprocessing.target
        known_boxes = target.decode(targets).tolist() if boxes is None else of_images(boxes)
        return BOX_SCORES[name](known_boxes, detections(outputs, target))
    score = SCORES[kind].get(name) or CHOICE_SCORES[name]
    return score(targets.reshape(-1), outputs.reshape(-1, outputs.shape[-1]))


def judged_rows(
    name: str, model: Predictor, x: np.ndarray, targets: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `compute` is to look at: the rows as they are, but each item of a user once if ranked.

    Args:
        name: of a score.
        model: that is judged.
        x: preprocessed rows, `[rows, features]`.
        targets: as `compute` takes them.
        values: that the model predicts for the rows.

    Returns:
        Rows, targets and values. Of a ranking of what users take these are users and items, 1 for
        an item that was taken and 0 for another, and the logarithm of the odds of taking it.
    """
    if name not in GROUP_SCORES or model.form != "choice":
        return x, targets, values
    items, taken = items_of_users(x, targets)
    raw = model.raw(items).astype(np.float64)
    return items, taken, raw[:, :1] - raw[:, 1:]


def _accuracy(targets: np.ndarray, outputs: np.ndarray) -> float:
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(targets, outputs.argmax(axis=1)))


def _auc(targets: np.ndarray, outputs: np.ndarray) -> float:
    """The share of the pairs drawn that are in the right order, half of those without an order."""
    rows = np.arange(len(targets))
    ahead = outputs[rows, targets].astype(np.float64) - outputs[rows, 1 - targets]
    tied = np.abs(ahead) < ROUNDING
    return float(np.mean(np.where(tied, 0.5, ahead > 0)))


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


def _ndcg_10(targets: np.ndarray, outputs: np.ndarray, groups: np.ndarray) -> float:
    if len(targets) == 0:
        return float("nan")
    return ndcg(targets, outputs[:, 0], groups, most=10)


GROUP_SCORES: dict[str, GroupScore] = {"ndcg_10": _ndcg_10}
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
# Of the boxes that there are and those that were found, image by image.
BOX_SCORES: dict[str, Callable[[list[np.ndarray], list[np.ndarray]], float]] = {
    "map_50": mean_average_precision
}
OF_MANY = ("mean_iou", "bits_per_character")  # of examples with a target for each place
CHOICE_SCORES: dict[str, Score] = {"auc": _auc, "log_loss": _log_loss}


def judge(
    model: Predictor, task: Task, part: JudgedPart, raw: np.ndarray, *names: str
) -> list[float | None]:
    """Loss and scores on a part of a task, by the code that predicts; None where not finite.

    Args:
        model: whose outputs `raw` are.
        task: whose rows they are of.
        part: of the task; test only where there is one.
        raw: `[rows, *targets, outputs]`.
        names: of the scores.
    """
    split = task.valid if part == "valid" else task.test
    assert split is not None
    boxes = None if task.boxes is None else task.boxes[part]
    return judge_split(model, split, boxes, raw, *names)


def judge_split(
    model: Predictor, split: Split, boxes: np.ndarray | None, raw: np.ndarray, *names: str
) -> list[float | None]:
    """Loss and scores on rows, see `judge`.

    Args:
        model: whose outputs `raw` are.
        split: preprocessed rows with their targets.
        boxes: as `compute` takes them.
        raw: `[rows, *targets, outputs]`.
        names: of the scores.
    """
    targets, values = np.asarray(model.targets(split)), model.values(raw)
    computed = []
    for name in names:
        x, known, predicted = judged_rows(name, model, split.x, targets, values)
        computed.append(compute(name, model.kind, known, predicted, x, model.preprocessing, boxes))
    return [finite(model.loss(split, raw)), *map(finite, computed)]
