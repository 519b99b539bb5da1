"""A run that is killed at random moments, and taken up again, ends as an undisturbed one."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

KILLS = 10
OPTIONS = ["--rung", "32x1", "--updates", "6000", "--decisions", "300", "--seed", "7", "--quiet"]
# The same program, but with a checkpoint after each decision, so that there are more moments.
PROGRAM = """
import sys
from rlagent.apply import driver
from rlagent.cli import main

driver.CHECKPOINT_SECONDS, driver.CHECKPOINT_SHARE = 0.0, 1e9
sys.exit(main(sys.argv[1:]))
"""


def start(arguments: list[str], cache: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"RLAGENT_CACHE_DIR": str(cache)},
    )


@pytest.mark.slow
def test_a_killed_run_ends_as_an_undisturbed_one(tmp_path: Path, small_file: Path) -> None:
    cache, whole, broken = tmp_path / "cache", tmp_path / "whole", tmp_path / "broken"
    command = ["tune", str(small_file), "--method", "cosine", *OPTIONS, "--out"]
    process = start([*command, str(whole)], cache)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err

    generator = random.Random(0)
    made = 0  # decisions that the last checkpoint knew of
    for number in range(KILLS):
        begun = (broken / "run.json").exists()
        again = ["tune", "--resume", str(broken), "--quiet"]
        process = start(again if begun else [*command, str(broken)], cache)
        # Early ones, wherever the program is then; later ones after some more decisions.
        further = made + generator.randint(1, 25) if number % 4 else 0
        wait_for(process, broken, further)
        time.sleep(generator.uniform(0.0, 0.05 if further else 3.0))
        assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert decisions(broken) >= made
        made = decisions(broken)
    assert 0 < made < 300
    process = start(["tune", "--resume", str(broken), "--quiet"], cache)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    for name in ("model.safetensors", "history.jsonl"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes()
    assert not list(broken.glob(".*.tmp"))


def decisions(folder: Path) -> int:
    """How many decisions the history of a run tells of."""
    history = folder / "history.jsonl"
    return len(history.read_bytes().splitlines()) if history.exists() else 0


def wait_for(process: "subprocess.Popen[str]", folder: Path, wanted: int) -> None:
    """Waits until a run has made some decisions, however busy the computer is."""
    deadline = time.monotonic() + 120
    while decisions(folder) < wanted:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)
