"""A trained network with all that its use needs, in one file; the only code that predicts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, get_args

import jax
import jax.numpy as jnp
import numpy as np

from rlagent.apply.boxes import detections
from rlagent.storage import read_arrays, write_arrays
from rlagent_envs.forms import Form, check_features, check_numbers, check_targets
from rlagent_envs.models import FAMILIES, Rung, ShapeClass
from rlagent_envs.models.activations import ACTIVATIONS
from rlagent_envs.tasks.box_target import BoxTarget
from rlagent_envs.tasks.preprocessing import Preprocessing
from rlagent_envs.tasks.targets import RegressionTarget
from rlagent_envs.tasks.task import Kind, Split, Task
from rlagent_envs.training.evaluation import judged
from rlagent_envs.training.loop import Live

FORMAT_VERSION = 1
# One compiled program for any number of rows: the last piece is padded.
ROWS_AT_ONCE = 1024
FEWER_AT_ONCE = 128  # of a family that keeps a layer for each pixel or step of an example
SHAPES = ("input_shape", "vocabularies", "target_shape")  # what a header has where it is not ()


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
    )


def save_model(model: Predictor, path: Path) -> None:
    """Writes a model or an ensemble, atomically; equal ones give equal bytes."""
    if isinstance(model, Model):
        header, arrays = pack_model(model)
        write_arrays(path, arrays, {"model": header})
        return
    from rlagent.apply.ensembles.ensemble import Ensemble, pack_ensemble

    assert isinstance(model, Ensemble)
    header, arrays = pack_ensemble(model)
    write_arrays(path, arrays, {"ensemble": header})


def load_model(path: Path) -> Predictor:
    """Reads a model or an ensemble, running no code from the file.

    Raises:
        ValueError: in one sentence, if the file is not there, damaged, no model, or of another
            format version.
    """
    arrays, metadata = read_arrays(path)
    name = "ensemble" if "ensemble" in metadata else "model"
    entry = metadata.get(name)
    if not isinstance(entry, dict):
        raise ValueError(f"{path} is not a model: it has no model header")
    if (version := entry.get("format_version")) != FORMAT_VERSION:
        raise ValueError(
            f"the model {path} has format version {version}; this rlagent reads: {FORMAT_VERSION}"
        )
    try:
        if name == "model":
            return unpack_model(entry, arrays)
        from rlagent.apply.ensembles.ensemble import unpack_ensemble

        return unpack_ensemble(entry, arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the model {path} is damaged: {error}") from error


def pack_model(model: Model) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The header of a model, as JSON has it, and its arrays by name."""
    stored = model.preprocessing
    header = {
        "format_version": FORMAT_VERSION,
        "task": model.task,
        "kind": model.kind,
        "family": model.family,
        "rung": list(model.rung),
        "features": model.features,
        "outputs": model.outputs,
        "activation": model.activation,
        "classes": model.classes,
        "preprocessing": None if stored is None else stored.to_json(),
    }
    for name in SHAPES:
        if getattr(model, name):
            header[name] = list(getattr(model, name))
    return header, _named(model.params, model.model_state)


def unpack_model(entry: dict[str, Any], arrays: dict[str, np.ndarray]) -> Model:
    """The model of a header and its arrays.

    Raises:
        KeyError, TypeError, ValueError: if something is missing, or they contradict each other.
    """
    shape = _shape_of(entry)
    activation = str(entry.get("activation", "relu"))
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation is {activation!r}; there are: {', '.join(ACTIVATIONS)}")
    params, model_state = _weights(shape, arrays)
    return Model(
        str(entry["task"]),
        entry["kind"],
        shape.family,
        shape.rung,
        shape.features,
        shape.outputs,
        _preprocessing(entry["preprocessing"], shape),
        params,
        model_state,
        activation,
        shape.input_shape,
        shape.vocabularies,
        shape.target_shape,
    )


def _shape_of(entry: dict[str, Any]) -> ShapeClass:
    """The shapes that a header tells; ValueError if its family has no such network."""
    family = FAMILIES[entry["family"]]
    rung = Rung(*entry["rung"])
    family.check(rung)
    if entry["kind"] not in get_args(Kind):
        raise ValueError(f"kind is {entry['kind']!r}")
    features = int(entry["features"])
    input_shape, vocabularies, target_shape = (
        tuple(int(size) for size in entry.get(name, ())) for name in SHAPES
    )
    check_features(features, input_shape, vocabularies)
    shape = ShapeClass(
        family.name,
        rung,
        entry["kind"],
        features,
        int(entry["outputs"]),
        ROWS_AT_ONCE,
        input_shape=input_shape,
        vocabularies=vocabularies,
        target_shape=target_shape,
    )
    if shape.form not in family.reads:
        raise ValueError(f"the family {family.name} does not read the form {shape.form}")
    check_targets(shape.target_shape, shape.form, shape.input_shape)
    if len(shape.target_shape) not in family.target_axes:
        raise ValueError(f"the family {family.name} has no targets of {shape.target_shape}")
    return shape


def _weights(shape: ShapeClass, arrays: dict[str, np.ndarray]) -> tuple[Any, Any]:
    """The params and the model state of a network; ValueError if an array does not fit it."""
    form = FAMILIES[shape.family].init(np.random.default_rng(0), shape, shape.features)
    expected = _named(*form)
    for name, array in expected.items():
        if name not in arrays or arrays[name].shape != array.shape:
            raise ValueError(f"the array {name} is missing or of the wrong shape")
        if not np.isfinite(arrays[name]).all():
            raise ValueError(f"the array {name} has values that are not finite")
    leaves = [arrays[name] for name in expected]
    params, model_state = jax.tree.unflatten(jax.tree.structure(form), leaves)
    return params, model_state


def _preprocessing(stored: dict[str, Any] | None, shape: ShapeClass) -> Preprocessing | None:
    """The preprocessing of a header; ValueError if it makes nothing that the network reads."""
    if stored is None:
        return None
    read = Preprocessing.from_json(stored)
    needs = (shape.features, shape.outputs, shape.target_shape)
    if needs != (read.features, read.outputs, read.target_shape):
        raise ValueError("its preprocessing does not fit its network")
    if isinstance(read.target, RegressionTarget) != (shape.kind == "regression"):
        raise ValueError("its preprocessing is of another kind")
    return read


def _rows_at_once(family: str) -> int:
    return FEWER_AT_ONCE if FAMILIES[family].roomy else ROWS_AT_ONCE


def _named(params: Any, model_state: Any) -> dict[str, np.ndarray]:
    """The arrays by name, `0/kernel` for the kernel of the first layer."""
    leaves, _ = jax.tree_util.tree_flatten_with_path((params, model_state))
    named = {}
    for path, leaf in leaves:
        part = "params" if path[0].idx == 0 else "state"
        rest = jax.tree_util.keystr(path[1:], simple=True, separator="/")
        named[f"{part}/{rest}"] = np.asarray(leaf)
    return named


@partial(jax.jit, static_argnums=(0, 1))
def _forward(
    shape: ShapeClass, activation: str, params: Any, model_state: Any, x: jax.Array
) -> jax.Array:
    number = None if activation == "relu" else jnp.float32(ACTIVATIONS.index(activation))
    outputs, _ = FAMILIES[shape.family].apply(
        shape, params, model_state, x, jnp.float32(0.0), None, number, None
    )
    return outputs


def log_softmax(raw: np.ndarray) -> np.ndarray:
    """The logarithm of each class's probability, in float64 `[rows, ..., classes]`."""
    wide = raw.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    return wide - np.log(np.exp(wide).sum(axis=-1, keepdims=True))


def finite(value: float | None) -> float | None:
    """The number for JSON, which has no NaN: None stands for what is not finite."""
    return None if value is None or not math.isfinite(value) else float(value)
