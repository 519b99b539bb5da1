"""Targets: what they are, and how they become class numbers or standardised values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr

from rlagent_envs.tasks.columns import Stored, mean_and_scale

if TYPE_CHECKING:
    from rlagent_envs.tasks.task import Kind

Label = StrictBool | StrictInt | StrictFloat | StrictStr
MOST_CLASSES = 100  # inferred: more different whole numbers are taken for a quantity


class ClassTarget(Stored):
    """Class numbers; `classes` are the labels as they came, in their order."""

    kind: Literal["classification"] = "classification"
    classes: Annotated[tuple[Label, ...], Field(min_length=2)]

    @classmethod
    def fit(cls, target: np.ndarray) -> ClassTarget:
        """Learns the classes of the training rows; ValueError if there is a single one."""
        labels, _ = numbered_labels(target)
        if len(labels) == 1:
            raise ValueError(f"the target has only one class in train, {labels.tolist()[0]!r}")
        if len(labels) >= 50 and len(target) < 2 * len(labels):
            raise ValueError(
                f"the target has {len(labels)} classes in {len(target)} training rows, too few "
                f"rows of each; if it is a quantity, ask for kind 'regression'"
            )
        return cls(classes=tuple(labels.tolist()))

    @property
    def outputs(self) -> int:
        """Outputs that a network needs: one for each class."""
        return len(self.classes)

    @property
    def target_shape(self) -> tuple[int, ...]:
        """(): an example has one."""
        return ()

    def encode(self, target: Any, part: str) -> np.ndarray:
        """Labels `[rows]` to class numbers, int32; ValueError naming those unknown."""
        return encode_labels(self.classes, read_target(target), part)

    def decode(self, numbers: np.ndarray) -> np.ndarray:
        """Class numbers, of any shape, to labels."""
        return np.array(self.classes)[np.asarray(numbers)]


class RegressionTarget(Stored):
    """Values standardised by the mean and scale of the training rows."""

    kind: Literal["regression"] = "regression"
    mean: float
    scale: Annotated[float, Field(gt=0)]

    @classmethod
    def fit(cls, target: np.ndarray) -> RegressionTarget:
        """Learns from the training rows; ValueError for labels or if all are equal."""
        if target.dtype.kind == "U":
            raise ValueError(f"regression needs a target of numbers, got {str(target[0])!r}")
        mean, scale = mean_and_scale(target.astype(np.float64)[:, None])
        if np.all(target == target[0]):
            raise ValueError(f"the target has only one value in train, {target.tolist()[0]!r}")
        if not np.isfinite([mean[0], scale[0]]).all():
            raise ValueError("the target has values too large to standardise")
        return cls(mean=float(mean[0]), scale=float(scale[0]))

    @property
    def outputs(self) -> int:
        """Outputs that a network needs."""
        return 1

    @property
    def classes(self) -> None:
        """None: values are no classes."""
        return None

    @property
    def target_shape(self) -> tuple[int, ...]:
        """(): an example has one."""
        return ()

    def encode(self, target: Any, part: str) -> np.ndarray:
        """Values `[rows]` in their units to standardised float32."""
        values = read_target(target)
        if values.dtype.kind == "U":
            raise ValueError(f"the {part} part has the target {str(values[0])!r}, not a number")
        return ((values.astype(np.float64) - self.mean) / self.scale).astype(np.float32)

    def decode(self, values: np.ndarray) -> np.ndarray:
        """Standardised values, of any shape, to float64 in the units of the target."""
        return np.asarray(values, np.float64) * self.scale + self.mean


def encode_labels(classes: tuple[Label, ...], target: np.ndarray, part: str) -> np.ndarray:
    """Labels, of any shape, to class numbers, int32; ValueError naming those unknown."""
    known = {label: number for number, label in enumerate(classes)}
    labels, numbers = numbered_labels(target)
    lacking = [repr(label) for label in labels.tolist() if label not in known]
    if lacking:
        raise ValueError(
            f"the {part} part has classes that the train part lacks: {shortened(lacking)}"
        )
    return np.array([known[label] for label in labels.tolist()], np.int32)[numbers]


def read_target(target: Any, name: str = "y") -> np.ndarray:
    """A target as an array `[rows]` of booleans, whole numbers, floats or texts.

    Args:
        target: an array, list or pandas Series, `[rows]` or `[rows, 1]`.
        name: what errors call it.

    Raises:
        ValueError: for other shapes, missing or infinite values, and other types.
    """
    values = read_array(target, name)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise ValueError(f"{name} must have one value for each row, got shape {values.shape}")
    if len(values) == 0:
        raise ValueError(f"{name} is empty")
    if values.dtype.kind == "O":
        values = _read_objects(values, name)
    if values.dtype.kind == "f":
        _refuse(name, ~np.isfinite(values))
    if values.dtype.kind not in "biufU":
        raise ValueError(f"{name} must hold numbers, texts or booleans, got {values.dtype}")
    return values


def read_array(values: Any, name: str) -> np.ndarray:
    """NumPy's view of anything like an array; ValueError if it has no regular shape."""
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(f"{name} is not a regular array: its rows differ in length") from None
    return array.astype(str) if array.dtype.kind == "S" else array


def infer_kind(target: Any) -> Kind:
    """Whether a target is for classification or regression.

    Texts and booleans are classes. Numbers are classes if they are whole, at most 100 and at most
    a fifth of the rows are different, and they nearly fill their range, as 0 to 9 or 3 to 8 do;
    two different whole numbers always are. A quantity rounded to tens is thus a regression.

    Args:
        target: `[rows]`, what `read_target` takes.
    """
    values = read_target(target)
    if values.dtype.kind in "bU":
        return "classification"
    if values.dtype.kind == "f" and np.any(values != np.round(values)):
        return "regression"
    different = np.unique(values).astype(np.float64)
    if len(different) <= 2:
        return "classification"
    few = len(different) <= min(MOST_CLASSES, len(values) / 5)
    filled = len(different) / (different[-1] - different[0] + 1)
    return "classification" if few and filled >= 0.75 else "regression"


def numbered_labels(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Different labels in their order, and the number of each row's `[rows]`, as `np.unique` does.

    Texts are hashed, which is several times faster than sorting them all.
    """
    if labels.dtype.kind != "U":
        return np.unique(labels, return_inverse=True)
    import pandas as pd

    numbers, different = pd.factorize(labels.astype(object), sort=True)
    return different.astype(str), numbers


def shortened(names: list[str], most: int = 5) -> str:
    """A list in an error message, cut where it gets long."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _read_objects(values: np.ndarray, name: str) -> np.ndarray:
    """Python objects as an array of a proper type, if all are of one."""
    import pandas as pd

    _refuse(name, pd.isna(values))
    for allowed in (str, (bool, np.bool_), (int, float, np.integer, np.floating)):
        if all(isinstance(value, allowed) for value in values):
            return np.array(values.tolist())
    types = sorted({type(value).__name__ for value in values})
    raise ValueError(f"{name} must hold numbers, texts or booleans, got {shortened(types)}")


def _refuse(name: str, wrong: np.ndarray) -> None:
    """Raises ValueError if some targets are missing or infinite."""
    if wrong.any():
        raise ValueError(
            f"{name} has missing or infinite values in {wrong.sum()} of {len(wrong)} rows, "
            f"the first in row {np.flatnonzero(wrong)[0]}"
        )
