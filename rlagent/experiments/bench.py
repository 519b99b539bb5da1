"""`rlagent bench`: shows a running experiment, and its tables in the end."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from rlagent.experiments import runner
from rlagent.experiments.experiment import Asked, expanded
from rlagent.experiments.runner import Summary
from rlagent.experiments.scoreboard import reason_against, scoreboard
from rlagent.experiments.sources import suites
from rlagent.experiments.store import Store
from rlagent.experiments.tables import text

PLAIN_SECONDS = 10.0  # between two lines where nothing can be drawn again


class View:
    """A bar with the time that is left; single lines where it cannot be drawn again."""

    def __init__(self, *, quiet: bool) -> None:
        self._console = Console(file=sys.stderr, quiet=quiet)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._printed = -PLAIN_SECONDS

    def __enter__(self) -> View:
        """Opens the view."""
        if self._console.is_interactive:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._bar.start()
            self._task = self._bar.add_task("bench")
        return self

    def __exit__(self, *error: object) -> None:
        """Closes it."""
        if self._bar is not None:
            self._bar.stop()

    def show(self, progress: runner.Progress) -> None:
        """Takes in how far an experiment has come."""
        words = [] if progress.left_seconds is None else [f"{_time(progress.left_seconds)} left"]
        words += [f"{progress.failed} failed"] if progress.failed else []
        if progress.last is not None:
            words.append(f"{progress.last.method} on {progress.last.task}")
        if self._bar is not None and self._task is not None:
            self._bar.update(
                self._task,
                completed=progress.done,
                total=progress.cells,
                description=", ".join(words) or "bench",
            )
        elif time.monotonic() - self._printed > PLAIN_SECONDS:
            self._printed = time.monotonic()
            line = f"{progress.done} of {progress.cells}"
            self._console.print(", ".join([line, *words]), highlight=False)


def bench(asked: Asked, *, as_json: bool, quiet: bool) -> int:
    """Runs an experiment and prints its tables.

    Returns:
        The exit status: 1 if a cell has failed.

    Raises:
        ValueError: if what is asked for makes no sense, or the store cannot be used.
        KeyboardInterrupt: after Ctrl-C, saying how to go on.
    """
    from dataclasses import replace

    experiment = replace(asked, methods=expanded(asked.methods)).experiment()
    path = Path(asked.store)
    try:
        with View(quiet=quiet or as_json) as view:
            summary = runner.run_experiment(experiment, path, workers=asked.workers, show=view.show)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"interrupted; what is finished is in {path}, and the same command goes on"
        ) from None
    keys = {job.key for job in experiment.jobs()}
    with Store.open(path, write=False) as store:
        runs = [run for run in store.runs(details=("trials", "curve")) if run.key in keys]
    some = any(reason_against(run) is None for run in runs)
    board = scoreboard(runs) if some else None
    if as_json:
        print(json.dumps(_plain(summary, path) | {"scoreboard": board}, indent=2))
    elif board is None:
        print(f"{_words(summary)}: there is nothing to compare")
    else:
        print(text(board))
        print(f"\n{_words(summary)}; all of it: rlagent report {path} --out report.html")
    for run in summary.failed:
        print(
            f"rlagent: {run.method} on {run.task}, seed {run.seed}, {run.updates} updates failed: "
            f"{run.reason}",
            file=sys.stderr,
        )
    return 1 if summary.failed else 0


def listing() -> str:
    """The methods and the suites there are, in words."""
    from rlagent.baselines.catalog import method_names

    lines = ["methods (NAME, NAME@LEARNING_RATE, controller@FILE; NAME:K for K times the budget):"]
    lines += [f"  {name}" for name in method_names()]
    lines += ["", "suites:"]
    width = max(map(len, suites()))
    lines += [f"  {name:<{width}}  {suite['about']}" for name, suite in suites().items()]
    return "\n".join(lines)


def _plain(summary: Summary, path: Path) -> dict[str, Any]:
    return {
        "store": str(path),
        "cells": summary.cells,
        "computed": summary.computed,
        "failed": len(summary.failed),
        "seconds": round(summary.seconds, 3),
    }


def _words(summary: Summary) -> str:
    words = f"{summary.cells} cells, {summary.computed} of them computed now"
    words += f" in {_time(summary.seconds)}"
    return words + (f", {len(summary.failed)} failed" if summary.failed else "")


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
