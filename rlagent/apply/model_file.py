"""The file of a model or of an ensemble: its header and arrays, written and read without code."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import jax
import numpy as np

from rlagent.apply.model import ROWS_AT_ONCE, Model, Predictor
from rlagent.storage import read_arrays, write_arrays
from rlagent_envs.forms import check_features, check_targets
from rlagent_envs.models import FAMILIES, Rung, ShapeClass
from rlagent_envs.models.activations import ACTIVATIONS
from rlagent_envs.tasks.preprocessing import Preprocessing
from rlagent_envs.tasks.targets import RegressionTarget
from rlagent_envs.tasks.task import Kind

FORMAT_VERSION = 1
SHAPES = ("input_shape", "vocabularies", "target_shape")  # what a header has where it is not ()


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
    if model.mirrored:
        header["mirrored"] = True
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
    mirrored = _mirrored(entry, shape)
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
        mirrored,
    )


def _mirrored(entry: dict[str, Any], shape: ShapeClass) -> bool:
    """Whether images are looked at from both sides; ValueError if there are none to mirror."""
    mirrored = entry.get("mirrored", False)
    if not isinstance(mirrored, bool):
        raise ValueError(f"mirrored is {mirrored!r}; it must be true or false")
    if mirrored and (shape.form != "image" or shape.target_shape):
        raise ValueError("mirrored is for images with a target each")
    return mirrored


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


def _named(params: Any, model_state: Any) -> dict[str, np.ndarray]:
    """The arrays by name, `0/kernel` for the kernel of the first layer."""
    leaves, _ = jax.tree_util.tree_flatten_with_path((params, model_state))
    named = {}
    for path, leaf in leaves:
        part = "params" if path[0].idx == 0 else "state"
        rest = jax.tree_util.keystr(path[1:], simple=True, separator="/")
        named[f"{part}/{rest}"] = np.asarray(leaf)
    return named
