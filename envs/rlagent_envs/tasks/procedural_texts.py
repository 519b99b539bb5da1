"""An endless distribution of random texts for meta-training: one task for each seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rlagent_envs.forms import UNKNOWN
from rlagent_envs.tasks.procedural_common import (
    CONTEXT,
    MAX_TRAIN_ROWS,
    MOST_NOISE,
    Recipe,
    as_difficult,
    class_shares,
    finished_task,
    log_uniform,
    part_sizes,
    some_replaced,
)
from rlagent_envs.tasks.task import Task
from rlagent_envs.tasks.texts import MANY_ROWS

# Length and vocabulary of the texts: few of them, because each has its own programs.
SHAPES = ((24, 1024), (48, 4096))
LEAST_LENGTH = 6  # tokens of the shortest texts, so that there is room for what tells classes apart
MOST_REPLACED = 0.3  # share of words
SYNONYMS = 6  # most words that mean the same


@dataclass(frozen=True)
class TextRecipe(Recipe):
    """What was drawn for a task before its texts were.

    Its features are the tokens of a text, `latent` is the number of different words, `input_noise`
    the share of words that are replaced by any others, and `scale` how much words tell.
    """

    tokens: int  # of the vocabulary


class Texts(NamedTuple):
    """Words from 0 up, before they are numbered as tokens."""

    words: np.ndarray  # [rows, length], int
    lengths: np.ndarray  # [rows]: words behind them do not count


Source = Callable[[TextRecipe, np.random.Generator, int], tuple[Texts, np.ndarray]]


def sample_text_task(seed: int, test_rows: int = 0, difficulty: float | None = None) -> Task:
    """The random texts of a seed; equal seeds give equal tasks, bit for bit.

    Tokens are numbered as those of real texts are: 0 behind the end, 1 for words that training
    lacks or, where it is large, has only once.

    Args:
        seed: any number from 0.
        test_rows: rows of a test part, none by default. Another number of them gives another task
            of the same kind and size.
        difficulty: see `as_difficult`.
    """
    generator = np.random.default_rng([seed, 2])
    recipe = as_difficult(draw_text_recipe(generator), difficulty, MOST_REPLACED)
    sizes = part_sizes(recipe.train_rows, test_rows)
    texts, target = SOURCES[recipe.source](recipe, generator, sum(sizes))
    words = some_replaced(generator, texts.words, recipe.input_noise)
    x = numbered_words(words, texts.lengths, recipe)
    return finished_task(
        f"procedural texts:{seed}",
        recipe,
        generator,
        x,
        target,
        sizes,
        family="text",
        input_shape=(recipe.features,),
        vocabularies=(recipe.tokens,),
        continuous=np.zeros(recipe.features, bool),
        context=_context(recipe),
    )


def draw_text_recipe(generator: np.random.Generator) -> TextRecipe:
    """What kind of task it will be, how large and how hard."""
    length, tokens = SHAPES[int(generator.integers(len(SHAPES)))]
    source = str(generator.choice(list(SOURCES)))
    regression = source == "valences" and generator.random() < 0.5
    return TextRecipe(
        kind="regression" if regression else "classification",
        source=source,
        features=length,
        latent=round(log_uniform(generator, tokens / 8, tokens * 4)),
        classes=1 if regression else round(log_uniform(generator, 2, 8)),
        # The larger of two draws, as for all procedural tasks.
        train_rows=round(max(log_uniform(generator, 128, MAX_TRAIN_ROWS) for _ in range(2))),
        noise=float(generator.choice([0.0, 0.0, generator.uniform(0.0, MOST_NOISE)])),
        input_noise=float(generator.choice([0.0, generator.uniform(0.0, MOST_REPLACED)])),
        scale=log_uniform(generator, 0.5, 4.0),
        tokens=tokens,
    )


def topics(
    recipe: TextRecipe, generator: np.random.Generator, rows: int
) -> tuple[Texts, np.ndarray]:
    """Some words are more frequent in texts of one class than in those of another."""
    y = _drawn_classes(recipe, generator, rows)
    telling = generator.random(recipe.latent) < log_uniform(generator, 0.05, 0.5)
    tilt = recipe.scale * telling * generator.standard_normal((recipe.classes, recipe.latent))
    return _written(recipe, generator, y, tilt), y


def motifs(
    recipe: TextRecipe, generator: np.random.Generator, rows: int
) -> tuple[Texts, np.ndarray]:
    """A class is known by a few words that follow each other, and elsewhere stand alone."""
    y = _drawn_classes(recipe, generator, rows)
    texts = _written(recipe, generator, np.zeros(rows, int))
    several, places = int(generator.integers(1, 4)), int(generator.integers(2, 4))
    words = generator.integers(recipe.latent, size=(recipe.classes, several, places, SYNONYMS))
    words = words[..., : int(generator.integers(1, SYNONYMS + 1))]
    for _ in range(int(generator.integers(0, 4))):
        alone = generator.choice(words.reshape(-1), (rows, 1))
        _put(texts, alone, _somewhere(generator, texts, 1))
    which = generator.integers(several, size=rows)
    synonym = generator.integers(words.shape[3], size=(rows, places))
    motif = words[y[:, None], which[:, None], np.arange(places)[None, :], synonym]
    _put(texts, motif, _somewhere(generator, texts, places))
    return texts, y


def orders(
    recipe: TextRecipe, generator: np.random.Generator, rows: int
) -> tuple[Texts, np.ndarray]:
    """Each text names two things out of as many as there are classes; what comes first counts."""
    y = _drawn_classes(recipe, generator, rows)
    texts = _written(recipe, generator, np.zeros(rows, int))
    second = (y + generator.integers(1, recipe.classes, size=rows)) % recipe.classes
    names = generator.permutation(recipe.latent)[: recipe.classes * SYNONYMS]
    names = names.reshape(recipe.classes, SYNONYMS)[:, : int(generator.integers(1, SYNONYMS + 1))]
    gap = int(generator.integers(1, LEAST_LENGTH))
    place = _somewhere(generator, texts, gap + 1)
    for thing, behind in ((y, 0), (second, gap)):
        synonym = generator.integers(names.shape[1], size=rows)
        _put(texts, names[thing, synonym][:, None], place + behind)
    return texts, y


def valences(
    recipe: TextRecipe, generator: np.random.Generator, rows: int
) -> tuple[Texts, np.ndarray]:
    """Some words are good or bad, and others turn what follows into its opposite."""
    texts = _written(recipe, generator, np.zeros(rows, int))
    valence = generator.standard_normal(recipe.latent)
    valence *= generator.random(recipe.latent) < log_uniform(generator, 0.05, 0.5)
    turning = generator.integers(recipe.latent, size=int(generator.integers(1, SYNONYMS + 1)))
    turned = generator.random(texts.words.shape) < generator.uniform(0.0, 0.15)
    texts.words[turned] = generator.choice(turning, int(turned.sum()))
    valence[turning] = 0.0
    signs, negative = np.ones(texts.words.shape), np.isin(texts.words, turning)
    for distance in range(1, int(generator.integers(2, 4))):
        signs[:, distance:] *= np.where(negative[:, :-distance], -1.0, 1.0)
    real = np.arange(recipe.features) < texts.lengths[:, None]
    total = np.sum(signs * valence[texts.words] * real, axis=1) / np.sqrt(texts.lengths)
    if recipe.kind == "regression":
        return texts, total
    shares = class_shares(generator, recipe.classes)
    limits = np.quantile(total[: recipe.train_rows], np.cumsum(shares)[:-1])
    return texts, np.searchsorted(limits, total)


SOURCES: dict[str, Source] = {
    "topics": topics,
    "motifs": motifs,
    "orders": orders,
    "valences": valences,
}


def _drawn_classes(recipe: TextRecipe, generator: np.random.Generator, rows: int) -> np.ndarray:
    return generator.choice(recipe.classes, rows, p=class_shares(generator, recipe.classes))


def _written(
    recipe: TextRecipe,
    generator: np.random.Generator,
    y: np.ndarray,
    tilt: np.ndarray | None = None,
) -> Texts:
    """Texts of a random grammar: which part of speech follows which, and the words of each.

    Words follow Zipf's law, and where there is a tilt are more or less frequent by their class.

    Args:
        recipe: of the task.
        generator: draws all of it.
        y: the class of each text, `[rows]`.
        tilt: added to the logarithm of the frequency, `[classes, words]`; None: nothing.
    """
    parts = int(generator.integers(1, 7))
    part_of = generator.permutation(np.arange(recipe.latent) % parts)
    ranks = generator.permutation(recipe.latent) + 1.0
    frequency = -generator.uniform(0.6, 1.2) * np.log(ranks)
    follows = generator.dirichlet(np.full(parts, 0.5), size=parts).cumsum(axis=1)
    rows, length = len(y), recipe.features
    speech = np.zeros((rows, length), int)
    chance = generator.random((rows, length))
    for place in range(1, length):
        ends = follows[speech[:, place - 1], :-1]
        speech[:, place] = np.sum(chance[:, place, None] > ends, axis=1)
    words = np.zeros((rows, length), int)
    for number in np.unique(y):
        weights = np.exp(frequency if tilt is None else frequency + tilt[number])
        for part in range(parts):
            known = np.flatnonzero(part_of == part)
            here = (y[:, None] == number) & (speech == part)
            total = weights[known].cumsum()
            drawn = generator.random(int(here.sum())) * total[-1]
            words[here] = known[
                np.searchsorted(total, drawn, side="right").clip(max=len(known) - 1)
            ]
    typical = generator.uniform(0.3, 0.9) * length
    lengths = np.round(typical * np.exp(0.4 * generator.standard_normal(rows)))
    return Texts(words, np.clip(lengths, LEAST_LENGTH, length).astype(int))


def _somewhere(generator: np.random.Generator, texts: Texts, places: int) -> np.ndarray:
    """Where so many words in a row can stand in each text, `[rows]`."""
    return generator.integers(texts.lengths - places + 1)


def _put(texts: Texts, words: np.ndarray, place: np.ndarray) -> None:
    """Writes words `[rows, places]` into the texts, in place."""
    for number in range(words.shape[1]):
        texts.words[np.arange(len(place)), place + number] = words[:, number]


def numbered_words(words: np.ndarray, lengths: np.ndarray, recipe: TextRecipe) -> np.ndarray:
    """The tokens, float32 `[rows, length]`; the most frequent words have the first numbers."""
    real = np.arange(recipe.features) < lengths[:, None]
    train = words[: recipe.train_rows][real[: recipe.train_rows]]
    counts = np.bincount(train, minlength=recipe.latent)
    known = counts >= (2 if recipe.train_rows >= MANY_ROWS else 1)
    frequent = np.argsort(-counts, kind="stable")[: min(known.sum(), recipe.tokens - UNKNOWN - 1)]
    numbers = np.full(recipe.latent, UNKNOWN)
    numbers[frequent] = UNKNOWN + 1 + np.arange(len(frequent))
    return np.where(real, numbers[words], 0).astype(np.float32)


def _context(recipe: TextRecipe) -> tuple[float, ...]:
    """What the critic may know, each number about -1 to 1."""
    told = (*context_of_texts(recipe), *(float(recipe.source == source) for source in SOURCES))
    assert len(told) == CONTEXT
    return told


def context_of_texts(recipe: TextRecipe) -> tuple[float, ...]:
    """The first numbers of what the critic may know, each about -1 to 1."""
    return (
        float(np.log(recipe.train_rows / 700) / 2.0),
        float(np.log(recipe.features / 32)),
        float(np.log(recipe.latent / 1400) / 2.5),
        recipe.classes / 8,
        recipe.noise / 0.3,
        recipe.input_noise / 0.3,
        float(np.log(recipe.scale)),
    )
