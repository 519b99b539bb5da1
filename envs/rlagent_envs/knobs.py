"""The knobs of the agent: what each level of each component of an action does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from rlagent_envs.forms import has_boxes
from rlagent_envs.models import FAMILIES
from rlagent_envs.models.activations import ACTIVATIONS
from rlagent_envs.settings import ATTACKS, HIGH, LEAST, LEVER_OF, LOW, Settings

if TYPE_CHECKING:
    from rlagent_envs.tasks.task import Task


@dataclass(frozen=True)
class Knob:
    """One component of an action."""

    name: str
    levels: tuple[float, ...] | tuple[str, ...]
    hold: int  # the level that changes nothing
    # multiply, multiply_or_off (0 is left by a factor above 1, and reached below the least value),
    # add, multiply_complement (of 1 - x), choose (one of names), or edit
    rule: str
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
        Knob("focal_gamma", (-0.5, 0.0, 0.5), 1, "add", "added to the gamma of the focal loss"),
        Knob("class_balance", (-0.25, 0.0, 0.25), 1, "add", "added to the balance of classes"),
        Knob("huber_delta", (0.25, 0.5, 1.0, 2.0, 4.0), 2, "multiply", "times Huber's delta"),
        Knob("quantile", (-0.05, 0.0, 0.05), 1, "add", "added to the quantile aimed at"),
        Knob("l2", (0.25, 1.0, 4.0), 1, "multiply_or_off", "times the L2 penalty"),
        Knob("l1", (0.25, 1.0, 4.0), 1, "multiply_or_off", "times the L1 penalty"),
        Knob("clip_quantile", (-0.1, 0.0, 0.1), 1, "add", "added to the quantile of clipping"),
        Knob("average_decay", (0.5, 1.0, 2.0), 1, "multiply_complement", "times 1 - decay"),
        Knob("augmentation", (-0.1, 0.0, 0.1), 1, "add", "added to the magnitude"),
        Knob("mixup", (-0.1, 0.0, 0.1), 1, "add", "added to alpha"),
        Knob("cutmix", (-0.1, 0.0, 0.1), 1, "add", "added to alpha"),
        Knob("adversarial_epsilon", (0.5, 1.0, 2.0), 1, "multiply_or_off", "times epsilon"),
        Knob("adversarial_share", (-0.25, 0.0, 0.25), 1, "add", "added to the share attacked"),
        Knob("adversarial_steps", (-1.0, 0.0, 1.0), 1, "add", "added to the steps of an attack"),
        Knob("adversarial_step", (-0.25, 0.0, 0.25), 1, "add", "added to the length of a step"),
        Knob("trades", (-1.0, 0.0, 1.0), 1, "add", "added to the weight of TRADES"),
        Knob("activation", ("hold", *ACTIVATIONS), 0, "choose", "this activation from now on"),
        Knob("stochastic_depth", (-0.1, 0.0, 0.1), 1, "add", "added to the share skipped"),
        Knob("growth", ("hold", "wider", "deeper"), 0, "edit", "a larger rung, same function"),
        Knob("restore", ("hold", "best"), 0, "edit", "back to the best weights so far"),
        Knob("shrink", ("hold", "narrower"), 0, "edit", "a smaller rung, without the least used"),
    )
}

LEVELS = tuple(len(knob.levels) for knob in KNOBS.values())  # of the MultiDiscrete action
HOLD = np.array([knob.hold for knob in KNOBS.values()], np.int32)  # the action that does nothing
STARTS = np.concatenate([[0], np.cumsum(LEVELS)])  # where each knob begins in a flat mask

_NAMES = tuple(KNOBS)
ACTIVATION, GROWTH, RESTORE, SHRINK = (
    _NAMES.index(name) for name in ("activation", "growth", "restore", "shrink")
)
WIDER, DEEPER, BEST, NARROWER = 1, 2, 1, 1  # levels of growth, of restore and of shrink

# The knobs of settings come first and in the order of `Settings`, so that both share an index.
_WIDEST = max(LEVELS)


def _numbers(knob: Knob) -> list[float]:
    """The levels of a knob; of one that chooses, what each sets (hold, the first, is not used)."""
    if knob.rule == "choose":
        return [0.0, *map(float, range(len(knob.levels) - 1))]
    return [float(level) for level in knob.levels]


_TABLE = np.array(
    [
        [*_numbers(KNOBS[name]), *[0.0] * (_WIDEST - len(KNOBS[name].levels))]
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
    least = LEAST.pack()
    product = jnp.where(settings > 0, settings * level, jnp.where(level > 1, least, 0.0))
    candidates = {
        "multiply": settings * level,
        "multiply_or_off": jnp.where(product < least, 0.0, product),
        "choose": level,
        "add": settings + level,
        "multiply_complement": 1.0 - (1.0 - settings) * level,
    }
    moved = jnp.stack([candidates[rule][i] for i, rule in enumerate(_RULES)])
    moved = jnp.clip(moved, LOW.pack(), HIGH.pack())
    return jnp.where(chosen == HOLD[:count], settings, moved)


# What has no meaning for a kind of task, a form of examples, examples with many targets, where
# nothing is a quantity that an attack could move, or for a family without residual blocks.
_CLOSED = {
    "regression": ("label_smoothing", "focal_gamma", "class_balance"),
    "classification": ("huber_delta", "quantile"),
    "image": (),
    "table": ("cutmix",),
    "sequence": ("cutmix",),
    "tokens": ("mixup", "cutmix"),
    "record": ("mixup", "cutmix"),
    "pair": ("mixup", "cutmix", "augmentation"),
    "mixed": ("mixup", "cutmix"),
    "choice": ("mixup", "cutmix", "augmentation"),
    "many": ("cutmix",),  # the targets of what is pasted would have to be pasted, too
    "boxes": ("class_balance",),  # classes and distances have numbers in common
    "categories": ATTACKS,
    "plain": ("stochastic_depth",),
    "forecast": ("augmentation",),  # the last steps, which it moves and masks, are what matters
}


def meaningful(name: str, task: Task) -> bool:
    """Whether a knob or setting does anything for a task, and the family of its network."""
    closed = _CLOSED[task.kind] + _CLOSED[task.form]
    if task.target_shape:
        closed += _CLOSED["many"]
    if has_boxes(task.target_shape):
        closed += _CLOSED["boxes"]
    for what, there in (
        ("plain", not FAMILIES[task.family].residual),
        ("categories", not task.attackable),
        ("forecast", task.is_forecast),
    ):
        closed += _CLOSED[what] if there else ()
    return name not in closed


def open_mask(names: Sequence[str], task: Task) -> np.ndarray:
    """The flat mask `[levels]` of the knobs that are open: a closed knob can only hold.

    Args:
        names: the knobs that are open.
        task: what has no meaning for it stays closed.

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
        if name in names and meaningful(name, task):
            mask[start : start + len(knob.levels)] = True
    return mask


def close(mask: np.ndarray, knob: int, level: int) -> None:
    """Forbids one level of one knob, in place."""
    mask[STARTS[knob] + level] = False


def is_open(mask: np.ndarray, knob: int, level: int) -> bool:
    """Whether a mask allows one level of one knob."""
    return bool(mask[STARTS[knob] + level])


def in_use(levers: Sequence[str]) -> dict[str, Knob]:
    """The knobs that a run with these levers can have, whether they are open or not."""
    return {name: knob for name, knob in KNOBS.items() if LEVER_OF.get(name, "") in ("", *levers)}


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
            f"an action is {len(HOLD)} whole numbers, a level for each knob; got {action.tolist()}"
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
