"""Runs an experiment into a store: what is missing, and nothing twice."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlagent.experiments.compute import Loaded, compute, failed
from rlagent.experiments.experiment import Cell, Experiment, Job
from rlagent.experiments.sources import Source
from rlagent.experiments.store import Store
from rlagent.experiments.stored_run import Packed, StoredRun, pack
from rlagent.experiments.worker import Worker
from rlagent.processes import check_workers


@dataclass(frozen=True)
class Progress:
    """How far an experiment has come."""

    done: int  # cells, those of earlier runs included
    failed: int
    cells: int
    left_seconds: float | None  # None: nothing is known yet
    last: StoredRun | None  # without its decisions


@dataclass(frozen=True)
class Summary:
    """What a run of an experiment has done."""

    cells: int
    computed: int  # now
    failed: list[StoredRun]
    seconds: float


class Forecast:
    """How long the rest will take, from what cells of the same task took for an update."""

    def __init__(self, waiting: Sequence[Cell], workers: int) -> None:
        self._left: dict[str, float] = {}
        for cell in waiting:
            self._left[cell.source.name] = self._left.get(cell.source.name, 0.0) + cell.weight
        self._seen: dict[str, tuple[float, float]] = {}  # seconds, updates
        self._workers = workers

    def note(self, cell: Cell, seconds: float) -> None:
        """A cell is done."""
        name = cell.source.name
        self._left[name] -= cell.weight
        before = self._seen.get(name, (0.0, 0.0))
        self._seen[name] = (before[0] + seconds, before[1] + cell.weight)

    def seconds(self) -> float | None:
        """Seconds that are left; None as long as nothing is known."""
        spent, made = (sum(pair[i] for pair in self._seen.values()) for i in (0, 1))
        if made == 0.0:
            return None
        total = 0.0
        for name, updates in self._left.items():
            own = self._seen.get(name, (spent, made))
            total += max(updates, 0.0) * own[0] / own[1]
        return total / self._workers


def run_experiment(
    experiment: Experiment,
    path: Path,
    *,
    workers: int = 1,
    show: Callable[[Progress], None] = lambda progress: None,
) -> Summary:
    """Computes the cells that a store lacks; each is in the store as soon as it is finished.

    Args:
        experiment: what is to be there in the end.
        path: of the store; made if there is none.
        workers: processes; with 1 all is done in this one.
        show: is told of each cell.

    Raises:
        ValueError: if the store cannot be used, if another runner writes it, or if there
            are to be workers for another device than the CPU.
    """
    begun = time.monotonic()
    check_workers(workers)
    path.parent.mkdir(parents=True, exist_ok=True)
    with Store.open(path, write=True) as store:
        finished = store.keys("finished")
        jobs = experiment.jobs()
        missing = [job for job in jobs if job.key not in finished]
        forecast = Forecast([job.cell for job in missing], min(workers, max(len(missing), 1)))
        done, failures = len(jobs) - len(missing), []
        show(Progress(done, 0, len(jobs), None, None))
        cells = {job.key: job.cell for job in missing}
        for run, decisions in computed(missing, workers):
            store.add_packed(Packed(run, decisions))
            failures += [run] if run.status == "failed" else []
            done += 1
            forecast.note(cells[run.key], run.seconds or 0.0)
            left = forecast.seconds()
            show(Progress(done, len(failures), len(jobs), left, run))
    return Summary(len(jobs), len(missing), failures, time.monotonic() - begun)


def computed(jobs: Sequence[Job], workers: int) -> Iterator[Packed]:
    """The runs of the jobs, each as soon as it is there."""
    if not jobs:
        return
    if workers > 1:
        yield from _by_processes(jobs, min(workers, len(jobs)))
        return
    loaded = Loaded()
    for of_source in _by_source(jobs).values():
        yield from map(pack, compute(list(of_source), loaded))


def _by_source(jobs: Sequence[Job]) -> dict[Source, deque[Job]]:
    found: dict[Source, deque[Job]] = {}
    for job in jobs:
        found.setdefault(job.cell.source, deque()).append(job)
    return found


class _Plan:
    """Who computes what next: a worker stays with its task, because its programs are compiled."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._waiting = _by_source(jobs)
        self._held: dict[int, Source] = {}
        self._lock = threading.Lock()

    def next(self, worker: int) -> Job | None:
        """The next job of a worker; None if there is no more."""
        with self._lock:
            source = self._held.get(worker)
            if source is None or not self._waiting.get(source):
                source = self._another(worker)
            if source is None:
                return None
            self._held[worker] = source
            return self._waiting[source].popleft()

    def _another(self, worker: int) -> Source | None:
        """A task that nobody is at; if there is none, the one with the most left."""
        left = {source: len(jobs) for source, jobs in self._waiting.items() if jobs}
        taken = {source for number, source in self._held.items() if number != worker}
        free = {source: count for source, count in left.items() if source not in taken} or left
        return max(free, key=lambda source: free[source], default=None)


def _by_processes(jobs: Sequence[Job], workers: int) -> Iterator[Packed]:
    """Computes in processes; a thread for each waits for its answers."""
    plan = _Plan(jobs)
    results: queue.SimpleQueue[Packed | BaseException] = queue.SimpleQueue()
    running: dict[int, Worker] = {}
    stopping = threading.Event()

    def serve(number: int) -> None:
        try:
            while not stopping.is_set() and (job := plan.next(number)) is not None:
                worker = running.get(number) or Worker(number)
                running[number] = worker
                try:
                    results.put(worker.compute(job))
                except RuntimeError as error:  # killed, for instance for want of memory
                    del running[number]
                    if not stopping.is_set():
                        results.put(pack(failed(job, str(error))))
        except BaseException as error:  # a thread's error would be lost; the main one raises it
            results.put(error)

    threads = [threading.Thread(target=serve, args=(n,), daemon=True) for n in range(workers)]
    try:
        for thread in threads:
            thread.start()
        for _ in jobs:
            result = results.get()
            if isinstance(result, BaseException):
                raise result
            yield result
    finally:
        stopping.set()
        for worker in list(running.values()):
            worker.close()
