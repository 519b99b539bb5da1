"""An episode as named arrays and plain values, and back: for checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from rlagent_envs import episode as episodes
from rlagent_envs.episode import Episode, Start
from rlagent_envs.models import Rung
from rlagent_envs.tasks.task import Task
from rlagent_envs.training.bank import Bank

Arrays = dict[str, np.ndarray]


def pack(episode: Episode) -> tuple[Arrays, dict[str, Any]]:
    """The arrays of an episode by name, and what else it takes to make it again."""
    arrays = _named("run", episode.run) | _named("snapshot", episode.snapshot)
    facts = {
        "rung": list(episode.shape.rung),
        "snapshot_rung": list(episode.snapshot_shape.rung),
        "decisions": episode.decisions,
        "spent": episode.spent,
        "at_best": episode.at_best,
    }
    return arrays, facts


def unpack(
    task: Task,
    bank: Bank,
    start: Start,
    open_knobs: tuple[str, ...],
    arrays: Mapping[str, np.ndarray],
    facts: Mapping[str, Any],
    slot: int = 0,
) -> Episode:
    """The episode that `pack` was given; the other arguments are those of `episode.begin`.

    Raises:
        ValueError: naming the array, if one is missing or not of the shape that it must have.
    """
    rung, snapshot_rung = Rung(*facts["rung"]), Rung(*facts["snapshot_rung"])
    start = replace(start, base=start.base or start.rung)
    fresh = episodes.begin(task, bank, replace(start, rung=rung), open_knobs, slot)
    safe = episodes.begin(task, bank, replace(start, rung=snapshot_rung), open_knobs, slot)
    return replace(
        fresh,
        run=_filled("run", fresh.run, arrays),
        snapshot=_filled("snapshot", safe.snapshot, arrays),
        snapshot_shape=safe.shape,
        decisions=int(facts["decisions"]),
        spent=float(facts["spent"]),
        at_best=bool(facts["at_best"]),
    )


def _named(prefix: str, tree: Any) -> Arrays:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {prefix + jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def _filled(prefix: str, tree: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    leaves, form = jax.tree_util.tree_flatten_with_path(tree)
    values = []
    for path, leaf in leaves:
        name = prefix + jax.tree_util.keystr(path)
        if name not in arrays:
            raise ValueError(f"the checkpoint lacks the array {name}")
        value, expected = arrays[name], np.asarray(leaf)
        if value.shape != expected.shape or value.dtype != expected.dtype:
            raise ValueError(
                f"the checkpoint's array {name} is {value.dtype}{list(value.shape)}, "
                f"not {expected.dtype}{list(expected.shape)}"
            )
        values.append(value)
    return jax.tree_util.tree_unflatten(form, values)
