"""How a model does when its inputs are moved against it: the worst of a ball, as PGD finds it."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rlagent.apply.ensembles.ensemble import Combination, Ensemble
from rlagent.apply.model import Model, Predictor, network_outputs
from rlagent_envs import draws
from rlagent_envs.models import ShapeClass
from rlagent_envs.models.activations import ACTIVATIONS
from rlagent_envs.settings import HIGH
from rlagent_envs.training import losses
from rlagent_envs.training.adversarial import NORMS, Norm, attack, norm_named

STEPS, RESTARTS = 20, 2
STEP = 2.5  # length of a step, in epsilon / STEPS


class Worst(NamedTuple):
    """What is worst for each row, of all restarts and the row as it is."""

    raw: np.ndarray  # [rows, *targets, outputs], of the network
    # [rows], plain: nats, or squared standard deviations of the target; the mean over targets
    losses: np.ndarray


def check_ball(epsilon: float, norm: str) -> Norm:
    """The norm of attacks; ValueError, naming the value and the choices, if there are none such."""
    if not 0.0 <= epsilon <= HIGH.adversarial_epsilon:
        raise ValueError(
            f"robust_epsilon must be from 0 to {HIGH.adversarial_epsilon:g}, got {epsilon:g}"
        )
    return norm_named(norm)


def worst_case(
    model: Predictor, x: np.ndarray, y: np.ndarray, epsilon: float, norm: str = NORMS[0]
) -> Worst:
    """Attacks each row by PGD with 20 steps from 2 random beginnings.

    Categories, and flags of missing values, are left as they are: nothing lies between them.

    Args:
        model: what is attacked.
        x: preprocessed rows, `[rows, features]`.
        y: class numbers, or standardised values, `[rows, *targets]`.
        epsilon: radius of the ball, in the units of preprocessed inputs: standard deviations.
        norm: linf or l2.

    Raises:
        ValueError: if epsilon or the norm make no sense, or no input can be moved.

    Source: Madry et al. 2018 (arXiv:1706.06083), section 2.1 and 5.
    """
    ball = check_ball(epsilon, norm)
    stored = model.preprocessing
    continuous = np.ones(model.features) if stored is None else np.array(stored.inputs.continuous)
    if not continuous.any():
        raise ValueError(f"{model.task} has no continuous inputs that an attack could move")
    ensemble = _as_ensemble(model)
    members, weights, combination = ensemble.members, ensemble.weights, ensemble.combination
    networks = [(one.params, one.model_state) for one in members]
    activations = [np.float32(ACTIVATIONS.index(one.activation)) for one in members]
    shapes = tuple(one.shape for one in members)
    at_once = min(shape.batch_size for shape in shapes)
    raw = np.empty((len(x), *model.target_shape, model.outputs), np.float32)
    worst = np.empty(len(x), np.float32)
    for first in range(0, len(x), at_once):
        rows = slice(first, first + at_once)
        count = len(x[rows])
        padded_x = np.zeros((at_once, model.features), np.float32)
        padded_y = np.zeros((at_once, *y.shape[1:]), y.dtype)
        padded_x[:count], padded_y[:count] = x[rows], y[rows]
        made = _attacked(
            shapes,
            combination,
            ball,
            networks,
            activations,
            np.array(weights, np.float32),
            padded_x,
            padded_y,
            np.float32(epsilon),
            continuous.astype(np.float32),
            np.uint32(first),
        )
        raw[rows], worst[rows] = (np.asarray(one)[:count] for one in made)
    return Worst(raw, worst)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _attacked(
    shapes: tuple[ShapeClass, ...],
    combination: Combination,
    norm: Norm,
    networks: list[tuple[Any, Any]],
    activations: list[jax.Array],
    weights: jax.Array,
    x: jax.Array,
    y: jax.Array,
    epsilon: jax.Array,
    continuous: jax.Array,
    start: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """The outputs `[rows, *targets, outputs]` and losses `[rows]` that are worst for each row."""
    kind, used = shapes[0].kind, jnp.ones(shapes[0].outputs)
    no_smoothing = jnp.float32(0.0)

    def judge(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        raws = [
            network_outputs(shape, activation, *network, x)
            for shape, network, activation in zip(shapes, networks, activations, strict=True)
        ]
        outputs = _together(jnp.stack(raws), weights, kind, combination)
        _, plain = losses.example_losses(kind, outputs, y, used, no_smoothing)
        return outputs, plain

    def one(number: jax.Array, worst: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        moved = attack(
            lambda x: jnp.sum(judge(x)[1]),
            x,
            epsilon,
            jnp.int32(STEPS),
            jnp.float32(STEP),
            norm,
            continuous,
            draws.mix(start * np.uint32(RESTARTS) + number.astype(jnp.uint32)),
            jnp.bool_(True),
        )
        outputs, plain = judge(moved)
        worse = plain > worst[1]
        of_rows = worse.reshape(-1, *[1] * (outputs.ndim - 1))
        return jnp.where(of_rows, outputs, worst[0]), jnp.where(worse, plain, worst[1])

    return jax.lax.fori_loop(0, RESTARTS, one, judge(x))


def _as_ensemble(model: Predictor) -> Ensemble:
    """A single network as an ensemble of one."""
    if isinstance(model, Ensemble):
        return model
    if isinstance(model, Model):
        return Ensemble((model,), (1.0,), "sum")
    raise TypeError(f"expected a model or an ensemble, got {type(model).__name__}")


def _together(
    raws: jax.Array, weights: jax.Array, kind: str, combination: Combination
) -> jax.Array:
    """What networks say together, `[rows, *targets, outputs]`, as `ensemble.combined` has it."""
    shares = weights.reshape(-1, *[1] * (raws.ndim - 1))
    if combination == "mean" and kind == "classification":
        return jax.nn.logsumexp(jax.nn.log_softmax(raws) + jnp.log(shares), axis=0)
    return jnp.sum(shares * raws, axis=0)
