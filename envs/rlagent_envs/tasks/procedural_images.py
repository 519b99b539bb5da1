"""An endless distribution of random images for meta-training: one task for each seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rlagent_envs.tasks.procedural_common import (
    MAX_TRAIN_ROWS,
    MOST_NOISE,
    Recipe,
    as_difficult,
    class_numbers,
    context_of,
    draw_targets,
    finished_task,
    log_uniform,
    part_sizes,
)
from rlagent_envs.tasks.task import Task

# Each shape has programs of its own, so there are few.
SIDE, CHANNELS = 16, (1, 3)
MOST_PARTS = 5  # strokes of a figure, waves of a texture, waves of an outline


@dataclass(frozen=True)
class ImageRecipe(Recipe):
    """What was drawn for a task before its images were; its `latent` is the number of parts."""

    channels: int


# Gives the brightness [rows, pixels] of images whose classes or values [rows] are given.
Source = Callable[[ImageRecipe, np.random.Generator, np.ndarray], np.ndarray]


def sample_image_task(seed: int, test_rows: int = 0, difficulty: float | None = None) -> Task:
    """The random images of a seed, 16 x 16, grey or in colours; equal seeds give equal tasks.

    Args:
        seed: any number from 0.
        test_rows: images of a test part, none by default. Another number of them gives another
            task of the same kind and size.
        difficulty: see `as_difficult`.
    """
    generator = np.random.default_rng([seed, 23])
    recipe = as_difficult(draw_image_recipe(generator), difficulty)
    sizes = part_sizes(recipe.train_rows, test_rows)
    target = draw_targets(recipe, generator, sum(sizes))
    x = _finished(recipe, generator, SOURCES[recipe.source](recipe, generator, target))
    told = (recipe.latent, recipe.classes, recipe.noise, recipe.input_noise, recipe.scale)
    return finished_task(
        f"procedural images:{seed}",
        recipe,
        generator,
        x,
        target,
        sizes,
        family="cnn",
        input_shape=(SIDE, SIDE, recipe.channels),
        context=context_of(recipe.train_rows, recipe.features, *told),
    )


def draw_image_recipe(generator: np.random.Generator) -> ImageRecipe:
    """What kind of task it will be, how large and how hard."""
    channels = int(generator.choice(CHANNELS))
    classes = generator.random() < 0.8
    return ImageRecipe(
        kind="classification" if classes else "regression",
        source=str(generator.choice(list(SOURCES))),
        features=SIDE * SIDE * channels,
        latent=int(generator.integers(1, MOST_PARTS + 1)),
        classes=round(log_uniform(generator, 2, 12)) if classes else 1,
        # The larger of two draws, as for all procedural tasks.
        train_rows=round(max(log_uniform(generator, 128, MAX_TRAIN_ROWS) for _ in range(2))),
        noise=float(generator.choice([0.0, 0.0, generator.uniform(0.0, MOST_NOISE)])),
        input_noise=float(generator.choice([0.0, log_uniform(generator, 0.05, 1.0)])),
        scale=float(generator.choice([1.0, log_uniform(generator, 0.3, 3.0)])),
        channels=channels,
    )


def glyphs(recipe: ImageRecipe, generator: np.random.Generator, target: np.ndarray) -> np.ndarray:
    """Figures of strokes, which are bent and moved: which one is the class, its tilt the value."""
    several = int(generator.integers(1, 4)) if recipe.kind == "classification" else 1
    drawn = generator.uniform(-0.8, 0.8, (recipe.classes * several, recipe.latent + 1, 2))
    rows = len(target)
    figure = class_numbers(recipe, target) + recipe.classes * generator.integers(several, size=rows)
    bent = log_uniform(generator, 0.02, 0.3)
    corners = drawn[figure] + bent * generator.standard_normal((rows, recipe.latent + 1, 2))
    tilt = 0.4 * target if recipe.kind == "regression" else np.zeros(rows)
    places = _own_places(generator, rows, tilt)
    width = generator.uniform(0.1, 0.25)
    ink = np.zeros((rows, SIDE * SIDE), np.float32)
    for number in range(recipe.latent):
        begin, along = corners[:, None, number], np.diff(corners, axis=1)[:, None, number]
        share = np.sum((places - begin) * along, axis=2) / (np.sum(along**2, axis=2) + 1e-6)
        nearest = begin + np.clip(share, 0.0, 1.0)[..., None] * along
        away = np.sum((places - nearest) ** 2, axis=2)
        ink = np.maximum(ink, np.exp(-away / width**2))
    return ink


def textures(recipe: ImageRecipe, generator: np.random.Generator, target: np.ndarray) -> np.ndarray:
    """Waves in a disc that lies anywhere: which ones are the class, how fine they are the value."""
    rows, size = len(target), (recipe.classes, recipe.latent)
    angle = generator.uniform(0.0, np.pi, size)
    length = generator.uniform(2.0, 14.0, size)
    waves = length[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=2)
    waves = waves[class_numbers(recipe, target)]
    if recipe.kind == "regression":
        waves = waves * np.exp(0.2 * target)[:, None, None]
    phase = generator.uniform(0.0, 2.0 * np.pi, (rows, 1, recipe.latent))
    pattern = np.cos(np.einsum("pa,rwa->rpw", PLACES, waves) + phase).sum(axis=2)
    middle = generator.uniform(-0.5, 0.5, (rows, 1, 2))
    away = np.sqrt(np.sum((PLACES - middle) ** 2, axis=2))
    return pattern * _step(generator.uniform(0.4, 1.6) - away)


def outlines(recipe: ImageRecipe, generator: np.random.Generator, target: np.ndarray) -> np.ndarray:
    """Objects that are moved and turned: the form of the edge is the class, the size the value."""
    rows, size = len(target), (recipe.classes, recipe.latent)
    numbers = class_numbers(recipe, target)
    height = (generator.uniform(0.1, 0.4) * generator.standard_normal(size))[numbers]
    phase = generator.uniform(0.0, 2.0 * np.pi, size)[numbers]
    radius = np.full(rows, generator.uniform(0.4, 0.7))
    if recipe.kind == "regression":
        radius = radius * np.exp(0.2 * target)
    places = _own_places(generator, rows, np.zeros(rows))
    around = np.arctan2(places[..., 1], places[..., 0])
    edge = np.ones((rows, SIDE * SIDE))
    for number in range(recipe.latent):
        turned = (number + 2) * around + phase[:, None, number]
        edge += height[:, None, number] * np.cos(turned)
    return _step(radius[:, None] * edge - np.linalg.norm(places, axis=2))


SOURCES: dict[str, Source] = {"glyphs": glyphs, "textures": textures, "outlines": outlines}

_AXIS = (np.arange(SIDE) + 0.5) / SIDE * 2.0 - 1.0
PLACES = np.stack(np.meshgrid(_AXIS, _AXIS, indexing="ij"), axis=2).reshape(-1, 2)  # [pixels, 2]


def _own_places(generator: np.random.Generator, rows: int, tilt: np.ndarray) -> np.ndarray:
    """Where the pixels lie for objects that are turned, stretched and moved, `[rows, pixels, 2]`.

    By how much they are is drawn for a task.
    """
    strength = log_uniform(generator, 0.1, 1.0)
    angle = tilt + 0.5 * strength * generator.standard_normal(rows)
    scale = np.exp(0.3 * strength * generator.standard_normal((rows, 1, 2)))
    shift = 0.4 * strength * generator.uniform(-1.0, 1.0, (rows, 1, 2))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.einsum("rpa,abr->rpb", PLACES - shift, turn) / scale


def _step(inside: np.ndarray) -> np.ndarray:
    """Near 1 where a distance to the inside is positive, near 0 outside."""
    return 0.5 + 0.5 * np.tanh(inside / 0.15)


def _finished(recipe: ImageRecipe, generator: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """The images with colours, a ground and noise, standardised by those to train on."""
    rows = len(x)
    x = x / (x.std() + 1e-9)
    colour = 1.0 + generator.uniform(0.0, 0.5) * generator.standard_normal(
        (rows, 1, recipe.channels)
    )
    slope = log_uniform(generator, 0.05, 1.0) * generator.standard_normal((rows, 2))
    ground = np.einsum("ra,pa->rp", slope, PLACES)
    images = x[..., None] * colour + ground[..., None]
    images += recipe.input_noise * generator.standard_normal(images.shape)
    seen = images[: recipe.train_rows]
    images = np.clip((images - seen.mean()) / (seen.std() + 1e-6), -10.0, 10.0) * recipe.scale
    return images.reshape(rows, -1).astype(np.float32)
