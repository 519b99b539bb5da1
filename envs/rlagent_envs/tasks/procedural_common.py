"""What random tasks of several domains share: recipe, noise, parts, what a critic may know."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from rlagent_envs.tasks.task import Kind, Split, Task, default_batch_size

MAX_TRAIN_ROWS = 8192
MAX_VALID_ROWS = 1024
REACH = 2.0  # standard deviations: how far the values that a regression asks for lie apart
MOST_NOISE = 0.3  # see `Recipe`
CONTEXT = 11  # numbers of `Task.context` that a procedural task has


@dataclass(frozen=True)
class Recipe:
    """What was drawn for a task before its rows were."""

    kind: Kind
    source: str  # of the SOURCES of the domain
    features: int
    latent: int  # dimensions in which the structure lives
    classes: int  # 1 for regression
    train_rows: int
    noise: float  # share of labels redrawn, or of the target's variance
    input_noise: float  # added to the inputs, in standard deviations
    scale: float  # of the inputs, where 1 is standardised


AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)


def as_difficult(
    recipe: AnyRecipe, difficulty: float | None, most_input_noise: float = 1.0
) -> AnyRecipe:
    """A recipe with the noise of a difficulty.

    Args:
        recipe: as it was drawn.
        difficulty: from 0, without noise, to 1, with the most that is drawn; None: as it is.
        most_input_noise: of the domain.
    """
    if difficulty is None:
        return recipe
    return replace(recipe, noise=MOST_NOISE * difficulty, input_noise=most_input_noise * difficulty)


def correlated(
    generator: np.random.Generator, rows: int, features: int, directions: int
) -> tuple[np.ndarray, np.ndarray]:
    """Correlated inputs `[rows, features]`, and a few directions of them `[rows, directions]`."""
    spectrum = np.arange(1, features + 1) ** -generator.uniform(0.0, 1.0)
    spectrum = spectrum.astype(np.float32)
    x = normal(generator, rows, features) * spectrum
    rotation = normal(generator, features, directions)
    return x, x @ rotation / np.linalg.norm(spectrum)


def taught(generator: np.random.Generator, z: np.ndarray, outputs: int) -> np.ndarray:
    """What a random network says of inputs, `[rows, outputs]`, each output standardised."""
    said = random_network(generator, z, outputs, int(generator.integers(0, 4)))
    return standardised(said)


def standardised(columns: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and deviation 1."""
    return (columns - columns.mean(axis=0)) / (columns.std(axis=0) + 1e-9)


def decided(recipe: Recipe, generator: np.random.Generator, outputs: np.ndarray) -> np.ndarray:
    """The target that outputs `[rows, classes]` stand for: the largest one, or the only one."""
    if recipe.kind == "regression":
        return outputs[:, 0]
    shares = class_shares(generator, recipe.classes)
    return np.argmax(outputs + np.log(shares).astype(np.float32), axis=1)


def random_network(
    generator: np.random.Generator, x: np.ndarray, outputs: int, depth: int
) -> np.ndarray:
    """A random network with `depth` hidden layers; without any it is linear."""
    activation = (np.tanh, relu, np.sin)[int(generator.integers(3))]
    gain = log_uniform(generator, 0.7, 2.5)
    for _ in range(depth):
        width = int(generator.integers(8, 49))
        weights = normal(generator, x.shape[1], width) * (gain / math.sqrt(x.shape[1]))
        x = activation(x @ weights + 0.5 * normal(generator, width))
    return x @ normal(generator, x.shape[1], outputs) / math.sqrt(x.shape[1])


def log_uniform(generator: np.random.Generator, low: float, high: float) -> float:
    """A number whose logarithm is uniform between those of the bounds."""
    return math.exp(generator.uniform(math.log(low), math.log(high)))


def normal(generator: np.random.Generator, *size: int) -> np.ndarray:
    """Numbers of mean 0 and deviation 1, float32."""
    return generator.standard_normal(size, np.float32)


def relu(x: np.ndarray) -> np.ndarray:
    """0 in place of what is negative."""
    return np.maximum(x, 0.0)


def class_shares(generator: np.random.Generator, classes: int) -> np.ndarray:
    """Equal shares for half of the tasks, unequal ones for the others."""
    if generator.random() < 0.5:
        return np.full(classes, 1.0 / classes)
    shares = generator.dirichlet(np.full(classes, 2.0)) + 0.02
    return shares / shares.sum()


def disguised(generator: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """Makes some columns look as tables do: heavy tails, steps, categories, no use at all."""
    x = x / (x.std(axis=0) + 1e-9)
    if generator.random() < 0.5:
        return x
    form = generator.choice(4, x.shape[1], p=generator.dirichlet(np.ones(4)))
    x = np.where(form == 1, np.sinh(x), x)
    x = np.where(form == 2, (x > normal(generator, x.shape[1])), x)
    useless = (form == 3) & (generator.random(x.shape[1]) < 0.5)
    return np.where(useless, normal(generator, *x.shape), x)


def noisy_inputs(
    generator: np.random.Generator, x: np.ndarray, train_rows: int, noise: float, scale: float
) -> np.ndarray:
    """Inputs with noise, standardised on the rows to train on, float32 `[rows, features]`.

    Args:
        generator: draws the noise.
        x: without it.
        train_rows: how many of the first rows train.
        noise: in standard deviations.
        scale: of what is told, where 1 is standardised.
    """
    x = x / (x.std(axis=0) + 1e-9) + noise * normal(generator, *x.shape)
    train_x = x[:train_rows]
    mean, deviation = train_x.mean(axis=0), train_x.std(axis=0) + 1e-6
    x = np.clip((x - mean) / deviation, -10.0, 10.0) * scale
    return x.astype(np.float32, copy=False)


def some_replaced(generator: np.random.Generator, values: np.ndarray, share: float) -> np.ndarray:
    """Values, a share of them replaced by those of other rows and places."""
    replaced = generator.random(values.shape) < share
    return np.where(
        replaced, generator.permutation(values.reshape(-1)).reshape(values.shape), values
    )


def numbered(ids: np.ndarray, train_rows: int) -> np.ndarray:
    """Numbers from 1, and 0 for the ids that training has once or not at all."""
    counts = np.bincount(ids[:train_rows], minlength=int(ids.max()) + 1)
    return np.where(counts[ids] > 1, ids + 1, 0)


def part_sizes(train_rows: int, test_rows: int) -> tuple[int, int, int]:
    """How many rows train, validate and test."""
    return train_rows, int(np.clip(train_rows // 3, 128, MAX_VALID_ROWS)), test_rows


def divided(
    x: np.ndarray, y: np.ndarray, sizes: tuple[int, int, int]
) -> tuple[Split, Split, Split | None]:
    """The first rows train, the next ones validate and the last ones test, if there are any."""
    ends = np.cumsum(sizes)[:2]
    train, valid, test = map(Split, np.split(x, ends), np.split(y, ends))
    return train, valid, test if sizes[2] else None


def draw_targets(recipe: Recipe, generator: np.random.Generator, rows: int) -> np.ndarray:
    """Class numbers, or values within `REACH` of 0."""
    if recipe.kind == "classification":
        return generator.choice(recipe.classes, rows, p=class_shares(generator, recipe.classes))
    return generator.uniform(-REACH, REACH, rows)


def class_numbers(recipe: Recipe, target: np.ndarray) -> np.ndarray:
    """The class of each row, 0 where there are none."""
    return target if recipe.kind == "classification" else np.zeros(len(target), int)


def noisy_target(
    generator: np.random.Generator, recipe: Recipe, y: np.ndarray
) -> tuple[np.ndarray, int]:
    """The target as it is told, and for how many outputs."""
    if recipe.kind == "classification":
        return _noisy_classes(generator, recipe, y)
    return _noisy_values(generator, recipe, y), 1


def _noisy_classes(
    generator: np.random.Generator, recipe: Recipe, y: np.ndarray
) -> tuple[np.ndarray, int]:
    """Class numbers with some redrawn; classes that training would not see are merged away."""
    flipped = generator.random(len(y)) < recipe.noise
    y = np.where(flipped, generator.permutation(y), y)
    seen = np.unique(y[: recipe.train_rows])
    if len(seen) < 2:  # all rows are of one class: half of them become another
        y = np.where(generator.random(len(y)) < 0.5, y, seen[0] + 1)
        seen = np.unique(y[: recipe.train_rows])
    numbers = np.searchsorted(seen, np.clip(y, seen[0], seen[-1]))
    return numbers.astype(np.int32), len(seen)


def _noisy_values(generator: np.random.Generator, recipe: Recipe, y: np.ndarray) -> np.ndarray:
    """The target, standardised on the rows to train on, with noise."""
    noise = normal(generator, len(y))
    y = math.sqrt(1.0 - recipe.noise) * y + math.sqrt(recipe.noise) * noise
    train = y[: recipe.train_rows]
    return ((y - train.mean()) / (train.std() + 1e-9)).astype(np.float32)


def finished_task(
    name: str,
    recipe: Recipe,
    generator: np.random.Generator,
    x: np.ndarray,
    target: np.ndarray,
    sizes: tuple[int, int, int],
    *,
    context: tuple[float, ...],
    family: str = "mlp",
    input_shape: tuple[int, ...] = (),
    vocabularies: tuple[int, ...] = (),
    continuous: np.ndarray | None = None,
) -> Task:
    """The task of drawn rows: the noise of the target, which is drawn last, and the parts.

    Args:
        name: of the task.
        recipe: by which its rows were drawn.
        generator: draws the noise of the target.
        x: the inputs as they are told, `[rows, features]`.
        target: without noise, `[rows]`.
        sizes: see `part_sizes`.
        context: see `Task`, as of all that follow.
        family: of networks.
        input_shape: of an example.
        vocabularies: of the whole numbers in it.
        continuous: its quantities.
    """
    y, outputs = noisy_target(generator, recipe, target)
    train, valid, test = divided(x, y, sizes)
    return Task(
        name=name,
        kind=recipe.kind,
        train=train,
        valid=valid,
        test=test,
        outputs=outputs,
        batch_size=default_batch_size(recipe.train_rows),
        family=family,
        input_shape=input_shape,
        vocabularies=vocabularies,
        continuous=continuous,
        context=context,
    )


def context_of(
    train_rows: int,
    features: int,
    latent: int,
    classes: int,
    noise: float,
    input_noise: float = 0.0,
    scale: float = 1.0,
    others: tuple[float, ...] = (),
) -> tuple[float, ...]:
    """What the critic may know of a task of another domain, in the places where tables have it.

    Behind it stands what only that domain has.
    """
    told = (
        math.log(train_rows / 700) / 2.0,
        math.log(features / 32) / 2.0,
        math.log(latent / 9) / 2.0,
        classes / 12,
        noise / 0.3,
        input_noise,
        math.log(scale),
    )
    return (*told, *others, *[0.0] * (CONTEXT - len(told) - len(others)))
