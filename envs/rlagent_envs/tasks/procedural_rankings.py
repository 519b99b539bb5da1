"""An endless distribution of what random users take, for meta-training: one task for each seed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from rlagent_envs.tasks import procedural_ratings
from rlagent_envs.tasks.choices import CANDIDATES, NEGATIVES, choices_of
from rlagent_envs.tasks.procedural_common import (
    CONTEXT,
    MAX_TRAIN_ROWS,
    MAX_VALID_ROWS,
    log_uniform,
    numbered,
)
from rlagent_envs.tasks.procedural_ratings import all_pairs, drawn_pairs
from rlagent_envs.tasks.task import Split, Task, default_batch_size

# As of ratings; each that is taken makes several rows, so there are fewer users and items.
VOCABULARIES = ((128, 64), (256, 128))
MOST_ACCIDENTS = 0.6  # share of what is taken, in the most difficult tasks
DRAWN_ACCIDENTS = 0.3  # the same of tasks that draw it for themselves


@dataclass(frozen=True)
class RankingRecipe:
    """What was drawn for a task before its rows were."""

    pairs: procedural_ratings.Recipe  # who likes what; `train_rows` are items taken
    accidents: float  # share of what is taken that has nothing to do with who takes what


def sample_ranking_task(seed: int, test_rows: int = 0, difficulty: float | None = None) -> Task:
    """What the random users of a seed take; equal seeds give equal tasks, bit for bit.

    Users like items as those of random ratings do, and take what they like and what is popular. For
    each item taken some that were not are drawn, as `draw_choices` does for tables: the rows are
    choices. Users and items are numbered as real ones are: 0 for what training has once or not at
    all. No item is taken twice by a user.

    Args:
        seed: any number from 0.
        test_rows: rows of a test part, none by default. Another number of them gives another task
            of the same kind and size.
        difficulty: from 0 to 1: how much is taken by accident; None: as it is drawn.
    """
    generator = np.random.default_rng([seed, 26])
    recipe = draw_ranking_recipe(generator)
    if difficulty is not None:
        recipe = replace(recipe, accidents=MOST_ACCIDENTS * difficulty)
    train = recipe.pairs.train_rows
    valid = min(train // 3, MAX_VALID_ROWS // NEGATIVES)
    taken = taken_pairs(recipe, generator, train + valid + -(-test_rows // NEGATIVES))
    ends = [train, train + valid]
    names = ("train", "valid", "test") if test_rows else ("train", "valid")
    made = choices_of(
        generator,
        dict(zip(names, np.split(taken, ends), strict=False)),
        _numbers(taken[:train, 0], recipe.pairs.users),
        _numbers(taken[:train, 1], recipe.pairs.items),
    )
    test = Split(*(part[:test_rows] for part in made["test"])) if test_rows else None
    return Task(
        name=f"procedural rankings:{seed}",
        kind="classification",
        train=made["train"],
        valid=made["valid"],
        test=test,
        outputs=CANDIDATES,
        batch_size=default_batch_size(len(made["train"].y)),
        family="factorization",
        input_shape=(CANDIDATES,),
        vocabularies=recipe.pairs.vocabularies,
        continuous=np.zeros(1 + CANDIDATES, bool),
        context=_context(recipe),
    )


def draw_ranking_recipe(generator: np.random.Generator) -> RankingRecipe:
    """What kind of task it will be, how large and how hard."""
    most = MAX_TRAIN_ROWS // NEGATIVES
    pairs = procedural_ratings.draw_recipe(generator, VOCABULARIES, most)
    accidents = generator.choice([0.0, 0.0, generator.uniform(0.0, DRAWN_ACCIDENTS)])
    return RankingRecipe(
        replace(pairs, taste=log_uniform(generator, 1.0, 4.0)), accidents=float(accidents)
    )


def taken_pairs(recipe: RankingRecipe, generator: np.random.Generator, rows: int) -> np.ndarray:
    """Numbers of users and of the items that they take, from 0, `[rows, 2]`; no row twice."""
    log_chance = all_pairs(recipe.pairs, generator).log_chance
    taken = np.stack(drawn_pairs(generator, log_chance, rows), axis=1)
    anything = np.stack(drawn_pairs(generator, np.zeros_like(log_chance), log_chance.size), axis=1)
    order, kept = generator.permutation(rows), rows - round(recipe.accidents * rows)
    liked = taken[:kept]
    number = liked @ (log_chance.shape[1], 1)
    others = anything[~np.isin(anything @ (log_chance.shape[1], 1), number)]
    return np.concatenate([liked, others[: rows - kept]])[order]


def _numbers(ids: np.ndarray, count: int) -> np.ndarray:
    """The number of each id below a count, by those to train on, `[count]`; see `numbered`."""
    return numbered(np.concatenate([ids, np.arange(count)]), len(ids))[len(ids) :]


def _context(recipe: RankingRecipe) -> tuple[float, ...]:
    """What the critic may know, each number about -1 to 1."""
    pairs = recipe.pairs
    told = (
        math.log(NEGATIVES * pairs.train_rows / 700) / 2.0,
        math.log(pairs.users / 160) / 2.0,
        math.log(pairs.items / 100) / 2.0,
        math.log(pairs.rank / 4) / 2.0,
        *pairs.shares[:3],
        recipe.accidents / DRAWN_ACCIDENTS / 2.0,
        pairs.skew,
        math.log(pairs.taste / 2.0),
        float(pairs.bent),
    )
    assert len(told) == CONTEXT
    return told
