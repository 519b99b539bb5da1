"""Random tables: repeatable, valid, varied, and possible to learn."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss

from rlagent_envs.tasks.procedural_common import (
    MAX_VALID_ROWS,
    noisy_target,
)
from rlagent_envs.tasks.procedural_tables import (
    MAX_FEATURES,
    SOURCES,
    draw_table_recipe,
    sample_table_task,
)
from rlagent_envs.tasks.task import Task
from rlagent_envs.training.bank import PADDED_CLASSES, baseline_loss, make_bank
from tests.random_tasks import (
    check_same,
    check_seeds_differ,
    check_size_and_context,
    check_targets,
)

SEEDS = range(300)


@cache
def tasks() -> list[Task]:
    return [sample_table_task(seed) for seed in SEEDS]


@pytest.mark.parametrize("seed", [0, 4, 17])
def test_a_seed_is_a_task_bit_for_bit(seed: int) -> None:
    check_same(sample_table_task(seed), tasks()[seed])


def test_pictures_on_a_canvas_are_the_same_pictures() -> None:
    shapes = set()
    for seed in range(40):
        flat, task = tasks()[seed], sample_table_task(seed, canvases=True)
        np.testing.assert_array_equal(task.train.y, flat.train.y)
        if not task.input_shape:
            np.testing.assert_array_equal(task.train.x, flat.train.x)
            continue
        height, width, channels = task.input_shape
        shapes.add(task.input_shape)
        assert (height, channels, height * width) == (width, 1, task.features)
        drawn = task.train.x[:, task.train.x.any(axis=0)]
        np.testing.assert_array_equal(drawn, flat.train.x)
    assert shapes == {(8, 8, 1), (16, 16, 1)}


def test_seeds_differ() -> None:
    check_seeds_differ(tasks())


def test_a_test_part_has_the_rows_asked_for_and_they_are_new() -> None:
    task = sample_table_task(0, test_rows=50)
    assert task.test is not None
    assert task.test.x.shape == (50, task.features)
    seen = {row.tobytes() for row in np.concatenate([task.train.x, task.valid.x])}
    assert not any(row.tobytes() in seen for row in task.test.x)
    assert tasks()[0].test is None


def test_every_task_is_valid() -> None:
    for task in tasks():
        for part in (task.train, task.valid):
            assert part.x.dtype == np.float32, task.name
            assert np.abs(part.x).max() <= 30.0, task.name
        assert 4 <= task.features <= MAX_FEATURES, task.name
        check_size_and_context(task)
        assert make_bank(task, padded=True).valid_x.shape[1] == MAX_VALID_ROWS
        assert 0.0 < baseline_loss(task) < 10.0, task.name


def test_targets_are_as_their_kind_wants_them() -> None:
    for task in tasks():
        check_targets(task)
        assert task.outputs <= PADDED_CLASSES, task.name


def test_a_class_that_is_not_trained_on_becomes_another() -> None:
    generator = np.random.default_rng(0)
    recipe = replace(draw_table_recipe(generator), noise=0.0, train_rows=4)
    y = np.array([0, 5, 5, 0, 3, 7, 5, 0])
    numbers, classes = noisy_target(generator, recipe, y)
    assert classes == 2
    assert numbers.tolist() == [0, 1, 1, 0, 1, 1, 1, 0]


def test_tasks_are_varied() -> None:
    kinds = [task.kind for task in tasks()]
    assert 0.65 < kinds.count("classification") / len(kinds) < 0.85
    by_source = np.sum([task.context[-len(SOURCES) :] for task in tasks()], axis=0)
    assert by_source.min() > 30
    features = np.array([task.features for task in tasks()])
    assert np.quantile(features, 0.1) < 10
    assert np.quantile(features, 0.9) > 120
    assert {2, 3, 5, 8} <= {task.outputs for task in tasks()}


def linear_loss(task: Task) -> float:
    """The validation loss of a quick linear fit, in the unit of `baseline_loss`."""
    train, valid = task.train, task.valid
    if task.kind == "regression":
        fit = Ridge(alpha=10.0).fit(train.x, train.y)
        return float(np.mean((fit.predict(valid.x) - valid.y) ** 2))
    classifier = LogisticRegression(C=0.02, tol=1e-2).fit(train.x, train.y)
    p = classifier.predict_proba(valid.x)
    return float(log_loss(valid.y, p, labels=np.arange(task.outputs)))


def test_most_tasks_can_be_learned() -> None:
    few = tasks()[:60]
    ratios = np.array([linear_loss(task) / baseline_loss(task) for task in few])
    assert np.mean(ratios < 0.97) > 0.6
    assert np.median(ratios) < 0.9
    # Some are too much for a linear fit: growth and a longer training have something to gain.
    assert np.mean(ratios > 0.5) > 0.2
