"""A random search: ours, by Optuna, and by Ray Tune, on one task with equal budgets."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rlagent_envs import batch, knobs
from rlagent_envs import episode as episodes
from rlagent_envs.config import KNOB_NAMES
from rlagent_envs.episode import Start
from rlagent_envs.models import Rung
from rlagent_envs.tasks.registry import load_task
from rlagent_envs.training.bank import make_bank
from rlagent_envs.training.settings import DEFAULT
from scripts.peers import plain_flax
from scripts.peers.plain_flax import Data, Plan
from scripts.peers.side import Round

LEARNING_RATE = (1e-4, 1e-2)  # log-uniform, as weight decay
WEIGHT_DECAY = (1e-5, 1e-1)
PLAN_FIELDS = ("batch", "updates", "evaluations", "reads", "once")


class OurSearch:
    """All configurations side by side through `batch.step`, everything else held."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.task = load_task(options["task"], batch_size=options["batch"])
        self.bank = jax.device_put(make_bank(self.task, padded=False))
        self.searches = 0
        # Evaluation is billed: without this a budget of n updates would make fewer.
        self.budget = float(options["updates"])
        self.budget *= self.budget / self._search(1).updates
        self.facts = _facts(self.task, options)

    def round(self) -> Round:
        """A whole search."""
        return self._search(self.options["trials"])

    def _search(self, trials: int) -> Round:
        begun = time.perf_counter()
        generator = np.random.default_rng(self.searches)
        self.searches += 1
        running = [
            episodes.begin(self.task, self.bank, self._start(generator, number), KNOB_NAMES)
            for number in range(trials)
        ]
        left, updates = list(range(trials)), 0
        mode = batch.default_mode()
        while left:
            actions = np.tile(knobs.HOLD, (len(left), 1))
            stepped = batch.step([self.bank] * len(left), [running[n] for n in left], actions, mode)
            for number, one in zip(left, stepped, strict=True):
                running[number] = one.episode
                updates += int(one.report.updates)
            left = [n for n, one in zip(left, stepped, strict=True) if not one.report.terminated]
        jax.block_until_ready([one.run for one in running])  # type: ignore[no-untyped-call]
        return Round(time.perf_counter() - begun, updates)

    def _start(self, generator: np.random.Generator, seed: int) -> Start:
        def log_uniform(bounds: tuple[float, float]) -> float:
            return float(np.exp(generator.uniform(*np.log(bounds))))

        settings = DEFAULT._replace(
            learning_rate=log_uniform(LEARNING_RATE),
            weight_decay=log_uniform(WEIGHT_DECAY),
            dropout=0.0,
            label_smoothing=0.0,
        )
        rung = Rung(self.options["depth"], self.options["width"])
        return Start(seed, settings, rung, self.budget, self.options["evaluations"])


class OptunaSearch:
    """`study.optimize` with its random sampler, the trials one after another."""

    def __init__(self, options: dict[str, Any]) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.task, self.trials, self.searches = *_task_and_trials(options), 0
        self.plan, self.data = _plan(self.task, options), _data(self.task)
        self.facts = _facts(self.task, options)
        plain_flax.train(self.data, self.plan._replace(updates=20), 0, 1e-3, 1e-4)

    def round(self) -> Round:
        """A whole search."""
        import optuna

        firsts: list[float] = []

        def objective(trial: optuna.Trial) -> float:
            trained = plain_flax.train(
                self.data,
                self.plan,
                trial.number,
                trial.suggest_float("learning_rate", *LEARNING_RATE, log=True),
                trial.suggest_float("weight_decay", *WEIGHT_DECAY, log=True),
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


class RaySearch:
    """`Tuner.fit`: a process of one CPU for each trial, as many at a time as there are cores.

    Ray is started and stopped in each round, so that its processes do not run beside the others.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
        self.task, self.trials = _task_and_trials(options)
        self.plan, self.data = _plan(self.task, options), _data(self.task)
        self.cores = options["cores"]
        self.peak = 0.0  # bytes, of all processes together
        self.facts = _facts(self.task, options) | {"at a time": self.cores}

    def round(self) -> Round:
        """A whole search; the time is that of `fit`, Ray's own start is told beside it."""
        import ray  # type: ignore[import-not-found]

        begun = time.perf_counter()
        ray.init(num_cpus=self.cores, include_dashboard=False, log_to_driver=False)
        started = time.perf_counter()
        try:
            with tempfile.TemporaryDirectory() as folder, _TreeMemory() as memory:
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
                "learning_rate": tune.loguniform(*LEARNING_RATE),
                "weight_decay": tune.loguniform(*WEIGHT_DECAY),
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


class _TreeMemory:
    """The largest memory of this process and all below it, looked at every half second.

    Proportional set size: a page that several share counts once in all. Zero where there is no
    /proc.
    """

    def __enter__(self) -> _TreeMemory:
        self.peak, self.stop = 0.0, threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()

    def _watch(self) -> None:
        while not self.stop.wait(0.5):
            self.peak = max(self.peak, sum(map(_proportional, _tree(os.getpid()))))


def _tree(root: int) -> list[int]:
    """The process and all below it."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        children.setdefault(int(fields[1]), []).append(int(folder.name))
    found = [root]
    for one in found:  # grows while it is gone through
        found += children.get(one, [])
    return found


def _proportional(process: int) -> float:
    """Bytes of one process; zero if it has ended meanwhile."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(1024.0 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _task_and_trials(options: dict[str, Any]) -> tuple[Any, int]:
    return load_task(options["task"], batch_size=options["batch"]), options["trials"]


def _data(task: Any) -> Data:
    return Data(task.train.x, task.train.y, task.valid.x, task.valid.y)


def _plan(task: Any, options: dict[str, Any]) -> Plan:
    chosen = {name: options[name] for name in PLAN_FIELDS}
    return Plan(options["width"], options["depth"], task.outputs, **chosen)


def _facts(task: Any, options: dict[str, Any]) -> dict[str, Any]:
    return {
        "network": f"{task.features}-{options['width']}x{options['depth']}-{task.outputs}",
        "batch": options["batch"],
        "rows": len(task.train.x),
        "rows evaluated": len(task.valid.x),
        **{name: options[name] for name in ("trials", "updates", "evaluations")},
    }
