"""Matrix factorization with biases, and a perceptron beside it: 4 depths x 4 widths, for ratings.

A user and an item have a vector and a bias each. At depth 1 the outputs are the two biases and a
weighed sum of the products of the two vectors' numbers. Each further depth is a hidden layer of a
perceptron that reads both vectors and adds to that: neural collaborative filtering.

Of a choice, a user and several items, the network says for each item how the user likes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rlagent_envs.models.activations import chosen, relu
from rlagent_envs.models.dropping import dropped
from rlagent_envs.models.embeddings import looked_up, update_flops
from rlagent_envs.models.ladder import Family, Rung, ShapeClass
from rlagent_envs.models.mlp import Dense, most_used

SPREAD = 0.1  # standard deviation of the sum of products in a new network


class Layers(NamedTuple):
    """The network, all float32; the vectors and biases of number 0 are for what is unknown."""

    users: Any  # [users, width]
    items: Any  # [items, width]
    user_biases: Any  # [users, outputs]
    item_biases: Any  # [items, outputs]
    hidden: tuple[Dense, ...]  # depth - 1 of them; the first reads a user's and an item's vector
    last: Dense  # reads the products [width], and behind them the last hidden layer [width]


def init(
    generator: np.random.Generator, shape: ShapeClass, features: int
) -> tuple[Layers, tuple[()]]:
    """New weights: vectors are small, biases zero, and products count 1 or -1.

    All of number 0 is zero, the mean of all users or items: training may have no row to learn it
    from.

    Args:
        generator: draws the weights.
        shape: the shapes.
        features: columns of the input: a user and an item.

    Returns:
        The layers, and an empty model state.

    Source: Koren, Bell and Volinsky 2009, "Matrix Factorization Techniques for Recommender
    Systems"; He et al. 2017, "Neural Collaborative Filtering" (arXiv:1708.05031), sections 3.2 to
    3.4. There the two parts have vectors of their own; here they share them, so that an update,
    which moves all vectors, takes half as long.
    """
    sizes = (*shape.vocabularies, _outputs(shape))
    return _drawn(generator, sizes, shape.rung.width, shape.rung.depth - 1), ()


def _drawn(
    generator: np.random.Generator | None, sizes: tuple[int, ...], width: int, hidden: int
) -> Layers:
    """A new network; zeros without a generator.

    Args:
        generator: draws the weights.
        sizes: users, items and outputs.
        width: of the vectors and hidden layers.
        hidden: how many hidden layers.
    """
    users, items, outputs = sizes

    def normal(rows: int, columns: int, variance: float) -> np.ndarray:
        if generator is None:
            return np.zeros((rows, columns), np.float32)
        drawn = generator.standard_normal((rows, columns), np.float32)
        return drawn * np.float32(np.sqrt(variance))

    def table(count: int) -> np.ndarray:
        vectors = normal(count, width, SPREAD / np.sqrt(width))
        vectors[0] = 0.0
        return vectors

    inputs = [2 * width, *[width] * hidden][:hidden]
    tower = normal(width if hidden else 0, outputs, 1.0 / width)
    products = np.sign(normal(width, outputs, 1.0))
    return Layers(
        table(users),
        table(items),
        np.zeros((users, outputs), np.float32),
        np.zeros((items, outputs), np.float32),
        tuple(Dense(normal(n, width, 2.0 / n), np.zeros(width, np.float32)) for n in inputs),
        Dense(np.concatenate([products, tower]), np.zeros(outputs, np.float32)),
    )


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
    """The outputs `[batch, outputs]` for inputs `[batch, 2]`: the numbers of a user and an item.

    Or for choices `[batch, 1 + items]`: a user and items, of which each has an output.

    Args:
        shape: tells which of both.
        params: the layers.
        model_state: empty: this family has no state.
        x: the inputs.
        dropout: share of hidden units and of products to drop, `[]`.
        start: of the random numbers that choose them, `[]`, uint32; None: as in evaluation, none
            is dropped.
        activation: number of the activation, `[]`; None: ReLU.
        stochastic_depth: not used: this family has no residual blocks.
    """
    if shape.form == "choice":
        users, items = jnp.repeat(x[:, :1], shape.features - 1, axis=1), x[:, 1:]
        pairs = jnp.stack([users, items], axis=2).reshape(-1, 2)
        liked, model_state = apply(
            _pair(shape), params, model_state, pairs, dropout, start, activation
        )
        return liked.reshape(items.shape), model_state
    activate = relu if activation is None else partial(chosen, activation)

    def thinned(x: jax.Array, number: int) -> jax.Array:
        return x if start is None else dropped(x, dropout, start + np.uint32(number))

    users, items = looked_up((params.users, params.items), x)
    user_biases, item_biases = looked_up((params.user_biases, params.item_biases), x)
    read = thinned(users * items, 0)
    if params.hidden:
        tower = jnp.concatenate([users, items], axis=1)
        for number, layer in enumerate(params.hidden, 1):
            tower = thinned(activate(tower @ layer.kernel + layer.bias[None, :]), number)
        read = jnp.concatenate([read, tower], axis=1)
    outputs = read @ params.last.kernel + params.last.bias[None, :]
    return outputs + user_biases + item_biases, model_state


def _outputs(shape: ShapeClass) -> int:
    """Of a user and an item."""
    return 1 if shape.form == "choice" else shape.outputs


def _pair(shape: ShapeClass) -> ShapeClass:
    """The shapes of one item of a choice."""
    return replace(shape, features=2, input_shape=(), outputs=1)


def flops(shape: ShapeClass) -> tuple[float, float]:
    """Floating-point operations for one example: forward, and forward with backward.

    A multiplication and an addition for each weight forward, twice that backward; the products;
    and the example's share of moving all vectors and biases.
    """
    width, hidden, outputs = shape.rung.width, shape.rung.depth - 1, _outputs(shape)
    weights = width * outputs
    if hidden:
        weights += 2 * width * width + (hidden - 1) * width * width + width * outputs
    moved = sum(shape.vocabularies) * (width + outputs)
    forward = (2.0 * weights + width) * (shape.features - 1)
    return forward, 3.0 * forward + update_flops(moved, shape.batch_size)


def widen(
    generator: np.random.Generator | None, params: Layers, width: int
) -> tuple[Layers, Layers]:
    """Gives every vector and hidden layer `width` numbers without changing the outputs.

    New numbers of vectors are random and nothing reads them yet; new units get random incoming and
    zero outgoing weights.

    Args:
        generator: draws the new numbers; None: they are zero, as for a tree of moments.
        params: the layers.
        width: after the edit.

    Returns:
        The layers, and the same form of booleans: True where a number is new.

    Raises:
        ValueError: if `width` is below the present width.
    """
    present = params.users.shape[1]
    if width < present:
        raise ValueError(f"width must be at least the present width {present}, got {width}")
    sizes = (len(params.users), len(params.items), len(params.last.bias))
    drawn = _drawn(generator, sizes, width, len(params.hidden))
    old = np.arange(present)
    places = _places(params, old, [old] * len(params.hidden), width)

    def put(made: np.ndarray, leaf: Any, place: _Place) -> np.ndarray:
        made[np.setdiff1d(np.arange(len(made)), place[0])] = 0.0  # what new numbers and units say
        made[np.ix_(*place)] = leaf
        return made

    def is_new(made: np.ndarray, place: _Place) -> np.ndarray:
        new = np.ones(made.shape, bool)
        new[np.ix_(*place)] = False
        return new

    wide = jax.tree.map(put, drawn, params, places)
    return wide, jax.tree.map(is_new, wide, places)


def deepen(params: Layers) -> tuple[Layers, Layers]:
    """Adds a hidden layer behind the last one: the identity, which ReLU leaves as it is.

    The first one adds a user's and an item's vector, and nothing reads it yet.

    Returns:
        The layers, and the same form of booleans: True where a number is new.
    """
    width = params.users.shape[1]
    identity, kernel = np.eye(width, dtype=np.float32), np.asarray(params.last.kernel)
    new_rows = np.zeros(len(kernel), bool)
    if not params.hidden:
        identity = np.concatenate([identity, identity])
        kernel = np.concatenate([kernel, np.zeros_like(kernel)])
        new_rows = np.arange(2 * width) >= width
    added = Dense(identity, np.zeros(width, np.float32))
    old = jax.tree.map(lambda leaf: np.zeros(np.shape(leaf), bool), params)
    is_new = jax.tree.map(lambda leaf: np.ones(np.shape(leaf), bool), added)
    deep = params._replace(
        hidden=(*params.hidden, added), last=Dense(kernel, np.asarray(params.last.bias))
    )
    new_kernel = np.broadcast_to(new_rows[:, None], kernel.shape)
    return deep, old._replace(hidden=(*old.hidden, is_new), last=Dense(new_kernel, old.last.bias))


def narrow(params: Layers, width: int) -> Callable[[Layers], Layers]:
    """Chooses the numbers of the vectors, and the units of each hidden layer, used the most.

    The use of a unit is the product of the norms of its incoming and its outgoing weights. That of
    a number of the vectors is the same of its products, and of what the first hidden layer reads.

    Args:
        params: the layers, which decide.
        width: numbers and units that stay, at most the present width.

    Returns:
        What makes the narrower form of the params, and of moments or averages of their form.

    Raises:
        ValueError: if `width` is above the present width.
    """
    present = params.users.shape[1]
    if width > present:
        raise ValueError(f"width must be at most the present width {present}, got {width}")

    def norms(kernel: Any, axis: int) -> np.ndarray:
        return np.sqrt(np.square(kernel).sum(axis=axis))

    users, items = norms(params.users, 0), norms(params.items, 0)
    use = users * items * norms(params.last.kernel[:present], 1)
    units = []
    if params.hidden:
        heard = norms(params.hidden[0].kernel, 1)
        use = use + users * heard[:present] + items * heard[present:]
        tower = params.last._replace(kernel=params.last.kernel[present:])
        units = most_used((*params.hidden, tower), width)
    numbers = np.sort(np.argsort(-use, kind="stable")[:width])
    places = _places(params, numbers, units, present)
    return lambda layers: jax.tree.map(lambda leaf, place: leaf[np.ix_(*place)], layers, places)


# Of an array of a wider network the indices, by axis, at which that of a narrower one lies.
_Place = tuple[np.ndarray, ...]


def _places(params: Layers, numbers: np.ndarray, units: list[np.ndarray], width: int) -> Layers:
    """Where the arrays of a narrower network lie in those of a wider one, a `_Place` for each.

    Args:
        params: either network, for what does not depend on the width.
        numbers: of the vectors, `[narrower width]`.
        units: of each hidden layer, the same.
        width: the wider one.
    """
    users, items, outputs = map(np.arange, (*map(len, params[:2]), len(params.last.bias)))
    reads = [np.concatenate([numbers, width + numbers]), *units]
    hidden = tuple(
        Dense((rows, columns), (columns,)) for rows, columns in zip(reads[:-1], units, strict=True)
    )
    tower = [width + units[-1]] if units else []
    last = Dense((np.concatenate([numbers, *tower]), outputs), (outputs,))
    return Layers(
        (users, numbers), (items, numbers), (users, outputs), (items, outputs), hidden, last
    )


FACTORIZATION = Family(
    name="factorization",
    depths=(1, 2, 3, 4),
    widths=(8, 16, 32, 64),
    default=Rung(2, 16),
    reads=("pair", "choice"),
    init=init,
    apply=apply,
    flops=flops,
    widen=widen,
    deepen=deepen,
    narrow=narrow,
)
