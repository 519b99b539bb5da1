"""A bench that is killed at random moments, and started again, ends as an undisturbed one."""

import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from rlagent.experiments.store import Store
from rlagent.experiments.stored_run import StoredRun
from tests.forks import forked, pause

KILLS = 30
METHODS = "constant,cosine,one-cycle,step,exponential,plateau,greedy"
OPTIONS = ["--methods", METHODS, "--updates", "40,80", "--seeds", "15", "--quiet"]


def command(task: Path, store: Path) -> list[str]:
    return ["bench", "--tasks", str(task), *OPTIONS, "--store", str(store)]


def whole_start(task: Path, store: Path, cache: Path) -> str:
    """What a bench says that runs to its end."""
    process = subprocess.run(
        [sys.executable, "-m", "rlagent", *command(task, store)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=os.environ | {"RLAGENT_CACHE_DIR": str(cache)},
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def runs(store: Path) -> list[StoredRun]:
    with Store.open(store, write=False) as opened:
        # All but what the clock has a part in.
        return [replace(run, seconds=None) for run in opened.runs()]


def count(store: Path) -> int:
    """How many runs a store has, at little cost."""
    if not store.exists():
        return 0
    try:
        with Store.open(store, write=False) as opened:
            return len(opened.keys())
    except ValueError as error:
        if "is empty" not in str(error):  # that is: killed before the store was made
            raise
        return 0


@pytest.mark.slow
def test_a_killed_bench_ends_as_an_undisturbed_one(tmp_path: Path, small_file: Path) -> None:
    cache, whole, broken = tmp_path / "cache", tmp_path / "whole.sqlite", tmp_path / "b.sqlite"
    whole_start(small_file, whole, cache)
    expected = runs(whole)
    generator = random.Random(0)
    made = 0
    for number in range(KILLS):
        arguments = command(small_file, broken)
        environment = {"RLAGENT_CACHE_DIR": str(cache)}
        with forked(arguments, tmp_path / "said", environment) as process:
            # Some wherever the program is then, the first one soon; most after some more cells.
            wanted = made + generator.randint(1, 5) if number % 5 else 0
            deadline = time.monotonic() + 120
            while count(broken) < wanted:
                assert process.poll() is None, process.said()
                assert time.monotonic() < deadline
                time.sleep(0.005)
            longest = 0.03 if wanted else 2.0 if number else 0.3
            pause(generator.uniform(0.0, longest), partial(count, broken), made + 5)
            assert process.poll() is None, process.said()
        kept = runs(broken) if count(broken) else []
        assert len(kept) >= made
        assert all(run in expected for run in kept)
        made = len(kept)
    assert 0 < made < len(expected)
    said = whole_start(small_file, broken, cache)
    assert f"{len(expected)} cells, {len(expected) - made} of them computed now" in said
    assert runs(broken) == expected
