"""Search by Optuna: its samplers and pruners choose, over the frozen space."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from rlagent.baselines.frozen import frozen
from rlagent.baselines.method import (
    Outcome,
    Problem,
    Steps,
    Training,
    Waiting,
    advance,
    begin,
    finish,
    one_by_one,
)
from rlagent_envs import batch, knobs
from rlagent_envs.models import FAMILIES, Rung
from rlagent_envs.settings import DEFAULT, Settings

if TYPE_CHECKING:
    import optuna

ROUNDING = 1e-6  # a budget that is exceeded by less than this share of it is kept


class Configuration(NamedTuple):
    """What a search chooses."""

    settings: Settings
    rung: Rung | None  # of an MLP; None: the default of the task's family
    schedule: str

    @classmethod
    def of(cls, chosen: Mapping[str, Any]) -> Configuration:
        """From names of the space and their values; what is not named is at its default."""
        settings = DEFAULT._replace(
            **{name: float(chosen[name]) for name in Settings._fields if name in chosen}
        )
        if "damping" in chosen:
            settings = settings._replace(momentum=1.0 - float(chosen["damping"]))
        rung = Rung(int(chosen["depth"]), int(chosen["width"])) if "width" in chosen else None
        return cls(settings, rung, str(chosen.get("schedule", "constant")))

    def begin(self, problem: Problem, number: int) -> Training:
        """A network with this configuration; each of a search has weights and batches of its own.

        Args:
            problem: the task and the budget.
            number: of the configuration within the search.
        """
        # The first has the seed of the single runs that the search is compared with.
        seed = problem.seed + number * 2**32
        start = problem.start(self.settings, schedule=self.schedule, seed=seed)
        if self.rung is not None:
            family = FAMILIES[problem.task.family]
            start = replace(start, rung=family.counterpart(self.rung, FAMILIES["mlp"]))
        return begin(problem, start)


def distributions() -> dict[str, optuna.distributions.BaseDistribution]:
    """The frozen space, as Optuna has it.

    Widths and depths are whole numbers in order (a width by its power of two), because some
    samplers can do nothing with categories.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, optuna.distributions.BaseDistribution] = {}
    for name, allowed in frozen()["space"].items():
        if isinstance(allowed, dict):
            found[name] = FloatDistribution(allowed["low"], allowed["high"], log=allowed["log"])
        elif name == "width":
            lowest, highest = (int(math.log2(allowed[place])) for place in (0, -1))
            found["log2_width"] = IntDistribution(lowest, highest)
        elif name == "depth":
            found[name] = IntDistribution(allowed[0], allowed[-1])
        else:
            found[name] = CategoricalDistribution(allowed)
    return found


def grid_distributions() -> dict[str, optuna.distributions.BaseDistribution]:
    """The frozen grid, as Optuna has it."""
    from optuna.distributions import CategoricalDistribution

    return {name: CategoricalDistribution(values) for name, values in frozen()["grid"].items()}


def configuration(trial: optuna.Trial) -> Configuration:
    """The configuration that Optuna has chosen for a trial."""
    chosen = dict(trial.params)
    if "log2_width" in chosen:
        chosen["width"] = 2 ** chosen.pop("log2_width")
    return Configuration.of(chosen)


def make_study(search: Mapping[str, Any], seed: int, decisions: int) -> optuna.Study:
    """A study in memory, with the sampler and the pruner of a search.

    Args:
        search: its frozen numbers.
        seed: of the sampler.
        decisions: evaluations in a single run.

    Raises:
        ValueError: if a package is missing that the sampler needs.
    """
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise ValueError(f"a search needs {error.name}: pip install 'rlagent[bench]'") from error
    optuna.logging.set_verbosity(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.create_study(
            sampler=_sampler(search["sampler"], seed),
            pruner=_pruner(search["pruner"], decisions),
            # Hyperband assigns a trial to its bracket by the name of the study.
            study_name="rlagent",
        )


def _sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    from optuna import samplers

    match name:
        case "grid":
            return samplers.GridSampler(frozen()["grid"], seed=seed)
        case "random":
            return samplers.RandomSampler(seed=seed)
        case "tpe":
            return samplers.TPESampler(seed=seed)
        case "gp":
            _check_package("torch", "the sampler gp", "train")
            return samplers.GPSampler(seed=seed)
        case "cma-es":
            _check_package("cmaes", "the sampler cma-es", "bench")
            return samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
    raise ValueError(
        f"unknown sampler {name!r} in frozen.toml; there are: grid, random, tpe, gp, cma-es"
    )


def _pruner(name: str, decisions: int) -> optuna.pruners.BasePruner:
    from optuna import pruners

    match name:
        case "none":
            return pruners.NopPruner()
        case "median":
            return pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=decisions // 10)
        case "halving":
            return pruners.SuccessiveHalvingPruner(
                min_resource=max(decisions // 9, 1), reduction_factor=3
            )
        case "hyperband":
            return pruners.HyperbandPruner(
                min_resource=max(decisions // 9, 1), max_resource=decisions, reduction_factor=3
            )
    raise ValueError(
        f"unknown pruner {name!r} in frozen.toml; there are: none, median, halving, hyperband"
    )


def _check_package(package: str, user: str, extra: str) -> None:
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise ValueError(f"{user} needs {package}: pip install 'rlagent[{extra}]'")


@dataclass(frozen=True)
class Search:
    """Trains configurations until the budget is spent, and keeps the best by validation."""

    name: str
    search: str  # of the frozen ones
    times: float  # budget, in those of a single run

    def steps(self, problem: Problem) -> Steps:
        """Asks for configurations, trains them, and tells Optuna their validation scores."""
        numbers = frozen()["searches"][self.search]
        study = make_study(numbers, problem.seed, problem.decisions)
        space = grid_distributions() if self.search == "grid" else distributions()
        outcome: Outcome = yield from run_study(
            study, space, problem, self.times, numbers["batch"], pruned=numbers["pruner"] != "none"
        )
        return outcome

    def describe(self) -> dict[str, Any]:
        """The frozen numbers of the search, and its space."""
        space = "grid" if self.search == "grid" else "space"
        return {
            "name": self.name,
            "times": self.times,
            **frozen()["searches"][self.search],
            "space": frozen()[space],
        }


def run_study(
    study: optuna.Study,
    space: dict[str, optuna.distributions.BaseDistribution],
    problem: Problem,
    times: float,
    at_once: int,
    *,
    pruned: bool,
) -> Generator[Any, Any, Outcome]:
    """Runs a study within a budget.

    Args:
        study: chooses.
        space: from what.
        problem: the task, and the budget of a single run.
        times: the budget of all, in those of a single run.
        at_once: configurations that are asked for at a time; 0 for all that the budget affords.
        pruned: whether the study stops bad trials early; then there are more of them.
    """
    budget = times * problem.flops * (1.0 + ROUNDING)
    trained: list[Training] = []
    while (spent := sum(one.flops for one in trained)) < budget:
        affordable = math.floor((budget - spent) / problem.flops)
        count = 1 if pruned else min(at_once or affordable, affordable)
        if count < 1:
            break
        trials = [study.ask(space) for _ in range(count)]
        fresh = [configuration(trial).begin(problem, trial.number) for trial in trials]
        trained += fresh
        if pruned:
            yield from _watched(trials[0], fresh[0], budget - spent)
            if not fresh[0].reports:  # what is left affords no slice
                trained.pop()
                break
        else:
            yield from finish(fresh)
        for trial, one in zip(trials, fresh, strict=True):
            _tell(study, trial, one)
    return one_by_one(trained)


def _watched(trial: optuna.Trial, training: Training, budget: float) -> Waiting:
    """Trains until the end, or until the pruner or the budget of the whole search stops it."""
    step = 0  # each is told once
    while not training.ended:
        books = training.episode.run.books
        following = float(batch.cost_one(books, knobs.HOLD)) * float(books.base_flops)
        if training.flops + following > budget:
            training.stopped = True
            return
        yield from advance([training])
        # Slices of large networks are longer, because of their evaluation: trials are compared
        # where they have spent the same.
        share = training.start.budget / training.start.decisions
        step = max(step + 1, round(training.reports[-1].spent / share))
        trial.report(training.score, step)
        training.stopped = bool(not training.ended and trial.should_prune())


def _tell(study: optuna.Study, trial: optuna.Trial, training: Training) -> None:
    from optuna.samplers import GridSampler
    from optuna.trial import TrialState

    if training.stopped:
        study.tell(trial, state=TrialState.PRUNED)
        return
    try:
        study.tell(trial, training.score)
    except RuntimeError:
        # At the last point of its grid the sampler stops the study, which Optuna allows within
        # `optimize` only; the value has been told all the same.
        if not (isinstance(study.sampler, GridSampler) and study.sampler.is_exhausted(study)):
            raise
