"""The decisions of a run as columns, small enough for many runs to fit into one page."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from rlagent.experiments.stored_run import Record, StoredRun

LIMIT = 1_500_000  # bytes of JSON that all timelines of a page may take
DIGITS = 5  # significant ones

# How the levels of a knob are written, by its rule; `{}` is the level.
_LEVELS = {
    "multiply": "\u00d7{:g}",
    "add": "{:+g}",
    "multiply_complement": "\u00d7{:g}",
    "multiply_or_off": "\u00d7{:g}",
    "choose": "{}",
    "edit": "{}",
}
# Those of `panels`; the page has two shades of each, for paper and for the dark.
COLOURS = ("green", "purple", "sky", "orange", "vermilion")
_SUBJECTS = {"momentum": "1\u00a0\u2212\u00a0momentum"}


def rounded(value: Any) -> Any:
    """JSON of short numbers: floats to 5 significant digits, None for those that are not finite."""
    match value:
        case float():
            return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
        case dict():
            return {name: rounded(one) for name, one in value.items()}
        case list() | tuple():
            return [rounded(one) for one in value]
    return value


def knob_table() -> dict[str, dict[str, Any]]:
    """For each knob what it moves in words, its levels as recorded and as read, and hold."""
    from rlagent_envs.knobs import KNOBS

    return {
        name: {
            "title": _SUBJECTS.get(name, name.replace("_", " ")),
            "levels": list(knob.levels),
            "labels": [
                "hold"
                if place == knob.hold
                else _LEVELS[knob.rule].format(level).replace("-", "\u2212")
                for place, level in enumerate(knob.levels)
            ],
            "hold": knob.hold,
        }
        for name, knob in KNOBS.items()
    }


def setting_table() -> list[dict[str, Any]]:
    """The settings in the order and the colours in which the picture of a run has them."""
    from rlagent.apply import panels
    from rlagent.apply.curves import SETTINGS

    names = {getattr(panels, name.upper()): name for name in COLOURS}
    return [
        {"name": name, "title": title, "logarithmic": logarithmic, "colour": names[colour]}
        for name, title, logarithmic, colour in SETTINGS
    ]


def pack(decisions: Sequence[Record]) -> dict[str, Any]:
    """The columns of a run; a place in each of them is a decision.

    Args:
        decisions: lines of a history, at least one.

    Returns:
        Shares of the budget spent at the end of each slice, losses (None where not finite),
        settings and rung in force in it, the levels chosen, and, if a controller chose, the
        probabilities of the levels in thousandths.

    Raises:
        ValueError: if a line lacks something, naming it.
    """
    try:
        return rounded(_pack(decisions))
    except KeyError as error:
        raise ValueError(f"a decision of the run has no {error.args[0]}") from error


def _pack(decisions: Sequence[Record]) -> dict[str, Any]:
    rungs = list(dict.fromkeys(record["rung"] for record in decisions))
    packed: dict[str, Any] = {
        name: [record[name] for record in decisions]
        for name in ("spent", "updates", "train_loss", "valid_loss", "reward")
    }
    packed["rungs"] = rungs
    packed["rung"] = [rungs.index(record["rung"]) for record in decisions]
    packed["improved"] = [int(record["improved"]) for record in decisions]
    packed["diverged"] = [int(record["diverged"]) for record in decisions]
    for group, name in (("settings", "settings"), ("action", "actions")):
        packed[name] = {
            one: [record[group][one] for record in decisions] for one in decisions[0][group]
        }
    if all("valid_accuracy" in record for record in decisions):
        packed["valid_accuracy"] = [record["valid_accuracy"] for record in decisions]
    if all("probabilities" in record for record in decisions):
        packed["probabilities"] = {
            knob: [
                [round(1000 * one) for one in record["probabilities"][knob]] for record in decisions
            ]
            for knob in decisions[0]["probabilities"]
        }
    return packed


def timeline(run: StoredRun) -> dict[str, Any]:
    """A run of a store, with its decisions, as the page draws it: of a population its best trial.

    Raises:
        ValueError: if a decision lacks something, naming it.
    """
    from rlagent.apply.curves import of_the_best

    shown = of_the_best(run.decisions)
    return {
        "task": run.task,
        "method": run.method,
        "seed": run.seed,
        "budget": run.updates,
        "metric_name": run.metric_name,
        "metric": rounded(run.test_metric),
        "where": "test",
        "score": rounded(run.test_score),
        **pack(shown),
        **_population(run.decisions, shown),
    }


def _population(decisions: Sequence[Record], shown: Sequence[Record]) -> dict[str, Any]:
    """Who copied whom; nothing for a network that was alone.

    Args:
        decisions: of all trials.
        shown: those of the trial whose timeline it is.

    Returns:
        The number of trials, the one that is shown, and the copies: before which decision (its
        place in the columns), by which trial, of which one, the column of its arrow, from 0 among
        those of that decision, and the settings it went on with that are not the same in all of
        the population.
    """
    if "trial" not in shown[0]:
        return {}
    from rlagent.apply.panels import side_by_side

    places = {record["decision"]: place for place, record in enumerate(shown)}
    settings = [record["settings"] for record in decisions]
    varied = [name for name in settings[0] if len({one[name] for one in settings}) > 1]
    copying = [record for record in decisions if record.get("copied") is not None]
    columns = side_by_side(
        [(places[record["decision"]], record["trial"], record["copied"]) for record in copying]
    )
    return {
        "trials": 1 + max(record["trial"] for record in decisions),
        "trial": shown[0]["trial"],
        "copies": [
            {
                "at": places[record["decision"]],
                "trial": record["trial"],
                "copied": record["copied"],
                "column": column,
                "settings": rounded({name: record["settings"][name] for name in varied}),
            }
            for record, column in zip(copying, columns, strict=True)
        ],
    }


def choose(
    runs: Iterable[StoredRun],
    read: Callable[[StoredRun], StoredRun],
    limit: int = LIMIT,
) -> list[tuple[StoredRun, dict[str, Any]]]:
    """The runs to show: as many as fit, those of controllers first, a seed of each before others.

    Args:
        runs: of a store, without decisions; those that failed are passed over.
        read: gives a run with its decisions.
        limit: bytes of JSON for all together.

    Returns:
        The runs, with decisions, and their timelines; one at least if any has decisions, however
        large it is.
    """
    finished = [run for run in runs if run.status == "finished"]
    chosen: list[tuple[StoredRun, dict[str, Any]]] = []
    size = 0
    for candidate in _in_order(finished, read):
        run = candidate if candidate.decisions else read(candidate)
        if not run.decisions:
            continue
        packed = timeline(run)
        more = len(json.dumps(packed, separators=(",", ":")))
        if chosen and size + more > limit:
            break
        chosen.append((run, packed))
        size += more
    return chosen


def _in_order(
    runs: Sequence[StoredRun], read: Callable[[StoredRun], StoredRun]
) -> Iterator[StoredRun]:
    """Candidates, of methods that have decisions: a seed of each cell, then the next seeds.

    The first and the last run of a method are read, to see whether they have decisions, which those
    of a population had not at first, and whether a policy made them.
    """
    first: dict[str, StoredRun] = {}
    last = {run.method: run for run in runs}
    for run in runs:
        first.setdefault(run.method, run)
    ranks: dict[str, int] = {}
    for method, run in first.items():
        decisions = read(run).decisions or read(last[method]).decisions
        if decisions:
            ranks[method] = 0 if "probabilities" in decisions[0] else 1
    places: dict[tuple[str, str, int], int] = {}
    keyed = []
    for run in sorted(runs, key=lambda run: run.seed):
        if run.method not in ranks:
            continue
        cell = (run.task, run.method, run.updates)
        place = places[cell] = places.get(cell, -1) + 1
        # The largest budgets first: they have most to show.
        keyed.append(((place, ranks[run.method], -run.updates, run.method, run.task), run))
    keyed.sort(key=lambda pair: pair[0])
    return (run for _, run in keyed)
