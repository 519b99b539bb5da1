"""Random tasks of every domain: which there are, which one a seed gives, and their names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from rlagent_envs.config import DOMAINS
from rlagent_envs.tasks.options import Options
from rlagent_envs.tasks.procedural_categories import sample_category_task
from rlagent_envs.tasks.procedural_images import sample_image_task
from rlagent_envs.tasks.procedural_language import sample_language_task
from rlagent_envs.tasks.procedural_rankings import sample_ranking_task
from rlagent_envs.tasks.procedural_ratings import sample_ratings_task
from rlagent_envs.tasks.procedural_records import sample_record_task
from rlagent_envs.tasks.procedural_scenes import (
    sample_detection_task,
    sample_segmentation_task,
)
from rlagent_envs.tasks.procedural_sequences import sample_sequence_task
from rlagent_envs.tasks.procedural_tables import sample_table_task
from rlagent_envs.tasks.procedural_texts import sample_text_task
from rlagent_envs.tasks.task import Task

# (seed, rows of a test part, difficulty or None) -> the task.
SAMPLERS: dict[str, Callable[[int, int, float | None], Task]] = {
    "tables": sample_table_task,
    "images": sample_image_task,
    "texts": sample_text_task,
    "sequences": sample_sequence_task,
    "ratings": sample_ratings_task,
    "language": sample_language_task,
    "segmentation": sample_segmentation_task,
    "detection": sample_detection_task,
    "categories": sample_category_task,
    "records": sample_record_task,
    "rankings": sample_ranking_task,
}
PREFIX = "procedural:"
TABLES = "tables"  # the domain of a name without one
TEST_ROWS = {TABLES: 4000}  # of tasks that are loaded by their names
OTHER_TEST_ROWS = 1000


def sample(
    domains: tuple[tuple[str, float], ...],
    seed: int,
    test_rows: int = 0,
    *,
    difficulty: tuple[float, ...] = (),
    canvases: bool = False,
) -> Task:
    """The random task of a seed, of a domain that the seed draws.

    Args:
        domains: (name, weight) of each that there is to draw from.
        seed: any number from 0; a task depends on it, and on nothing but its own domain.
        test_rows: rows of a test part, none by default.
        difficulty: from 0 to 1, a range from which that of the task is drawn; (): the noise of
            each task is drawn for itself, and often there is none.
        canvases: pictures among the tables come as images.
    """
    weights = np.array([weight for _, weight in domains])
    # A generator of its own: where there is one domain, its tasks are those of `sample_table_task`.
    chosen = np.random.default_rng([seed, 6]).choice(len(domains), p=weights / weights.sum())
    name = domains[int(chosen)][0]
    drawn = None
    if difficulty:
        low, high = difficulty
        drawn = float(np.random.default_rng([seed, 9]).uniform(low, high))
    if name == TABLES:
        return sample_table_task(seed, test_rows, drawn, canvases=canvases)
    return SAMPLERS[name](seed, test_rows, drawn)


def load_procedural(name: str, options: Options) -> Task:
    """The random task of a name; it is the same whatever the seed of the options is.

    Args:
        name: `procedural:SEED` or `procedural:DOMAIN:SEED`.
        options: only the batch size is looked at.

    Raises:
        ValueError: if there is no such domain, the seed is no number, or an option has no use here.
    """
    domain, seed = drawn_by(name)
    options.allow(f"{name} is drawn as it is")
    task = SAMPLERS[domain](seed, TEST_ROWS.get(domain, OTHER_TEST_ROWS), None)
    return task if options.batch_size is None else replace(task, batch_size=options.batch_size)


def drawn_by(name: str) -> tuple[str, int]:
    """The domain and the seed of `procedural:SEED` or `procedural:DOMAIN:SEED`.

    Raises:
        ValueError: if it is neither.
    """
    domain, _, seed = name.removeprefix(PREFIX).rpartition(":")
    if not seed.isdecimal():
        raise ValueError(f"{PREFIX} needs a seed, a whole number from 0 up, got {name!r}")
    if (domain or TABLES) not in DOMAINS:
        raise ValueError(f"unknown domain {domain!r}; there are: {', '.join(DOMAINS)}")
    return domain or TABLES, int(seed)
