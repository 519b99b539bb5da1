"""What a model family is, and the shapes that one compiled program serves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from rlagent_envs.forms import Form, form_of

Params = Any  # a pytree of arrays
ModelState = Any  # a pytree of arrays that training changes without gradients; () where none


class Rung(NamedTuple):
    """One architecture of a family."""

    depth: int  # hidden layers, or residual blocks, of each stage where there are several
    width: int  # units of a hidden layer, or channels

    def __str__(self) -> str:
        """As people write it, for instance `64x2`: width x depth."""
        return f"{self.width}x{self.depth}"


@dataclass(frozen=True)
class ShapeClass:
    """What a compiled program is specialised to: one program each, and never another."""

    family: str
    rung: Rung
    kind: str  # classification or regression
    features: int  # columns of the input, padding included
    outputs: int  # outputs of the network, padding included
    batch_size: int  # examples per update, and rows of one piece of an evaluation
    optimizer: str = "adamw"  # see training/optimizer.py
    levers: tuple[str, ...] = ()  # what the program contains besides the plain update
    input_shape: tuple[int, ...] = ()  # of an example; see forms.py
    vocabularies: tuple[int, ...] = ()  # of the whole numbers in an example; (): quantities
    target_shape: tuple[int, ...] = ()  # of an example's targets; (): one

    @property
    def form(self) -> Form:
        """What an example is made of."""
        return form_of(self.input_shape, self.vocabularies, self.features)


class Apply(Protocol):
    """The forward pass of a family: `[batch, *targets, outputs]`, and the model state after it."""

    def __call__(
        self,
        shape: ShapeClass,
        params: Params,
        model_state: ModelState,
        x: jax.Array,  # [batch, features]
        dropout: jax.Array,  # [], rate
        # of the random numbers; None: as in evaluation, there are none, and a normalisation is by
        # what has been seen
        start: jax.Array | None,
        activation: jax.Array | None = None,  # [], its number; None: ReLU
        stochastic_depth: jax.Array | None = None,  # [], share that skips the last block
        /,
    ) -> tuple[jax.Array, ModelState]:
        """Of a batch."""


@dataclass(frozen=True)
class Family:
    """A kind of network with its ladder of rungs; every function is of ONE network.

    The functions that make and edit parameters are plain NumPy: they run a few times in a run, and
    as compiled programs each of them would cost more than it does.
    """

    name: str
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    # (generator, shape class, true number of features) -> params, model state
    init: Callable[[np.random.Generator, ShapeClass, int], tuple[Params, ModelState]]
    apply: Apply
    # (shape class) -> multiplications and additions of a forward pass of one example, and of the
    # forward and backward pass together
    flops: Callable[[ShapeClass], tuple[float, float]]
    # (generator or None for zeros, params, new width) -> params, and a tree of the same form that
    # says which numbers are new (True) and which were there (False)
    widen: Callable[[np.random.Generator | None, Params, int], tuple[Params, Any]]
    # (params) -> params with one more hidden layer, and the same kind of tree
    deepen: Callable[[Params], tuple[Params, Any]]
    # (params, new width) -> picks the units that are kept out of any tree of the form of params
    narrow: Callable[[Params, int], Callable[[Any], Any]]
    default: Rung  # of a run that names none
    # (edit of what has the form of params, params, model state) -> model state behind that edit
    carry: Callable[[Callable[[Any], Any], Params, ModelState], ModelState] = (
        lambda edit, params, model_state: model_state
    )
    reads: tuple[Form, ...] = ("table",)  # what its examples may be made of
    target_axes: tuple[int, ...] = (0,)  # how many axes an example's targets may have
    residual: bool = False  # it has residual blocks, which stochastic depth can skip
    optimizer: str = "adamw"  # of a run that names none
    roomy: bool = False  # it keeps a layer for each pixel or step of an example
    least_side: int = 0  # of images; for smaller ones it is not the choice where none is named

    def narrower(self, rung: Rung) -> Rung | None:
        """The next rung with narrower layers, or None at the narrowest."""
        earlier = [width for width in self.widths if width < rung.width]
        return Rung(rung.depth, earlier[-1]) if earlier else None

    def wider(self, rung: Rung) -> Rung | None:
        """The next rung with wider layers, or None at the widest."""
        later = [width for width in self.widths if width > rung.width]
        return Rung(rung.depth, later[0]) if later else None

    def deeper(self, rung: Rung) -> Rung | None:
        """The next rung with more layers, or None at the deepest."""
        later = [depth for depth in self.depths if depth > rung.depth]
        return Rung(later[0], rung.width) if later else None

    def counterpart(self, rung: Rung, of: Family) -> Rung:
        """The rung in the place that `rung` has on the ladder of another family.

        Raises:
            ValueError: if the other family lacks the rung.
        """
        of.check(rung)
        return Rung(
            _in_place(self.depths, of.depths.index(rung.depth)),
            _in_place(self.widths, of.widths.index(rung.width)),
        )

    def check(self, rung: Rung) -> None:
        """Raises ValueError, naming the choices, if the ladder lacks the rung."""
        if rung.depth not in self.depths or rung.width not in self.widths:
            raise ValueError(
                f"{self.name} has no rung {rung}; widths are {', '.join(map(str, self.widths))} "
                f"and depths {', '.join(map(str, self.depths))}"
            )


def _in_place(sizes: tuple[int, ...], place: int) -> int:
    """The size in a place of a ladder; the largest where the ladder is shorter."""
    return sizes[min(place, len(sizes) - 1)]


def new_part(before: Any, after: np.ndarray) -> np.ndarray:
    """True where an array is longer than it was."""
    is_new = np.ones(after.shape, bool)
    is_new[tuple(map(slice, np.shape(before)))] = False
    return is_new


def with_block(params: Any, added: Any) -> tuple[Any, Any]:
    """Layers with one more of their `blocks`, and the same form of booleans: True where new."""
    old = jax.tree.map(lambda leaf: np.zeros(np.shape(leaf), bool), params)
    new = jax.tree.map(lambda leaf: np.ones(np.shape(leaf), bool), added)
    deep = params._replace(blocks=(*params.blocks, added))
    return deep, old._replace(blocks=(*old.blocks, new))
