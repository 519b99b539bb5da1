"""An endless distribution of random ratings for meta-training: one task for each seed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from rlagent_envs.tasks.procedural_common import (
    CONTEXT,
    MAX_TRAIN_ROWS,
    divided,
    log_uniform,
    numbered,
    part_sizes,
)
from rlagent_envs.tasks.task import Task, default_batch_size

# Users and items that have a number, 0 among them: few sizes, because each has its own programs.
VOCABULARIES = ((256, 128), (512, 256))
LEAST = (64, 48)  # users and items that there are
MOST_RATED = 0.3  # share of all pairs that trains, at the most
MOST_NOISE = 0.7  # share of the variance in the most difficult tasks
STARS = 5  # that the ratings of some tasks are rounded to


@dataclass(frozen=True)
class Recipe:
    """What was drawn for a task before its rows were."""

    vocabularies: tuple[int, int]
    users: int  # that there are
    items: int
    rank: int  # of what a user and an item have to do with each other
    bent: bool  # whether that is more than a product
    shares: tuple[float, ...]  # of the variance: users, items, both together, noise
    skew: float  # exponent of Zipf's law for the users who rate much, and for popular items
    taste: float  # how much more a user rates what they like
    stars: bool
    train_rows: int


class Pairs(NamedTuple):
    """All pairs of a user and an item that there could be, each `[users, items]`."""

    liking: np.ndarray  # what is rated, without the noise
    log_chance: np.ndarray  # of being rated, but for a constant


def sample_ratings_task(seed: int, test_rows: int = 0, difficulty: float | None = None) -> Task:
    """The random ratings of a seed; equal seeds give equal tasks, bit for bit.

    Rows are a user and an item, numbered as real ones are: 0 for what training has once or not at
    all. No pair is there twice. The target is what the user is like, plus what the item is like,
    plus what they have to do with each other, plus noise.

    Args:
        seed: any number from 0.
        test_rows: rows of a test part, none by default, at most 1024. Another number of them gives
            another task of the same kind and size.
        difficulty: from 0 to 1: how much noise there is; None: as it is drawn.
    """
    generator = np.random.default_rng([seed, 8])
    recipe = draw_recipe(generator)
    if difficulty is not None:
        told = sum(recipe.shares[:3])
        noise = MOST_NOISE * difficulty
        left = [share * (1.0 - noise) / told for share in recipe.shares[:3]]
        recipe = replace(recipe, shares=(*left, noise))
    sizes = part_sizes(recipe.train_rows, test_rows)
    pairs = all_pairs(recipe, generator)
    users, items = drawn_pairs(generator, pairs.log_chance, sum(sizes))
    noise = np.sqrt(recipe.shares[3]) * generator.standard_normal(len(users))
    y = pairs.liking[users, items] + noise
    if recipe.stars:
        y = np.clip(np.round(3.5 + 1.1 * y), 1, STARS)
    train_y = y[: recipe.train_rows]
    y = ((y - train_y.mean()) / train_y.std()).astype(np.float32)
    numbers = [numbered(ids, recipe.train_rows) for ids in (users, items)]
    x = np.stack(numbers, axis=1).astype(np.float32)
    train, valid, test = divided(x, y, sizes)
    return Task(
        name=f"procedural ratings:{seed}",
        kind="regression",
        train=train,
        valid=valid,
        test=test,
        outputs=1,
        batch_size=default_batch_size(recipe.train_rows),
        family="factorization",
        vocabularies=recipe.vocabularies,
        context=_context(recipe),
    )


def draw_recipe(
    generator: np.random.Generator,
    sizes: tuple[tuple[int, int], ...] = VOCABULARIES,
    most: int = MAX_TRAIN_ROWS,
) -> Recipe:
    """What kind of task it will be, how large and how hard.

    Args:
        generator: draws all of it.
        sizes: the vocabularies to choose from.
        most: pairs that train.
    """
    vocabularies = sizes[int(generator.integers(len(sizes)))]
    users, items = (
        round(log_uniform(generator, least, most - 1))
        for least, most in zip(LEAST, vocabularies, strict=True)
    )
    most_rows = min(most, MOST_RATED * users * items)
    return Recipe(
        vocabularies=vocabularies,
        users=users,
        items=items,
        rank=round(log_uniform(generator, 1, 12)),
        bent=generator.random() < 0.4,
        shares=tuple(generator.dirichlet([2.0, 2.0, 4.0, 4.0]).tolist()),
        skew=float(generator.uniform(0.0, 1.0)),
        taste=float(generator.uniform(0.0, 1.0)),
        stars=generator.random() < 0.5,
        # The larger of two draws, as for all procedural tasks.
        train_rows=round(max(log_uniform(generator, 256, most_rows) for _ in range(2))),
    )


def all_pairs(recipe: Recipe, generator: np.random.Generator) -> Pairs:
    """What all users would rate all items, and how likely they do."""
    users, items = recipe.users, recipe.items
    user, item = generator.standard_normal((users, 1)), generator.standard_normal((1, items))
    factors = generator.standard_normal((users + items, recipe.rank)) / recipe.rank**0.25
    both = factors[:users] @ factors[users:].T
    if recipe.bent:
        both = np.abs(both + 0.5)
    parts = [(one - one.mean()) / one.std() for one in (user, item, both)]
    weights = np.sqrt(recipe.shares)
    liking = sum(
        (weight * part for weight, part in zip(weights, parts, strict=False)),
        start=np.zeros((users, items)),
    )
    # Good items tend to be popular; who rates much is by chance.
    popular = _ranks(parts[1][0] + generator.standard_normal(items))
    busy = _ranks(generator.standard_normal(users))
    log_chance = -recipe.skew * (np.log(busy)[:, None] + np.log(popular)[None, :])
    return Pairs(liking, log_chance + recipe.taste * liking)


def drawn_pairs(
    generator: np.random.Generator, log_chance: np.ndarray, rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Users and items of different pairs, drawn by their chances one after another, `[rows]`.

    Args:
        generator: draws them.
        log_chance: of each pair, `[users, items]`.
        rows: how many pairs.
    """
    keys = log_chance + generator.gumbel(size=log_chance.shape)
    drawn = np.argsort(-keys, axis=None, kind="stable")[:rows]
    users, items = np.unravel_index(generator.permutation(drawn), keys.shape)
    return users, items


def _ranks(values: np.ndarray) -> np.ndarray:
    """1 for the largest, 2 for the next, and so on."""
    return np.argsort(np.argsort(-values)) + 1.0


def _context(recipe: Recipe) -> tuple[float, ...]:
    """What the critic may know, each number about -1 to 1."""
    told = (
        float(np.log(recipe.train_rows / 700) / 2.0),
        float(np.log(recipe.users / 160) / 2.0),
        float(np.log(recipe.items / 100) / 2.0),
        float(np.log(recipe.rank / 4) / 2.0),
        *recipe.shares[1:],
        recipe.skew,
        recipe.taste,
        float(recipe.bent),
        float(recipe.stars),
    )
    assert len(told) == CONTEXT
    return told
