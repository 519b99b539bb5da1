"""A bench that is killed at random moments, and started again, ends as an undisturbed one."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from rlagent.experiments.store import Store
from rlagent.experiments.stored_run import StoredRun

KILLS = 30
METHODS = "constant,cosine,one-cycle,step,exponential,plateau,greedy"
OPTIONS = ["--methods", METHODS, "--updates", "40,80", "--seeds", "15", "--quiet"]


@contextmanager
def started(task: Path, store: Path, cache: Path) -> Iterator["subprocess.Popen[str]"]:
    """A bench that does not outlive the `with` block."""
    command = ["bench", "--tasks", str(task), *OPTIONS, "--store", str(store)]
    process = subprocess.Popen(
        [sys.executable, "-m", "rlagent", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"RLAGENT_CACHE_DIR": str(cache)},
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def runs(store: Path) -> list[StoredRun]:
    if not store.exists():
        return []
    try:
        with Store.open(store, write=False) as opened:
            # All but what the clock has a part in.
            return [replace(run, seconds=None) for run in opened.runs()]
    except ValueError as error:
        if "is empty" not in str(error):  # that is: killed before the store was made
            raise
        return []


@pytest.mark.slow
def test_a_killed_bench_ends_as_an_undisturbed_one(tmp_path: Path, small_file: Path) -> None:
    cache, whole, broken = tmp_path / "cache", tmp_path / "whole.sqlite", tmp_path / "b.sqlite"
    with started(small_file, whole, cache) as process:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    expected = runs(whole)
    generator = random.Random(0)
    made = 0
    for number in range(KILLS):
        with started(small_file, broken, cache) as process:
            # Some wherever the program is then, most after some more cells.
            wanted = made + generator.randint(1, 5) if number % 5 else 0
            deadline = time.monotonic() + 120
            while len(runs(broken)) < wanted:
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.005)
            time.sleep(generator.uniform(0.0, 0.03 if wanted else 3.0))
            assert process.poll() is None, process.communicate()
        kept = runs(broken)
        assert len(kept) >= made
        assert all(run in expected for run in kept)
        made = len(kept)
    assert 0 < made < len(expected)
    with started(small_file, broken, cache) as process:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    assert f"{len(expected)} cells, {len(expected) - made} of them computed now" in out
    assert runs(broken) == expected
