"""Measures a comparison: the sides take turns, and each ratio is within a round."""

from __future__ import annotations

import random
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scripts.peers.comparisons import Comparison
from scripts.peers.worker_process import Answer, Worker


@dataclass(frozen=True)
class Figure:
    """One ratio, beside what was asked for."""

    what: str
    unit: str  # of the rates, per second
    ours: float
    theirs: float
    ratio: float
    rounds: Sequence[float]  # the ratio within each
    at_least: float | None = None
    by_cpu: float | None = None  # the ratio by the CPU time of each side's process
    memory: tuple[float, float] | None = None  # peak of ours and of theirs, in bytes
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """Met, missed, or what stands where nothing was asked for."""
        if self.at_least is None:
            return "for information"
        return "met" if self.ratio >= self.at_least else "missed"


def measure(comparison: Comparison, rounds: int, python: Path) -> list[Figure]:
    """Runs all sides in turns."""
    workers: list[Worker] = []
    try:
        for opponent in (comparison.ours, *comparison.theirs):
            print(f"{comparison.what}: starting {opponent.name}", file=sys.stderr)
            workers.append(Worker(opponent, python))
        answers: list[list[Answer]] = [[] for _ in workers]
        order, generator = list(range(len(workers))), random.Random(0)
        for number in range(rounds):
            generator.shuffle(order)
            for place in order:
                answers[place].append(workers[place].round())
            print(f"{comparison.what}: round {number + 1} of {rounds}", file=sys.stderr)
        memory = [worker.memory() for worker in workers]
    finally:
        for worker in workers:
            worker.close()
    figures: list[Figure] = []
    for place in range(1, len(workers)):
        told = (workers[0], answers[0]), (workers[place], answers[place])
        facts = {side: _facts(*one) for side, one in zip(("ours", "theirs"), told, strict=True)}
        pair = memory[0], memory[place]
        found = [*compare(comparison, workers[place].name, answers[0], answers[place])]
        if comparison.part == "optuna":
            found.append(_from_start(comparison, workers[0], workers[place]))
        figures += [replace(one, memory=pair, facts=facts) for one in found]
    return figures


def compare(
    comparison: Comparison, name: str, ours: Sequence[Answer], theirs: Sequence[Answer]
) -> Iterator[Figure]:
    """The ratios of one pair of sides, without memory and facts.

    Args:
        comparison: says what counts.
        name: of the peer's form.
        ours: the answers of our side, one for each round.
        theirs: those of the peer.
    """
    what = f"{comparison.what}: {name}"
    unit = comparison.unit
    own = rates(ours, unit, "seconds")
    other = [rate * comparison.processes for rate in rates(theirs, unit, "seconds")]
    figure = _figure(what, comparison.unit, own, other, comparison.at_least)
    yield replace(figure, by_cpu=None if comparison.part == "ray" else by_cpu(ours, theirs, unit))
    if comparison.unit == "decisions" and comparison.what.count("an update"):
        own, other = (rates(each, "updates", "seconds") for each in (ours, theirs))
        other = [rate * comparison.processes for rate in other]
        yield _figure(f"{what}, by updates", "updates", own, other)
    if comparison.part == "ray":
        whole = rates(theirs, comparison.unit, "seconds", "seconds of ray.init")
        yield _figure(f"{what}, with ray.init", comparison.unit, own, whole)
        alone = rates(theirs, comparison.unit, "seconds of the loops")
        yield _figure(f"{what}, loops alone", comparison.unit, own, alone)


def rates(answers: Sequence[Answer], unit: str, *seconds: str) -> list[float]:
    """Units per second in each round; the times of the names in `seconds` are added up."""
    return [
        each[unit] / sum((each | each["details"])[name] for name in seconds) for each in answers
    ]


def by_cpu(ours: Sequence[Answer], theirs: Sequence[Answer], unit: str) -> float:
    """The median ratio of units per second of CPU time, which other programs do not lengthen."""
    own, other = (rates(each, unit, "cpu seconds") for each in (ours, theirs))
    return statistics.median(one / their for one, their in zip(own, other, strict=True))


def _figure(
    what: str,
    unit: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    at_least: float | None = None,
) -> Figure:
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    return Figure(
        what,
        unit,
        statistics.median(ours),
        statistics.median(theirs),
        statistics.median(ratios),
        ratios,
        at_least,
    )


def _from_start(comparison: Comparison, ours: Worker, theirs: Worker) -> Figure:
    """One search each, from the start of the process: imports and all compilation included."""
    what = f"{comparison.what}: {theirs.name}, from process start"
    own, other = ([worker.first["updates"] / worker.start] for worker in (ours, theirs))
    return _figure(what, comparison.unit, own, other)


def _facts(worker: Worker, answers: Sequence[Answer]) -> dict[str, Any]:
    return {
        **worker.facts,
        "seconds to the end of the first round": worker.start,
        "versions": worker.versions,
        "rounds": list(answers),
    }
