"""A run that is killed at random moments, and taken up again, ends as an undisturbed one."""

import os
import random
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from tests.forks import Fork, forked, pause

KILLS = 10
OPTIONS = ["--rung", "32x1", "--updates", "6000", "--decisions", "300", "--seed", "7", "--quiet"]
# A checkpoint after each decision, so that there are more moments.
CONSTANTS = {
    "rlagent.apply.driver.CHECKPOINT_SECONDS": 0.0,
    "rlagent.apply.driver.CHECKPOINT_SHARE": 1e9,
}


def whole_start(arguments: list[str], cache: Path) -> None:
    """A run to its end."""
    process = subprocess.run(
        [sys.executable, "-m", "rlagent", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=os.environ | {"RLAGENT_CACHE_DIR": str(cache)},
    )
    assert process.returncode == 0, process.stderr


@pytest.mark.slow
def test_a_killed_run_ends_as_an_undisturbed_one(tmp_path: Path, small_file: Path) -> None:
    cache, whole, broken = tmp_path / "cache", tmp_path / "whole", tmp_path / "broken"
    command = ["tune", str(small_file), "--method", "cosine", *OPTIONS, "--out"]
    whole_start([*command, str(whole)], cache)

    again = ["tune", "--resume", str(broken), "--quiet"]
    generator = random.Random(0)
    made = 0  # decisions that the last checkpoint knew of
    for number in range(KILLS):
        begun = (broken / "run.json").exists()
        arguments = again if begun else [*command, str(broken)]
        environment = {"RLAGENT_CACHE_DIR": str(cache)}
        with forked(arguments, tmp_path / "said", environment, CONSTANTS) as process:
            # Some wherever the program is then, the first one soon; most after some more decisions.
            further = made + generator.randint(1, 25) if number % 4 else 0
            wait_for(process, broken, further)
            longest = 0.05 if further else 1.5 if number else 0.3
            pause(generator.uniform(0.0, longest), partial(decisions, broken), made + 25)
            assert process.poll() is None, process.said()
        assert decisions(broken) >= made
        made = decisions(broken)
    assert 0 < made < 300
    whole_start(again, cache)
    for name in ("model.safetensors", "history.jsonl"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes()
    assert not list(broken.glob(".*.tmp"))


def decisions(folder: Path) -> int:
    """How many decisions the history of a run tells of."""
    history = folder / "history.jsonl"
    return len(history.read_bytes().splitlines()) if history.exists() else 0


def wait_for(process: Fork, folder: Path, wanted: int) -> None:
    """Waits until a run has made some decisions, however busy the computer is."""
    deadline = time.monotonic() + 120
    while decisions(folder) < wanted:
        assert process.poll() is None, process.said()
        assert time.monotonic() < deadline
        time.sleep(0.002)
