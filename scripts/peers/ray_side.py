"""A random search by Ray Tune around a plain Flax loop."""

from __future__ import annotations

import os
import tempfile
import time
from typing import Any

from scripts.peers import plain_flax, search_plan
from scripts.peers.plain_flax import Data, Plan
from scripts.peers.side import Round
from scripts.peers.tree_memory import TreeMemory


class RaySearch:
    """`Tuner.fit`: a process of one CPU for each trial, as many at a time as there are cores.

    Ray is started and stopped in each round, so that its processes do not run beside the others.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
        self.task, self.trials = search_plan.task(options), options["trials"]
        self.plan, self.data = search_plan.plan(self.task, options), search_plan.data(self.task)
        self.cores = options["cores"]
        self.peak = 0.0  # bytes, of all processes together
        self.facts = search_plan.facts(self.task, options) | {"at a time": self.cores}

    def round(self) -> Round:
        """A whole search; the time is that of `fit`, Ray's own start is told beside it."""
        import ray

        begun = time.perf_counter()
        # A short path, for Ray makes sockets there, whose paths may have about a hundred letters.
        with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:
            ray.init(
                num_cpus=self.cores, include_dashboard=False, log_to_driver=False, _temp_dir=folder
            )
            started = time.perf_counter()
            try:
                with TreeMemory() as memory:
                    results = self._fit(folder)
                    seconds = time.perf_counter() - started
            finally:
                ray.shutdown()
        if results.errors:
            raise RuntimeError(f"{len(results.errors)} trials of Ray Tune failed")
        self.peak = max(self.peak, memory.peak)
        told = [one.metrics for one in results]
        details = {
            "seconds of ray.init": started - begun,
            "seconds of the loops": sum(one["rest"] for one in told) / self.cores,
            "seconds set-up and compilation": sum(one["first"] for one in told),
        }
        return Round(seconds, self.trials * self.plan.updates, details=details)

    def _fit(self, folder: str) -> Any:
        from ray import tune

        trainable = tune.with_parameters(ray_trial, data=tuple(self.data), plan=tuple(self.plan))
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
            param_space={
                "learning_rate": tune.loguniform(*search_plan.LEARNING_RATE),
                "weight_decay": tune.loguniform(*search_plan.WEIGHT_DECAY),
            },
            tune_config=tune.TuneConfig(num_samples=self.trials, metric="loss", mode="min"),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        )
        return tuner.fit()


def ray_trial(config: dict[str, float], data: Any, plan: Any) -> None:
    """One trial, in a process of its own."""
    from ray import tune

    trained = plain_flax.train(
        Data(*data), Plan(*plan), 0, config["learning_rate"], config["weight_decay"]
    )
    tune.report({"loss": trained.valid_loss, "first": trained.first, "rest": trained.rest})
