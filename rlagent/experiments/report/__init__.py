"""The report of an experiment or of a run: an HTML page that stands alone, and figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from rlagent.experiments.stored_run import Record, StoredRun
from rlagent.storage import write_atomically

__all__ = ["write_report"]


class _Material(NamedTuple):
    """What a page and its figures are made from."""

    contents: dict[str, Any]  # of the page
    board: dict[str, Any] | None  # the scoreboard, if there is one
    pictures: list[tuple[list[Record], dict[str, Any]]]  # history and summary of runs to draw


def write_report(
    source: Path, out: Path, figures: Path | None = None, *, against: str | None = None
) -> None:
    """Writes the page of a store, or of a run of `rlagent tune`.

    Args:
        source: a store of runs, or the folder of a run.
        out: the HTML file to be; it needs no other file, and no network.
        figures: a folder for the same figures as PNG and SVG, made if it is missing.
        against: the method that the others of a store are compared with; None for the scoreboard's
            own choice.

    Raises:
        ValueError: in one sentence, if `source` is neither, holds no run, or is damaged; if there
            is no such method; if a file cannot be written.
    """
    from rlagent.experiments.report.page import render

    if not source.exists():
        raise ValueError(f"there is no store or run folder {source}")
    if not out.resolve().parent.is_dir():
        raise ValueError(f"cannot write {out}: there is no folder {out.resolve().parent}")
    material = (_of_folder if source.is_dir() else _of_store)(source, against)
    write_atomically(out, render(material.contents).encode())
    if figures is not None:
        from rlagent.experiments.report.figures import write_figures

        write_figures(figures, material.board, material.pictures)


def _of_folder(folder: Path, against: str | None) -> _Material:
    from rlagent.apply.run_folder import HISTORY, SUMMARY, read_history, read_summary
    from rlagent.experiments.report.page import folder_contents

    if against is not None:
        raise ValueError(f"{folder} is a single run, so there is no {against} to compare it with")
    summary = read_summary(folder)
    if summary is None:
        raise ValueError(
            f"{folder} is neither a store nor the folder of a finished run: it has no {SUMMARY}"
        )
    history = read_history(folder)
    if not history:
        raise ValueError(f"there is nothing to report of {folder}: its {HISTORY} has no decision")
    try:
        contents = folder_contents(history, summary)
    except KeyError as error:
        raise ValueError(f"{folder / SUMMARY} is damaged: it has no {error.args[0]}") from error
    return _Material(contents, None, [(history, summary)])


def _of_store(path: Path, against: str | None) -> _Material:
    from rlagent.experiments.report.page import store_contents
    from rlagent.experiments.report.timeline import choose
    from rlagent.experiments.scoreboard import scoreboard
    from rlagent.experiments.store import Store

    with Store.open(path, write=False) as store:
        # Not their decisions, which may be gigabytes: those of a few are read one by one.
        runs = store.runs(details=("trials", "curve"))
        if not runs:
            raise ValueError(f"there is nothing to report: the store {path} holds no run")
        shown = choose(
            [replace(run, trials=[], curve=None) for run in runs], lambda run: store.get(run.key)
        )
    judged = any(run.status == "finished" and run.test_score is not None for run in runs)
    # Where nothing can be compared, it says so to who asked for a comparison.
    board = scoreboard(runs, against=against) if judged or against is not None else None
    first: dict[str, StoredRun] = {}
    for run, _ in shown:
        first.setdefault(run.task, run)
    pictures = [(run.decisions, _summary(run)) for run in first.values()]
    timelines = [packed for _, packed in shown]
    return _Material(store_contents(runs, board, timelines, path.stem), board, pictures)


def _summary(run: StoredRun) -> dict[str, Any]:
    """What the picture of a run says above it."""
    return {
        "task": run.task,
        "method": run.method,
        "test_score": run.test_metric,
        "valid_score": None,
        "score_name": run.metric_name,
    }
