"""The distribution of random images: repeatable, valid, varied, and no matter for a line."""

from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier

import rlagent
from rlagent_envs.tasks.procedural_common import CONTEXT, MAX_TRAIN_ROWS, MAX_VALID_ROWS
from rlagent_envs.tasks.procedural_images import (
    CHANNELS,
    SIDE,
    SOURCES,
    draw_image_recipe,
    sample_image_task,
)
from rlagent_envs.tasks.task import Task
from rlagent_envs.training.bank import PADDED_CLASSES, baseline_loss, padded_sizes
from tests.random_tasks import check_same, check_seeds_differ, check_targets

SEEDS = range(20)


@cache
def tasks() -> list[Task]:
    return [sample_image_task(seed) for seed in SEEDS]


@pytest.mark.parametrize("seed", [0, 3])
def test_a_seed_is_a_task_bit_for_bit(seed: int) -> None:
    check_same(sample_image_task(seed), tasks()[seed])


def test_seeds_differ() -> None:
    check_seeds_differ(tasks())


def test_every_task_is_valid() -> None:
    for task in tasks():
        assert (task.form, task.family) == ("image", "cnn")
        assert task.input_shape in {(SIDE, SIDE, channels) for channels in CHANNELS}
        assert len(task.train.x) <= MAX_TRAIN_ROWS
        assert len(task.valid.x) <= MAX_VALID_ROWS
        assert padded_sizes(task)[0] == task.features
        assert len(task.context) == CONTEXT
        assert np.isfinite(task.context).all()
        for part in (task.train, task.valid):
            assert part.x.dtype == np.float32
            assert part.x.shape[1] == task.features
            assert np.isfinite(part.x).all()
            assert np.abs(part.x).max() <= 30.0
        check_targets(task)
        assert task.outputs <= PADDED_CLASSES
        assert baseline_loss(task) > 0.05


def test_all_sources_kinds_and_shapes_come_up() -> None:
    drawn = [draw_image_recipe(np.random.default_rng(seed)) for seed in range(300)]
    counts = Counter((one.source, one.kind, one.channels) for one in drawn)
    assert len(counts) == len(SOURCES) * 2 * len(CHANNELS)


def test_a_test_part_has_the_rows_asked_for() -> None:
    task = sample_image_task(4, test_rows=50)
    assert task.test is not None
    assert task.test.x.shape == (50, task.features)


@pytest.mark.parametrize("source", list(SOURCES))
def test_equal_targets_give_images_that_are_alike(source: str) -> None:
    recipe = next(
        one
        for one in (draw_image_recipe(np.random.default_rng(seed)) for seed in range(100))
        if (one.source, one.kind) == (source, "classification") and one.classes > 2
    )
    generator = np.random.default_rng(0)
    target = generator.integers(recipe.classes, size=1500)
    drawn = SOURCES[source](recipe, generator, target)
    spectra = np.abs(np.fft.fft2(drawn.reshape(-1, SIDE, SIDE)))  # the same wherever a thing lies
    x = np.log(spectra + 1e-3).reshape(len(target), -1)
    score = RidgeClassifier(100.0).fit(x[:1000], target[:1000]).score(x[1000:], target[1000:])
    assert score > 1.5 * np.bincount(target[1000:]).max() / 500


def test_a_convolutional_network_learns_what_a_line_cannot(tmp_path: Path) -> None:
    task = sample_image_task(5, test_rows=400)  # three textures on discs that lie anywhere
    assert task.test is not None
    line = RidgeClassifier(100.0).fit(*task.train).score(*task.test)
    result = rlagent.tune(
        task, method="cosine", rung="8x1", updates=100, decisions=2, out=tmp_path / "run"
    )
    majority = np.bincount(task.test.y).max() / 400
    assert result.summary["test_score"] > max(line, majority) + 0.2
