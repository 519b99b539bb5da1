"""Attacks on a network: inputs moved within a ball so that its loss is as large as can be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from rlagent_envs import draws

Norm = Literal["linf", "l2"]
NORMS: tuple[Norm, ...] = ("linf", "l2")
L2_BALL = "l2-ball"  # among the levers of a program; without it: linf
ROBUST = "robust"  # among the levers: validation rows are judged as they are and attacked
JUDGE_STEPS, JUDGE_STEP = 5, 2.5  # of the attack on validation rows
_TINY = 1e-12


def norm_named(name: str) -> Norm:
    """The norm of that name; ValueError with the choices if there is none."""
    for norm in NORMS:
        if norm == name:
            return norm
    raise ValueError(f"unknown norm {name!r}; there are: {', '.join(NORMS)}")


def norm_of(levers: tuple[str, ...]) -> Norm:
    """The ball of a program: that of its lever."""
    return "l2" if L2_BALL in levers else "linf"


def attack(
    loss: Callable[[jax.Array], jax.Array],
    x: jax.Array,
    epsilon: jax.Array,
    steps: jax.Array,
    step: jax.Array,
    norm: Norm,
    open_columns: jax.Array,
    start: jax.Array,
    inside: jax.Array,
) -> jax.Array:
    """Inputs within `epsilon` of `x` at which the loss is larger: FGSM for one step, else PGD.

    Args:
        loss: of moved inputs `[batch, features]`, summed over the batch, `[]`.
        x: the inputs, `[batch, features]`.
        epsilon: radius of the ball, `[]`; 0: `x` is returned as it is.
        steps: how many, `[]`, int32.
        step: length of each, in epsilon / steps, `[]`.
        norm: linf or l2, of the change of a whole example.
        open_columns: 1 for columns that may be moved, 0 for padding, `[features]`.
        start: of the random numbers that a beginning inside the ball is drawn from, `[]`, uint32.
        inside: whether it begins there, or at `x`, `[]`, bool.

    Source: Goodfellow et al. 2015 (arXiv:1412.6572), section 4; Madry et al. 2018
    (arXiv:1706.06083), section 2.1.
    """
    length = step * epsilon / jnp.maximum(steps, 1)
    drawn = (2.0 * draws.uniform(start, x.shape) - 1.0) * open_columns[None, :]
    change = jnp.where(inside, _projected(epsilon * drawn, epsilon, norm), 0.0)

    def one(number: jax.Array, change: jax.Array) -> jax.Array:
        gradient = jax.grad(loss)(x + change) * open_columns[None, :]
        return _projected(change + length * _direction(gradient, norm), epsilon, norm)

    change = jax.lax.fori_loop(0, jnp.where(epsilon > 0, steps, 0), one, change)
    return jnp.where(epsilon > 0, x + change, x)


def _direction(gradient: jax.Array, norm: Norm) -> jax.Array:
    """The step of length 1 that raises the loss the most, of each example."""
    if norm == "linf":
        return jnp.sign(gradient)
    return gradient / (jnp.sqrt(jnp.sum(jnp.square(gradient), axis=1, keepdims=True)) + _TINY)


def _projected(change: jax.Array, epsilon: jax.Array, norm: Norm) -> jax.Array:
    """The nearest change inside the ball."""
    if norm == "linf":
        return jnp.clip(change, -epsilon, epsilon)
    length = jnp.sqrt(jnp.sum(jnp.square(change), axis=1, keepdims=True))
    return change * jnp.minimum(1.0, epsilon / (length + _TINY))
