"""Boxes that a network predicts, and how good they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rlagent_envs.tasks.box_target import BoxTarget

if TYPE_CHECKING:
    from rlagent_envs.tasks.preprocessing import Preprocessing

LEAST_CONFIDENCE = 0.05  # below it nothing is said
MOST_OVERLAP = 0.5  # of two boxes of a class: more, and they are of one object
MATCHED = 0.5  # intersection over union from which on an object counts as found


def detections(values: np.ndarray, target: BoxTarget) -> list[np.ndarray]:
    """What is where in each image: `[objects, 6]`, class, x0, y0, x1, y1 and confidence.

    A cell names its most likely class, and the mean distance of each edge. Of boxes of one class
    that overlap, the most confident one stays (greedy non-maximum suppression).

    Args:
        values: probabilities `[images, rows, columns, choices, outputs]`.
        target: what they mean.

    Returns:
        For each image its boxes, the most confident first.
    """
    classes = 1 + len(target.classes)
    nothing_or_class = values[..., 0, :classes]
    of_edges = values[..., 1:, 1 : 1 + len(target.distances)]
    means = (of_edges @ target.distances) / np.maximum(of_edges.sum(axis=-1), 1e-9)
    found = []
    for cells, edges in zip(nothing_or_class, means, strict=True):
        confidence = cells[..., 1:].max(axis=-1)
        down, right = np.nonzero(confidence >= LEAST_CONFIDENCE)
        labels = np.array(target.classes)[cells[down, right, 1:].argmax(axis=-1)]
        made = np.column_stack(
            [labels, target.edges(down, right, edges[down, right]), confidence[down, right]]
        )
        found.append(_alone(made[np.argsort(-made[:, 5], kind="stable")]))
    return found


def class_names(preprocessing: Preprocessing | None) -> dict[str, str]:
    """The names of the classes of boxes by their numbers, as texts; {} if there are none."""
    target = None if preprocessing is None else preprocessing.target
    if not isinstance(target, BoxTarget) or not target.names:
        return {}
    return {str(label): name for label, name in zip(target.classes, target.names, strict=True)}


def _alone(boxes: np.ndarray) -> np.ndarray:
    """Without those that overlap a more confident one of their class."""
    kept: list[int] = []
    for place, box in enumerate(boxes):
        rivals = [other for other in kept if boxes[other, 0] == box[0]]
        if not rivals or overlaps(box[None, 1:5], boxes[rivals, 1:5]).max() <= MOST_OVERLAP:
            kept.append(place)
    return boxes[kept]


def overlaps(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Intersection over union of each pair of boxes `[n, 4]` and `[m, 4]`, `[n, m]`."""
    low = np.maximum(ours[:, None, :2], theirs[None, :, :2])
    high = np.minimum(ours[:, None, 2:], theirs[None, :, 2:])
    common = np.maximum(high - low, 0.0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (ours, theirs)]
    joined = areas[0][:, None] + areas[1][None, :] - common
    return common / np.maximum(joined, 1e-9)


def mean_average_precision(
    known: Sequence[np.ndarray], found: Sequence[np.ndarray], matched: float = MATCHED
) -> float:
    """The mean over the classes of the area under precision against recall.

    Args:
        known: for each image the boxes that there are, `[objects, 5]`.
        found: for each image those that were predicted, `[objects, 6]`, see `detections`.
        matched: intersection over union from which on an object counts as found, once.

    Returns:
        From 0 to 1, over the classes that are there; NaN where there are none.

    Source: Everingham et al. 2010, "The PASCAL Visual Object Classes Challenge", section 4.2, with
    the area under all points, as from 2010 on.
    """
    classes = np.unique(np.concatenate([boxes[:, 0] for boxes in known]))
    scores = [_average_precision(known, found, label, matched) for label in classes]
    return float(np.mean(scores)) if scores else float("nan")


def _average_precision(
    known: Sequence[np.ndarray], found: Sequence[np.ndarray], label: float, matched: float
) -> float:
    there = [boxes[boxes[:, 0] == label, 1:5] for boxes in known]
    taken = [np.zeros(len(boxes), bool) for boxes in there]
    guesses = [
        (box[5], image, box[1:5])
        for image, boxes in enumerate(found)
        for box in boxes
        if box[0] == label
    ]
    guesses.sort(key=lambda guess: -guess[0])
    right = np.zeros(len(guesses))
    for place, (_, image, box) in enumerate(guesses):
        if len(there[image]) == 0:
            continue
        shared = overlaps(box[None], there[image])[0]
        best = int(shared.argmax())
        if shared[best] >= matched and not taken[image][best]:
            taken[image][best], right[place] = True, 1.0
    recall = np.cumsum(right) / sum(map(len, there))
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    # What is precise further on counts for what comes before it.
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))
