"""A training that is killed again and again ends as one that was left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.forks import Fork, forked, pause

KILLS = 10
MOST = 2  # rollouts that a process may finish before it is killed
DECISIONS = 32 * (KILLS * MOST + 4)  # no series of kills comes to the end of them

CONFIG = """
name = "killed"
checkpoint_minutes = 0

[ppo]
decisions = DECISIONS
places = 4
rollout = 8
batch_size = 16
epochs = 2
hidden = [16, 16]
seed = 5

[environment]
task = "FILE"
knobs = ["learning_rate", "weight_decay", "dropout", "momentum", "restore"]
decisions = [2, 6]
updates_per_decision = [8, 8]
depths = [1]
widths = [32]
group_dropout = 0.2

[evaluation]
every = 256
tasks = ["iris"]
seeds = 1
updates = 16
run_decisions = 2
"""


def whole_start(*arguments: str, cache: str) -> None:
    """A training to its end, with a compile cache of its own, or none where its name is empty."""
    env = os.environ | {"RLAGENT_CACHE_DIR": cache}
    if not cache:
        env.pop("JAX_COMPILATION_CACHE_DIR", None)
    process = subprocess.run(
        [sys.executable, "-m", "rlagent", "train", *arguments],
        env=env,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr


def written(path: Path) -> tuple[int, int] | None:
    """Tells one version of a file from the next; None if there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def kill_after(process: Fork, checkpoint: Path, rollouts: int, delay: float) -> None:
    """Kills a process once it has written so many checkpoints, and a little later."""
    seen, deadline = {written(checkpoint)}, time.monotonic() + 100.0

    def made() -> int:
        """The checkpoints that it has written."""
        seen.add(written(checkpoint))
        return len(seen) - 1

    while made() < rollouts and time.monotonic() < deadline:
        assert process.poll() is None, process.said()
        time.sleep(0.002)
    pause(delay, made, max(rollouts + 1, MOST))
    process.kill()
    assert process.poll() == -signal.SIGKILL, process.said()


def left_behind(folder: Path) -> list[str]:
    """The workers of trainings that are gone, if they still run after a while; Linux only."""
    deadline = time.monotonic() + 20.0
    while time.monotonic() < deadline:
        orphans = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
                surroundings = (process / "environ").read_bytes()
            except OSError:
                continue  # it has ended meanwhile
            if b"rlagent.ppo.workers" in words and str(folder.parent).encode() in surroundings:
                orphans.append(process.name)
        if not orphans:
            return []
        time.sleep(0.2)
    return orphans


@pytest.mark.slow
def test_a_training_killed_ten_times_ends_as_an_undisturbed_one(
    tmp_path: Path, small_file: Path
) -> None:
    config, alone, killed = tmp_path / "config.toml", tmp_path / "alone", tmp_path / "killed"
    config.write_text(CONFIG.replace("FILE", str(small_file)).replace("DECISIONS", str(DECISIONS)))
    # The killed processes share a cache; some die while they write to it.
    cache = str(tmp_path / "cache")
    start = ("--config", str(config), "--out", str(killed))
    go_on = ("--resume", "--out", str(killed))
    generator = np.random.default_rng(0)
    for number in range(KILLS):
        # The first one has to get as far as to have a folder; the others die anywhere.
        rollouts = 1 if number == 0 else int(generator.integers(0, MOST + 1))
        delay = generator.uniform(0.0, 0.1 if rollouts else 2.0)
        arguments = (*(go_on if number else start), "--workers", "1" if number % 3 else "2")
        with forked(["train", *arguments], tmp_path / "said", {"RLAGENT_CACHE_DIR": cache}) as one:
            kill_after(one, killed / "checkpoint.safetensors", rollouts, delay)
    whole_start(*go_on, cache=cache)
    # With no cache, so that what the killed ones left in theirs cannot spoil both alike.
    whole_start("--config", str(config), "--out", str(alone), cache="")
    assert not left_behind(killed)
    names = {file.name for file in alone.iterdir()}
    assert {file.name for file in killed.iterdir()} == names  # nothing half-written is left
    for name in sorted(names - {"tensorboard"}):
        assert (killed / name).read_bytes() == (alone / name).read_bytes(), name
