"""What the learning rate does over the budget by itself: a multiplier of the setting."""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

CONSTANT, COSINE, EXPONENTIAL, STEP = range(4)  # shapes of the decay
LINEAR, SMOOTH = range(2)  # shapes of the rise


class Schedule(NamedTuple):
    """A rise from `start` to 1, then a decay to `final`; a run holds it as a vector, all traced."""

    decay: Any = CONSTANT
    final: Any = 1.0  # multiplier at the end of the budget
    falls: Any = 1.0  # of STEP: at equal distances, each by the same factor
    warmup: Any = 0.0  # share of the budget that the rise takes
    rise: Any = LINEAR
    start: Any = 1.0  # multiplier at the beginning

    def pack(self) -> np.ndarray:
        """The vector `[numbers]`, float32."""
        return np.array(self, np.float32)


# One-cycle has the numbers of PyTorch and Optax: a rise over 30 % from 1/25 of the peak, then down
# to 1/10,000 of the start. Smith and Topin 2018 (arXiv:1708.07120).
SHAPES: dict[str, Schedule] = {
    "constant": Schedule(),
    "cosine": Schedule(COSINE, final=0.0),  # Loshchilov and Hutter 2017 (arXiv:1608.03983)
    "one-cycle": Schedule(COSINE, final=4e-6, warmup=0.3, rise=SMOOTH, start=0.04),
    "step": Schedule(STEP, final=0.01, falls=2.0),  # a tenth after each third of the budget
    "exponential": Schedule(EXPONENTIAL, final=0.01),
    "warmup-cosine": Schedule(COSINE, final=0.0, warmup=0.1, rise=LINEAR, start=0.0),
}


def multiplier(schedule: Schedule, progress: Any, xp: ModuleType = jnp) -> Any:
    """What the learning rate is multiplied by, `[]`.

    Args:
        schedule: each number `[]`.
        progress: share of the budget that is spent, `[]`.
        xp: jax.numpy, or numpy outside of a compiled program.
    """
    shape = schedule
    risen = progress / xp.maximum(shape.warmup, 1e-9)
    eased = xp.where(shape.rise == SMOOTH, 0.5 * (1.0 - xp.cos(np.pi * risen)), risen)
    rise = shape.start + (1.0 - shape.start) * eased
    decayed = (progress - shape.warmup) / (1.0 - shape.warmup)
    fallen = xp.floor(decayed * (shape.falls + 1.0)) / shape.falls
    # x^0 is 1 for x = 0 too, so that a branch not taken is finite.
    exponent = xp.where(shape.decay == STEP, fallen, decayed)
    power = xp.power(xp.maximum(shape.final, 1e-30), exponent)
    half = 0.5 * (1.0 + xp.cos(np.pi * decayed))
    cosine = shape.final + (1.0 - shape.final) * half
    decay = xp.where(shape.decay == CONSTANT, 1.0, xp.where(shape.decay == COSINE, cosine, power))
    return xp.where(progress < shape.warmup, rise, decay)
