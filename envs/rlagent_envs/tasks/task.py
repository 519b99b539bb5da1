"""A task: data that is split and preprocessed, ready to train on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from rlagent_envs.forms import Form, check_features, check_numbers, check_targets, form_of

if TYPE_CHECKING:
    from rlagent_envs.tasks.preprocessing import Preprocessing
    from rlagent_envs.tasks.streamed import Streamed

Kind = Literal["classification", "regression"]
JudgedPart = Literal["valid", "test"]
Division = Literal["groups", "times", "times of users"]
# What people may ask for; in the last two pixels and cells are classified.
AskedKind = Literal["classification", "regression", "segmentation", "detection"]


class Split(NamedTuple):
    """Rows that belong together: to train on, to validate on, or to test on."""

    x: np.ndarray  # [rows, features], float32, preprocessed; tokens and the like by their numbers
    y: np.ndarray  # [rows, ...], int32 class numbers, or float32 standardised targets


@dataclass(frozen=True)
class Task:
    """A data set and what is needed to fit a network to it.

    The order of the rows of `valid` is stratified: any prefix has nearly the class shares of the
    whole, because evaluation inside an episode looks at a prefix only.
    """

    name: str
    kind: Kind
    train: Split
    valid: Split
    test: Split | None  # None where there is none, as for procedural tasks made without
    outputs: int  # classes, or 1 for regression
    batch_size: int  # examples per update
    family: str = "mlp"
    input_shape: tuple[int, ...] = ()  # of an example; see forms.py
    vocabularies: tuple[int, ...] = ()  # of the whole numbers in an example; (): quantities
    target_shape: tuple[int, ...] = ()  # of an example's targets: () one, (64,) one for each place
    mirrored: bool = False  # a mirrored image keeps its target: both are learned from and asked
    preprocessing: Preprocessing | None = None  # None: the rows come as they are
    # Where the inputs to train on are, if memory has no room for them; then train.x is a stand-in
    # of their shape, as `stand_in` makes it, and nothing may look at it.
    streamed: Streamed | None = None
    continuous: np.ndarray | None = None  # [features], bool: what an attack may move; None: all
    # By part, where targets are boxes: those that were given, `[rows, most, 5]`, see `read_boxes`.
    # Targets have the edges in steps, and lack what shares a cell.
    boxes: Mapping[str, np.ndarray] | None = None
    context: tuple[float, ...] = ()  # what only the critic may know, of a procedural task
    # What rows have to be divided by, where not at random: other parts would undo it.
    divided_by: Division | None = None
    notes: tuple[str, ...] = ()  # sentences about the reading of the data, such as what was skipped

    def __post_init__(self) -> None:
        """Raises ValueError, naming the value, if the parts do not fit together."""
        if self.kind not in ("classification", "regression"):
            raise ValueError(f"kind must be classification or regression, got {self.kind!r}")
        parts = {"train": self.train, "valid": self.valid, "test": self.test}
        for part, split in parts.items():
            if split is None:
                continue
            if len(split.x) == 0:
                raise ValueError(f"the {part} part of {self.name} has no rows")
            if len(split.x) != len(split.y):
                raise ValueError(
                    f"the {part} part of {self.name} has {len(split.x)} rows but "
                    f"{len(split.y)} targets"
                )
            if split.x.shape[1] != self.features:
                raise ValueError(
                    f"the {part} part of {self.name} has {split.x.shape[1]} features, "
                    f"the train part {self.features}"
                )
            if split.y.shape[1:] != self.target_shape:
                raise ValueError(
                    f"the {part} part of {self.name} has targets of shape {split.y.shape[1:]}, "
                    f"expected {self.target_shape}"
                )
        if self.mirrored and (self.form != "image" or self.target_shape):
            raise ValueError(f"mirrored is for images with a target each, but {self.name} has none")
        check_features(self.features, self.input_shape, self.vocabularies)
        self._check_numbers()
        check_targets(self.target_shape, self.form, self.input_shape)
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")

    def _check_numbers(self) -> None:
        """Raises ValueError if a whole number is not of its vocabulary."""
        if not self.vocabularies or self.streamed is not None:
            return
        for part, split in (("train", self.train), ("valid", self.valid), ("test", self.test)):
            if split is not None:
                name = f"the {part} part of {self.name}"
                check_numbers(name, split.x, self.input_shape, self.vocabularies)

    @property
    def features(self) -> int:
        """Columns of the preprocessed input."""
        return int(self.train.x.shape[1])

    @property
    def form(self) -> Form:
        """What its examples are made of."""
        return form_of(self.input_shape, self.vocabularies, self.features)

    @property
    def is_forecast(self) -> bool:
        """Whether examples are windows of a series, and their targets what comes behind."""
        return self.preprocessing is not None and self.preprocessing.inputs.kind == "window"

    @property
    def attackable(self) -> bool:
        """Whether any column is a quantity, which an attack may move a little."""
        if self.continuous is None:
            return not self.vocabularies
        return bool(np.any(self.continuous))


def stand_in(rows: int, features: int) -> np.ndarray:
    """Zeros `[rows, features]` that take no room, for inputs that are elsewhere."""
    return np.broadcast_to(np.float32(0.0), (rows, features))


def default_batch_size(train_rows: int, target_shape: tuple[int, ...] = ()) -> int:
    """The batch size that a task gets when none is asked for: 32, 64 or 128.

    Examples with many targets are many examples in one, so that few of them will do.
    """
    return 32 if train_rows < 512 or target_shape else 64 if train_rows < 20_000 else 128
