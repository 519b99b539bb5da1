"""Edits of the architecture that keep what the network computes, with its optimizer state."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from rlagent_envs.models import FAMILIES, Rung, ShapeClass
from rlagent_envs.training.loop import Live


def grow(generator: np.random.Generator, shape: ShapeClass, live: Live, rung: Rung) -> Live:
    """The same network on a larger rung: equal outputs, moments carried.

    Plain NumPy: an edit is rare, and as a compiled program it would be one for each pair of rungs.

    Args:
        generator: draws the incoming weights of new units.
        shape: of the present rung.
        live: the network and its optimizer on that rung.
        rung: the next one: either wider or deeper by one level.

    Returns:
        The network on the new rung, as NumPy arrays. New numbers have a zero first moment and the
        mean second moment of what their layer (for a new layer: the network) had.

    Raises:
        ValueError: if `rung` is neither wider nor deeper by one level.
    """
    family = FAMILIES[shape.family]
    params = jax.tree.map(np.asarray, live.params)
    first, second = (
        jax.tree.map(np.asarray, moment) for moment in (live.optimizer.first, live.optimizer.second)
    )
    if rung == family.wider(shape.rung):
        params, new = family.widen(generator, params, rung.width)
        embedded = [
            family.widen(np.random.default_rng(0), moment, rung.width)[0]
            for moment in (first, second)
        ]
    elif rung == family.deeper(shape.rung):
        params, new = family.deepen(params)
        embedded = [family.deepen(moment)[0] for moment in (first, second)]
    else:
        raise ValueError(f"rung {rung} is not one level wider or deeper than {shape.rung}")
    overall = _mean(jax.tree.leaves(second))
    carried_first = jax.tree.map(lambda m, is_new: np.where(is_new, 0.0, m), embedded[0], new)
    carried_second = jax.tree.map(
        lambda v, is_new: np.where(
            is_new, overall if is_new.all() else np.mean(v[~is_new]), v
        ).astype(np.float32),
        embedded[1],
        new,
    )
    optimizer = live.optimizer.replace(
        first=jax.tree.map(np.float32, carried_first), second=carried_second
    )
    return live.replace(params=params, optimizer=optimizer)


def _mean(leaves: list[Any]) -> np.float32:
    return np.float32(sum(leaf.sum() for leaf in leaves) / sum(leaf.size for leaf in leaves))
