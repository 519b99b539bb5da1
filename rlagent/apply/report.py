"""What the commands print and write for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlagent.apply import run_folder
from rlagent.apply.predicting import what_to_predict_for
from rlagent.apply.result import Result
from rlagent.apply.wording import ensemble_in_words, number


def report(result: Result) -> str:
    """The end of a run in a few lines."""
    summary = result.summary
    name = summary["score_name"]
    lines = [
        _judged(summary, part, where)
        for part, where in (("test", "test"), ("valid", "validation"))
        if summary[f"{part}_loss"] is not None
    ]
    for part, where in (("test", "test"), ("valid", "validation")):
        if summary.get(f"robust_{part}_loss") is None:
            continue
        score, loss = (number(summary[f"robust_{part}_{what}"]) for what in ("score", "loss"))
        ball = f"attacks of {summary['norm']} {summary['robust_epsilon']:g}"
        lines.append(f"{name} {score}, loss {loss} on {where} rows under {ball}")
    lines += ensemble_in_words(summary)
    decisions = summary["decisions"]
    networks = "networks" if "member" in result.history[-1] else "network"
    lines.append(
        f"{summary['rung']} {networks} after {summary['updates']} updates and {decisions} "
        f"decisions in {summary['seconds']:.1f} s"
    )
    if times := summary["diverged"]:
        often = "once" if times == 1 else f"{times} times"
        lines.append(f"diverged {often}, and went back to the best weights")
    lines += summary.get("notes", [])
    if summary["status"] == "deadline":
        lines.append("ended early, because the time was over")
    lines.append(f"model, history and curves: {result.run_dir}")
    stored = result.model.preprocessing
    if stored is not None:  # a random task has no files of its form
        lines.append(f"next: rlagent predict {result.run_dir} {what_to_predict_for(stored)}")
    return "\n".join([f"{summary['task']}, {summary['method']}", *(f"  {one}" for one in lines)])


def scored(told: Mapping[str, Any]) -> str:
    """What `scoring.score_file` gave, in a few lines."""
    return "\n".join([_judged(told, "test", "labelled"), *(f"  {one}" for one in told["notes"])])


def _judged(summary: Mapping[str, Any], part: str, where: str) -> str:
    """The score and the loss of a part."""
    name, right = summary["score_name"], summary.get(f"{part}_accuracy")
    score, loss = number(summary[f"{part}_score"]), number(summary[f"{part}_loss"])
    also = "" if right is None or name == "accuracy" else f"accuracy {number(right)}, "
    return f"{name} {score}, {also}loss {loss} on {summary[f'{part}_rows']} {where} rows"


def says_finished(folder: Path) -> str | None:
    """A sentence if a run has nothing left to do."""
    if not folder.is_dir():
        return None
    summary = run_folder.read_summary(folder)
    if summary is None or summary.get("status") == "interrupted":
        return None
    return f"the run {folder} is finished; there is nothing to go on with"


def table(rows: Sequence[Mapping[str, str | int]]) -> str:
    """Rows of equal keys as aligned columns, numbers to the right."""
    header = list(rows[0])
    cells = [header, *([str(row[key]) for key in header] for row in rows)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(header))]
    right = [isinstance(rows[0][key], int) for key in header]
    lines = [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in cells
    ]
    return "\n".join(lines)
