"""A trained network with all that its use needs; the only code that predicts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from rlagent.apply.boxes import detections
from rlagent_envs.forms import Form, check_numbers
from rlagent_envs.models import FAMILIES, Rung, ShapeClass
from rlagent_envs.models.activations import ACTIVATIONS
from rlagent_envs.tasks.box_target import BoxTarget
from rlagent_envs.tasks.preprocessing import Preprocessing
from rlagent_envs.tasks.task import Kind, Split, Task
from rlagent_envs.training.augmentation import MIRRORING
from rlagent_envs.training.evaluation import judged
from rlagent_envs.training.loop import Live

# One compiled program for any number of rows: the last piece is padded.
ROWS_AT_ONCE = 1024
FEWER_AT_ONCE = 128  # of a family that keeps a layer for each pixel or step of an example


class Predictor(Protocol):
    """What predicts: a network, or several that decide together."""

    @property
    def task(self) -> str:
        """Name of what it was trained on."""

    @property
    def kind(self) -> Kind:
        """Classification or regression."""

    @property
    def form(self) -> Form:
        """What its examples are made of."""

    @property
    def rung(self) -> Rung:
        """Its size; of several networks that of the first."""

    @property
    def features(self) -> int:
        """Columns of the preprocessed input."""

    @property
    def outputs(self) -> int:
        """Classes, or 1."""

    @property
    def target_shape(self) -> tuple[int, ...]:
        """Of an example's targets: () where it has one."""

    @property
    def preprocessing(self) -> Preprocessing | None:
        """None: rows come, and predictions go, as they are."""

    @property
    def classes(self) -> list[Any] | None:
        """The labels in the order of the outputs; None for regression."""

    def raw(self, x: np.ndarray) -> np.ndarray:
        """Logits, or standardised values, `[rows, *targets, outputs]` for `[rows, features]`."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        """The same, by a program for this number of rows alone: for a few, again and again."""

    def transform(self, given: Any) -> np.ndarray:
        """Rows as a user has them to `[rows, features]`, float32."""

    def values(self, raw: np.ndarray) -> np.ndarray:
        """What `raw` gave to probabilities, or for regression to values in units; float64."""

    def targets(self, split: Split) -> np.ndarray:
        """The targets of a part of the task as scores want them."""

    def labels(self, values: np.ndarray) -> np.ndarray:
        """What `values` gave to one prediction for each target."""

    def loss(self, split: Split, raw: np.ndarray) -> float:
        """Mean loss of a part of the task."""


@dataclass(frozen=True, eq=False)
class Model:
    """The network that a run selected. The arrays must not be changed."""

    task: str  # name of what it was trained on
    kind: Kind
    family: str
    rung: Rung
    features: int  # columns of the preprocessed input
    outputs: int  # classes, or 1
    preprocessing: Preprocessing | None  # None: rows come, and predictions go, as they are
    params: Any
    model_state: Any
    activation: str = "relu"  # of hidden units
    input_shape: tuple[int, ...] = ()  # of an example; see rlagent_envs/forms.py
    vocabularies: tuple[int, ...] = ()  # of the whole numbers in an example; (): quantities
    target_shape: tuple[int, ...] = ()  # of an example's targets; (): one
    mirrored: bool = False  # an image's outputs are the mean of its own and its mirror image's

    @property
    def shape(self) -> ShapeClass:
        """What the program that predicts is specialised to."""
        return ShapeClass(
            self.family,
            self.rung,
            self.kind,
            self.features,
            self.outputs,
            _rows_at_once(self.family),
            input_shape=self.input_shape,
            vocabularies=self.vocabularies,
            target_shape=self.target_shape,
            levers=(MIRRORING,) if self.mirrored else (),
        )

    @property
    def form(self) -> Form:
        """What its examples are made of."""
        return self.shape.form

    @property
    def classes(self) -> list[Any] | None:
        """The labels in the order of the network's outputs; None for regression."""
        if self.kind == "regression":
            return None
        if self.preprocessing is None or self.preprocessing.classes is None:
            return list(range(self.outputs))
        return list(self.preprocessing.classes)

    def raw(self, x: np.ndarray) -> np.ndarray:
        """The outputs `[rows, *targets, outputs]` for preprocessed rows `[rows, features]`."""
        made = np.empty((len(x), *self.target_shape, self.outputs), np.float32)
        at_once = self.shape.batch_size
        for first in range(0, len(x), at_once):
            piece = x[first : first + at_once]
            padded = np.zeros((at_once, self.features), np.float32)
            padded[: len(piece)] = piece
            made[first : first + len(piece)] = self.forward(padded)[: len(piece)]
        return made

    def forward(self, x: np.ndarray) -> np.ndarray:
        """The same, by a program for this number of rows alone: for a few, again and again."""
        outputs = _forward(self.shape, self.activation, self.params, self.model_state, x)
        return np.asarray(outputs)

    def transform(self, given: Any) -> np.ndarray:
        """Rows as a user has them to `[rows, features]`, float32.

        Raises:
            ValueError: if they are not of the form of training.
        """
        if self.preprocessing is not None:
            return self.preprocessing.transform(given)
        x = np.asarray(given, np.float32)
        if x.ndim != 2 or x.shape[1] != self.features:
            raise ValueError(f"x must be [rows, {self.features}], got shape {x.shape}")
        if not np.isfinite(x).all():
            raise ValueError("x has values that are not finite")
        if self.vocabularies:
            check_numbers("x", x, self.input_shape, self.vocabularies)
        return x

    def values(self, raw: np.ndarray) -> np.ndarray:
        """Network outputs to probabilities, or for regression to values in units; float64."""
        if self.kind == "classification":
            return np.exp(log_softmax(raw))
        return self._in_units(raw.astype(np.float64))

    def targets(self, split: Split) -> np.ndarray:
        """The targets of a part of the task as scores want them: class numbers, or in units."""
        return split.y if self.kind == "classification" else self._in_units(split.y)

    def labels(self, values: np.ndarray) -> np.ndarray:
        """What `values` gave to one prediction for each target: a label, or a value in units.

        Of images with boxes `[rows]` arrays `[objects, 6]`, see `boxes.detections`.
        """
        if self.kind == "regression":
            return values[..., 0]
        if self.preprocessing is not None and isinstance(self.preprocessing.target, BoxTarget):
            found = np.empty(len(values), object)
            found[:] = detections(values, self.preprocessing.target)
            return found
        return np.array(self.classes)[values.argmax(axis=-1)]

    def loss(self, split: Split, raw: np.ndarray) -> float:
        """Mean loss of a part of the task: nats, or squared standard deviations of the target."""
        if self.kind == "regression":
            return float(np.mean((raw[..., 0].astype(np.float64) - split.y) ** 2))
        return float(-np.mean(np.take_along_axis(log_softmax(raw), split.y[..., None], axis=-1)))

    def _in_units(self, standardised: np.ndarray) -> np.ndarray:
        if self.preprocessing is None:
            return standardised
        return self.preprocessing.decode_target(standardised)


def model_of(task: Task, shape: ShapeClass, live: Live, activation: float) -> Model:
    """The model of a network that was trained on a task.

    Args:
        task: the data set.
        shape: of the network.
        live: the network.
        activation: number of its activation, as the settings have it.
    """
    params = judged(shape, live)
    return Model(
        task=task.name,
        kind=task.kind,
        family=task.family,
        rung=shape.rung,
        features=task.features,
        outputs=task.outputs,
        preprocessing=task.preprocessing,
        params=jax.tree.map(np.asarray, params),
        model_state=jax.tree.map(np.asarray, live.model_state),
        activation=ACTIVATIONS[round(activation)],
        input_shape=task.input_shape,
        vocabularies=task.vocabularies,
        target_shape=task.target_shape,
        mirrored=task.mirrored,
    )


def _rows_at_once(family: str) -> int:
    return FEWER_AT_ONCE if FAMILIES[family].roomy else ROWS_AT_ONCE


@partial(jax.jit, static_argnums=(0, 1))
def _forward(
    shape: ShapeClass, activation: str, params: Any, model_state: Any, x: jax.Array
) -> jax.Array:
    number = None if activation == "relu" else jnp.float32(ACTIVATIONS.index(activation))
    return network_outputs(shape, number, params, model_state, x)


def network_outputs(
    shape: ShapeClass, activation: jax.Array | None, params: Any, model_state: Any, x: jax.Array
) -> jax.Array:
    """What a trained network says of preprocessed rows, `[rows, *targets, outputs]`.

    Where a mirror image has the same target, the mean of what it says of both.

    Args:
        shape: the shapes, with the lever `MIRRORING` if so.
        activation: number of the activation, `[]`; None: ReLU.
        params: the weights.
        model_state: what belongs to them.
        x: `[rows, features]`.
    """

    def said(x: jax.Array) -> jax.Array:
        outputs, _ = FAMILIES[shape.family].apply(
            shape, params, model_state, x, jnp.float32(0.0), None, activation, None
        )
        return outputs

    if MIRRORING not in shape.levers:
        return said(x)
    images = x.reshape(len(x), *shape.input_shape)
    return (said(x) + said(images[:, :, ::-1].reshape(x.shape))) / 2


def log_softmax(raw: np.ndarray) -> np.ndarray:
    """The logarithm of each class's probability, in float64 `[rows, ..., classes]`."""
    wide = raw.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    return wide - np.log(np.exp(wide).sum(axis=-1, keepdims=True))


def finite(value: float | None) -> float | None:
    """The number for JSON, which has no NaN: None stands for what is not finite."""
    return None if value is None or not math.isfinite(value) else float(value)
