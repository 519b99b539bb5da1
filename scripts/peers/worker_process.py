"""A side of a comparison as the one who measures sees it: a process that answers."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from scripts.peers.comparisons import Opponent

ROOT = Path(__file__).resolve().parents[2]

Answer = dict[str, Any]  # what a worker says of a round; see side.py


class Worker:
    """A side in a process of its own, warmed up by one round that does not count."""

    def __init__(self, opponent: Opponent, python: Path) -> None:
        self.name = opponent.name
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed in `close`)
        begun = time.perf_counter()
        self.process = subprocess.Popen(
            [str(python), "-m", "scripts.peers.worker", opponent.side],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        try:
            told = self._ask(dict(opponent.options))
            self.facts, self.versions = told["facts"], told["versions"]
            self.first = self.round()
        except BaseException:
            self.close()
            raise
        self.start = time.perf_counter() - begun  # seconds until the first round was done

    def round(self) -> Answer:
        """One timed repetition."""
        return self._ask("round")

    def memory(self) -> float:
        """Ends the side; the largest memory that it had, in bytes."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        told = self._answer()
        return float(told["bytes of all processes"] or told["bytes"])

    def close(self) -> None:
        """Ends the process if it still runs."""
        self.process.terminate()
        self.process.wait()
        self.errors.close()

    def _ask(self, request: Any) -> Answer:
        assert self.process.stdin is not None
        # If it has ended no answer will come either, and its last words are told there.
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(request), file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> Answer:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            words = self.errors.read().decode(errors="replace")[-2000:]
            raise RuntimeError(f"{self.name} ended without an answer; its last words:\n{words}")
        answer: Answer = json.loads(line)
        return answer
