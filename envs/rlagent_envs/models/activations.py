"""The activations of hidden units: which one is a traced choice, so that no choice compiles."""

from __future__ import annotations

import jax
import jax.numpy as jnp

ACTIVATIONS = ("relu", "gelu", "silu", "tanh")


def relu(x: jax.Array) -> jax.Array:
    """The activation of programs without the lever."""
    return jax.nn.relu(x)


def chosen(number: jax.Array, x: jax.Array) -> jax.Array:
    """The activation of a number, which is rounded to that of one of `ACTIVATIONS`.

    Args:
        number: `[]`, float32 as all settings are.
        x: of any shape.
    """
    branches = (jax.nn.relu, jax.nn.gelu, jax.nn.silu, jnp.tanh)
    return jax.lax.switch(jnp.round(number).astype(jnp.int32), branches, x)
