"""An endless distribution of random tables for meta-training: one task for each seed."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from rlagent_envs.tasks.procedural_common import (
    MAX_TRAIN_ROWS,
    MOST_NOISE,
    Recipe,
    as_difficult,
    class_shares,
    correlated,
    decided,
    disguised,
    finished_task,
    log_uniform,
    noisy_inputs,
    normal,
    part_sizes,
    random_network,
    relu,
    taught,
)
from rlagent_envs.tasks.task import Kind, Task

Sampler = Callable[[Recipe, np.random.Generator, int], tuple[np.ndarray, np.ndarray]]

MAX_FEATURES = 256
CANVASES = (8, 16)  # sides of images, if they are asked for


def sample_table_task(
    seed: int, test_rows: int = 0, difficulty: float | None = None, *, canvases: bool = False
) -> Task:
    """The random table of a seed; equal seeds give equal tasks, bit for bit.

    Args:
        seed: any number from 0.
        test_rows: rows of a test part, none by default: meta-training has no use for one. Another
            number of them gives another task of the same kind and size.
        difficulty: see `as_difficult`.
        canvases: pictures come as images, in the middle of a canvas of 8x8 or 16x16.
    """
    generator = np.random.default_rng([seed, 0])
    recipe = as_difficult(draw_table_recipe(generator), difficulty)
    sizes = part_sizes(recipe.train_rows, test_rows)
    x, target = SOURCES[recipe.source](recipe, generator, sum(sizes))
    if recipe.source != "images":
        x = disguised(generator, x)
    x = noisy_inputs(generator, x, recipe.train_rows, recipe.input_noise, recipe.scale)
    input_shape: tuple[int, ...] = ()
    if canvases and recipe.source == "images":
        x, input_shape = _on_canvas(x)
    return finished_task(
        f"procedural:{seed}",
        recipe,
        generator,
        x,
        target,
        sizes,
        input_shape=input_shape,
        context=_context(recipe),
    )


def draw_table_recipe(generator: np.random.Generator) -> Recipe:
    """What kind of task it will be, how large and how hard."""
    kind: Kind = "classification" if generator.random() < 0.8 else "regression"
    source = str(generator.choice(list(SOURCES))) if kind == "classification" else "teacher"
    features = round(log_uniform(generator, 4, MAX_FEATURES))
    if source == "images":
        features = round(log_uniform(generator, 4, math.isqrt(MAX_FEATURES))) ** 2
    return Recipe(
        kind=kind,
        source=source,
        features=features,
        latent=min(features, round(log_uniform(generator, 2, 40))),
        classes=round(log_uniform(generator, 2, 12)) if kind == "classification" else 1,
        # The larger of two draws: most tasks should not be learned by heart within a few passes.
        train_rows=round(max(log_uniform(generator, 128, MAX_TRAIN_ROWS) for _ in range(2))),
        noise=float(generator.choice([0.0, 0.0, generator.uniform(0.0, MOST_NOISE)])),
        input_noise=float(generator.choice([0.0, log_uniform(generator, 0.05, 1.0)])),
        scale=float(generator.choice([1.0, log_uniform(generator, 0.3, 3.0)])),
    )


def mixture(
    recipe: Recipe, generator: np.random.Generator, rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Each class is a few clusters in the latent space, seen through a random projection."""
    clusters = recipe.classes * int(generator.integers(1, 6))
    spread = log_uniform(generator, 0.1, 1.2)
    centres = normal(generator, clusters, recipe.latent) * math.sqrt(3.0)
    which = generator.integers(clusters, size=rows)
    noise = normal(generator, rows, recipe.latent)
    z = centres[which] + (0.7 * spread * math.sqrt(recipe.latent)) * noise
    projection = normal(generator, recipe.latent, recipe.features)
    shares = class_shares(generator, recipe.classes)
    class_of = generator.permutation(
        np.concatenate(
            [np.arange(recipe.classes), generator.choice(recipe.classes, clusters, p=shares)]
        )[:clusters]
    )
    return z @ projection / math.sqrt(recipe.latent), class_of[which]


def teacher(
    recipe: Recipe, generator: np.random.Generator, rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """A random network on a few directions of correlated inputs says what the target is."""
    x, z = correlated(generator, rows, recipe.features, recipe.latent)
    return x, decided(recipe, generator, taught(generator, z, recipe.classes))


def manifold(
    recipe: Recipe, generator: np.random.Generator, rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Each class is a curved surface: a code of the class and a few factors of style, decoded."""
    shares = class_shares(generator, recipe.classes)
    y = generator.choice(recipe.classes, rows, p=shares)
    code = normal(generator, recipe.classes, recipe.latent)
    style = normal(generator, rows, recipe.latent)
    mixing = normal(generator, recipe.latent, recipe.latent) / math.sqrt(recipe.latent)
    strength = log_uniform(generator, 0.3, 2.0)
    z = code[y] + strength * style @ mixing
    return random_network(generator, z, recipe.features, int(generator.integers(1, 3))), y


def images(
    recipe: Recipe, generator: np.random.Generator, rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Each class is a few smooth pictures, which are bent and shifted; a column is a pixel."""
    side = math.isqrt(recipe.features)
    grid = int(generator.integers(3, 7))
    patterns = recipe.classes * int(generator.integers(1, 4))
    drawn = normal(generator, patterns, grid, grid)
    which = generator.integers(patterns, size=rows)
    strength = log_uniform(generator, 0.2, 1.5)
    bent = drawn[which] + strength * normal(generator, rows, grid, grid)
    # Pixel i of a picture lies at (i + shift) of a grid that is larger by the largest shift.
    shifts = generator.uniform(0.0, 0.2 * generator.random(), (2, rows, 1)).astype(np.float32)
    places = (np.arange(side, dtype=np.float32) / side * 0.8 + shifts) * (grid - 1)
    down, across = np.maximum(1.0 - np.abs(places[..., None] - np.arange(grid)), 0.0)
    pictures = (down @ bent) @ across.transpose(0, 2, 1)
    edge = (np.tanh, relu, np.abs)[int(generator.integers(3))]
    gain = log_uniform(generator, 0.5, 4.0)
    return edge(gain * pictures).reshape(rows, side * side), which % recipe.classes


SOURCES: dict[str, Sampler] = {
    "images": images,
    "mixture": mixture,
    "teacher": teacher,
    "manifold": manifold,
}


def _on_canvas(x: np.ndarray) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Square pictures `[rows, side x side]` in the middle of a larger one, and its shape."""
    side = math.isqrt(x.shape[1])
    canvas = next(size for size in CANVASES if size >= side)
    before = (canvas - side) // 2
    inside = slice(before, before + side)
    made = np.zeros((len(x), canvas, canvas), np.float32)
    made[:, inside, inside] = x.reshape(len(x), side, side)
    return made.reshape(len(x), -1), (canvas, canvas, 1)


def _context(recipe: Recipe) -> tuple[float, ...]:
    """What the critic may know, each number about -1 to 1."""
    return (
        float(np.log(recipe.train_rows / 700) / 2.0),
        float(np.log(recipe.features / 32) / 2.0),
        float(np.log(recipe.latent / 9) / 2.0),
        recipe.classes / 12,
        recipe.noise / 0.3,
        recipe.input_noise,
        float(np.log(recipe.scale)),
        *(float(recipe.source == source) for source in SOURCES),
    )
