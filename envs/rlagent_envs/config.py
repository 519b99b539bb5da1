"""What the episodes of an environment are: frozen, checked once, when it is made."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, get_args, get_origin, get_type_hints

from rlagent_envs.settings import HIGH, LOW, PLAIN, Settings

EDITS = ("growth", "restore", "shrink")
KNOB_NAMES = (*Settings._fields, *EDITS)  # all that there are
BASIC_KNOBS = (*PLAIN, "growth", "restore")  # what the controller `basic` moves

# What each single number of a config may be at most.
LIMITS = {
    "plain_start": 1.0,
    "group_dropout": 0.99,
    "robust_share": 1.0,
    "architecture_share": 1.0,
    "divergence_penalty": 3.0,
}

# Of procedural tasks; see tasks/domains.py.
DOMAINS = (
    "tables",
    "images",
    "texts",
    "sequences",
    "ratings",
    "language",
    "segmentation",
    "detection",
    "categories",
    "records",
    "rankings",
)

TUNABLE = ("adamw", "sgd", "lion", "muon")  # optimizers whose settings can be moved

SCHEDULES = ("constant", "cosine", "one-cycle", "step", "exponential", "warmup-cosine")

# What each range of a config has to lie within.
RANGES = {
    "decisions": (1, 100_000),
    "updates_per_decision": (1, 1_000_000),
    "robust_epsilon": (0.0, HIGH.adversarial_epsilon),
    **{name: (getattr(LOW, name), getattr(HIGH, name)) for name in PLAIN},
}

# The same for `starts`.
LEVER_RANGES = {
    name: (getattr(LOW, name), getattr(HIGH, name))
    for name in Settings._fields
    if name not in PLAIN
}


@dataclass(frozen=True)
class EnvConfig:
    """How episodes are drawn; a range is drawn from anew for each episode.

    Frozen and hashable. None of it shapes a compiled program.
    """

    task: str = "digits"  # a task's name, or "procedural": a new random task for each episode
    knobs: tuple[str, ...] = BASIC_KNOBS  # the open ones; the others are held
    schedule: str = "constant"  # of SCHEDULES: what the learning rate does while it is held
    optimizers: tuple[str, ...] = ("adamw",)  # of TUNABLE, any of them
    decisions: tuple[int, int] = (2, 128)  # decisions in an episode, log-uniform
    updates_per_decision: tuple[float, float] = (8.0, 64.0)  # of the base rung, log-uniform
    learning_rate: tuple[float, float] = (1e-5, 1e-1)  # at the start, log-uniform
    weight_decay: tuple[float, float] = (1e-5, 1e-1)  # at the start, log-uniform
    dropout: tuple[float, float] = (0.0, 0.3)  # at the start, uniform
    label_smoothing: tuple[float, float] = (0.0, 0.1)  # at the start, uniform
    momentum: tuple[float, float] = (0.8, 0.95)  # at the start, log-uniform in 1 - momentum
    # Of other settings at the start, unless it is plain: (name, lowest, highest), uniform.
    starts: tuple[tuple[str, float, float], ...] = ()
    depths: tuple[int, ...] = (1, 2, 3)  # of the base rung, any of them
    widths: tuple[int, ...] = (32, 64, 128)  # of the base rung, any of them
    plain_start: float = 0.0  # probability that all but learning rate and rung are at default
    domains: tuple[tuple[str, float], ...] = (
        ("tables", 1.0),
    )  # of procedural tasks: (name, weight)
    difficulty: tuple[float, ...] = ()  # of procedural tasks, a range; (): as each is drawn
    canvases: bool = False  # procedural pictures are images of 8x8 or 16x16, not flat rows
    architecture_share: float = 1.0  # of episodes in which the network may grow or shrink
    robust_share: float = 0.0  # of episodes that are judged under attack
    robust_epsilon: tuple[float, float] = (0.02, 0.5)  # of those attacks, log-uniform
    group_dropout: float = 0.0  # probability that a group of features is absent in an episode
    divergence_penalty: float = 0.1  # taken from the reward at each divergence

    def __post_init__(self) -> None:
        """Raises ValueError, naming the field and its value, if a setting makes no sense."""
        for name, bounds in RANGES.items():
            _check_range(name, getattr(self, name), bounds)
        for name in ("depths", "widths", "knobs", "optimizers"):
            if not getattr(self, name):
                raise ValueError(f"{name} must name at least one, got none")
        _check_knobs(self.knobs)
        _check_starts(self.starts)
        _check_domains(self.domains)
        _check_difficulty(self.difficulty, self.task)
        if self.schedule not in SCHEDULES:
            raise ValueError(
                f"unknown schedule {self.schedule!r}; there are: {', '.join(SCHEDULES)}"
            )
        for name in self.optimizers:
            if name not in TUNABLE:
                raise ValueError(f"unknown optimizer {name!r}; there are: {', '.join(TUNABLE)}")
        for name, highest in LIMITS.items():
            if not 0.0 <= getattr(self, name) <= highest:
                raise ValueError(f"{name} must be from 0 to {highest:g}, got {getattr(self, name)}")


def _check_range(name: str, given: tuple[float, float], bounds: tuple[float, float]) -> None:
    (low, high), (lowest, highest) = given, bounds
    if not lowest <= low <= high <= highest:
        raise ValueError(
            f"{name} must be a range within {lowest:g} to {highest:g}, got {(low, high)}"
        )


def _check_knobs(names: tuple[str, ...]) -> None:
    for name in names:
        if name not in KNOB_NAMES:
            raise ValueError(f"unknown knob {name!r}; there are: {', '.join(KNOB_NAMES)}")
    if len(set(names)) < len(names):
        raise ValueError(f"a knob is named twice in {', '.join(names)}")


def _check_once(field: str, names: list[str]) -> None:
    """Raises ValueError if a field names something twice: it does not tell which of both counts."""
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{field} names {name!r} twice")


def _check_starts(starts: tuple[tuple[str, float, float], ...]) -> None:
    for name, low, high in starts:
        if name not in LEVER_RANGES:
            raise ValueError(f"starts has no {name!r}; there are: {', '.join(LEVER_RANGES)}")
        _check_range(name, (low, high), LEVER_RANGES[name])
    _check_once("starts", [name for name, _, _ in starts])


def _check_difficulty(given: tuple[float, ...], task: str) -> None:
    if len(given) not in (0, 2):
        raise ValueError(f"difficulty must be a range [low, high], or none at all, got {[*given]}")
    if given:
        _check_range("difficulty", (given[0], given[1]), (0.0, 1.0))
        if task != "procedural":
            raise ValueError(f"difficulty is of tasks drawn for each episode, not of {task!r}")


def _check_domains(domains: tuple[tuple[str, float], ...]) -> None:
    for name, weight in domains:
        if name not in DOMAINS:
            raise ValueError(f"domains has no {name!r}; there are: {', '.join(DOMAINS)}")
        if not weight > 0:
            raise ValueError(f"the weight of the domain {name} must be more than 0, got {weight}")
    _check_once("domains", [name for name, _ in domains])
    if not domains:
        raise ValueError("domains must name at least one, got none")


def config_from_dict(values: dict[str, object]) -> EnvConfig:
    """An EnvConfig from plain values, as a file holds them; lists become tuples.

    Raises:
        ValueError: if a key is unknown, naming the choices, or a value is of another kind.
    """
    known = [field.name for field in fields(EnvConfig)]
    for name in values:
        if name not in known:
            raise ValueError(f"unknown environment setting {name!r}; there are: {', '.join(known)}")
    hints = get_type_hints(EnvConfig)
    plain = {name: typed(name, value, hints[name]) for name, value in values.items()}
    return EnvConfig(**plain)


_KINDS: dict[Any, tuple[Any, str]] = {
    int: (int, "a whole number"),
    float: ((int, float), "a number"),
    str: (str, "text"),
    bool: (bool, "true or false"),
}


def typed(name: str, value: Any, hint: Any) -> Any:
    """The value of a setting, a list as a tuple; raises ValueError if it is of another kind.

    Args:
        name: of the setting.
        value: as a file or a caller gives it.
        hint: the type of the setting: a number, text, truth, or a tuple of such.
    """
    if get_origin(hint) is tuple:
        kinds = get_args(hint)
        listed = isinstance(value, list | tuple)
        if listed and kinds[-1] is Ellipsis:
            kinds = kinds[:1] * len(value)
        if not listed or len(value) != len(kinds):
            length = "a list" if kinds[-1] is Ellipsis else f"a list of {len(kinds)}"
            raise ValueError(f"{name} must be {length}, got {value!r}")
        return tuple(typed(name, one, kind) for one, kind in zip(value, kinds, strict=True))
    if hint in _KINDS:
        kind, wanted = _KINDS[hint]
        if isinstance(value, bool) is not (hint is bool) or not isinstance(value, kind):
            raise ValueError(f"{name} must be {wanted}, got {value!r}")
    return value
