"""Penalties, clipping and averaging: what holds the weights back besides AdamW's own decay."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rlagent_envs.settings import Settings

NORMS = 64  # gradient norms that clipping remembers
UNKNOWN = -1.0  # stands for a norm that there was not yet


def penalized(gradients: Any, params: Any, settings: Settings) -> Any:
    """The gradients with those of `l2 / 2 x |weights|^2 + l1 x |weights|_1` added.

    Args:
        gradients: of the loss, like params.
        params: the weights; kernels are penalised, biases (which have one axis) are not.
        settings: of them l1 and l2.
    """

    def added(gradient: jax.Array, weight: jax.Array) -> jax.Array:
        if weight.ndim < 2:
            return gradient
        return gradient + settings.l2 * weight + settings.l1 * jnp.sign(weight)

    return jax.tree.map(added, gradients, params)


def no_norms() -> np.ndarray:
    """The memory of clipping before the first update, `[NORMS]`, float32."""
    return np.full(NORMS, UNKNOWN, np.float32)


def clip_limit(norms: jax.Array, quantile: jax.Array) -> jax.Array:
    """The norm that gradients are shortened to, `[]`; infinity where there is no limit.

    Args:
        norms: the last ones, `[NORMS]`, `UNKNOWN` where there were fewer.
        quantile: of them, `[]`; from 1 up there is no limit.

    Source: Seetharaman et al. 2020, "AutoClip" (arXiv:2007.14469), section 3, over recent updates
    in the place of all.
    """
    known = norms >= 0.0
    ordered = jnp.sort(jnp.where(known, norms, jnp.inf))
    count = jnp.sum(known)
    place = jnp.clip(jnp.floor(quantile * count).astype(jnp.int32), 0, NORMS - 1)
    return jnp.where((quantile < 1.0) & (count > 0), ordered[place], jnp.inf)


def clipped(
    gradients: Any, norms: jax.Array, limit: jax.Array, update: jax.Array
) -> tuple[Any, jax.Array]:
    """The gradients, shortened together if their norm is above the limit; and the memory after it.

    Args:
        gradients: any tree of arrays.
        norms: the last norms, `[NORMS]`.
        limit: as of `clip_limit`.
        update: number of the update, `[]`.
    """
    squares = sum((jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(gradients)), jnp.zeros(()))
    norm = jnp.sqrt(squares)
    factor = jnp.where(norm > limit, limit / norm, 1.0)
    # One that is not finite would be the limit of later ones.
    kept = jnp.where(jnp.isfinite(norm), norm, UNKNOWN)
    norms = norms.at[(update % NORMS).astype(jnp.int32)].set(kept)
    return jax.tree.map(lambda leaf: leaf * factor, gradients), norms


def averaged(average: Any, params: Any, decay: jax.Array, update: jax.Array) -> Any:
    """The running mean of the weights after an update; with decay 0 the weights themselves.

    The decay grows to its value, so that the mean forgets where the run began.

    Args:
        average: before the update, like params.
        params: after the update.
        decay: the setting, `[]`.
        update: number of the update, `[]`.

    Source: Polyak and Juditsky 1992; the growth after TensorFlow's ExponentialMovingAverage.
    """
    number = update.astype(jnp.float32)
    decay = jnp.minimum(decay, (1.0 + number) / (10.0 + number))
    return jax.tree.map(
        lambda a, p: jnp.where(decay > 0, decay * a + (1.0 - decay) * p, p), average, params
    )
