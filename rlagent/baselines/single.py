"""Methods that train one network: schedules, rules that react, optimizers, and controllers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache, partial
from typing import Any, Protocol

import jax
import numpy as np
from optax.contrib import reduce_on_plateau

from rlagent.baselines.frozen import frozen
from rlagent.baselines.method import Problem, Steps, Training, advance, begin, finish, one_by_one
from rlagent.controller.deciding import decide_by
from rlagent.controller.file import Controller
from rlagent_envs import episode as episodes
from rlagent_envs.settings import DEFAULT, HIGH, LOW


@dataclass(frozen=True)
class Scheduled:
    """A schedule of the learning rate, or an optimizer that needs no tuning."""

    name: str
    learning_rate: float  # for AdamW, or for the optimizer that is named
    schedule: str = "constant"
    optimizer: str | None = None  # None: that of the task's family
    asked: bool = False  # the learning rate was asked for, and is for any optimizer

    def steps(self, problem: Problem) -> Steps:
        """Trains one network, changing nothing on the way."""
        rate, changes = self.learning_rate, {"schedule": self.schedule}
        if self.optimizer is not None:
            changes["optimizer"] = self.optimizer
        elif not self.asked:
            rate = problem.advised_rate or rate
        training = begin(problem, problem.start(DEFAULT._replace(learning_rate=rate), **changes))
        yield from finish([training])
        return one_by_one([training])

    def describe(self) -> dict[str, Any]:
        """Its numbers."""
        return asdict(self)


class Rule(Protocol):
    """Changes the learning rate by what the validation loss does."""

    def after(self, learning_rate: float, loss: float) -> float:
        """The learning rate after an evaluation."""


class Plateau:
    """Reduces the learning rate when the loss has stopped to fall, by Optax's own rule."""

    def __init__(self, factor: float, patience: int, rtol: float) -> None:
        begin, self._update = _plateau(factor, patience, rtol)
        self._state = begin()

    def after(self, learning_rate: float, loss: float) -> float:
        """The learning rate after an evaluation."""
        before = float(self._state.scale)
        self._state = self._update(self._state, np.float32(loss))
        return learning_rate * float(self._state.scale) / before


@cache
def _plateau(
    factor: float, patience: int, rtol: float
) -> tuple[Callable[[], Any], Callable[[Any, np.float32], Any]]:
    """Optax's rule, compiled: as it comes, it would compile its branches anew at each call."""
    rule = reduce_on_plateau(factor=factor, patience=patience, rtol=rtol, atol=0.0)

    def update(state: Any, loss: np.float32) -> Any:
        return rule.update(None, state, value=loss)[1]

    return partial(rule.init, None), jax.jit(update)


class Greedy:
    """Raises the learning rate while the loss falls, and lowers it when it does not.

    Source: GreedyLR (arXiv:2512.14527), as Hugging Face transformers has it, without its smoothing,
    cooldown and reset, which are off or out of reach there by default.
    """

    def __init__(
        self, factor: float, patience: int, threshold: float, lowest: float, highest: float
    ) -> None:
        self._factor, self._patience, self._threshold = factor, patience, threshold
        self._lowest, self._highest = lowest, highest
        self._best, self._good, self._bad = np.inf, 0, 0

    def after(self, learning_rate: float, loss: float) -> float:
        """The learning rate after an evaluation."""
        if loss < self._best - self._threshold:
            self._best, self._good, self._bad = loss, self._good + 1, 0
        else:
            self._good, self._bad = 0, self._bad + 1
        if self._good > self._patience:
            self._good = 0
            return max(learning_rate, min(learning_rate / self._factor, self._highest))
        if self._bad > self._patience:
            self._bad = 0
            return min(learning_rate, max(learning_rate * self._factor, self._lowest))
        return learning_rate


RULES: dict[str, type[Plateau] | type[Greedy]] = {"plateau": Plateau, "greedy": Greedy}


@dataclass(frozen=True)
class Reactive:
    """A constant learning rate that a rule changes after evaluations."""

    name: str
    learning_rate: float  # for AdamW
    rule: str  # of RULES
    numbers: tuple[tuple[str, float], ...] = ()  # of the rule; the frozen ones where empty
    asked: bool = False  # as of `Scheduled`

    def steps(self, problem: Problem) -> Steps:
        """Trains one network; the rule is asked after each evaluation."""
        rule = RULES[self.rule](**self._numbers())
        rate = self.learning_rate
        if not self.asked:
            rate = problem.advised_rate or rate
        training = begin(problem, problem.start(DEFAULT._replace(learning_rate=rate)))
        while not training.ended:
            yield from advance([training])
            _react(rule, training)
        return one_by_one([training])

    def describe(self) -> dict[str, Any]:
        """Its numbers and those of the rule."""
        return {
            "name": self.name,
            "learning_rate": self.learning_rate,
            "rule": self.rule,
            "asked": self.asked,
            **self._numbers(),
        }

    def _numbers(self) -> dict[str, Any]:
        return dict(self.numbers) or dict(frozen()[self.rule])


def _react(rule: Rule, training: Training) -> None:
    report, settings = training.reports[-1], training.episode.settings
    # A loss that is not finite is as bad as any.
    loss = report.valid_loss if np.isfinite(report.valid_loss) else float(np.finfo("float32").max)
    rate = float(np.clip(rule.after(settings.learning_rate, loss), LOW[0], HIGH[0]))
    if rate != settings.learning_rate:
        training.episode = episodes.with_settings(
            training.episode, settings._replace(learning_rate=rate)
        )


@dataclass(frozen=True)
class Controlled:
    """A learned controller changes the settings as it goes."""

    name: str
    controllers: Mapping[str, Controller]  # for each optimizer the one for it
    fingerprint: str  # of their files
    # At the start, for AdamW; None: drawn log-uniformly from 1e-5 to 1e-1, for any optimizer.
    learning_rate: float | None

    def steps(self, problem: Problem) -> Steps:
        """Trains one network; the controller is asked before each slice."""
        if self.learning_rate is not None:
            rate = problem.advised_rate or self.learning_rate
        else:
            rate = float(10.0 ** np.random.default_rng([problem.seed, 6]).uniform(-5.0, -1.0))
        controller = self.controllers[problem.optimizer]
        start = problem.start(DEFAULT._replace(learning_rate=rate), schedule=controller.schedule)
        decide = decide_by(controller, problem.seed)
        training = begin(problem, start, tuple(controller.knobs))
        while not training.ended:
            mask = episodes.action_mask(training.episode)
            action, chances = decide(training.observation, mask, len(training.reports))
            yield from advance([training], [action], [chances])
        return one_by_one([training])

    def describe(self) -> dict[str, Any]:
        """Which controller, and where it starts."""
        return {
            "name": self.name,
            "controller": self.fingerprint,
            "learning_rate": self.learning_rate,
        }
