"""Figures as ratios within one run: timing in turns, JSON lines, a Markdown table."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import jax
import numpy as np

from scripts import host

Seconds = dict[str, np.ndarray]  # of each variant, [rounds]

COMPILED = "/jax/core/compile/backend_compile_duration"


@dataclass(frozen=True)
class Figure:
    """One measured number beside the one that was asked for."""

    what: str
    value: float
    n: int  # rounds, decisions or runs behind the value
    unit: str = "x"
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)  # medians and the like

    @property
    def verdict(self) -> str:
        """Met, missed, or what stands where nothing was asked for."""
        if self.at_least is not None:
            return "met" if self.value >= self.at_least else "missed"
        if self.at_most is not None:
            return "met" if self.value <= self.at_most else "missed"
        if self.below is not None:
            return "met" if self.value < self.below else "missed"
        return "for information"

    @property
    def asked(self) -> str:
        """The figure asked for, in words."""
        for words, limit in (
            ("at least", self.at_least),
            ("at most", self.at_most),
            ("below", self.below),
        ):
            if limit is not None:
                return f"{words} {limit:.3g} {self.unit}".strip()
        return ""

    def line(self) -> str:
        """As a line of JSON, with device and versions."""
        return json.dumps(asdict(self) | {"verdict": self.verdict} | machine())


def machine() -> dict[str, Any]:
    """What a number was measured on."""
    return {
        "device": f"{jax.devices()[0].device_kind} ({host.processor()})",
        "cores": host.cores(),
        "python": platform.python_version(),
        "jax": jax.__version__,
    }


def table(figures: Sequence[Figure]) -> str:
    """The section of docs/performance.md that a run of the script makes."""
    told = ", ".join(f"{name} {value}" for name, value in machine().items())
    lines = [
        f"Measured on: {told}; {time.strftime('%Y-%m-%d')}.",
        "",
        "| what | measured | asked for | | n | medians behind it |",
        "| --- | ---: | ---: | --- | ---: | --- |",
    ]
    for one in figures:
        behind = ", ".join(f"{name} {_short(value)}" for name, value in one.details.items())
        value = f"{_short(one.value)} {one.unit}".strip()
        lines.append(f"| {one.what} | {value} | {one.asked} | {one.verdict} | {one.n} | {behind} |")
    return "\n".join(lines) + "\n"


def in_turns(
    variants: Mapping[str, tuple[Callable[[], Any], int]], rounds: int, warmup: int = 3
) -> Seconds:
    """Times the variants in turns, so that noise hits all of them.

    Args:
        variants: for each name what to run, and for how many units the time is.
        rounds: how often each is timed, in an order that is drawn anew for each round.
        warmup: rounds before those, not counted: they compile.

    Returns:
        Seconds for a unit, `[rounds]`, of each variant.
    """
    generator = np.random.default_rng(0)
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(warmup + rounds):
        for name in generator.permutation(list(variants)):
            run, units = variants[name]
            begun = time.perf_counter()
            jax.block_until_ready(run())  # type: ignore[no-untyped-call]
            seconds[name].append((time.perf_counter() - begun) / units)
    return {name: np.array(taken[warmup:]) for name, taken in seconds.items()}


def ratio(seconds: Seconds, above: str, below: str) -> float:
    """The median over rounds of the quotient within a round."""
    return float(np.median(seconds[above] / seconds[below]))


def milliseconds(seconds: Seconds, *names: str) -> dict[str, float]:
    """Medians to tell beside a ratio."""
    return {f"{name} ms": 1e3 * float(np.median(seconds[name])) for name in names}


class CompileCount:
    """Counts what XLA compiles, and the seconds that it takes, from its making on."""

    def __init__(self) -> None:
        self.programs, self.seconds = 0, 0.0
        jax.monitoring.register_event_duration_secs_listener(self._note)

    def _note(self, event: str, duration_secs: float, **_: str | int) -> None:
        if event == COMPILED:
            self.programs += 1
            self.seconds += duration_secs


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
