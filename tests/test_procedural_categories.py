"""Random tables with large categories: repeatable, valid, varied, and all columns tell."""

from functools import cache

import numpy as np
import pytest
from scipy.sparse import csr_matrix, hstack
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss

from rlagent_envs.tasks.procedural_categories import (
    MOST_REPLACED,
    SHAPES,
    draw_columns,
    sample_category_task,
    told,
)
from rlagent_envs.tasks.procedural_common import MAX_TRAIN_ROWS
from rlagent_envs.tasks.task import Task
from rlagent_envs.training.bank import baseline_loss, make_bank
from tests.random_tasks import (
    check_no_row_is_in_two_parts,
    check_same,
    check_seeds_differ,
    check_size_and_context,
    check_targets,
)

SEEDS = range(30)


@cache
def tasks() -> list[Task]:
    return [sample_category_task(seed, 60) for seed in SEEDS]


@pytest.mark.parametrize("seed", [0, 7])
def test_a_seed_is_a_task_bit_for_bit(seed: int) -> None:
    check_same(sample_category_task(seed, 60), tasks()[seed])
    assert sample_category_task(seed).test is None


def test_seeds_differ() -> None:
    check_seeds_differ(tasks())


def test_every_task_is_valid() -> None:
    for task in tasks():
        assert (task.form, task.family, task.attackable) == ("mixed", "embedding_mlp", True)
        quantities = task.features - len(task.vocabularies)
        assert (quantities, task.vocabularies) in SHAPES
        assert task.continuous is not None
        np.testing.assert_array_equal(task.continuous, np.arange(task.features) < quantities)
        check_size_and_context(task)
        check_targets(task)
        assert len(task.train.x) >= 256
        assert task.test is not None
        assert len(task.test.x) == 60
        bank = make_bank(task, padded=True)
        assert bank.train_x.shape == (1, MAX_TRAIN_ROWS, task.features)
    assert {task.vocabularies for task in tasks()} == {vocabularies for _, vocabularies in SHAPES}
    assert {task.kind for task in tasks()} == {"classification", "regression"}


def test_categories_are_many_unequal_and_0_where_training_has_them_once() -> None:
    unknown = []
    for task in tasks():
        for place in range(task.features - len(task.vocabularies), task.features):
            numbers, counts = np.unique(task.train.x[:, place], return_counts=True)
            known = counts[numbers > 0]
            assert known.min() > 1, task.name
            assert set(task.valid.x[:, place]) <= {0.0, *numbers}, task.name
            unknown.append(np.mean(task.valid.x[:, place] == 0))
            if len(task.train.x) > 2000:
                assert len(known) > 64, task.name
                assert known.max() > 2 * np.median(known), task.name
    assert 0.0 < np.mean(unknown) < 0.2


def test_rows_of_one_part_are_not_in_another() -> None:
    for task in tasks():
        check_no_row_is_in_two_parts(task)


def test_noise_replaces_a_share_of_the_categories() -> None:
    columns = draw_columns(np.random.default_rng(0), 4000, 3, (256, 128), 2, 0.5)
    clean, noisy = (
        told(np.random.default_rng(1), columns, 3000, noise, 1.0) for noise in (0.0, 1.0)
    )
    shares = np.mean(clean[:, 3:] != noisy[:, 3:], axis=0)
    # Some are replaced by their like; and which of them training knows moves a little.
    assert (shares > MOST_REPLACED - 0.05).all()
    assert (shares < MOST_REPLACED + 0.02).all()


def columns_of(task: Task, x: np.ndarray) -> list[csr_matrix]:
    """The quantities, then a column for each category."""
    quantities = task.features - len(task.vocabularies)
    rows = np.arange(len(x))
    dummies = [
        csr_matrix((np.ones(len(x)), (rows, x[:, quantities + place].astype(int))), (len(x), size))
        for place, size in enumerate(task.vocabularies)
    ]
    return [csr_matrix(x[:, :quantities]), hstack(dummies).tocsr()]


def ratio(task: Task, train: csr_matrix, valid: csr_matrix) -> float:
    """The validation loss of a linear fit, in the unit of `baseline_loss`."""
    if task.kind == "regression":
        fit = Ridge(10.0).fit(train, task.train.y)
        return float(np.mean((fit.predict(valid) - task.valid.y) ** 2)) / baseline_loss(task)
    classifier = LogisticRegression(C=0.1, max_iter=60, tol=1e-2).fit(train, task.train.y)
    shares = classifier.predict_proba(valid)
    return log_loss(task.valid.y, shares, labels=np.arange(task.outputs)) / baseline_loss(task)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_quantities_and_categories_tell_more_than_either_and_noise_takes_it() -> None:
    def means(difficulty: float | None) -> np.ndarray:
        found = []
        for seed in range(12):
            task = sample_category_task(seed, 0, difficulty)
            train, valid = columns_of(task, task.train.x), columns_of(task, task.valid.x)
            both = ratio(task, hstack(train).tocsr(), hstack(valid).tocsr())
            found.append([both, *map(ratio, [task] * 2, train, valid)])
        return np.array(found).mean(axis=0)

    easy, middle, hard = map(means, (0.0, 0.5, 1.0))
    assert easy[0] < 0.6
    assert easy[0] < easy[1:].min() - 0.15
    assert easy[0] + 0.1 < middle[0] < hard[0] - 0.05
    assert hard[0] < 1.0
