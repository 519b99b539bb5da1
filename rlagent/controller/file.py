"""The controller file: a learned policy, with all that its use needs, in one `.safetensors`.

Format 1: the policy's weights, and the metadata entry `rlagent`, a JSON object whose `controller`
is a `Header`. Nothing in it is run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import jax
import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    JsonValue,
    PositiveInt,
    ValidationError,
)

from rlagent.controller.policy import PolicyNetwork, Weights, choose, policy_with, weight_shapes
from rlagent.storage import read_arrays, write_arrays

FORMAT_VERSION = 1
SUFFIX = ".safetensors"
PRETRAINED = Path(__file__).parents[1] / "pretrained"  # the controllers that ship
DEFAULT = "default"  # the name of whichever of them suits the optimizer of a run
BEST_UNDER = {"muon": "muon"}  # an optimizer, and the controller that has learned under it
BEST = "basic"  # under all others

Level = float | str
Values = TypeVar("Values", NDArray[Any], jax.Array)

# Compiled here, not in the class: controllers of equal shapes share one compilation.
_choose = jax.jit(choose)


class FeatureLike(Protocol):
    """What a controller must know of a feature; `rlagent_envs.observation.Feature` fits."""

    @property
    def name(self) -> str:
        """The feature's name."""

    @property
    def version(self) -> int:
        """Grows when the feature's meaning changes."""


class KnobLike(Protocol):
    """What a controller must know of a knob; `rlagent_envs.knobs.Knob` fits."""

    @property
    def levels(self) -> Sequence[Level]:
        """The choices."""

    @property
    def hold(self) -> int:
        """Index of the level that changes nothing."""


class _KnobHeader(BaseModel):
    """One knob in the header: a list keeps their order, which a JSON object need not."""

    model_config = ConfigDict(extra="forbid")

    name: str
    levels: tuple[FiniteFloat | str, ...] = Field(min_length=1)


class Header(BaseModel):
    """The JSON in a controller file."""

    model_config = ConfigDict(extra="forbid")

    format_version: int
    name: str = Field(min_length=1)
    features: tuple[tuple[str, int], ...] = Field(min_length=1)
    knobs: tuple[_KnobHeader, ...] = Field(min_length=1)
    hidden: tuple[PositiveInt, ...]
    deterministic: bool
    schedule: Literal["constant", "cosine", "one-cycle", "step", "exponential", "warmup-cosine"] = (
        "constant"
    )
    training: dict[str, JsonValue]
    evaluation: dict[str, JsonValue]
    licence: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Controller:
    """A learned policy, and what it reads and moves. The arrays must not be changed."""

    name: str
    features: tuple[tuple[str, int], ...]  # (name, version), in the order of the policy's input
    knobs: dict[str, tuple[Level, ...]]  # levels by name, in the order of the policy's output
    hidden: tuple[int, ...]  # units of each hidden layer
    weights: Weights  # as `policy.weight_shapes` names them
    licence: str
    deterministic: bool = True  # take the most probable levels, or draw them
    schedule: str = "constant"  # what the learning rate does while the controller holds it
    training: dict[str, Any] = field(default_factory=dict)  # JSON: tasks, decisions, seed, …
    evaluation: dict[str, Any] = field(default_factory=dict)  # JSON: results on tasks not seen

    def __post_init__(self) -> None:
        """Raises ValueError, in one sentence, if the parts do not fit each other."""
        _header(self)
        _check_unique("the features", [name for name, _ in self.features])
        for name, levels in self.knobs.items():
            _check_unique(f"the levels of the knob {name!r}", levels)
        _check_weights(self.weights, weight_shapes(*self._shape))

    @cached_property
    def policy(self) -> PolicyNetwork:
        """The network, for `choose` and `log_probabilities` inside jit."""
        return policy_with(self.weights, *self._shape)

    def act(
        self, observation: NDArray[Any], mask: NDArray[np.bool_], key: jax.Array | None = None
    ) -> NDArray[np.int32]:
        """Chooses a level of each of the controller's knobs.

        Args:
            observation: `[features]`, the controller's features in its order.
            mask: `[sum of levels]`, True where a level of the controller's knobs may be chosen.
            key: draws the levels; consumed. A deterministic controller ignores it.

        Returns:
            `[knobs]`, the number of the level of each knob, in the controller's order.

        Raises:
            ValueError: if a shape is wrong, the observation is not finite, the mask leaves a knob
                no level, or a controller that draws its actions got no key.
        """
        observation, mask = np.asarray(observation, np.float32), np.asarray(mask, np.bool_)
        self._check_input(observation, mask)
        if key is None and not self.deterministic:
            raise ValueError(f"controller {self.name} draws its actions: it needs a key")
        key = None if self.deterministic else key
        return np.asarray(_choose(self.policy, observation, mask, key))

    @property
    def _shape(self) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
        """Number of features, of levels of each knob, of units of each hidden layer."""
        return len(self.features), tuple(map(len, self.knobs.values())), self.hidden

    def _check_input(self, observation: NDArray[Any], mask: NDArray[np.bool_]) -> None:
        """Raises ValueError if the policy cannot choose sensibly from these."""
        features, level_counts, _ = self._shape
        for what, array, length in (
            ("observation", observation, features),
            ("mask", mask, sum(level_counts)),
        ):
            if array.shape != (length,):
                raise ValueError(
                    f"the {what} of controller {self.name} has shape ({length},), got {array.shape}"
                )
        for (feature, _), value in zip(self.features, observation, strict=True):
            if not np.isfinite(value):
                raise ValueError(f"the feature {feature!r} is not finite: {value}")
        starts = np.cumsum((0, *level_counts[:-1]))
        for knob, allowed in zip(self.knobs, np.logical_or.reduceat(mask, starts), strict=True):
            if not allowed:
                raise ValueError(f"the mask allows no level of the knob {knob!r}")


@dataclass(frozen=True, eq=False)
class Binding:
    """How a controller's features and knobs lie within those of an environment.

    The methods take NumPy arrays, and inside jit JAX arrays, of ONE decision.
    """

    feature_indices: NDArray[np.int32]  # [own features], in the environment's observation
    level_indices: NDArray[np.int32]  # [own sum of levels], in the environment's mask
    sources: NDArray[np.int32]  # [knobs], the own knob that moves each; 0 where there is none
    table: NDArray[np.int32]  # [knobs, most levels], for each own level the environment's

    def own_observation(self, observation: Values) -> Values:
        """The controller's features `[own features]` of an environment's observation."""
        return observation[self.feature_indices]

    def own_mask(self, mask: Values) -> Values:
        """The controller's part `[own sum of levels]` of an environment's mask."""
        return mask[self.level_indices]

    def full_action(self, action: Values) -> Values:
        """The environment's action `[knobs]`, int32: *hold* for the knobs not moved."""
        # A sum in place of a second indexing: NumPy arrays cannot be indexed by traced ones.
        chosen = action[self.sources][:, None] == np.arange(self.table.shape[1])[None]
        return (chosen * self.table).sum(axis=1, dtype=np.int32)


def save_controller(controller: Controller, path: str | Path) -> None:
    """Writes the controller file, atomically; equal controllers give equal bytes.

    Raises:
        ValueError: if the path does not end in `.safetensors`, or its folder does not exist.
    """
    if Path(path).suffix != SUFFIX:
        raise ValueError(f"the name of a controller file ends in {SUFFIX}, got {path}")
    header = _header(controller).model_dump()
    write_arrays(path, controller.weights, {"controller": header})


def load_controller(name_or_path: str | Path, optimizer: str = "adamw") -> Controller:
    """Reads a controller, running no code from the file.

    Args:
        name_or_path: a file, or the bare name of a controller that ships with rlagent; "default"
            is the one for the optimizer.
        optimizer: that of the run that it is for.

    Raises:
        ValueError: in one sentence that names the file, if there is no such controller, or the
            file is damaged, of another format version, or contradicts itself.
    """
    path = _find(name_or_path, optimizer)
    weights, metadata = read_arrays(path)
    entry = metadata.get("controller")
    if not isinstance(entry, dict):
        raise ValueError(f"{path} is not a controller file: it has no controller header")
    if (version := entry.get("format_version")) != FORMAT_VERSION:
        raise ValueError(
            f"controller {path} has format version {version}; this rlagent reads: {FORMAT_VERSION}"
        )
    try:
        header = _parse(entry)
        _check_unique("the knobs", [knob.name for knob in header.knobs])
        fields = {name: getattr(header, name) for name in Header.model_fields}
        del fields["format_version"]
        fields["knobs"] = {knob.name: knob.levels for knob in header.knobs}
        return Controller(weights=weights, **fields)
    except ValueError as error:
        raise ValueError(f"controller {path}: {error}") from error


def check_compatible(
    controller: Controller, features: Sequence[FeatureLike], knobs: Mapping[str, KnobLike]
) -> None:
    """Checks that an environment has everything that the controller reads and moves.

    Args:
        controller: it may use a part of the features, knobs and levels, in its own order.
        features: those of the environment's observation.
        knobs: those of the environment's action.

    Raises:
        ValueError: naming the first feature, version, knob or level that is not there; or if the
            controller cannot hold a knob, so that a mask might leave it no choice.
    """
    for name, version in controller.features:
        versions = [feature.version for feature in features if feature.name == name]
        if not versions:
            raise ValueError(
                f"controller {controller.name} reads the feature {name!r}, which is not there"
            )
        if version not in versions:
            raise ValueError(
                f"controller {controller.name} reads version {version} of the feature {name!r}; "
                f"there is: {_listed(versions)}"
            )
    for name, levels in controller.knobs.items():
        if name not in knobs:
            raise ValueError(
                f"controller {controller.name} moves the knob {name!r}, which is not there"
            )
        _check_levels(controller, name, levels, knobs[name])


def bind(
    controller: Controller, features: Sequence[FeatureLike], knobs: Mapping[str, KnobLike]
) -> Binding:
    """Finds the controller's features and knobs among those of an environment.

    Args:
        controller: it may use a part of the features, knobs and levels, in its own order.
        features: those of the environment's observation, in its order.
        knobs: those of the environment's action, in its order.

    Raises:
        ValueError: if something is missing, as `check_compatible` says.
    """
    check_compatible(controller, features, knobs)
    there = [(feature.name, feature.version) for feature in features]
    names = list(knobs)
    starts = np.cumsum([0, *(len(knob.levels) for knob in knobs.values())])
    own_names = list(controller.knobs)
    table = np.zeros((len(knobs), max(map(len, controller.knobs.values()))), np.int32)
    table += np.array([knob.hold for knob in knobs.values()], np.int32)[:, None]
    level_indices: list[int] = []
    for name, levels in controller.knobs.items():
        row = names.index(name)
        theirs = [list(knobs[name].levels).index(level) for level in levels]
        table[row, : len(levels)] = theirs
        level_indices += [starts[row] + index for index in theirs]
    return Binding(
        feature_indices=np.array([there.index(own) for own in controller.features], np.int32),
        level_indices=np.array(level_indices, np.int32),
        # 0 does for a knob that is not moved: its row of the table says *hold* for any level.
        sources=np.array(
            [own_names.index(name) if name in own_names else 0 for name in names], np.int32
        ),
        table=table,
    )


def _find(name_or_path: str | Path, optimizer: str) -> Path:
    """The file of a controller; a bare name, without folder or suffix, is one that ships."""
    path = Path(name_or_path)
    if path.suffix or len(path.parts) != 1:
        return path
    name = BEST_UNDER.get(optimizer, BEST) if str(path) == DEFAULT else path
    shipped = PRETRAINED / f"{name}{SUFFIX}"
    if not shipped.is_file():
        names = sorted(file.stem for file in PRETRAINED.glob(f"*{SUFFIX}"))
        raise ValueError(f"unknown controller {str(path)!r}; there are: {_listed(names)}")
    return shipped


def _header(controller: Controller) -> Header:
    """The header of a controller's file; raises ValueError if a part is of the wrong kind."""
    knobs = [{"name": name, "levels": levels} for name, levels in controller.knobs.items()]
    fields = {name: getattr(controller, name, None) for name in Header.model_fields}
    return _parse(fields | {"format_version": FORMAT_VERSION, "knobs": knobs})


def _parse(entry: Mapping[str, Any]) -> Header:
    """Checks a header; raises ValueError with pydantic's first complaint as one sentence."""
    try:
        return Header.model_validate(entry)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"the header's {place} is wrong: {first['msg']}") from error


def _check_unique(what: str, values: Sequence[Level]) -> None:
    """Raises ValueError at the first value that occurs twice."""
    for index, value in enumerate(values):
        if value in values[:index]:
            raise ValueError(f"{what} hold {value!r} twice")


def _check_weights(weights: Weights, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises ValueError at the first tensor that is missing, wrong or not called for."""
    for name, shape in shapes.items():
        if name not in weights:
            raise ValueError(f"the tensor {name!r} is missing")
        tensor = weights[name]
        if tensor.shape != shape:
            raise ValueError(f"the tensor {name!r} must have shape {shape}, got {tensor.shape}")
        if tensor.dtype != np.float32:
            raise ValueError(f"the tensor {name!r} must be float32, got {tensor.dtype}")
        if not np.isfinite(tensor).all():
            raise ValueError(f"the tensor {name!r} holds values that are not finite")
    if extra := sorted(set(weights) - set(shapes)):
        raise ValueError(f"the tensor {extra[0]!r} is not part of the policy")


def _check_levels(
    controller: Controller, name: str, levels: Sequence[Level], knob: KnobLike
) -> None:
    """Raises ValueError if the environment's knob lacks a level, or the controller *hold*."""
    for level in levels:
        if level not in knob.levels:
            raise ValueError(
                f"controller {controller.name} uses the level {level!r} of the knob {name!r}; "
                f"there are: {_listed(knob.levels)}"
            )
    if (hold := knob.levels[knob.hold]) not in levels:
        raise ValueError(
            f"controller {controller.name} cannot hold the knob {name!r}: it lacks the level "
            f"{hold!r}"
        )


def _listed(values: Sequence[object]) -> str:
    """The values for the end of an error message."""
    return ", ".join(map(str, values)) or "none"
