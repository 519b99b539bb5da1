"""Ray Tune's schedulers of populations, PBT and PB2, over the slices of this project.

The schedulers are Ray's own objects. They are told of every result as Ray's controller would tell
them, and asked what they have changed; no Ray cluster is started, and the networks train in the
same batch as those of every other method.
"""

from __future__ import annotations

import logging
import random
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from rlagent.baselines.frozen import frozen
from rlagent.baselines.population import Chosen, Copy, clip, space

if TYPE_CHECKING:
    from ray.tune.experiment import Trial
    from ray.tune.schedulers import PopulationBasedTraining

SCHEDULERS = ("ray-pbt", "pb2")


def check_installed(name: str) -> None:
    """Raises ValueError if Ray Tune is missing."""
    if find_spec("ray") is None:
        raise ValueError(f"{name} needs Ray Tune: pip install 'rlagent[ray]'")


class RayExplorer:
    """One population, in the hands of a scheduler of Ray."""

    def __init__(self, name: str, seed: int, drawn: Sequence[Chosen], every: int) -> None:
        """Begins a population.

        Args:
            name: ray-pbt or pb2.
            seed: of the scheduler's choices.
            drawn: what each member begins with.
            every: slices between two rounds.
        """
        from ray.tune.experiment import Trial

        logging.getLogger("ray.tune").setLevel(logging.WARNING)
        # Ray draws from the generators of the whole process.
        self._states = random.Random(seed).getstate(), np.random.RandomState(seed % 2**32)
        # PB2 works on values between two bounds, so ranges that are logarithmic are given so.
        self._logarithmic = name == "pb2"
        self._scheduler = _pb2(every) if name == "pb2" else _pbt(every)
        self._controller = _Controller(
            [
                Trial("member", trial_id=f"{number:08d}", config=self._to_ray(chosen), stub=True)
                for number, chosen in enumerate(drawn)
            ]
        )
        with self._generators():
            for trial in self._controller.trials:
                self._scheduler.on_trial_add(self._controller, trial)

    def copies(self, made: int, scores: Sequence[float]) -> list[Copy]:
        """Tells the scheduler of all results, and reads what it has made of them."""
        trials = self._controller.trials
        before = [trial.config for trial in trials]
        with self._generators():
            for number, (trial, score) in enumerate(zip(trials, scores, strict=True)):
                _checkpoint(trial, number)
                result = {"score": score, "training_iteration": made}
                self._scheduler.on_trial_result(self._controller, trial, result)
        # The scheduler gives a member that is to copy another one's checkpoint and a new config.
        return [
            Copy(number, int(trial.checkpoint.path), self._from_ray(trial.config))
            for number, (trial, old) in enumerate(zip(trials, before, strict=True))
            if trial.config is not old
        ]

    def _to_ray(self, chosen: Chosen) -> dict[str, float]:
        if not self._logarithmic:
            return dict(chosen)
        bounds = space()
        return {n: float(np.log(v)) if bounds[n]["log"] else v for n, v in chosen.items()}

    def _from_ray(self, config: dict[str, float]) -> Chosen:
        if not self._logarithmic:
            return clip(config)
        bounds = space()
        return clip({n: float(np.exp(v)) if bounds[n]["log"] else v for n, v in config.items()})

    @contextmanager
    def _generators(self) -> Iterator[None]:
        """Makes the process's generators those of this population for a while."""
        from sklearn.exceptions import ConvergenceWarning

        # PB2 fits Gaussian processes to a few points for each choice: scikit-learn tells of every
        # fit that ends at a bound, and SciPy of an option that PB2 gives it.
        process = random.getstate(), np.random.get_state()
        random.setstate(self._states[0])
        np.random.set_state(self._states[1].get_state())
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                warnings.filterwarnings("ignore", r"scipy\.optimize", DeprecationWarning)
                yield
        finally:
            own = np.random.RandomState()
            own.set_state(np.random.get_state())
            self._states = random.getstate(), own
            random.setstate(process[0])
            np.random.set_state(process[1])


class _Controller:
    """What the schedulers ask of Ray's controller."""

    search_alg = None

    def __init__(self, trials: list[Trial]) -> None:
        self.trials = trials

    def get_trials(self) -> list[Trial]:
        return self.trials

    def get_live_trials(self) -> list[Trial]:
        return self.trials


def _checkpoint(trial: Trial, number: int) -> None:
    """Puts a member into the state in which Ray asks: paused at a checkpoint of its own."""
    from ray.train import Checkpoint
    from ray.train._internal.session import _TrainingResult

    trial.set_status("PAUSED")
    # The path is a name only: who copies this checkpoint copies the member of that number.
    result = _TrainingResult(Checkpoint(str(number), filesystem=_no_files()), {})
    trial.run_metadata.checkpoint_manager._latest_checkpoint_result = result


def _no_files() -> Any:
    from pyarrow.fs import LocalFileSystem

    return LocalFileSystem()


def _pbt(every: int) -> PopulationBasedTraining:
    from ray import tune
    from ray.tune.schedulers import PopulationBasedTraining

    numbers = frozen()["population"]
    return PopulationBasedTraining(
        time_attr="training_iteration",
        metric="score",
        mode="min",
        perturbation_interval=every,
        hyperparam_mutations={
            name: (tune.loguniform if b["log"] else tune.uniform)(b["low"], b["high"])
            for name, b in space().items()
        },
        quantile_fraction=numbers["truncation"],
        resample_probability=numbers["resample"],
        perturbation_factors=tuple(numbers["factors"]),
        custom_explore_fn=clip,
        log_config=False,
        synch=True,
    )


def _pb2(every: int) -> PopulationBasedTraining:
    from ray.tune.schedulers.pb2 import PB2

    bounds = {
        name: [float(np.log(b[end])) if b["log"] else b[end] for end in ("low", "high")]
        for name, b in space().items()
    }
    return PB2(
        time_attr="training_iteration",
        metric="score",
        mode="min",
        perturbation_interval=every,
        hyperparam_bounds=bounds,
        quantile_fraction=frozen()["population"]["truncation"],
        log_config=False,
        synch=True,
    )
