"""Cross-validation: the rows are dealt into folds, each of which validates one network."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np

from rlagent_envs.tasks.box_target import of_images, padded
from rlagent_envs.tasks.splits import row_order
from rlagent_envs.tasks.task import Split, Task, stand_in
from rlagent_envs.training.bank import Bank, make_bank


def deal(targets: np.ndarray, folds: int, *, stratified: bool, seed: int) -> np.ndarray:
    """The fold of each row `[rows]`: sizes differ by one at most, those of a class too.

    Args:
        targets: class numbers, or numbers.
        folds: how many.
        stratified: whether the classes are dealt one after another.
        seed: the same seed gives the same folds.
    """
    order = np.random.default_rng([seed, 8]).permutation(len(targets))
    if stratified:
        order = order[np.argsort(targets[order], kind="stable")]
    dealt = np.empty(len(targets), int)
    dealt[order] = np.arange(len(targets)) % folds
    return dealt


def fold_tasks(task: Task, folds: int, seed: int) -> tuple[list[Task], Bank]:
    """The task of each fold, and one bank for all, each in the slot of its number.

    The rows to train on are in the bank once; the tasks know how many they are, and not more.
    Preprocessing stays that of the task's own rows to train on: another one for each fold would
    make networks of different inputs.
    """
    x = np.concatenate([task.train.x, task.valid.x])
    y = np.concatenate([task.train.y, task.valid.y])
    boxes = None
    if task.boxes is not None:
        both = [*of_images(task.boxes["train"]), *of_images(task.boxes["valid"])]
        boxes = padded(both)
    stratified = task.kind == "classification" and not task.target_shape
    dealt = deal(y, folds, stratified=stratified, seed=seed)
    tasks, picked = [], []
    for fold in range(folds):
        rows = np.flatnonzero(dealt != fold)
        valid = np.flatnonzero(dealt == fold)
        valid = valid[row_order(y[valid], stratified=stratified, seed=seed)]
        train = Split(stand_in(len(rows), x.shape[1]), y[rows])
        known = None if boxes is None else {"valid": boxes[valid]}
        own = Split(x[valid], y[valid])
        tasks.append(replace(task, train=train, valid=own, boxes=known))
        picked.append(rows)
    return tasks, _bank(replace(task, train=Split(x, y)), tasks, picked)


def _bank(union: Task, tasks: list[Task], picked: list[np.ndarray]) -> Bank:
    """A slot for each fold; slot 0 has the rows to train on of all."""
    longest = max(len(task.valid.x) for task in tasks)
    pieces = -(-longest // union.batch_size) * union.batch_size
    alone = [make_bank(replace(task, train=union.train), padded=False) for task in tasks]
    picks = np.zeros((len(tasks), max(map(len, picked))), np.int32)
    for number, rows in enumerate(picked):
        picks[number, : len(rows)] = rows

    # Whatever else a bank knows of a task, for each slot.
    shared = ("train_x", "train_y", "train_rows", "valid_x", "valid_y")
    names = [one.name for one in fields(Bank) if one.name not in shared]
    facts = {
        name: np.concatenate([getattr(one, name) for one in alone])
        for name in names
        if getattr(alone[0], name) is not None
    }
    valid = {
        name: np.concatenate([_grown(getattr(one, name), pieces) for one in alone])
        for name in ("valid_x", "valid_y")
    }
    train_rows = np.array(list(map(len, picked)), np.int32)
    return alone[0].replace(**facts | valid, train_rows=train_rows, picks=picks)


def _grown(array: np.ndarray, rows: int) -> np.ndarray:
    """`[1, …]` with zeros up to a number of rows."""
    room = [(0, 0)] * array.ndim
    room[1] = (0, rows - array.shape[1])
    return np.pad(array, room)
