"""An endless distribution of random sequences for meta-training: one task for each seed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rlagent_envs.tasks.procedural_common import (
    MAX_TRAIN_ROWS,
    MOST_NOISE,
    Recipe,
    as_difficult,
    class_numbers,
    draw_targets,
    finished_task,
    log_uniform,
    normal,
    part_sizes,
)
from rlagent_envs.tasks.task import Task

# (steps, channels): few of them, because each has its own programs, and with as many numbers as
# padded tasks have features.
SHAPES = ((64, 1), (32, 8))
MOST_STATES = 6  # of a machine
WARM_UP = 32  # steps before those that are kept, in which a process forgets how it began


@dataclass(frozen=True)
class SequenceRecipe(Recipe):
    """What was drawn for a task before its sequences were.

    Its `latent` is what there is to tell apart: steps of a motif, tones, processes or states.
    """

    steps: int
    channels: int


# Gives the sequences [rows, steps, channels] whose classes or values [rows] are given.
Source = Callable[[SequenceRecipe, np.random.Generator, np.ndarray], np.ndarray]


def sample_sequence_task(seed: int, test_rows: int = 0, difficulty: float | None = None) -> Task:
    """The random sequences of a seed; equal seeds give equal tasks, bit for bit.

    Args:
        seed: any number from 0.
        test_rows: rows of a test part, none by default. Another number of them gives another task
            of the same kind and size.
        difficulty: see `as_difficult`.
    """
    generator = np.random.default_rng([seed, 4])
    recipe = as_difficult(draw_sequence_recipe(generator), difficulty)
    sizes = part_sizes(recipe.train_rows, test_rows)
    target = draw_targets(recipe, generator, sum(sizes))
    x = _finished(recipe, generator, SOURCES[recipe.source](recipe, generator, target))
    return finished_task(
        f"procedural sequences:{seed}",
        recipe,
        generator,
        x,
        target,
        sizes,
        family="sequence",
        input_shape=(recipe.steps, recipe.channels),
        context=_context(recipe),
    )


def draw_sequence_recipe(generator: np.random.Generator) -> SequenceRecipe:
    """What kind of task it will be, how large and how hard."""
    steps, channels = SHAPES[int(generator.integers(len(SHAPES)))]
    source = str(generator.choice(list(SOURCES)))
    classes = generator.random() < 0.75
    largest = {"motifs": steps // 3, "machines": MOST_STATES}.get(source, 4)
    return SequenceRecipe(
        kind="classification" if classes else "regression",
        source=source,
        features=steps * channels,
        latent=round(log_uniform(generator, 2 if source == "machines" else 1, largest)),
        classes=round(log_uniform(generator, 2, 12)) if classes else 1,
        # The larger of two draws, as for all procedural tasks.
        train_rows=round(max(log_uniform(generator, 128, MAX_TRAIN_ROWS) for _ in range(2))),
        noise=float(generator.choice([0.0, 0.0, generator.uniform(0.0, MOST_NOISE)])),
        input_noise=float(generator.choice([0.0, log_uniform(generator, 0.05, 1.0)])),
        scale=float(generator.choice([1.0, log_uniform(generator, 0.3, 3.0)])),
        steps=steps,
        channels=channels,
    )


def motifs(
    recipe: SequenceRecipe, generator: np.random.Generator, target: np.ndarray
) -> np.ndarray:
    """In noise there is a short pattern: which one is the class, how strong it is the value."""
    rows, length = len(target), 2 + recipe.latent
    several = int(generator.integers(1, 4)) if recipe.kind == "classification" else 1
    shapes = _smooth(generator, (recipe.classes * several, length, recipe.channels))
    numbers = class_numbers(recipe, target) + recipe.classes * generator.integers(
        several, size=rows
    )
    strength = log_uniform(generator, 1.0, 6.0) * _factors(recipe, target)
    x = _coloured(generator, (rows, recipe.steps, recipe.channels))
    first = generator.integers(recipe.steps - length + 1, size=rows)
    places = first[:, None] + np.arange(length)
    x[np.arange(rows)[:, None], places] += strength[:, None, None] * shapes[numbers]
    return x


def tones(recipe: SequenceRecipe, generator: np.random.Generator, target: np.ndarray) -> np.ndarray:
    """A few tones at once, which may rise or fall: how high they are is the class or the value."""
    low, high = math.log(1.5 / recipe.steps), math.log(0.4)  # periods in a step
    pitch = generator.uniform(low, high, (recipe.classes, recipe.latent))
    glide = generator.normal(0.0, generator.choice([0.0, 0.5]), pitch.shape)
    loud = generator.standard_normal((recipe.latent, recipe.channels))
    numbers, jitter = class_numbers(recipe, target), generator.uniform(0.0, 0.3)
    own = pitch[numbers] + jitter * generator.standard_normal((len(target), recipe.latent))
    if recipe.kind == "regression":
        own = own + 0.4 * target[:, None]
    time = np.linspace(-0.5, 0.5, recipe.steps)
    pitches = np.minimum(own[:, None] + glide[numbers][:, None] * time[:, None], high)
    begun = generator.uniform(0.0, 1.0, (len(target), 1, recipe.latent))
    return np.sin(2.0 * np.pi * (begun + np.cumsum(np.exp(pitches), axis=1))) @ loud


def processes(
    recipe: SequenceRecipe, generator: np.random.Generator, target: np.ndarray
) -> np.ndarray:
    """Noise that swings by itself: how fast and for how long is the class or the value.

    Autoregressive processes of the order 2, by the radius and the angle of their poles.
    """
    size = (recipe.classes, recipe.latent)
    numbers, rows = class_numbers(recipe, target), len(target)
    radius = generator.uniform(0.3, 0.98, size)[numbers]
    angle = np.pi * generator.uniform(0.02, 0.9, size)[numbers]
    if recipe.kind == "regression":
        angle = np.clip(angle + 0.15 * target[:, None], 0.02, np.pi - 0.02)
    mixing = generator.standard_normal((recipe.latent, recipe.channels))
    shocks = normal(generator, WARM_UP + recipe.steps, rows, recipe.latent)
    before, last = np.zeros((2, rows, recipe.latent))
    made = []
    for shock in shocks:
        before, last = last, 2.0 * radius * np.cos(angle) * last - radius**2 * before + shock
        made.append(last)
    states = np.stack(made[WARM_UP:], axis=1)
    return states / (states.std(axis=1, keepdims=True) + 1e-9) @ mixing


def machines(
    recipe: SequenceRecipe, generator: np.random.Generator, target: np.ndarray
) -> np.ndarray:
    """States that are seen through noise: which one follows which is the class or the value."""
    size = (recipe.classes, recipe.latent)
    chances = generator.dirichlet(np.full(recipe.latent, 0.5), size)[class_numbers(recipe, target)]
    stay = log_uniform(generator, 0.1, 0.9) * np.ones(len(target))
    if recipe.kind == "regression":
        stay = 1.0 / (1.0 + np.exp(-target))
    chances = (1.0 - stay)[:, None, None] * chances + stay[:, None, None] * np.eye(recipe.latent)
    ends = np.cumsum(chances, axis=2)
    levels = generator.standard_normal((recipe.latent, recipe.channels))
    every = np.arange(len(target))
    state = generator.integers(recipe.latent, size=len(target))
    made = []
    for drawn in generator.random((recipe.steps, len(target), 1)):
        made.append(levels[state])
        state = np.minimum((drawn > ends[every, state]).sum(axis=1), recipe.latent - 1)
    x = np.stack(made, axis=1)
    return x + log_uniform(generator, 0.05, 0.7) * normal(generator, *x.shape)


SOURCES: dict[str, Source] = {
    "motifs": motifs,
    "tones": tones,
    "processes": processes,
    "machines": machines,
}


def _factors(recipe: SequenceRecipe, target: np.ndarray) -> np.ndarray:
    """How strong a pattern is in each row, 1 where that does not matter."""
    return np.ones(len(target)) if recipe.kind == "classification" else np.exp(0.5 * target)


def _finished(recipe: SequenceRecipe, generator: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """The sequences with noise, standardised by the rows to train on, `[rows, features]`."""
    x = x / (x.std(axis=(0, 1)) + 1e-9)
    x = x + recipe.input_noise * normal(generator, *x.shape)
    train = x[: recipe.train_rows]
    x = (x - train.mean(axis=(0, 1))) / (train.std(axis=(0, 1)) + 1e-6)
    return (np.clip(x, -10.0, 10.0) * recipe.scale).astype(np.float32).reshape(len(x), -1)


def _smooth(generator: np.random.Generator, size: tuple[int, int, int]) -> np.ndarray:
    """Random curves `[curves, steps, channels]`, of mean square 1."""
    curves = normal(generator, *size)
    if size[1] > 3 and generator.random() < 0.5:
        curves = (curves + np.roll(curves, 1, axis=1) + np.roll(curves, -1, axis=1)) / 3.0
    return curves / np.sqrt(np.mean(curves**2, axis=(1, 2), keepdims=True))


def _coloured(generator: np.random.Generator, size: tuple[int, int, int]) -> np.ndarray:
    """Noise of variance 1 `[rows, steps, channels]`, that may remember what it was."""
    memory = float(generator.choice([0.0, generator.uniform(0.3, 0.95)]))
    x = normal(generator, *size)
    for step in range(1, size[1]):
        x[:, step] = memory * x[:, step - 1] + math.sqrt(1.0 - memory**2) * x[:, step]
    return x


def _context(recipe: SequenceRecipe) -> tuple[float, ...]:
    """What the critic may know, each number about -1 to 1, as many as for other tasks."""
    return (
        float(np.log(recipe.train_rows / 700) / 2.0),
        float(np.log(recipe.features / 32) / 2.0),
        float(np.log(recipe.latent / 3)),
        recipe.classes / 12,
        recipe.noise / 0.3,
        recipe.input_noise,
        float(np.log(recipe.scale)),
        *(float(recipe.source == source) for source in SOURCES),
    )
