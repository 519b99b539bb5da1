"""Vectors for whole numbers: what families that have them share."""

from __future__ import annotations

import jax
import jax.numpy as jnp

# Floating-point operations of AdamW for each weight. It moves all vectors in every update, which
# for most networks with vectors is more than the batch itself has to do.
UPDATE_FLOPS = 16.0


def looked_up(tables: tuple[jax.Array, ...], x: jax.Array) -> list[jax.Array]:
    """The vector of each of the last columns, `[batch, dimensions]` of each table.

    By gathering: products with the numbers as one-hot rows took 3 to 6 times as long on CPU.

    Args:
        tables: for each of the last columns, in their order, `[numbers, dimensions]`.
        x: `[batch, features]`, whole numbers as floats in the last columns.
    """
    numbers = x[:, x.shape[1] - len(tables) :].astype(jnp.int32)
    return [table[numbers[:, place]] for place, table in enumerate(tables)]


def update_flops(weights: int, batch_size: int) -> float:
    """An example's share of moving so many weights of vectors."""
    return UPDATE_FLOPS * weights / batch_size
