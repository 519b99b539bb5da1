"""Several networks that predict together, and how they are kept in a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from rlagent.apply.model import Model, log_softmax
from rlagent.apply.model_file import FORMAT_VERSION, pack_model, unpack_model
from rlagent_envs.forms import Form
from rlagent_envs.models import Rung
from rlagent_envs.tasks.preprocessing import Preprocessing
from rlagent_envs.tasks.task import Kind, Split

Combination = Literal["mean", "sum"]
SHARED = ("preprocessing", "classes")  # of the headers of members: written once


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Networks of one task with a weight each; it predicts as a model does."""

    members: tuple[Model, ...]
    weights: tuple[float, ...]
    # mean: of probabilities, or of values, and the weights add up to 1. sum: of logits or of
    # standardised values, the stages of boosting.
    combination: Combination = "mean"

    def __post_init__(self) -> None:
        """Raises ValueError if the parts do not fit together."""
        if self.combination not in get_args(Combination):
            raise ValueError(f"combination is {self.combination!r}")
        if not self.members or len(self.members) != len(self.weights):
            raise ValueError(f"{len(self.members)} members have {len(self.weights)} weights")
        if not all(np.isfinite(weight) and weight > 0 for weight in self.weights):
            raise ValueError(f"weights must be more than 0, got {self.weights}")
        if self.combination == "mean" and abs(sum(self.weights) - 1.0) > 1e-6:
            raise ValueError(f"weights must add up to 1, got {self.weights}")
        forms = {(one.kind, one.features, one.outputs, one.target_shape) for one in self.members}
        if len(forms) > 1:
            raise ValueError("its members are of different tasks")

    @property
    def task(self) -> str:
        """Name of what it was trained on."""
        return self.members[0].task

    @property
    def kind(self) -> Kind:
        """Classification or regression."""
        return self.members[0].kind

    @property
    def form(self) -> Form:
        """What its examples are made of."""
        return self.members[0].form

    @property
    def rung(self) -> Rung:
        """The size of the first member; others may have grown more or less."""
        return self.members[0].rung

    @property
    def features(self) -> int:
        """Columns of the preprocessed input."""
        return self.members[0].features

    @property
    def outputs(self) -> int:
        """Classes, or 1."""
        return self.members[0].outputs

    @property
    def target_shape(self) -> tuple[int, ...]:
        """Of an example's targets: () where it has one."""
        return self.members[0].target_shape

    @property
    def preprocessing(self) -> Preprocessing | None:
        """None: rows come, and predictions go, as they are."""
        return self.members[0].preprocessing

    @property
    def classes(self) -> list[Any] | None:
        """The labels in the order of the outputs; None for regression."""
        return self.members[0].classes

    def raw(self, x: np.ndarray) -> np.ndarray:
        """What stands for the outputs of a network `[rows, *targets, outputs]`, float64.

        Logarithms of the mean probabilities are logits of them, so that all that a model makes of
        its outputs can be made of these.
        """
        return combined([one.raw(x) for one in self.members], self)

    def forward(self, x: np.ndarray) -> np.ndarray:
        """The same, by programs for this number of rows alone: for a few, again and again."""
        return combined([one.forward(x) for one in self.members], self)

    def transform(self, given: Any) -> np.ndarray:
        """Rows as a user has them to `[rows, features]`, float32."""
        return self.members[0].transform(given)

    def values(self, raw: np.ndarray) -> np.ndarray:
        """What `raw` gave to probabilities, or for regression to values in units; float64."""
        return self.members[0].values(raw)

    def targets(self, split: Split) -> np.ndarray:
        """The targets of a part of the task as scores want them."""
        return self.members[0].targets(split)

    def labels(self, values: np.ndarray) -> np.ndarray:
        """What `values` gave to one prediction for each target."""
        return self.members[0].labels(values)

    def loss(self, split: Split, raw: np.ndarray) -> float:
        """Mean loss of a part of the task."""
        return self.members[0].loss(split, raw)


def combined(outputs: Sequence[np.ndarray], ensemble: Ensemble) -> np.ndarray:
    """The raw outputs of an ensemble, of those of its members, `[rows, *targets, outputs]`."""
    wide = [one.astype(np.float64) for one in outputs]
    if ensemble.combination == "mean" and ensemble.kind == "classification":
        terms = [
            log_softmax(one) + np.log(weight)
            for one, weight in zip(wide, ensemble.weights, strict=True)
        ]
        return np.logaddexp.reduce(terms)
    total: np.ndarray = sum(
        (weight * one for one, weight in zip(wide, ensemble.weights, strict=True)),
        start=np.zeros_like(wide[0]),
    )
    return total


def chosen(
    models: Sequence[Model], weights: Sequence[float], combination: Combination = "mean"
) -> Ensemble:
    """The ensemble of those models that have a weight."""
    there = [(one, float(weight)) for one, weight in zip(models, weights, strict=True) if weight]
    return Ensemble(tuple(m for m, _ in there), tuple(w for _, w in there), combination)


def pack_ensemble(ensemble: Ensemble) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The header of an ensemble, as JSON has it, and the arrays of all members by name."""
    headers: list[dict[str, Any]] = []
    arrays: dict[str, np.ndarray] = {}
    shared: dict[str, Any] = {}
    for number, member in enumerate(ensemble.members):
        header, own = pack_model(member)
        shared = {name: header.pop(name) for name in SHARED}
        headers.append(header)
        arrays |= {f"{number}/{name}": array for name, array in own.items()}
    header = {
        "format_version": FORMAT_VERSION,
        "combination": ensemble.combination,
        "weights": list(ensemble.weights),
        "members": headers,
    }
    return header | shared, arrays


def unpack_ensemble(entry: dict[str, Any], arrays: dict[str, np.ndarray]) -> Ensemble:
    """The ensemble of a header and its arrays.

    Raises:
        KeyError, TypeError, ValueError: if something is missing, or they contradict each other.
    """
    members = []
    for number, header in enumerate(entry["members"]):
        place = f"{number}/"
        own = {n.removeprefix(place): a for n, a in arrays.items() if n.startswith(place)}
        members.append(unpack_model(header | {name: entry[name] for name in SHARED}, own))
    same = [replace(one, preprocessing=members[0].preprocessing) for one in members]
    weights = tuple(float(weight) for weight in entry["weights"])
    return Ensemble(tuple(same), weights, entry["combination"])
