"""Edits of the architecture that keep what the network computes, with its optimizer state."""

from __future__ import annotations

import copy
from functools import partial
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
    params, first, second, state = (
        jax.tree.map(np.asarray, tree)
        for tree in (live.params, live.optimizer.first, live.optimizer.second, live.model_state)
    )
    overall = _mean(jax.tree.leaves(second))
    again = copy.deepcopy(generator)  # a running mean of the weights gets the same new ones
    average = jax.tree.map(np.asarray, live.average)
    if rung == family.wider(shape.rung):
        grown, new = family.widen(generator, params, rung.width)
        average = family.widen(again, average, rung.width)[0] if average else average
        first, second = (family.widen(None, moment, rung.width)[0] for moment in (first, second))
        state = family.carry(lambda tree: family.widen(None, tree, rung.width)[0], params, state)
    elif rung == family.deeper(shape.rung):
        grown, new = family.deepen(params)
        average = family.deepen(average)[0] if average else average
        first, second = (family.deepen(moment)[0] for moment in (first, second))
        state = family.carry(lambda tree: family.deepen(tree)[0], params, state)
    else:
        raise ValueError(f"rung {rung} is not one level wider or deeper than {shape.rung}")
    first = jax.tree.map(lambda m, is_new: np.where(is_new, np.float32(0.0), m), first, new)
    second = jax.tree.map(partial(_with_mean, overall), second, new)
    optimizer = live.optimizer.replace(first=first, second=second)
    return live.replace(params=grown, model_state=state, optimizer=optimizer, average=average)


def shrink(shape: ShapeClass, live: Live, rung: Rung) -> Live:
    """The network on the next narrower rung, without the units that are used the least.

    The outputs change by what those units gave; nothing is drawn, and moments are carried.

    Args:
        shape: of the present rung.
        live: the network and its optimizer on that rung.
        rung: the next narrower one.

    Raises:
        ValueError: if it is another one.
    """
    family = FAMILIES[shape.family]
    if rung != family.narrower(shape.rung):
        raise ValueError(f"rung {rung} is not one level narrower than {shape.rung}")
    params, first, second, average, state = (
        jax.tree.map(np.asarray, tree)
        for tree in (
            live.params,
            live.optimizer.first,
            live.optimizer.second,
            live.average,
            live.model_state,
        )
    )
    pick = family.narrow(params, rung.width)
    state = family.carry(pick, params, state)
    optimizer = live.optimizer.replace(first=pick(first), second=pick(second))
    average = pick(average) if average else average
    return live.replace(
        params=pick(params), model_state=state, optimizer=optimizer, average=average
    )


def _with_mean(overall: np.float32, second: np.ndarray, is_new: np.ndarray) -> np.ndarray:
    """New entries get the mean of the old ones of their layer, or of the network."""
    if is_new.all():
        return np.full_like(second, overall)
    if not is_new.any():
        return second
    mean = np.mean(second, where=~is_new, dtype=np.float64)
    return np.where(is_new, np.float32(mean), second)


def _mean(leaves: list[Any]) -> np.float32:
    total = sum(float(np.sum(leaf, dtype=np.float64)) for leaf in leaves)
    return np.float32(total / sum(leaf.size for leaf in leaves))
