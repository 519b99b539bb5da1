"""How a model does when its inputs are moved against it: the worst of a ball, as PGD finds it."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rlagent.apply.model import ROWS_AT_ONCE, Model
from rlagent_envs import draws
from rlagent_envs.models import FAMILIES, ShapeClass
from rlagent_envs.models.activations import ACTIVATIONS
from rlagent_envs.settings import HIGH
from rlagent_envs.training import losses
from rlagent_envs.training.adversarial import NORMS, Norm, attack

STEPS, RESTARTS = 20, 2
STEP = 2.5  # length of a step, in epsilon / STEPS


class Worst(NamedTuple):
    """What is worst for each row, of all restarts and the row as it is."""

    raw: np.ndarray  # [rows, outputs], of the network
    losses: np.ndarray  # [rows], plain: nats, or squared standard deviations of the target


def check_ball(epsilon: float, norm: str) -> Norm:
    """The norm of attacks; ValueError, naming the value and the choices, if there are none such."""
    if not 0.0 <= epsilon <= HIGH.adversarial_epsilon:
        raise ValueError(
            f"robust_epsilon must be from 0 to {HIGH.adversarial_epsilon:g}, got {epsilon:g}"
        )
    for known in NORMS:
        if norm == known:
            return known
    raise ValueError(f"unknown norm {norm!r}; there are: {', '.join(NORMS)}")


def worst_case(
    model: Model, x: np.ndarray, y: np.ndarray, epsilon: float, norm: str = NORMS[0]
) -> Worst:
    """Attacks each row by PGD with 20 steps from 2 random beginnings.

    Categories, and flags of missing values, are left as they are: nothing lies between them.

    Args:
        model: what is attacked.
        x: preprocessed rows, `[rows, features]`.
        y: class numbers, or standardised values, `[rows]`.
        epsilon: radius of the ball, in the units of preprocessed inputs: standard deviations.
        norm: linf or l2.

    Raises:
        ValueError: if epsilon or the norm make no sense, or no input can be moved.

    Source: Madry et al. 2018 (arXiv:1706.06083), section 2.1 and 5.
    """
    ball = check_ball(epsilon, norm)
    stored = model.preprocessing
    continuous = np.ones(model.features) if stored is None else np.array(stored.inputs.continuous)
    if not continuous.any():
        raise ValueError(f"{model.task} has no continuous inputs that an attack could move")
    raw = np.empty((len(x), model.outputs), np.float32)
    worst = np.empty(len(x), np.float32)
    for first in range(0, len(x), ROWS_AT_ONCE):
        rows = slice(first, first + ROWS_AT_ONCE)
        count = len(x[rows])
        padded_x = np.zeros((ROWS_AT_ONCE, model.features), np.float32)
        padded_y = np.zeros(ROWS_AT_ONCE, y.dtype)
        padded_x[:count], padded_y[:count] = x[rows], y[rows]
        made = _attacked(
            model.shape,
            ball,
            model.params,
            model.model_state,
            padded_x,
            padded_y,
            np.float32(epsilon),
            continuous.astype(np.float32),
            np.float32(ACTIVATIONS.index(model.activation)),
            np.uint32(first),
        )
        raw[rows], worst[rows] = (np.asarray(one)[:count] for one in made)
    return Worst(raw, worst)


@partial(jax.jit, static_argnums=(0, 1))
def _attacked(
    shape: ShapeClass,
    norm: Norm,
    params: object,
    model_state: object,
    x: jax.Array,
    y: jax.Array,
    epsilon: jax.Array,
    continuous: jax.Array,
    activation: jax.Array,
    start: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """The outputs `[rows, outputs]` and losses `[rows]` that are worst for each row."""
    apply = FAMILIES[shape.family].apply
    used = jnp.ones(shape.outputs)

    def judge(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        outputs, _ = apply(shape, params, model_state, x, jnp.float32(0.0), None, activation)
        _, plain = losses.example_losses(shape.kind, outputs, y, used, jnp.float32(0.0))
        return outputs, plain

    def one(number: jax.Array, worst: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        moved = attack(
            lambda x: jnp.sum(judge(x)[1]),
            x,
            epsilon,
            jnp.int32(STEPS),
            jnp.float32(STEP),
            norm,
            continuous,
            draws.mix(start * np.uint32(RESTARTS) + number.astype(jnp.uint32)),
            jnp.bool_(True),
        )
        outputs, plain = judge(moved)
        worse = plain > worst[1]
        return jnp.where(worse[:, None], outputs, worst[0]), jnp.where(worse, plain, worst[1])

    return jax.lax.fori_loop(0, RESTARTS, one, judge(x))
