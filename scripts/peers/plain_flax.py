"""The loop that people write around a Flax network, and its faster forms.

As written: a TrainState that holds the optimizer of the trial, one jitted `train_step`, a Python
loop over shuffled NumPy batches, `float(loss)` after each update for the log. As the optimizer is
part of what the step is compiled for, each trial compiles it anew.

Faster forms: the loss of an update is never read; or the settings are part of the optimizer's state
(`optax.inject_hyperparams`), so that all trials of a process share one program; or both.
"""

from __future__ import annotations

import time
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax.training.train_state import TrainState

# Network, optimizer, and the function that applies the network.
Parts = tuple[nn.Module, optax.GradientTransformation, Any]


class Data(NamedTuple):
    """Rows to train and to validate on, as NumPy arrays."""

    train_x: np.ndarray
    train_y: np.ndarray
    valid_x: np.ndarray
    valid_y: np.ndarray


class Plan(NamedTuple):
    """What a trial does, whatever its settings."""

    width: int
    depth: int
    outputs: int
    batch: int
    updates: int
    evaluations: int
    reads: bool  # the loss of each update
    once: bool  # compiled for all trials of a process


class Trained(NamedTuple):
    """How a trial went."""

    valid_loss: float  # at the last evaluation
    first: float  # seconds until the first update was done: set-up and compilation
    rest: float  # seconds of the other updates and of evaluation


class Mlp(nn.Module):
    """Hidden layers with ReLU, then the logits."""

    width: int
    depth: int
    outputs: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for _ in range(self.depth):
            x = nn.relu(nn.Dense(self.width)(x))
        return nn.Dense(self.outputs)(x)


@jax.jit
def train_step(state: TrainState, x: jax.Array, y: jax.Array) -> tuple[TrainState, jax.Array]:
    """One update; the loss before it."""

    def loss_of(params: Any) -> jax.Array:
        logits = state.apply_fn(params, x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    loss, gradients = jax.value_and_grad(loss_of)(state.params)
    return state.apply_gradients(grads=gradients), loss  # type: ignore[no-untyped-call]


@jax.jit
def evaluate(state: TrainState, x: jax.Array, y: jax.Array) -> jax.Array:
    """The mean loss."""
    logits = state.apply_fn(state.params, x)
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def train(data: Data, plan: Plan, seed: int, learning_rate: float, weight_decay: float) -> Trained:
    """Trains one configuration."""
    begun = time.perf_counter()
    state = _state(data, plan, seed, learning_rate, weight_decay)
    batches = _batches(np.random.default_rng(seed), data, plan.batch)
    every = max(plan.updates // plan.evaluations, 1)
    valid_loss, first = float("nan"), 0.0
    for number in range(1, plan.updates + 1):
        x, y = next(batches)
        state, loss = train_step(state, x, y)
        if plan.reads:
            float(loss)
        if number == 1:
            jax.block_until_ready(loss)  # type: ignore[no-untyped-call]
            first = time.perf_counter() - begun
        if number % every == 0:
            valid_loss = float(evaluate(state, data.valid_x, data.valid_y))
    jax.block_until_ready(state.params)  # type: ignore[no-untyped-call]
    return Trained(valid_loss, first, time.perf_counter() - begun - first)


def _batches(generator: np.random.Generator, data: Data, batch: int) -> Any:
    """Batches of shuffled rows without end; what is left of an epoch is dropped."""
    while True:
        order = generator.permutation(len(data.train_x))
        for begin in range(0, len(order) - batch + 1, batch):
            rows = order[begin : begin + batch]
            yield data.train_x[rows], data.train_y[rows]


def _state(
    data: Data, plan: Plan, seed: int, learning_rate: float, weight_decay: float
) -> TrainState:
    sizes = plan.width, plan.depth, plan.outputs
    model, optimizer, apply = (
        _shared(sizes) if plan.once else _own(sizes, learning_rate, weight_decay)
    )
    params = model.init(jax.random.key(seed), jnp.asarray(data.train_x[:1]))
    state: TrainState = TrainState.create(  # type: ignore[no-untyped-call]
        apply_fn=apply, params=params, tx=optimizer
    )
    if not plan.once:
        return state
    settings = {"learning_rate": learning_rate, "weight_decay": weight_decay}
    told = state.opt_state.hyperparams | {k: jnp.float32(v) for k, v in settings.items()}
    return state.replace(opt_state=state.opt_state._replace(hyperparams=told))


def _own(sizes: tuple[int, int, int], learning_rate: float, weight_decay: float) -> Parts:
    """A network and an optimizer of this trial alone."""
    model = Mlp(*sizes)
    return model, optax.adamw(learning_rate, weight_decay=weight_decay), model.apply


@cache
def _shared(sizes: tuple[int, int, int]) -> Parts:
    """One of each for all trials: what the step is compiled for stays equal."""
    model = Mlp(*sizes)
    return model, optax.inject_hyperparams(optax.adamw)(1e-3, weight_decay=1e-4), model.apply
