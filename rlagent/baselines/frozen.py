"""The frozen numbers of the baselines, read once; see `frozen.toml`."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("frozen.toml")


@cache
def frozen() -> dict[str, Any]:
    """What `frozen.toml` says; it must not be changed."""
    return tomllib.loads(FILE.read_text("utf-8"))


def learning_rate(method: str) -> float:
    """The learning rate of a method that has one number; that of a schedule is for AdamW."""
    return float(frozen()["learning_rates"][method])
