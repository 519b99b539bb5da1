"""An endless distribution of random tables with large categories, for meta-training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rlagent_envs.tasks.columns import MOST_CATEGORIES
from rlagent_envs.tasks.procedural_common import (
    MAX_TRAIN_ROWS,
    MOST_NOISE,
    Recipe,
    as_difficult,
    context_of,
    correlated,
    decided,
    disguised,
    finished_task,
    log_uniform,
    noisy_inputs,
    normal,
    numbered,
    part_sizes,
    some_replaced,
    taught,
)
from rlagent_envs.tasks.task import Task

# Quantities, and the numbers that each column of categories has, 0 among them: few sizes, because
# each has its own programs.
SHAPES: tuple[tuple[int, tuple[int, ...]], ...] = ((8, (256,)), (24, (512, 128)))
MOST_REPLACED = 0.3  # share of categories, in the most difficult tasks


@dataclass(frozen=True)
class CategoryRecipe(Recipe):
    """What was drawn for a table before its rows were.

    Its features are the quantities, `latent` is how many numbers there are to know of them and of
    a category. Of categories `input_noise` is what is replaced, as a share of `MOST_REPLACED`.
    """

    vocabularies: tuple[int, ...]
    weight: float  # of all categories in what there is to know, 1 - weight is that of quantities


class Columns(NamedTuple):
    """Rows of a table, and what there is to know of each."""

    quantities: np.ndarray  # [rows, quantities], before noise
    categories: np.ndarray  # [rows, columns of categories], from 0, before they are numbered
    known: np.ndarray  # [rows, ...], each about 1 in its deviation if weights are equal


def sample_category_task(seed: int, test_rows: int = 0, difficulty: float | None = None) -> Task:
    """The random table with large categories of a seed; equal seeds give equal tasks, bit for bit.

    Each category has a vector, and categories follow Zipf's law. A random network on the vectors of
    a row's categories and on a few directions of its quantities says what the target is. Categories
    are numbered as real ones are: 0 for what training has once or not at all.

    Args:
        seed: any number from 0.
        test_rows: rows of a test part, none by default. Another number of them gives another task
            of the same kind and size.
        difficulty: see `as_difficult`.
    """
    generator = np.random.default_rng([seed, 24])
    recipe = as_difficult(draw_category_recipe(generator), difficulty)
    sizes = part_sizes(recipe.train_rows, test_rows)
    columns = draw_columns(
        generator, sum(sizes), recipe.features, recipe.vocabularies, recipe.latent, recipe.weight
    )
    target = decided(recipe, generator, taught(generator, columns.known, recipe.classes))
    x = told(generator, columns, recipe.train_rows, recipe.input_noise, recipe.scale)
    return finished_task(
        f"procedural categories:{seed}",
        recipe,
        generator,
        x,
        target,
        sizes,
        family="embedding_mlp",
        vocabularies=recipe.vocabularies,
        continuous=np.arange(x.shape[1]) < recipe.features,
        context=context_of(
            recipe.train_rows,
            recipe.features,
            recipe.latent,
            recipe.classes,
            recipe.noise,
            recipe.input_noise,
            recipe.scale,
            (recipe.weight, len(recipe.vocabularies) - 1.0),
        ),
    )


def draw_category_recipe(generator: np.random.Generator) -> CategoryRecipe:
    """What kind of task it will be, how large and how hard."""
    quantities, vocabularies = SHAPES[int(generator.integers(len(SHAPES)))]
    classes = generator.random() < 0.6
    return CategoryRecipe(
        kind="classification" if classes else "regression",
        source="teacher",
        features=quantities,
        latent=round(log_uniform(generator, 1, 6)),
        classes=round(log_uniform(generator, 2, 8)) if classes else 1,
        # The larger of two draws, as for all procedural tasks.
        train_rows=round(max(log_uniform(generator, 256, MAX_TRAIN_ROWS) for _ in range(2))),
        noise=float(generator.choice([0.0, 0.0, generator.uniform(0.0, MOST_NOISE)])),
        input_noise=float(generator.choice([0.0, log_uniform(generator, 0.05, 1.0)])),
        scale=float(generator.choice([1.0, log_uniform(generator, 0.3, 3.0)])),
        vocabularies=vocabularies,
        weight=float(generator.uniform(0.3, 0.8)),
    )


def draw_columns(
    generator: np.random.Generator,
    rows: int,
    quantities: int,
    vocabularies: tuple[int, ...],
    directions: int,
    weight: float,
) -> Columns:
    """Correlated quantities and columns of categories that follow Zipf's law.

    Args:
        generator: draws all of it.
        rows: how many.
        quantities: columns of them.
        vocabularies: of each column of categories the most numbers that it may need.
        directions: numbers there are to know of the quantities, and of each category.
        weight: see `CategoryRecipe`; without any categories the quantities have all of it.
    """
    x, z = correlated(generator, rows, quantities, directions)
    ids, known = np.zeros((rows, len(vocabularies)), int), [z]
    for place, vocabulary in enumerate(vocabularies):
        count = round(log_uniform(generator, MOST_CATEGORIES + 1, vocabulary - 1))
        frequency = np.arange(1, count + 1) ** -generator.uniform(0.3, 1.1)
        ids[:, place] = generator.permutation(count)[
            generator.choice(count, rows, p=frequency / frequency.sum())
        ]
        known.append(normal(generator, count, directions)[ids[:, place]])
    shares = [1.0]
    if vocabularies:
        shares = [1.0 - weight, *[weight / len(vocabularies)] * len(vocabularies)]
    weighed = [
        part * np.float32(math.sqrt(share * len(known)))
        for part, share in zip(known, shares, strict=True)
    ]
    return Columns(disguised(generator, x), ids, np.concatenate(weighed, axis=1))


def told(
    generator: np.random.Generator,
    columns: Columns,
    train_rows: int,
    noise: float,
    scale: float,
) -> np.ndarray:
    """The rows as a network is given them, float32 `[rows, quantities + columns of categories]`.

    Args:
        generator: draws the noise.
        columns: without it.
        train_rows: how many of the first rows train.
        noise: of the quantities, in standard deviations; see `CategoryRecipe` for categories.
        scale: see `noisy_inputs`.
    """
    x = noisy_inputs(generator, columns.quantities, train_rows, noise, scale)
    numbers = [
        numbered(some_replaced(generator, ids, MOST_REPLACED * noise), train_rows)
        for ids in columns.categories.T
    ]
    return np.column_stack([x, *numbers]).astype(np.float32, copy=False)
