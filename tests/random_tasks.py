"""What holds of the random tasks of every domain, for tests."""

from collections.abc import Sequence

import numpy as np
import pytest

from rlagent_envs.tasks.procedural_common import CONTEXT, MAX_TRAIN_ROWS, MAX_VALID_ROWS
from rlagent_envs.tasks.task import Task


def arrays(task: Task) -> list[np.ndarray]:
    """Inputs and targets of each part that there is, one after the other."""
    return [*task.train, *task.valid, *(task.test or ())]


def check_same(first: Task, again: Task) -> None:
    """Two tasks are one, bit for bit."""
    for one, other in zip(arrays(first), arrays(again), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (first.context, first.outputs, first.kind) == (again.context, again.outputs, again.kind)


def check_seeds_differ(tasks: Sequence[Task]) -> None:
    assert len({task.train.x.tobytes() for task in tasks}) == len(tasks)
    assert len({task.context for task in tasks}) == len(tasks)


def check_size_and_context(task: Task) -> None:
    """It fits the padded sizes, and all that it says is finite."""
    assert 128 <= len(task.train.x) <= MAX_TRAIN_ROWS, task.name
    assert 128 <= len(task.valid.x) <= MAX_VALID_ROWS, task.name
    assert all(np.isfinite(part).all() for part in arrays(task)), task.name
    assert len(task.context) == CONTEXT, task.name
    assert np.abs(task.context).max() <= 1.5, task.name


def check_targets(task: Task) -> None:
    """Each class is trained on, or values are standardised."""
    if task.kind == "classification":
        assert task.train.y.dtype == np.int32, task.name
        assert task.outputs >= 2, task.name
        np.testing.assert_array_equal(np.unique(task.train.y), np.arange(task.outputs))
        assert set(task.valid.y) <= set(range(task.outputs)), task.name
    else:
        assert task.outputs == 1, task.name
        assert task.train.y.dtype == np.float32, task.name
        assert abs(task.train.y.mean()) < 1e-4, task.name
        assert task.train.y.std() == pytest.approx(1.0, abs=1e-3), task.name


def check_no_row_is_in_two_parts(task: Task) -> None:
    rows = np.concatenate(arrays(task)[::2])
    assert len(np.unique(rows, axis=0)) == len(rows), task.name
