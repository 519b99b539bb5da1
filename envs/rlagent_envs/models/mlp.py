"""The multilayer perceptron: 4 depths x 4 widths, dropout after each hidden layer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import numpy as np

from rlagent_envs.models.activations import chosen, relu
from rlagent_envs.models.dropping import dropped
from rlagent_envs.models.ladder import Family, Rung, ShapeClass


class Dense(NamedTuple):
    """A fully connected layer."""

    kernel: Any  # [in, out], float32
    bias: Any  # [out], float32


Layers = tuple[Dense, ...]  # the hidden layers, then the output layer


def init(
    generator: np.random.Generator, shape: ShapeClass, features: int
) -> tuple[Layers, tuple[()]]:
    """New weights: He for the hidden layers, LeCun for the last one, zero biases.

    Rows of the first kernel that belong to padding are zero, and stay so: their gradient is zero.

    Args:
        generator: draws the weights.
        shape: the shapes, padding included.
        features: columns of the input that are not padding.

    Returns:
        The layers, and an empty model state.

    Source: He et al. 2015 (arXiv:1502.01852), section 2.2.
    """
    sizes = [shape.features, *[shape.rung.width] * shape.rung.depth, shape.outputs]
    fan_in = [features, *sizes[1:-1]]
    gains = [2.0] * shape.rung.depth + [1.0]
    layers = [
        Dense(_normal(generator, (rows, columns), gain / fan), np.zeros(columns, np.float32))
        for rows, columns, gain, fan in zip(sizes[:-1], sizes[1:], gains, fan_in, strict=True)
    ]
    layers[0].kernel[features:] = 0.0
    return tuple(layers), ()


def apply(
    shape: ShapeClass,
    params: Layers,
    model_state: tuple[()],
    x: jax.Array,
    dropout: jax.Array,
    start: jax.Array | None,
    activation: jax.Array | None = None,
    stochastic_depth: jax.Array | None = None,
) -> tuple[jax.Array, tuple[()]]:
    """The outputs `[batch, outputs]` for inputs `[batch, features]`.

    Args:
        shape: not needed: the layers have it.
        params: the layers.
        model_state: empty: this family has no state.
        x: the inputs.
        dropout: share of hidden units to drop, `[]`.
        start: of the random numbers that choose them, `[]`, uint32; None: as in evaluation, none
            is dropped.
        activation: number of the activation, `[]`; None: ReLU.
        stochastic_depth: not used: this family has no residual blocks.
    """
    activate = relu if activation is None else partial(chosen, activation)
    *hidden, last = params
    for number, layer in enumerate(hidden):
        x = activate(x @ layer.kernel + layer.bias[None, :])
        if start is not None:
            x = dropped(x, dropout, start + np.uint32(number))
    return x @ last.kernel + last.bias[None, :], model_state


def flops(shape: ShapeClass) -> tuple[float, float]:
    """Floating-point operations for one example: forward, and forward with backward.

    A multiplication and an addition for each weight forward, twice that backward, except that the
    gradient of the input is not needed.
    """
    width = shape.rung.width
    first = shape.features * width
    weights = first + (shape.rung.depth - 1) * width * width + width * shape.outputs
    return 2.0 * weights, 6.0 * weights - 2.0 * first


def widen(
    generator: np.random.Generator | None, params: Layers, width: int
) -> tuple[Layers, Layers]:
    """Gives every hidden layer `width` units without changing the outputs.

    New units get random incoming and zero outgoing weights: they differ from each other at once,
    and nothing of them is seen until they have learned something.

    Args:
        generator: draws the incoming weights; None: they are zero, as for a tree of moments.
        params: the layers.
        width: units of each hidden layer after the edit.

    Returns:
        The layers, and the same form of booleans: True where a number is new.

    Raises:
        ValueError: if `width` is below the present width.

    Source: after Evci et al. 2022, "GradMax" (arXiv:2201.05125), with random incoming weights.
    """
    present = params[0].kernel.shape[1]
    if width < present:
        raise ValueError(f"width must be at least the present width {present}, got {width}")
    layers, new = [], []
    for number, layer in enumerate(params):
        rows, columns = np.shape(layer.kernel)
        first, last = number == 0, number == len(params) - 1
        more_rows, more_columns = (0 if first else width - rows), (0 if last else width - columns)
        kernel = np.zeros((rows + more_rows, columns + more_columns), np.float32)
        kernel[:rows, :columns] = layer.kernel
        if generator is not None and more_columns:
            # Padded inputs keep their zero rows: new units listen only where old ones do.
            heard = np.any(layer.kernel != 0.0, axis=1) if first else np.ones(rows, bool)
            incoming = _normal(generator, (rows, more_columns), 2.0 / max(int(heard.sum()), 1))
            kernel[:rows, columns:] = incoming * heard[:, None]
        bias = np.concatenate([layer.bias, np.zeros(more_columns, np.float32)])
        is_new = np.ones(kernel.shape, bool)
        is_new[:rows, :columns] = False
        layers.append(Dense(kernel, bias))
        new.append(Dense(is_new, np.arange(len(bias)) >= columns))
    return tuple(layers), tuple(new)


def deepen(params: Layers) -> tuple[Layers, Layers]:
    """Adds a hidden layer behind the last one: the identity, which ReLU leaves as it is.

    Returns:
        The layers, and the same form of booleans: True where a number is new.
    """
    *hidden, last = params
    width = hidden[-1].kernel.shape[1]
    added = Dense(np.eye(width, dtype=np.float32), np.zeros(width, np.float32))
    layers = (*hidden, added, last)
    new = tuple(
        Dense(np.full(np.shape(x.kernel), x is added), np.full(np.shape(x.bias), x is added))
        for x in layers
    )
    return layers, new


def narrow(params: Layers, width: int) -> Callable[[Layers], Layers]:
    """Chooses the `width` units of each hidden layer that are used the most.

    The use of a unit is the product of the norms of its incoming and its outgoing weights: one
    that hears nothing or is not heard has none, and goes without a change of the outputs.

    Args:
        params: the layers, which decide.
        width: units of each hidden layer that stay, at most the present width.

    Returns:
        What makes the narrower form of the params, and of moments or averages of their form.

    Raises:
        ValueError: if `width` is above the present width.
    """
    present = params[0].kernel.shape[1]
    if width > present:
        raise ValueError(f"width must be at most the present width {present}, got {width}")
    kept = most_used(params, width)

    def pick(layers: Layers) -> Layers:
        ends = [slice(None), *kept, slice(None)]
        return tuple(
            Dense(layer.kernel[rows][:, columns], layer.bias[columns])
            for layer, rows, columns in zip(layers, ends[:-1], ends[1:], strict=True)
        )

    return pick


def most_used(params: Layers, width: int) -> list[np.ndarray]:
    """Of each hidden layer the numbers of the units that are used the most, `[width]`, sorted."""
    kept = []
    for layer, after in pairwise(params):
        heard = np.sqrt(np.square(layer.kernel).sum(axis=0) + np.square(layer.bias))
        use = heard * np.sqrt(np.square(after.kernel).sum(axis=1))
        kept.append(np.sort(np.argsort(-use, kind="stable")[:width]))
    return kept


def _normal(generator: np.random.Generator, size: tuple[int, int], variance: float) -> np.ndarray:
    return generator.standard_normal(size, np.float32) * np.float32(np.sqrt(variance))


MLP = Family(
    name="mlp",
    depths=(1, 2, 3, 4),
    widths=(32, 64, 128, 256),
    default=Rung(2, 64),
    init=init,
    apply=apply,
    flops=flops,
    widen=widen,
    deepen=deepen,
    narrow=narrow,
    reads=("table", "image", "sequence"),
)
