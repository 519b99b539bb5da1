"""Data on the device: one bank for many tasks, from which runs draw rows by number."""

from __future__ import annotations

from typing import Any

import numpy as np
from flax import struct

from rlagent_envs.forms import has_boxes
from rlagent_envs.tasks.task import Split, Task

# Procedural tasks are padded to these, so that a few programs serve all of them. On Linux a process
# may have 65,530 memory maps, and XLA makes hundreds for a program: 2 sizes x 2 batch sizes x
# 2 kinds x 16 rungs stay below that, a third size would not.
PADDED_FEATURES = (64, 256)
PADDED_CLASSES = 16
PADDED_TRAIN_ROWS = 8192
PADDED_VALID_ROWS = 1024


class Bank(struct.PyTreeNode):
    """The data of one or more tasks of equal padded shapes; a run knows its slot."""

    train_x: Any  # [slots, rows, features], float32
    train_y: Any  # [slots, rows, *targets], int32 class numbers or float32 targets
    train_rows: Any  # [slots], int32: rows that are not padding
    valid_x: Any  # [slots, rows, features], float32; rows a multiple of the batch size
    valid_y: Any  # [slots, rows, *targets]
    valid_rows: Any  # [slots], int32
    classes: Any  # [slots, outputs], float32: 1 for an output that is in use, 0 for padding
    shares: Any  # [slots, outputs], float32: of each class among the rows to train on
    features: Any  # [slots], int32: columns that are not padding
    continuous: Any  # [slots, features], float32: 1 for columns that an attack may move
    # What only ensembles and cross-validation have: a bank without it makes the plain programs.
    # The row of `train_x` that each row to train on stands for: the slots share slot 0's then.
    picks: Any = None  # [slots, rows], int32
    # What only streamed data have: `train_x` is a block of batches, one after another, from that of
    # this update on; all rows have their targets.
    block: Any = None  # [slots], int32: number of the first update
    lookup: Any = None  # [slots, 256], float32: what a byte stands for, where the block has bytes
    # Added to the network's outputs: what the stages before have to say of a row.
    train_offset: Any = None  # [slots, rows, *targets, outputs], float32
    valid_offset: Any = None  # the same of the validation rows


def make_bank(task: Task, *, padded: bool) -> Bank:
    """Puts one task into a bank of one slot, as NumPy arrays.

    Args:
        task: the data.
        padded: pad to the sizes that procedural tasks share; else to nothing but whole pieces of
            validation rows.

    Raises:
        ValueError: if the task is larger than the padded sizes.
    """
    features, outputs = padded_sizes(task) if padded else (task.features, task.outputs)
    train_rows = PADDED_TRAIN_ROWS if padded else len(task.train.x)
    valid_rows = PADDED_VALID_ROWS if padded else len(task.valid.x)
    if task.streamed is not None:
        raise ValueError(f"the rows of {task.name} are streamed: a bank has no room for them")
    if len(task.train.x) > train_rows or len(task.valid.x) > valid_rows:
        raise ValueError(
            f"a padded task has at most {train_rows} rows to train on and {valid_rows} to "
            f"validate on, got {len(task.train.x)} and {len(task.valid.x)}"
        )
    valid_rows = -(-valid_rows // task.batch_size) * task.batch_size
    train, valid = (
        _pad(task.train, train_rows, features),
        _pad(task.valid, valid_rows, features),
    )
    return Bank(
        train_x=train.x[None],
        train_y=train.y[None],
        train_rows=np.array([len(task.train.x)], np.int32),
        valid_x=valid.x[None],
        valid_y=valid.y[None],
        valid_rows=np.array([len(task.valid.x)], np.int32),
        **_facts(task, features, outputs),
    )


def validation_bank(task: Task, features: int, outputs: int) -> Bank:
    """A bank of a task's validation rows alone, to judge a network on, as NumPy arrays.

    Args:
        task: the data.
        features: columns of the network's input, padding included.
        outputs: of the network, padding included.
    """
    rows = -(-len(task.valid.x) // task.batch_size) * task.batch_size
    valid = _pad(task.valid, rows, features)
    return Bank(
        train_x=np.zeros((1, 1, features), np.float32),
        train_y=np.zeros((1, 1, *task.target_shape), valid.y.dtype),
        train_rows=np.zeros(1, np.int32),
        valid_x=valid.x[None],
        valid_y=valid.y[None],
        valid_rows=np.array([len(task.valid.x)], np.int32),
        **_facts(task, features, outputs),
    )


def streaming_bank(task: Task) -> Bank:
    """A bank of all of a task but its inputs to train on, as NumPy arrays."""
    return validation_bank(task, task.features, task.outputs).replace(
        train_y=np.asarray(task.train.y)[None],
        train_rows=np.array([len(task.train.y)], np.int32),
    )


def padded_sizes(task: Task) -> tuple[int, int]:
    """The features and outputs that a procedural task is padded to.

    Those of other families than the MLP have sizes that many of them share already. The outputs of
    a choice are its items.
    """
    if task.target_shape or task.form == "choice":
        return task.features, task.outputs
    if task.family != "mlp":
        return task.features, PADDED_CLASSES if task.kind == "classification" else 1
    larger = [size for size in PADDED_FEATURES if size >= task.features]
    limit = PADDED_CLASSES if task.kind == "classification" else 1
    if not larger or task.outputs > limit:
        raise ValueError(
            f"a padded task has at most {PADDED_FEATURES[-1]} features and {limit} outputs, got "
            f"{task.features} and {task.outputs}"
        )
    return larger[0], limit


def baseline_loss(task: Task, rows: int | None = None) -> float:
    """The validation loss of the best constant predictor: nats, or squared standard deviations.

    The constant is the one that fits the training part best, as for any other predictor.

    Args:
        task: the data.
        rows: how many of the first validation rows are judged; all where None.
    """
    if task.kind == "regression":
        return float(np.mean((task.valid.y[:rows] - np.mean(task.train.y)) ** 2))
    # Of boxes each choice of a cell has a constant of its own.
    choices = task.target_shape[2] if has_boxes(task.target_shape) else 1
    known, judged = (y.reshape(-1, choices) for y in (task.train.y, task.valid.y[:rows]))
    losses = [
        _constant_loss(*columns, task.outputs) for columns in zip(known.T, judged.T, strict=True)
    ]
    return float(np.mean(losses))


def _constant_loss(known: np.ndarray, judged: np.ndarray, classes: int) -> float:
    """The cross-entropy on some class numbers of the shares that others have."""
    counts = np.bincount(known, minlength=classes) + 1e-6
    shares = counts / counts.sum()
    return float(-np.mean(np.log(shares[judged])))


def loss_ceiling(task: Task, rows: int | None = None) -> float:
    """The validation loss above which a run counts as diverged: four times that of its start.

    Args:
        task: the data.
        rows: as of `baseline_loss`.
    """
    # A fresh network is about as bad as a guess among all classes, however unequal they are.
    start = float(np.log(task.outputs)) if task.kind == "classification" else 1.0
    return 4.0 * max(baseline_loss(task, rows), start)


def _facts(task: Task, features: int, outputs: int) -> dict[str, np.ndarray]:
    """What a bank knows of its task besides rows."""
    shares = np.zeros(outputs, np.float32)
    if task.kind == "classification":
        shares[: task.outputs] = np.bincount(task.train.y.reshape(-1), minlength=task.outputs)
        shares /= shares.sum()
    continuous = np.zeros(features, np.float32)
    continuous[: task.features] = 1.0 if task.continuous is None else task.continuous
    return {
        "classes": (np.arange(outputs) < task.outputs).astype(np.float32)[None],
        "shares": shares[None],
        "features": np.array([task.features], np.int32),
        "continuous": continuous[None],
    }


def _pad(split: Split, rows: int, features: int) -> Split:
    x = split.x
    if x.shape != (rows, features):
        x = np.zeros((rows, features), np.float32)
        x[: len(split.x), : split.x.shape[1]] = split.x
    y = np.zeros((rows, *split.y.shape[1:]), split.y.dtype)
    y[: len(split.y)] = split.y
    return Split(x, y)
