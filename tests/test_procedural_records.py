"""Random records: repeatable, valid, varied, and neither text nor columns tell all alone."""

from functools import cache

import numpy as np
import pytest
from scipy.sparse import csr_matrix, hstack
from sklearn.linear_model import Ridge

from rlagent_envs.tasks.procedural_records import BESIDE, sample_record_task
from rlagent_envs.tasks.procedural_texts import LEAST_LENGTH, SHAPES
from rlagent_envs.tasks.task import Task
from rlagent_envs.training.bank import baseline_loss
from tests.random_tasks import (
    check_no_row_is_in_two_parts,
    check_same,
    check_seeds_differ,
    check_size_and_context,
    check_targets,
)

SEEDS = range(24)


@cache
def tasks() -> list[Task]:
    return [sample_record_task(seed, 60) for seed in SEEDS]


@pytest.mark.parametrize("seed", [0, 7])
def test_a_seed_is_a_task_bit_for_bit(seed: int) -> None:
    check_same(sample_record_task(seed, 60), tasks()[seed])
    assert sample_record_task(seed).test is None


def test_seeds_differ() -> None:
    check_seeds_differ(tasks())


def test_every_task_is_valid() -> None:
    for task in tasks():
        assert (task.form, task.family, task.attackable) == ("record", "record", True)
        length, beside = task.input_shape
        quantities, vocabularies = BESIDE[length]
        assert (length, task.vocabularies[0]) in SHAPES
        assert task.vocabularies[1:] == vocabularies
        assert beside == quantities + len(vocabularies)
        assert task.continuous is not None
        assert np.flatnonzero(task.continuous).tolist() == [*range(length, length + quantities)]
        check_size_and_context(task)
        check_targets(task)
        assert np.sum(task.train.x[:, :length] > 0, axis=1).min() >= LEAST_LENGTH
        assert task.test is not None
        assert len(task.test.x) == 60
    assert {task.input_shape[0] for task in tasks()} == set(BESIDE)
    assert {task.kind for task in tasks()} == {"classification", "regression"}


def test_rows_of_one_part_are_not_in_another() -> None:
    for task in tasks():
        check_no_row_is_in_two_parts(task)


def explained(task: Task, x: np.ndarray) -> list[csr_matrix]:
    """How often each token is in the text, and the other columns: quantities, and categories."""
    length = task.input_shape[0]
    rows, places = np.nonzero(x[:, :length])
    counts = csr_matrix(
        (np.ones(len(rows)), (rows, x[rows, places].astype(int))), (len(x), task.vocabularies[0])
    )
    quantities = BESIDE[length][0]
    beside = [csr_matrix(x[:, length : length + quantities])]
    for place, size in enumerate(task.vocabularies[1:], length + quantities):
        number = x[:, place].astype(int)
        beside.append(csr_matrix((np.ones(len(x)), (np.arange(len(x)), number)), (len(x), size)))
    return [counts, hstack(beside).tocsr()]


def ratio(task: Task, train: csr_matrix, valid: csr_matrix) -> float:
    """The validation error of a linear fit, against that of the mean, of values or classes."""
    classes = task.kind == "classification"
    known, judged = (
        np.eye(task.outputs)[part.y] if classes else part.y[:, None]
        for part in (task.train, task.valid)
    )
    said = Ridge(100.0).fit(train, known).predict(valid).reshape(judged.shape)
    error = np.mean((said - judged) ** 2)
    return float(error / np.mean((known.mean(axis=0) - judged) ** 2))


def test_text_and_columns_tell_more_than_either_and_noise_takes_it() -> None:
    def means(difficulty: float | None) -> np.ndarray:
        found = []
        for seed in range(12):
            task = sample_record_task(seed, 0, difficulty)
            if len(task.train.x) < 1500:
                continue
            train, valid = explained(task, task.train.x), explained(task, task.valid.x)
            both = ratio(task, hstack(train).tocsr(), hstack(valid).tocsr())
            found.append([both, *map(ratio, [task] * 2, train, valid)])
        return np.array(found).mean(axis=0)

    easy, middle, hard = map(means, (0.0, 0.5, 1.0))
    assert easy[0] < 0.7
    assert easy[0] < easy[1:].min() - 0.1
    assert easy[1:].max() < 0.9
    assert easy[0] + 0.07 < middle[0] < hard[0] - 0.05


def test_the_constant_is_no_good() -> None:
    assert all(0.1 < baseline_loss(task) < 10.0 for task in tasks())
