"""The report as one HTML file: what it says as JSON, and the script that draws it."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from rlagent.experiments.report.timeline import (
    knob_table,
    pack,
    rounded,
    setting_table,
)
from rlagent.experiments.stored_run import StoredRun


def render(contents: dict[str, Any]) -> str:
    """The page for `contents`, as text of an HTML file.

    It loads nothing, and its content security policy forbids it to: only the script and the style
    of this package run in it, known by their hashes, whatever names tasks and methods have.
    """
    style, script = _asset("report.css"), _asset("report.js")
    parts = {
        "{{title}}": html.escape(contents["title"]),
        "{{style-hash}}": _hash(style),
        "{{script-hash}}": _hash(script),
        "{{style}}": style,
        "{{script}}": script,
        "{{data}}": _embedded(contents),
    }
    page = _asset("page.html")
    pieces = []
    # In one pass, in the order of the page: what is put in may itself look like a place.
    while page:
        found = [(page.find(place), place) for place in parts if place in page]
        if not found:
            break
        start, place = min(found)
        pieces += [page[:start], parts[place]]
        page = page[start + len(place) :]
    return "".join([*pieces, page])


def store_contents(
    runs: Sequence[StoredRun],
    board: dict[str, Any] | None,
    timelines: Sequence[dict[str, Any]],
    name: str,
) -> dict[str, Any]:
    """What the page of a store says.

    Args:
        runs: all of the store; decisions are not needed.
        board: as `rlagent.experiments.scoreboard` makes it; None if no run has finished.
        timelines: of the runs to show.
        name: of the store.
    """
    failed = board["failed"] if board is not None else list(map(_failed, runs))
    return {
        "kind": "store",
        "title": name,
        "facts": _facts(runs, len(failed)),
        "board": board and {name: one for name, one in board.items() if name != "failed"},
        "failed": failed,
        "timelines": list(timelines),
        "knobs": knob_table(),
        "settings": setting_table(),
    }


def folder_contents(history: Sequence[dict[str, Any]], summary: dict[str, Any]) -> dict[str, Any]:
    """What the page of a run folder says.

    Raises:
        ValueError: if the run has made no decision.
    """
    if not history:
        raise ValueError("the run has made no decision yet, so there is nothing to report")
    from rlagent.apply.curves import of_the_best

    part = "test" if summary.get("test_score") is not None else "valid"
    line = {
        "task": summary["task"],
        "method": summary["method"],
        "seed": summary["seed"],
        "budget": summary["budget"],
        "metric_name": summary["score_name"],
        "metric": summary.get(f"{part}_score"),
        "where": "test" if part == "test" else "validation",
        "score": None,
    }
    return {
        "kind": "run",
        "title": f"{summary['task']}, {summary['method']}",
        "summary": rounded({name: one for name, one in summary.items() if name != "run_dir"}),
        "timelines": [rounded(line) | pack(of_the_best(history))],
        "knobs": knob_table(),
        "settings": setting_table(),
    }


def _facts(runs: Sequence[StoredRun], failed: int) -> dict[str, Any]:
    """What was compared, and what it took."""
    versions: dict[str, list[str]] = {}
    for run in runs:
        for name, version in run.versions.items():
            if version not in versions.setdefault(name, []):
                versions[name].append(version)
    return {
        "finished": len(runs) - failed,
        "failed": failed,
        "methods": len({run.method for run in runs}),
        "tasks": len({run.task for run in runs}),
        "seeds": len({run.seed for run in runs}),
        "budgets": sorted({run.updates for run in runs}),
        "flops": rounded(float(sum(run.flops or 0.0 for run in runs))),
        "seconds": rounded(float(sum(run.seconds or 0.0 for run in runs))),
        "versions": {name: sorted(found) for name, found in sorted(versions.items())},
    }


def _failed(run: StoredRun) -> dict[str, Any]:
    names = ("key", "task", "method", "seed", "updates")
    plain = {name: getattr(run, name) for name in names}
    return plain | {"reason": run.reason or "it has no score on test data"}


def _embedded(contents: dict[str, Any]) -> str:
    """JSON that stays data inside a script element, where `</script>` and `<!--` are not."""
    text = json.dumps(contents, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")
