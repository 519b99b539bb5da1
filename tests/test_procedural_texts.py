"""The distribution of random texts: repeatable, valid, varied, and possible to learn."""

from functools import cache

import numpy as np
import pytest
from scipy.sparse import csr_matrix, hstack
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss
from sklearn.naive_bayes import MultinomialNB

from rlagent_envs.forms import UNKNOWN
from rlagent_envs.tasks.procedural_texts import LEAST_LENGTH, SHAPES, SOURCES, sample_text_task
from rlagent_envs.tasks.task import Task
from rlagent_envs.training.bank import PADDED_CLASSES, baseline_loss
from tests.random_tasks import (
    check_same,
    check_seeds_differ,
    check_size_and_context,
    check_targets,
)

SEEDS = range(80)


@cache
def tasks() -> list[Task]:
    return [sample_text_task(seed) for seed in SEEDS]


def source_of(task: Task) -> str:
    return list(SOURCES)[int(np.argmax(task.context[-len(SOURCES) :]))]


@pytest.mark.parametrize("seed", [0, 6, 17])
def test_a_seed_is_a_task_bit_for_bit(seed: int) -> None:
    check_same(sample_text_task(seed), tasks()[seed])


def test_seeds_differ() -> None:
    check_seeds_differ(tasks())


def test_a_test_part_has_the_rows_asked_for() -> None:
    task = sample_text_task(0, test_rows=50)
    assert task.test is not None
    assert task.test.x.shape == (50, task.features)
    assert len(task.test.y) == 50
    assert tasks()[0].test is None


def test_every_task_is_valid() -> None:
    for task in tasks():
        assert (task.form, task.family, task.attackable) == ("tokens", "text", False)
        assert (task.features, *task.vocabularies) in SHAPES, task.name
        for part in (task.train, task.valid):
            assert part.x.dtype == np.float32, task.name
            assert np.array_equal(part.x, np.round(part.x)), task.name
            assert 0 <= part.x.min() <= part.x.max() < task.vocabularies[0], task.name
            lengths = np.sum(part.x > 0, axis=1)
            assert lengths.min() >= LEAST_LENGTH, task.name
            behind = np.arange(task.features) >= lengths[:, None]
            assert not part.x[behind].any(), task.name
        check_size_and_context(task)
        assert 0.0 < baseline_loss(task) < 10.0, task.name


def test_words_have_their_numbers_by_how_frequent_they_are_in_training() -> None:
    unknown = []
    for task in tasks():
        words, counts = np.unique(task.train.x[task.train.x > UNKNOWN], return_counts=True)
        assert words[0] == UNKNOWN + 1, task.name
        assert (np.diff(words) == 1).all(), task.name
        assert (np.diff(counts) <= 0).all(), task.name
        assert counts[-1] >= (2 if len(task.train.x) >= 1000 else 1), task.name
        assert task.valid.x.max() <= words[-1], task.name
        unknown.append(np.mean(task.valid.x[task.valid.x > 0] == UNKNOWN))
    assert 0.0 < np.mean(unknown) < 0.2


def test_targets_are_as_their_kind_wants_them() -> None:
    for task in tasks():
        check_targets(task)
        assert task.outputs <= PADDED_CLASSES, task.name


def test_tasks_are_varied() -> None:
    kinds = [task.kind for task in tasks()]
    assert 0.75 < kinds.count("classification") / len(kinds) < 0.97
    assert {source_of(task) for task in tasks()} == set(SOURCES)
    assert {(task.features, *task.vocabularies) for task in tasks()} == set(SHAPES)
    assert {2, 3, 5, 8} <= {task.outputs for task in tasks()}


def bag(task: Task, x: np.ndarray, weights: np.ndarray | None = None) -> csr_matrix:
    """How often each token is in each text, or the sum of weights `[length]` of its places."""
    rows, places = np.nonzero(x)
    values = np.ones(len(rows)) if weights is None else weights[places]
    shape = (len(x), task.vocabularies[0])
    return csr_matrix((values, (rows, x[rows, places].astype(int))), shape)


def ratio_by_words(task: Task) -> float:
    """The validation loss by the words alone, in the unit of `baseline_loss`."""
    train, valid = bag(task, task.train.x), bag(task, task.valid.x)
    if task.kind == "regression":
        fit = Ridge(alpha=100.0).fit(train, task.train.y)
        return float(np.mean((fit.predict(valid) - task.valid.y) ** 2)) / baseline_loss(task)
    guesses = MultinomialNB().fit(train, task.train.y).predict(valid)
    most = np.bincount(task.valid.y).max()
    return float(np.sum(guesses != task.valid.y)) / float(len(task.valid.y) - most)


def test_most_tasks_can_be_learned() -> None:
    ratios: dict[str, list[float]] = {source: [] for source in SOURCES}
    for task in tasks():
        ratios[source_of(task)].append(ratio_by_words(task))
    for source in ("topics", "motifs", "valences"):
        assert np.mean(np.array(ratios[source]) < 0.95) > 0.6, source
    # Some are too much for words alone: a network that reads their order has something to gain.
    assert np.mean(np.concatenate(list(ratios.values())) > 0.5) > 0.3


def test_the_order_of_words_says_what_the_words_do_not() -> None:
    """Two classes, each text with the things of both: a linear fit needs to know their places."""
    told, wanted = [], [task for task in tasks() if source_of(task) == "orders"]
    for task in wanted:
        if task.outputs > 2 or len(task.train.x) < 1500:
            continue
        places = np.arange(task.features) / task.features

        def seen(x: np.ndarray, task: Task = task, places: np.ndarray = places) -> csr_matrix:
            return hstack([bag(task, x), 5.0 * bag(task, x, places)]).tocsr()

        losses = [
            log_loss(
                task.valid.y,
                LogisticRegression(C=0.1, max_iter=2000)
                .fit(read(task.train.x), task.train.y)
                .predict_proba(read(task.valid.x)),
            )
            for read in (lambda x, task=task: bag(task, x), seen)
        ]
        told.append(losses[1] / losses[0])
    assert told
    assert np.mean(told) < 0.9
