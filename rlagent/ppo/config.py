"""What a training of a controller is: frozen, checked, read from TOML."""

from __future__ import annotations

import math
import tomllib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from rlagent_envs.config import EnvConfig, typed
from rlagent_envs.pool import PROCEDURAL
from rlagent_envs.tasks.registry import TASKS


@dataclass(frozen=True)
class PPOConfig:
    """The settings of MaskablePPO, by the names that Stable-Baselines3's users know them by."""

    decisions: int = 500_000  # in all, over all places
    reward_rows: int = 0  # of a task, that only the reward sees; 0: paid is validation data
    places: int = 64  # episodes that run at once
    rollout: int = 32  # decisions of each place between two updates of the policy
    batch_size: int = 512
    epochs: int = 4
    learning_rate: float = 3e-4  # decays linearly to a tenth
    entropy: float = 0.003  # weight of the entropy bonus, summed over the knobs
    clip: float = 0.2
    gamma: float = 1.0
    gae_lambda: float = 0.95
    value_weight: float = 0.5
    hidden: tuple[int, ...] = (128, 128)
    hold_bias: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError, naming the setting and its value, if it makes no sense."""
        least = {"decisions": 1, "places": 1, "rollout": 1, "batch_size": 2, "epochs": 1}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be at least {low}, got {getattr(self, name)}")
        if self.places * self.rollout % self.batch_size:
            raise ValueError(
                f"batch_size must divide places x rollout = {self.places * self.rollout}, "
                f"got {self.batch_size}"
            )
        for name in ("learning_rate", "gamma", "gae_lambda", "clip"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be above 0 and at most 1, got {getattr(self, name)}")
        ranges = {
            "reward_rows": (0, 100_000),
            "entropy": (0, 1),
            "value_weight": (0, 10),
            "hold_bias": (-10, 10),
        }
        for name, bounds in {**ranges, "seed": (0, 2**31)}.items():
            if not bounds[0] <= getattr(self, name) <= bounds[1]:
                raise ValueError(
                    f"{name} must be from {bounds[0]} to {bounds[1]}, got {getattr(self, name)}"
                )
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"hidden must name sizes from 1 up, got {self.hidden}")


@dataclass(frozen=True)
class EvaluationConfig:
    """How a controller is judged while it trains, on the sets that scikit-learn bundles."""

    every: int = 50_000  # decisions
    tasks: tuple[str, ...] = ("breast_cancer", "diabetes", "digits", "iris", "wine")
    seeds: int = 4
    updates: int = 600  # budget of a run
    run_decisions: int = 25

    def __post_init__(self) -> None:
        """Raises ValueError, naming the setting and its value, if it makes no sense."""
        for name in ("every", "seeds", "updates", "run_decisions"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.updates < self.run_decisions:
            raise ValueError(
                f"updates must be at least run_decisions = {self.run_decisions}, got {self.updates}"
            )
        if not self.tasks:
            raise ValueError("tasks must name at least one, got none")
        for name in self.tasks:
            if name not in TASKS:
                raise ValueError(f"unknown task {name!r}; there are: {', '.join(sorted(TASKS))}")


@dataclass(frozen=True)
class TrainConfig:
    """A training of a controller."""

    name: str = "controller"
    begin_from: str = ""  # a controller, by name or file, whose policy the training begins with
    checkpoint_minutes: float = 2.0  # at most this much is lost to a kill
    ppo: PPOConfig = field(default_factory=PPOConfig)
    environment: EnvConfig = field(default_factory=lambda: EnvConfig(task="procedural"))
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        """Raises ValueError, naming the setting and its value, if it makes no sense."""
        if not self.name:
            raise ValueError("name must not be empty")
        if self.ppo.reward_rows and self.environment.task != PROCEDURAL:
            raise ValueError(
                f"ppo.reward_rows needs environment.task {PROCEDURAL!r}, which has rows without "
                f"end, got {self.environment.task!r}"
            )
        if not 0.0 <= self.checkpoint_minutes < math.inf:
            raise ValueError(
                f"checkpoint_minutes must be at least 0, got {self.checkpoint_minutes}"
            )


def read_config(path: Path) -> TrainConfig:
    """The config in a TOML file; what it does not name has its default.

    Raises:
        ValueError: if the file is not there or no TOML, names a setting that there is not, or
            gives one a value that makes no sense.
    """
    try:
        values = tomllib.loads(path.read_text())
    except OSError as error:
        raise ValueError(f"cannot read the config {path}: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path} is no valid TOML: {error}") from error
    return train_config(values)


def train_config(values: dict[str, Any]) -> TrainConfig:
    """The config of plain values, as TOML or JSON gives them; lists become tuples.

    Raises:
        ValueError: naming the setting, if there is none such or its value makes no sense.
    """
    parts = dict(values)
    for name, kind in (
        ("ppo", PPOConfig),
        ("environment", EnvConfig),
        ("evaluation", EvaluationConfig),
    ):
        part = parts.get(name, {})
        if not isinstance(part, dict):
            raise ValueError(f"{name} must be a table, got {part!r}")
        given = {"task": "procedural", **part} if kind is EnvConfig else part
        parts[name] = _checked(kind, f"{name}.", given)
    config: TrainConfig = _checked(TrainConfig, "", parts)
    return config


def plain_values(config: TrainConfig) -> dict[str, Any]:
    """The config as JSON keeps it; `train_config` reads it back."""
    values: dict[str, Any] = _plain(asdict(config))
    return values


def _plain(value: Any) -> Any:
    """The same with lists in the place of tuples, as JSON has it."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


def _checked(kind: Any, prefix: str, values: dict[str, Any]) -> Any:
    hints = get_type_hints(kind)
    known = [one.name for one in fields(kind)]
    for name in values:
        if name not in known:
            raise ValueError(f"unknown setting {prefix}{name}; there are: {', '.join(known)}")
    return kind(**{name: typed(prefix + name, values[name], hints[name]) for name in values})
