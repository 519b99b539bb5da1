"""Methods by their names: `cosine`, `constant@0.001`, `tpe:16`, `controller@my.safetensors`."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rlagent.apply.request import CONTROLLER_LEARNING_RATE, default_decisions
from rlagent.baselines.frozen import frozen, learning_rate
from rlagent.baselines.method import Method, Problem
from rlagent.baselines.population import Population
from rlagent.baselines.ray_population import SCHEDULERS as RAY_SCHEDULERS
from rlagent.baselines.search import Search
from rlagent.baselines.single import RULES, Controlled, Reactive, Scheduled
from rlagent.baselines.transferred import Transferred
from rlagent_envs.config import SCHEDULES, TUNABLE
from rlagent_envs.training.optimizer import TUNING_FREE

if TYPE_CHECKING:
    from rlagent.controller.file import Controller

CONTROLLERS = ("controller", "controller-drawn")
POPULATIONS = ("pbt", *RAY_SCHEDULERS)
TRANSFERRED, REFERENCE = "transferred", "reference"


def method_names() -> list[str]:
    """All methods there are."""
    return [
        REFERENCE,
        *SCHEDULES,
        *RULES,
        *TUNING_FREE,
        *frozen()["searches"],
        *POPULATIONS,
        TRANSFERRED,
        *CONTROLLERS,
    ]


@dataclass(frozen=True)
class Asked:
    """A method and how much of it."""

    text: str  # as it was asked for
    name: str
    value: str | None  # after @: a learning rate, or a controller
    times: float  # the budget, in those of a single run

    @property
    def single(self) -> bool:
        """Whether it trains one network, and `times` makes that run longer or shorter."""
        return self.name not in (*frozen()["searches"], *POPULATIONS, TRANSFERRED)


def parse(text: str) -> Asked:
    """Reads `NAME[@VALUE][:K]`.

    Raises:
        ValueError: naming what makes no sense, and the choices.
    """
    text = text.strip()
    found = re.fullmatch(r"([^@:]+)(?:@(.+?))?(?::([^:@]*))?", text)
    if found is None or found[1] not in method_names():
        name = text if found is None else found[1]
        raise ValueError(f"unknown method {name!r}; there are: {', '.join(method_names())}")
    asked = Asked(text, found[1], found[2], _times(text, found[1], found[3]))
    if asked.value is not None and not asked.single:
        raise ValueError(f"{asked.name} takes no value after @, got {text!r}")
    if not asked.single and asked.times != int(asked.times):
        raise ValueError(f"{asked.name} takes a whole number of runs, got {text!r}")
    points = math.prod(len(values) for values in frozen()["grid"].values())
    if asked.name == "grid" and asked.times > points:
        raise ValueError(f"the grid has {points} points, got {text!r}")
    return asked


def make(text: str) -> Method:
    """The method of that name, ready to run.

    Raises:
        ValueError: naming what makes no sense, and the choices.
    """
    asked = parse(text)
    rate = None if asked.value is None else _rate(asked)
    match asked.name:
        case name if name in CONTROLLERS:
            return _controlled(asked)
        case name if name in frozen()["searches"]:
            return Search(asked.text, name, asked.times)
        case name if name in POPULATIONS:
            return Population(asked.text, name, int(asked.times))
        case "transferred":
            return Transferred(asked.text, int(asked.times))
        case name if name in RULES:
            return Reactive(asked.text, rate or learning_rate(name), name, asked=rate is not None)
        case name if name in TUNING_FREE:
            return Scheduled(asked.text, rate or learning_rate(name), optimizer=name)
    schedule = "cosine" if asked.name == REFERENCE else asked.name
    own = rate or learning_rate(schedule)
    return Scheduled(asked.text, own, schedule=schedule, asked=rate is not None)


def budgeted(text: str, problem: Problem) -> Problem:
    """The problem as a method sees it: of one network, `times` makes the run longer or shorter."""
    asked = parse(text)
    if not asked.single or asked.times == 1.0:
        return problem
    updates = problem.updates * asked.times
    return replace(problem, updates=updates, decisions=default_decisions(round(updates)))


def _times(text: str, name: str, given: str | None) -> float:
    if given is None:
        defaults = dict.fromkeys(POPULATIONS, frozen()["population"])
        defaults[TRANSFERRED] = frozen()["transferred"]
        chosen = (defaults | frozen()["searches"]).get(name)
        return 1.0 if chosen is None else float(chosen["budget"])
    try:
        times = float(given)
    except ValueError:
        times = math.nan
    if not 0.0 < times <= 10_000.0:
        raise ValueError(
            f"the number after the colon is the budget in single runs, above 0; got {text!r}"
        )
    return times


def _rate(asked: Asked) -> float | None:
    if asked.name in CONTROLLERS:
        return None
    try:
        rate = float(asked.value or "")
    except ValueError:
        rate = math.nan
    if not 1e-8 <= rate <= 1.0 or asked.name == REFERENCE:
        what = "takes no learning rate" if asked.name == REFERENCE else "needs a learning rate"
        raise ValueError(f"{asked.name} {what} from 1e-08 to 1 after @, got {asked.text!r}")
    return rate


def _controlled(asked: Asked) -> Controlled:
    from rlagent.controller.file import DEFAULT, load_controller

    value = asked.value or DEFAULT
    controllers = {name: load_controller(value, name) for name in TUNABLE}
    digests = {name: _digest(controller) for name, controller in controllers.items()}
    drawn = asked.name == "controller-drawn"
    return Controlled(
        asked.text,
        controllers,
        "-".join(dict.fromkeys(digests.values())),
        None if drawn else CONTROLLER_LEARNING_RATE,
    )


def _digest(controller: Controller) -> str:
    """Sixteen digits that are others for a controller that decides otherwise."""
    digest = hashlib.sha256()
    for name, array in sorted(controller.weights.items()):
        digest.update(name.encode() + array.tobytes())
    digest.update(f"{controller.schedule} {controller.deterministic}".encode())
    return digest.hexdigest()[:16]
