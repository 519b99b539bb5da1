"""Computes cells: loads a task once, runs methods side by side, and judges them at the end."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache

import jax
import numpy as np

import rlagent
from rlagent.apply.driver import best_model
from rlagent.apply.scores import check_score, judge, score_shape
from rlagent.baselines import catalog
from rlagent.baselines.method import (
    Method,
    Move,
    Outcome,
    Problem,
    Steps,
    Training,
    answer_all,
    best_of,
)
from rlagent.baselines.runs import judge_on_test
from rlagent.experiments.experiment import Job
from rlagent.experiments.sources import Source
from rlagent.experiments.stored_run import Curve, Record, StoredRun, Trial
from rlagent_envs import batch
from rlagent_envs.batch import Stepped
from rlagent_envs.settings import named
from rlagent_envs.tasks.task import Task
from rlagent_envs.training.bank import Bank, make_bank

LANES = {"cpu": 1, "gpu": 16, "tpu": 16}  # cells of a task that are computed together


@dataclass
class Lane:
    """A cell on its way."""

    job: Job
    method: Method
    problem: Problem
    steps: Steps
    wanted: list[Move] = field(default_factory=list)
    seconds: float = 0.0
    outcome: Outcome | None = None


class Loaded:
    """The task at hand; the one before is given up when another is asked for."""

    def __init__(self) -> None:
        self._source: Source | None = None
        self._held: tuple[Task, Bank] | None = None

    def get(self, source: Source) -> tuple[Task, Bank]:
        """The task of a source and its bank, on the device.

        Raises:
            ValueError: if the task cannot be loaded, or has no test part.
        """
        if self._held is None or source != self._source:
            self._held = None
            # Procedural tasks share programs; those of a data set are of no more use after it.
            if self._source is not None and not self._source.procedural:
                batch.drop_programs()
            task = source.load()
            if task.test is None:
                raise ValueError(f"{source.name} has no test part, so nothing can be judged on it")
            bank = jax.device_put(make_bank(task, padded=source.procedural))
            self._source, self._held = source, (task, bank)
        return self._held


def compute(jobs: Sequence[Job], loaded: Loaded) -> Iterator[StoredRun]:
    """Computes the cells of one task, some of them together, and gives each as it is finished.

    What fails is given as failed, with its reason; the others go on.
    """
    waiting = list(jobs)
    lanes: list[Lane] = []
    most = LANES.get(jax.default_backend(), 1)
    while waiting or lanes:
        while waiting and len(lanes) < most:
            begun = _begun(waiting.pop(0), loaded)
            if isinstance(begun, StoredRun):
                yield begun
            else:
                lanes.append(begun)
        for lane, answer in _answered(lanes):
            done = answer if isinstance(answer, StoredRun) else _go_on(lane, answer, loaded)
            if done is not None:
                lanes.remove(lane)
                yield done


def _begun(job: Job, loaded: Loaded) -> Lane | StoredRun:
    """A cell whose method has said what it wants first."""
    begun, cell = time.perf_counter(), job.cell
    try:
        method = catalog.make(cell.method)
        task, bank = loaded.get(cell.source)
        problem = Problem(task, bank, cell.seed, cell.updates, cell.decisions)
        steps = method.steps(catalog.budgeted(cell.method, problem))
        lane = Lane(job, method, problem, steps, next(steps))
    # Whatever a task or a method does, the other cells of an experiment go on.
    except Exception as error:
        return failed(job, error)
    lane.seconds = time.perf_counter() - begun
    return lane


def _answered(lanes: Sequence[Lane]) -> list[tuple[Lane, list[Stepped] | StoredRun]]:
    """What came of the slices that the lanes want; computed together if that works."""
    wanted = {n: (lane.problem, lane.wanted) for n, lane in enumerate(lanes)}
    begun = time.perf_counter()
    try:
        answers: dict[int, list[Stepped] | StoredRun] = dict(answer_all(wanted))
    except Exception as error:  # as above; alone, it is clear whose fault it was
        if len(lanes) == 1:
            return [(lanes[0], failed(lanes[0].job, error))]
        return [pair for lane in lanes for pair in _answered([lane])]
    slices = sum(len(moves) for _, moves in wanted.values())
    for lane in lanes:  # its share of the time that all took together
        lane.seconds += (time.perf_counter() - begun) * len(lane.wanted) / max(slices, 1)
    return [(lanes[n], answer) for n, answer in answers.items()]


def _go_on(lane: Lane, answer: list[Stepped], loaded: Loaded) -> StoredRun | None:
    """Sends a method what it wanted; the finished cell, if it was the last."""
    begun = time.perf_counter()
    try:
        lane.wanted = lane.steps.send(answer)
        lane.seconds += time.perf_counter() - begun
        return None
    except StopIteration as end:
        lane.outcome = end.value
    except Exception as error:  # as above
        return failed(lane.job, error)
    try:
        return _finished(lane, loaded, begun)
    except Exception as error:  # as above
        return failed(lane.job, error)


def _finished(lane: Lane, loaded: Loaded, begun: float) -> StoredRun:
    """Judges a cell on test data, once, when all is decided."""
    cell, outcome = lane.job.cell, lane.outcome
    if outcome is None:
        raise RuntimeError("the method has not ended")
    task, _ = loaded.get(cell.source)
    judged = judge_on_test(task, [one.episode for one in outcome.trained])
    selected = best_of(outcome)
    place = next(n for n, one in enumerate(outcome.trained) if one is selected)
    score, known = judged[place]
    name, metric = _usual_metric(task, selected, known)
    return StoredRun(
        key=lane.job.key,
        task=cell.source.name,
        method=cell.method,
        seed=cell.seed,
        updates=cell.updates,
        config=lane.job.configuration,
        versions=versions(),
        budget_flops=lane.problem.flops,
        flops=sum(one.flops for one in outcome.trained),
        seconds=round(lane.seconds + time.perf_counter() - begun, 4),
        valid_score=_finite(selected.score),
        test_score=_finite(score),
        metric_name=name,
        test_metric=None if metric is None else _finite(metric),
        trials=[_trial(one, of) for one, (of, _) in zip(outcome.trained, judged, strict=True)],
        curve=Curve(
            flops=[float(f"{point.flops:.6g}") for point in outcome.curve],
            valid_score=[float(f"{point.score:.6g}") for point in outcome.curve],
        ),
        decisions=_decisions(outcome),
    )


def _decisions(outcome: Outcome) -> list[Record]:
    """Those of the only network, or of all that say which one they are of."""
    if len(outcome.trained) > 1 and not outcome.told:
        return []
    return [record for one in outcome.trained for record in one.records]


def _usual_metric(task: Task, selected: Training, known: float) -> tuple[str, float | None]:
    """By what people judge such a task, such as mean_iou or rmse, on its test part.

    Random scenes are not told by boxes: they come without what their cells mean.

    Args:
        task: of the cell.
        selected: whose best weights are judged.
        known: their accuracy of all choices, or R².
    """
    name = check_score(None, task.kind, task.form, score_shape(task))
    if name in ("accuracy", "r2"):
        return name, known
    assert task.test is not None
    model = best_model(task, selected.episode)
    _, value = judge(model, task, "test", model.raw(task.test.x), name)
    return name, value


def _trial(training: Training, test_score: float) -> Trial:
    start = training.start
    settings = named(start.settings, training.episode.shape.levers)
    return Trial(
        settings={name: float(f"{value:.6g}") for name, value in settings.items()},
        rung=str(start.rung),
        schedule=start.schedule,
        valid_score=_finite(training.score),
        test_score=_finite(test_score),
        updates=int(training.episode.run.books.updates),
        flops=training.flops,
        stopped=training.stopped,
    )


def failed(job: Job, reason: BaseException | str) -> StoredRun:
    """A cell that could not be computed."""
    if isinstance(reason, BaseException):
        said = " ".join(str(reason).split())
        reason = said if isinstance(reason, ValueError) else f"{type(reason).__name__}: {said}"
    cell = job.cell
    return StoredRun(
        key=job.key,
        task=cell.source.name,
        method=cell.method,
        seed=cell.seed,
        updates=cell.updates,
        config=job.configuration,
        versions=versions(),
        status="failed",
        reason=reason,
    )


@cache  # reading what is installed takes milliseconds, and does not change
def versions() -> dict[str, str]:
    """What computed it."""
    from importlib.metadata import PackageNotFoundError, version

    # Those that train, read data, search and decide; some of them need not be there.
    found = {}
    for name in (
        "jax",
        "numpy",
        "optax",
        "flax",
        "scikit-learn",
        "optuna",
        "cmaes",
        "torch",
        "ray",
    ):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    device = jax.devices()[0]
    return {
        "rlagent": rlagent.__version__,
        "python": platform.python_version(),
        **found,
        "device": f"{device.platform} ({device.device_kind})",
        "mode": batch.default_mode(),
    }


def _finite(value: float) -> float | None:
    return float(f"{value:.6g}") if np.isfinite(value) else None
