"""A random search by Optuna around a plain Flax loop."""

from __future__ import annotations

import time
from typing import Any

import optuna

from scripts.peers import plain_flax, search_plan
from scripts.peers.side import Round


class OptunaSearch:
    """`study.optimize` with its random sampler, the trials one after another."""

    def __init__(self, options: dict[str, Any]) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.task, self.trials = search_plan.task(options), options["trials"]
        self.searches = 0
        self.plan, self.data = search_plan.plan(self.task, options), search_plan.data(self.task)
        self.facts = search_plan.facts(self.task, options)
        plain_flax.train(self.data, self.plan._replace(updates=20), 0, 1e-3, 1e-4)

    def round(self) -> Round:
        """A whole search."""
        firsts: list[float] = []

        def objective(trial: optuna.Trial) -> float:
            trained = plain_flax.train(
                self.data,
                self.plan,
                trial.number,
                trial.suggest_float("learning_rate", *search_plan.LEARNING_RATE, log=True),
                trial.suggest_float("weight_decay", *search_plan.WEIGHT_DECAY, log=True),
            )
            firsts.append(trained.first)
            return trained.valid_loss

        begun = time.perf_counter()
        sampler = optuna.samplers.RandomSampler(seed=self.searches)
        study = optuna.create_study(sampler=sampler)
        study.optimize(objective, n_trials=self.trials)
        self.searches += 1
        seconds = time.perf_counter() - begun
        details = {"seconds set-up and compilation": sum(firsts)}
        return Round(seconds, self.trials * self.plan.updates, details=details)
