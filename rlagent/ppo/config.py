"""What a training of a controller is: frozen, checked, read from TOML."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from rlagent_envs.config import EnvConfig, config_from_dict


@dataclass(frozen=True)
class PPOConfig:
    """The settings of MaskablePPO, by the names that Stable-Baselines3's users know them by."""

    decisions: int = 500_000  # in all, over all places
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
        for name in ("decisions", "places", "rollout", "batch_size", "epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.places * self.rollout % self.batch_size:
            raise ValueError(
                f"batch_size must divide places x rollout = {self.places * self.rollout}, "
                f"got {self.batch_size}"
            )
        for name in ("gamma", "gae_lambda", "clip"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be above 0 and at most 1, got {getattr(self, name)}")
        if not self.learning_rate > 0.0:
            raise ValueError(f"learning_rate must be above 0, got {self.learning_rate}")
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


@dataclass(frozen=True)
class TrainConfig:
    """A training of a controller."""

    name: str = "controller"
    checkpoint_minutes: float = 2.0  # at most this much is lost to a kill
    ppo: PPOConfig = field(default_factory=PPOConfig)
    environment: EnvConfig = field(default_factory=lambda: EnvConfig(task="procedural"))
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)


def read_config(path: Path) -> TrainConfig:
    """The config in a TOML file; what it does not name has its default.

    Raises:
        ValueError: if the file is not there or no TOML, or names a setting that there is not.
    """
    try:
        return train_config(tomllib.loads(path.read_text()))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read the config {path}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is no valid TOML: {error}") from error


def train_config(values: dict[str, Any]) -> TrainConfig:
    """The config of plain values, as TOML or JSON gives them."""
    parts = dict(values)
    environment = {"task": "procedural", **parts.pop("environment", {})}
    return _checked(
        TrainConfig,
        "",
        parts
        | {
            "ppo": _checked(PPOConfig, "ppo.", parts.get("ppo", {})),
            "environment": config_from_dict(environment),
            "evaluation": _checked(EvaluationConfig, "evaluation.", parts.get("evaluation", {})),
        },
    )


def plain_values(config: TrainConfig) -> dict[str, Any]:
    """The config as JSON keeps it; `train_config` reads it back."""
    return {
        name: _plain(value) if isinstance(value, dict) else value
        for name, value in asdict(config).items()
    }


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


def _checked(kind: Any, prefix: str, values: dict[str, Any]) -> Any:
    known = [one.name for one in fields(kind)]
    for name in values:
        if name not in known:
            raise ValueError(f"unknown setting {prefix}{name}; there are: {', '.join(known)}")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
