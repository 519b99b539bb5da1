"""An endless distribution of random texts beside other columns, for meta-training."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rlagent_envs.tasks.procedural_categories import draw_columns, told
from rlagent_envs.tasks.procedural_common import (
    CONTEXT,
    as_difficult,
    decided,
    finished_task,
    log_uniform,
    normal,
    part_sizes,
    some_replaced,
    standardised,
    taught,
)
from rlagent_envs.tasks.procedural_texts import (
    MOST_REPLACED,
    SOURCES,
    TextRecipe,
    context_of_texts,
    draw_text_recipe,
    numbered_words,
)
from rlagent_envs.tasks.task import Kind, Task

# Beside texts of each length: quantities, and the numbers that each column of categories has.
BESIDE: dict[int, tuple[int, tuple[int, ...]]] = {24: (8, ()), 48: (16, (128,))}
LEAST_SHARE = 0.25  # of the text, and of the other columns, in what decides


@dataclass(frozen=True)
class RecordRecipe(TextRecipe):
    """What was drawn for a task before its records were; see `TextRecipe` for the texts.

    `kind` and `classes` are those of the target.
    """

    quantities: int
    vocabularies: tuple[int, ...]  # of the columns of categories
    themes: int  # classes of the texts by themselves
    directions: int  # numbers there are to know of the quantities, and of a category
    weight: float  # of categories, see `CategoryRecipe`
    shares: tuple[float, ...]  # of the variance of what decides: text, columns, both together


def sample_record_task(seed: int, test_rows: int = 0, difficulty: float | None = None) -> Task:
    """The random records of a seed; equal seeds give equal tasks, bit for bit.

    A record is a text as `sample_text_task` writes them, and columns as of
    `sample_category_task`. What the text is about, what the columns are, and the product of both
    are added up: neither text nor columns alone tell the target.

    Args:
        seed: any number from 0.
        test_rows: rows of a test part, none by default. Another number of them gives another task
            of the same kind and size.
        difficulty: see `as_difficult`.
    """
    generator = np.random.default_rng([seed, 25])
    recipe = as_difficult(draw_record_recipe(generator), difficulty, MOST_REPLACED)
    sizes = part_sizes(recipe.train_rows, test_rows)
    rows = sum(sizes)
    text_recipe = replace(recipe, kind=_text_kind(recipe), classes=recipe.themes)
    texts, subject = SOURCES[recipe.source](text_recipe, generator, rows)
    columns = draw_columns(
        generator, rows, recipe.quantities, recipe.vocabularies, recipe.directions, recipe.weight
    )
    by_text = taught(generator, _known(recipe, generator, subject), recipe.classes)
    by_columns = taught(generator, columns.known, recipe.classes)
    parts = (by_text, by_columns, standardised(by_text * by_columns))
    total = sum(np.sqrt(share) * part for share, part in zip(recipe.shares, parts, strict=True))
    target = decided(recipe, generator, np.asarray(total))
    words = some_replaced(generator, texts.words, recipe.input_noise)
    noise = recipe.input_noise / MOST_REPLACED
    x = np.concatenate(
        [
            numbered_words(words, texts.lengths, recipe),
            told(generator, columns, recipe.train_rows, noise, 1.0),
        ],
        axis=1,
    )
    beside = x.shape[1] - recipe.features
    places = np.arange(x.shape[1]) - recipe.features
    return finished_task(
        f"procedural records:{seed}",
        recipe,
        generator,
        x,
        target,
        sizes,
        family="record",
        input_shape=(recipe.features, beside),
        vocabularies=(recipe.tokens, *recipe.vocabularies),
        continuous=(places >= 0) & (places < recipe.quantities),
        context=_context(recipe),
    )


def draw_record_recipe(generator: np.random.Generator) -> RecordRecipe:
    """What kind of task it will be, how large and how hard."""
    text = draw_text_recipe(generator)
    quantities, vocabularies = BESIDE[text.features]
    classes = generator.random() < 0.6
    drawn = generator.dirichlet([2.0, 2.0, 1.0]) * (1.0 - 2.0 * LEAST_SHARE)
    shares = drawn + np.array([LEAST_SHARE, LEAST_SHARE, 0.0])
    return RecordRecipe(
        **{
            **vars(text),
            "kind": "classification" if classes else "regression",
            "classes": round(log_uniform(generator, 2, 6)) if classes else 1,
        },
        quantities=quantities,
        vocabularies=vocabularies,
        themes=round(log_uniform(generator, 2, 6)),
        directions=round(log_uniform(generator, 1, 5)),
        weight=float(generator.uniform(0.2, 0.7)),
        shares=tuple(shares.tolist()),
    )


def _text_kind(recipe: RecordRecipe) -> Kind:
    """Texts that have a value by themselves have it here; others have a theme, as classes are."""
    return "regression" if recipe.source == "valences" else "classification"


def _known(recipe: RecordRecipe, generator: np.random.Generator, subject: np.ndarray) -> np.ndarray:
    """What there is to know of a text, `[rows, ...]`: its value, or some numbers of its theme."""
    if _text_kind(recipe) == "regression":
        return standardised(subject[:, None]).astype(np.float32)
    return normal(generator, recipe.themes, recipe.directions)[subject]


def _context(recipe: RecordRecipe) -> tuple[float, ...]:
    """What the critic may know, each number about -1 to 1."""
    by_words = float(recipe.source in ("topics", "valences"))
    known = (*context_of_texts(recipe), *recipe.shares, by_words)
    assert len(known) == CONTEXT
    return known
