"""What the environment is held against: the same training, written by hand in plain JAX and Optax.

Of the project only the hash that draws numbers and the telemetry's formulas are used here, so that
the same work is done; `THREEFRY` draws by `jax.random` instead, as most people's loops do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rlagent_envs import draws, telemetry
from rlagent_envs.tasks.task import Task

BATCH, DROPOUT = 64, 0.1
OPTIMIZER = optax.adamw(1e-3, weight_decay=1e-4)

Layers = list[tuple[Any, Any]]  # kernel and bias of each layer


class Data(NamedTuple):
    """A task on the device."""

    train_x: jax.Array
    train_y: jax.Array
    valid_x: jax.Array
    valid_y: jax.Array

    @classmethod
    def of(cls, task: Task, valid_rows: int) -> Data:
        """The data of a task; of the validation rows those that an evaluation looks at."""
        valid = task.valid.x[:valid_rows], task.valid.y[:valid_rows]
        return cls(*jax.device_put((task.train.x, task.train.y, *valid)))


class State(NamedTuple):
    """What an update changes."""

    layers: Layers
    optimizer: optax.OptState
    number: jax.Array  # [], uint32: updates so far


class Draws(NamedTuple):
    """Where random numbers come from."""

    rows: Callable[[jax.Array, int], jax.Array]  # (update, rows in all) -> [BATCH]
    kept: Callable[[jax.Array, int, tuple[int, ...]], jax.Array]  # (update, layer, shape) -> bools


def _hashed_rows(number: jax.Array, total: int) -> jax.Array:
    start = draws.stream(np.array([1, 2], np.uint32), number, 0)
    return draws.rows(start, jnp.arange(BATCH, dtype=jnp.uint32), np.uint32(total))


def _hashed_kept(number: jax.Array, layer: int, shape: tuple[int, ...]) -> jax.Array:
    start = draws.stream(np.array([1, 2], np.uint32), number, 1)
    return draws.uniform(draws.mix(start + np.uint32(layer)), shape) >= DROPOUT


def _threefry_rows(number: jax.Array, total: int) -> jax.Array:
    return jax.random.randint(jax.random.fold_in(jax.random.key(1), number), (BATCH,), 0, total)


def _threefry_kept(number: jax.Array, layer: int, shape: tuple[int, ...]) -> jax.Array:
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(2), number), layer)
    return jax.random.bernoulli(key, 1.0 - DROPOUT, shape)


HASHED = Draws(_hashed_rows, _hashed_kept)
THREEFRY = Draws(_threefry_rows, _threefry_kept)


@dataclass(frozen=True)
class Work:
    """What a slice does besides its updates."""

    updates: int = 20
    draw: Draws = HASHED
    dropout: bool = True
    looks: bool = True  # at the telemetry, at every 16th update
    evaluates: bool = True


def begin(seed: int, features: int, width: int, depth: int, outputs: int) -> State:
    """A network before its first update."""
    generator = np.random.default_rng(seed)
    sizes = [features, *[width] * depth, outputs]
    layers: Layers = [
        (
            generator.normal(0.0, np.sqrt(2.0 / rows), (rows, columns)).astype(np.float32),
            np.zeros(columns, np.float32),
        )
        for rows, columns in pairwise(sizes)
    ]
    return State(*jax.device_put((layers, OPTIMIZER.init(layers), np.uint32(0))))


def forward(
    layers: Layers, x: jax.Array, kept: Callable[[int, tuple[int, ...]], jax.Array] | None
) -> jax.Array:
    """The logits `[batch, outputs]`."""
    for number, (kernel, bias) in enumerate(layers[:-1]):
        x = jax.nn.relu(x @ kernel + bias)
        if kept is not None:
            x = jnp.where(kept(number, x.shape), x / (1.0 - DROPOUT), 0.0)
    kernel, bias = layers[-1]
    return x @ kernel + bias


def update(work: Work, data: Data, state: State) -> tuple[State, jax.Array, Any]:
    """One update: the state after it, the loss before it, the gradients."""
    rows = work.draw.rows(state.number, len(data.train_x))
    x, y = data.train_x[rows], data.train_y[rows]
    kept = partial(work.draw.kept, state.number) if work.dropout else None

    def loss_of(layers: Layers) -> jax.Array:
        logits = forward(layers, x, kept)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    loss, gradients = jax.value_and_grad(loss_of)(state.layers)
    changes, optimizer = OPTIMIZER.update(gradients, state.optimizer, state.layers)
    layers = optax.apply_updates(state.layers, changes)
    return State(layers, optimizer, state.number + 1), loss, gradients


@partial(jax.jit, static_argnums=0)
def jitted_update(work: Work, data: Data, state: State) -> tuple[State, jax.Array]:
    """What a Python loop calls."""
    after, loss, _ = update(work, data, state)
    return after, loss


@partial(jax.jit, static_argnums=0)
def scanned(work: Work, data: Data, state: State) -> tuple[State, Any]:
    """A slice by `lax.scan`: the state after it, and what is told of it."""

    def one(carry: tuple[State, Any], number: jax.Array) -> tuple[tuple[State, Any], jax.Array]:
        before, signs = carry
        after, loss, gradients = update(work, data, before)
        if work.looks:
            signs = signs + jax.lax.cond(
                number % telemetry.EVERY == 0,
                lambda: jnp.stack(
                    telemetry.measure(
                        before.layers,
                        after.layers,
                        gradients,
                        before.optimizer[0].mu,
                        after.optimizer[0].nu,
                    )
                ),
                lambda: jnp.zeros_like(signs),
            )
        return (after, signs), loss

    signs = jnp.zeros(len(telemetry.Telemetry._fields), jnp.float32)
    (state, signs), losses = jax.lax.scan(one, (state, signs), jnp.arange(work.updates))
    if not work.evaluates:
        return state, (losses, signs)
    logits = forward(state.layers, data.valid_x, None)
    valid = optax.softmax_cross_entropy_with_integer_labels(logits, data.valid_y).mean()
    hits = jnp.mean(jnp.argmax(logits, axis=1) == data.valid_y)
    return state, (losses, signs, valid, hits)
