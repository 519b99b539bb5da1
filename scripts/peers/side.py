"""What each side of a comparison is for the one who measures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Round:
    """One timed repetition."""

    seconds: float
    updates: int  # of the optimizer, over all runs
    decisions: int = 0
    details: dict[str, float] = field(default_factory=dict)


class Side(Protocol):
    """One side, made and warmed up in a process of its own."""

    facts: dict[str, Any]  # what it does in a round: rows, batch, network, versions

    def round(self) -> Round:
        """Does the work once."""


Maker = Callable[[dict[str, Any]], Side]


def repetitions(once: Callable[[], Any], seconds: float, clock: Callable[[], float]) -> int:
    """How often `once` has to be repeated to take about `seconds`; at least twice."""
    begun, times = clock(), 0
    while times < 2 or clock() - begun < seconds / 4:
        once()
        times += 1
    return max(2, round(seconds * times / (clock() - begun)))
