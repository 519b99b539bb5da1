"""The optimizers that a run can have, behind one interface; which one is part of its shape class.

AdamW, SGD, Lion and Muon are the agent's own: their moments are what telemetry reads and what
growth carries. The others are Optax's, for comparison: they promise to need no tuning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from optax import contrib

from rlagent_envs.config import TUNABLE
from rlagent_envs.settings import Settings
from rlagent_envs.training import adamw, momentum


@dataclass(frozen=True)
class Optimizer:
    """How weights follow gradients; every function is of ONE network."""

    # (params, settings) -> state, as NumPy arrays
    init: Callable[[Any, Settings], Any]
    # (state, settings) -> state, before a slice whose settings may have changed
    begin: Callable[[Any, Settings], Any]
    # (gradients, state, params, settings, learning rate of this update [], batch loss [])
    # -> params, state
    update: Callable[[Any, Any, Any, Settings, jax.Array, jax.Array], tuple[Any, Any]]
    # (state, params) -> first and second moment like params; zeros where there are none
    moments: Callable[[Any, Any], tuple[Any, Any]]
    # (state, params) -> the weights that are judged
    judged: Callable[[Any, Any], Any]
    # (params) -> floating-point operations of an update, where they are not small beside training
    flops: Callable[[Any], float] = lambda params: 0.0


Update = Callable[[Any, Any, Any, Settings, jax.Array], tuple[Any, Any]]


def _own(update: Update, *, summed: bool = False) -> Optimizer:
    """One of the agent's own; `summed`: its first moment is a sum of gradients, not their mean."""

    def moments(state: Any, params: Any) -> tuple[Any, Any]:
        if not summed:
            return state.first, state.second
        share = 1 - state.momentum
        return jax.tree.map(lambda m: share * m, state.first), state.second

    return Optimizer(
        init=lambda params, settings: adamw.init(params, settings.momentum),
        begin=lambda state, settings: adamw.set_momentum(state, settings.momentum),
        update=lambda gradients, state, params, settings, learning_rate, loss: update(
            gradients, state, params, settings, learning_rate
        ),
        moments=moments,
        judged=lambda state, params: params,
        flops=momentum.muon_flops if update is momentum.muon else lambda params: 0.0,
    )


# (learning rate, weight decay) -> transformation. Both numbers may be traced.
Make = Callable[[Any, Any], optax.GradientTransformationExtraArgs]

TUNING_FREE: dict[str, Make] = {
    # Defazio et al. 2024 (arXiv:2405.15682)
    "schedule-free": lambda rate, decay: contrib.schedule_free_adamw(rate, weight_decay=decay),
    # Mishchenko and Defazio 2024 (arXiv:2306.06101)
    "prodigy": lambda rate, decay: contrib.prodigy(rate, weight_decay=decay),
    # Defazio and Mishchenko 2023 (arXiv:2301.07733)
    "dadapt": lambda rate, decay: contrib.dadapt_adamw(rate, weight_decay=decay),
    # Cutkosky, Defazio and Mehta 2023 (arXiv:2306.00144)
    "mechanic": lambda rate, decay: contrib.mechanize(optax.adamw(rate, weight_decay=decay)),
    # Schaipp et al. 2024 (arXiv:2305.07583)
    "momo": lambda rate, decay: contrib.momo_adam(rate, weight_decay=decay),
    # Ivgi, Hinder and Carmon 2023 (arXiv:2302.12022)
    "dog": lambda rate, decay: contrib.dog(rate, weight_decay=decay),
}


def _of_optax(name: str) -> Optimizer:
    make = TUNING_FREE[name]

    def init(params: Any, settings: Settings) -> Any:
        state = make(settings.learning_rate, settings.weight_decay).init(params)
        # NumPy arrays have no weak types, for which a program would be compiled again.
        return jax.tree.map(np.asarray, state)

    def update(
        gradients: Any,
        state: Any,
        params: Any,
        settings: Settings,
        learning_rate: jax.Array,
        loss: jax.Array,
    ) -> tuple[Any, Any]:
        transformation = optax.with_extra_args_support(make(learning_rate, settings.weight_decay))
        changes, after = transformation.update(gradients, state, params, value=loss)
        return optax.apply_updates(params, changes), after

    def judged(state: Any, params: Any) -> Any:
        if name == "schedule-free":
            return contrib.schedule_free_eval_params(state, params)
        return params

    return Optimizer(
        init=init, begin=lambda state, settings: state, update=update, moments=_none, judged=judged
    )


def _none(state: Any, params: Any) -> tuple[Any, Any]:
    zeros = jax.tree.map(jnp.zeros_like, params)
    return zeros, zeros


ADAMW = "adamw"
# Of each that can be chosen besides AdamW, the learning rate that its paper begins with. It is one
# for all schedules: for AdamW alone a method has a rate of its own.
ADVISED_RATES = {"sgd": 0.1, "lion": 3e-4, "muon": 0.02}
OPTIMIZERS = (*TUNABLE, *TUNING_FREE)


@cache
def optimizer_of(name: str) -> Optimizer:
    """The optimizer of that name; ValueError with the choices if there is none."""
    if name not in OPTIMIZERS:
        raise ValueError(f"unknown optimizer {name!r}; there are: {', '.join(OPTIMIZERS)}")
    match name:
        case "adamw":
            return _own(adamw.update)
        case "sgd":
            return _own(momentum.sgd, summed=True)
        case "lion":
            return _own(momentum.lion)
        case "muon":
            return _own(momentum.muon)
    return _of_optax(name)
