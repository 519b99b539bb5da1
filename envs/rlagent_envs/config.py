"""What the episodes of an environment are: frozen, checked once, when it is made."""

from __future__ import annotations

from dataclasses import dataclass, fields

KNOB_NAMES = (
    "learning_rate",
    "weight_decay",
    "dropout",
    "label_smoothing",
    "momentum",
    "growth",
    "restore",
)

# What each single number of a config may be at most.
LIMITS = {"plain_start": 1.0, "group_dropout": 0.99, "divergence_penalty": 3.0}

SCHEDULES = ("constant", "cosine", "one-cycle", "step", "exponential", "warmup-cosine")

# What each range of a config has to lie within.
RANGES = {
    "decisions": (1, 100_000),
    "updates_per_decision": (1, 1_000_000),
    "learning_rate": (1e-8, 1.0),
    "weight_decay": (1e-6, 1.0),
    "dropout": (0.0, 0.6),
    "label_smoothing": (0.0, 0.3),
    "momentum": (0.5, 0.99),
}


@dataclass(frozen=True)
class EnvConfig:
    """How episodes are drawn; a range is drawn from anew for each episode.

    Frozen and hashable. None of it shapes a compiled program.
    """

    task: str = "digits"  # a task's name, or "procedural": a new random task for each episode
    knobs: tuple[str, ...] = KNOB_NAMES  # the open ones; the others are held
    schedule: str = "constant"  # of SCHEDULES: what the learning rate does while it is held
    decisions: tuple[int, int] = (2, 128)  # decisions in an episode, log-uniform
    updates_per_decision: tuple[float, float] = (8.0, 64.0)  # of the base rung, log-uniform
    learning_rate: tuple[float, float] = (1e-5, 1e-1)  # at the start, log-uniform
    weight_decay: tuple[float, float] = (1e-5, 1e-1)  # at the start, log-uniform
    dropout: tuple[float, float] = (0.0, 0.3)  # at the start, uniform
    label_smoothing: tuple[float, float] = (0.0, 0.1)  # at the start, uniform
    momentum: tuple[float, float] = (0.8, 0.95)  # at the start, log-uniform in 1 - momentum
    depths: tuple[int, ...] = (1, 2, 3)  # of the base rung, any of them
    widths: tuple[int, ...] = (32, 64, 128)  # of the base rung, any of them
    plain_start: float = 0.0  # probability that all but learning rate and rung are at default
    group_dropout: float = 0.0  # probability that a group of features is absent in an episode
    divergence_penalty: float = 0.1  # taken from the reward at each divergence

    def __post_init__(self) -> None:
        """Raises ValueError, naming the field and its value, if a setting makes no sense."""
        for name, (lowest, highest) in RANGES.items():
            low, high = getattr(self, name)
            if not lowest <= low <= high <= highest:
                raise ValueError(
                    f"{name} must be a range within {lowest:g} to {highest:g}, got {(low, high)}"
                )
        for name in ("depths", "widths", "knobs"):
            if not getattr(self, name):
                raise ValueError(f"{name} must name at least one, got none")
        for name in self.knobs:
            if name not in KNOB_NAMES:
                raise ValueError(f"unknown knob {name!r}; there are: {', '.join(KNOB_NAMES)}")
        if self.schedule not in SCHEDULES:
            raise ValueError(
                f"unknown schedule {self.schedule!r}; there are: {', '.join(SCHEDULES)}"
            )
        for name, highest in LIMITS.items():
            if not 0.0 <= getattr(self, name) <= highest:
                raise ValueError(f"{name} must be from 0 to {highest:g}, got {getattr(self, name)}")


def config_from_dict(values: dict[str, object]) -> EnvConfig:
    """An EnvConfig from plain values, as a file holds them; lists become tuples.

    Raises:
        ValueError: if a key is unknown, naming the choices.
    """
    known = [field.name for field in fields(EnvConfig)]
    for name in values:
        if name not in known:
            raise ValueError(f"unknown environment setting {name!r}; there are: {', '.join(known)}")
    plain = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return EnvConfig(**plain)  # type: ignore[arg-type]
