"""The knobs of the agent: what each level of each component of an action does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from rlagent_envs.training.settings import HIGH, LOW, Settings


@dataclass(frozen=True)
class Knob:
    """One component of an action."""

    name: str
    levels: tuple[float, ...] | tuple[str, ...]
    hold: int  # the level that changes nothing
    rule: str  # multiply, add, multiply_complement (of 1 - x), or edit
    meaning: str


_LEARNING_RATE = (0.1, 0.5, 0.707, 0.9, 1.0, 1.1, 1.414, 2.0, 10.0)

KNOBS: dict[str, Knob] = {
    knob.name: knob
    for knob in (
        Knob("learning_rate", _LEARNING_RATE, 4, "multiply", "times the learning rate"),
        Knob("weight_decay", (0.25, 0.5, 1.0, 2.0, 4.0), 2, "multiply", "times the weight decay"),
        Knob("dropout", (-0.1, 0.0, 0.1), 1, "add", "added to the dropout rate"),
        Knob("label_smoothing", (-0.05, 0.0, 0.05), 1, "add", "added to the label smoothing"),
        Knob("momentum", (0.5, 1.0, 2.0), 1, "multiply_complement", "times 1 - momentum"),
        Knob("growth", ("hold", "wider", "deeper"), 0, "edit", "a larger rung, same function"),
        Knob("restore", ("hold", "best"), 0, "edit", "back to the best weights so far"),
    )
}

LEVELS = tuple(len(knob.levels) for knob in KNOBS.values())  # of the MultiDiscrete action
HOLD = np.array([knob.hold for knob in KNOBS.values()], np.int32)  # the action that does nothing
STARTS = np.concatenate([[0], np.cumsum(LEVELS)])  # where each knob begins in a flat mask

_NAMES = tuple(KNOBS)
GROWTH, RESTORE = _NAMES.index("growth"), _NAMES.index("restore")
WIDER, DEEPER, BEST = 1, 2, 1  # levels of growth and of restore

# The knobs of settings come first and in the order of `Settings`, so that both share an index.
_WIDEST = max(LEVELS)
_TABLE = np.array(
    [
        [*KNOBS[name].levels, *[0.0] * (_WIDEST - len(KNOBS[name].levels))]
        for name in Settings._fields
    ],
    np.float32,
)
_RULES = tuple(KNOBS[name].rule for name in Settings._fields)


def apply(settings: jax.Array, action: jax.Array) -> jax.Array:
    """The settings after an action; a knob on hold leaves its setting bit for bit.

    Args:
        settings: the vector `[settings]` of `Settings`.
        action: a level for each knob, `[knobs]`, int32.
    """
    count = len(Settings._fields)
    chosen = action[:count]
    level = jnp.asarray(_TABLE)[jnp.arange(count), chosen]
    candidates = {
        "multiply": settings * level,
        "add": settings + level,
        "multiply_complement": 1.0 - (1.0 - settings) * level,
    }
    moved = jnp.stack([candidates[rule][i] for i, rule in enumerate(_RULES)])
    moved = jnp.clip(moved, LOW.pack(), HIGH.pack())
    return jnp.where(chosen == HOLD[:count], settings, moved)


def open_mask(names: Sequence[str], kind: str) -> np.ndarray:
    """The flat mask `[levels]` of the knobs that are open: a closed knob can only hold.

    Args:
        names: the knobs that are open.
        kind: of the task; label smoothing has no meaning in regression.

    Raises:
        ValueError: if a name is unknown or stands twice.
    """
    for name in names:
        if name not in KNOBS:
            raise ValueError(f"unknown knob {name!r}; there are: {', '.join(KNOBS)}")
    if len(set(names)) < len(names):
        raise ValueError(f"a knob is named twice in {', '.join(names)}")
    mask = np.zeros(STARTS[-1], bool)
    for number, (name, knob) in enumerate(KNOBS.items()):
        start = STARTS[number]
        mask[start + knob.hold] = True
        if name in names and not (name == "label_smoothing" and kind == "regression"):
            mask[start : start + len(knob.levels)] = True
    return mask


def close(mask: np.ndarray, knob: int, level: int) -> None:
    """Forbids one level of one knob, in place."""
    mask[STARTS[knob] + level] = False


def check_allowed(action: np.ndarray, mask: np.ndarray) -> None:
    """Raises ValueError, naming the knob, if a mask forbids a part of the action."""
    for name, level, start, levels in zip(_NAMES, action, STARTS, LEVELS, strict=False):
        if not 0 <= level < levels:
            raise ValueError(f"{name} has levels 0 to {levels - 1}, got {level}")
        if not mask[start + level]:
            raise ValueError(
                f"level {level} of {name} ({KNOBS[name].levels[level]}) is masked in this state"
            )


def held(action: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The action with hold in place of each level that a mask forbids.

    For those who choose without looking at the mask, as Gymnasium's and SB3's checkers do.

    Args:
        action: a level for each knob, `[knobs]`, integers; it is not changed.
        mask: flat, `[levels]`, True where allowed.

    Returns:
        The allowed action, int32, and the names of the knobs that were held.

    Raises:
        ValueError: if the action has another shape or type, or a level does not exist.
    """
    action = np.asarray(action)
    if action.shape != HOLD.shape or action.dtype.kind not in "iu":
        raise ValueError(
            f"an action is {len(HOLD)} whole numbers, a level for each of "
            f"{', '.join(_NAMES)}; got {action.tolist()}"
        )
    allowed, names = HOLD.copy(), []
    for number, (name, level, levels) in enumerate(zip(_NAMES, action, LEVELS, strict=True)):
        if not 0 <= level < levels:
            raise ValueError(f"{name} has levels 0 to {levels - 1}, got {level}")
        if mask[STARTS[number] + level]:
            allowed[number] = level
        else:
            names.append(name)
    return allowed, names
