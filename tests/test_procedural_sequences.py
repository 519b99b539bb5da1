"""The distribution of random sequences: repeatable, valid, varied, and no matter for a line."""

from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier

import rlagent
from rlagent_envs.tasks.procedural_common import CONTEXT, MAX_TRAIN_ROWS, MAX_VALID_ROWS
from rlagent_envs.tasks.procedural_sequences import (
    SHAPES,
    SOURCES,
    draw_sequence_recipe,
    sample_sequence_task,
)
from rlagent_envs.tasks.task import Task
from rlagent_envs.training.bank import PADDED_CLASSES, PADDED_FEATURES, baseline_loss, padded_sizes
from tests.random_tasks import check_same, check_seeds_differ, check_targets

SEEDS = range(40)


@cache
def tasks() -> list[Task]:
    return [sample_sequence_task(seed) for seed in SEEDS]


@pytest.mark.parametrize("seed", [0, 7])
def test_a_seed_is_a_task_bit_for_bit(seed: int) -> None:
    check_same(sample_sequence_task(seed), tasks()[seed])


def test_seeds_differ() -> None:
    check_seeds_differ(tasks())


def test_every_task_is_valid_and_fits_the_padded_sizes_as_it_is() -> None:
    for task in tasks():
        assert (task.form, task.family) == ("sequence", "sequence")
        assert task.input_shape in SHAPES
        assert padded_sizes(task)[0] == task.features
        assert len(task.train.x) <= MAX_TRAIN_ROWS
        assert len(task.valid.x) <= MAX_VALID_ROWS
        assert len(task.context) == CONTEXT
        assert np.isfinite(task.context).all()
        for part in (task.train, task.valid):
            assert part.x.dtype == np.float32
            assert np.isfinite(part.x).all()
            assert np.abs(part.x).max() <= 30.0
        check_targets(task)
        assert task.outputs <= PADDED_CLASSES
        assert baseline_loss(task) > 0.05
    assert {steps * channels for steps, channels in SHAPES} == set(PADDED_FEATURES)


def test_all_sources_kinds_and_shapes_come_up() -> None:
    drawn = [draw_sequence_recipe(np.random.default_rng(seed)) for seed in range(300)]
    counts = Counter((one.source, one.kind, (one.steps, one.channels)) for one in drawn)
    assert len(counts) == len(SOURCES) * 2 * len(SHAPES)


def test_a_test_part_has_the_rows_asked_for() -> None:
    task = sample_sequence_task(3, test_rows=50)
    assert task.test is not None
    assert task.test.x.shape == (50, task.features)


def test_a_network_over_time_learns_what_a_line_cannot(tmp_path: Path) -> None:
    task = sample_sequence_task(34, test_rows=400)  # motifs of three classes
    assert task.test is not None
    line = RidgeClassifier().fit(*task.train).score(*task.test)
    result = rlagent.tune(
        task,
        method="cosine",
        learning_rate=1e-2,
        rung="16x1",
        updates=200,
        decisions=2,
        out=tmp_path / "run",
    )
    majority = np.bincount(task.test.y).max() / 400
    assert result.summary["test_score"] > max(line, majority) + 0.3
