"""The memory of a process together with all that it has started."""

from __future__ import annotations

import os
import threading
from pathlib import Path


class TreeMemory:
    """The largest memory of this process and all below it, looked at every half second.

    Proportional set size: a page that several share counts once in all. Zero where there is no
    /proc.
    """

    def __enter__(self) -> TreeMemory:
        self.peak, self.stop = 0.0, threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()

    def _watch(self) -> None:
        while not self.stop.wait(0.5):
            self.peak = max(self.peak, sum(map(_proportional, _tree(os.getpid()))))


def _tree(root: int) -> list[int]:
    """The process and all below it."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        children.setdefault(int(fields[1]), []).append(int(folder.name))
    found = [root]
    for one in found:  # grows while it is gone through
        found += children.get(one, [])
    return found


def _proportional(process: int) -> float:
    """Bytes of one process; zero if it has ended meanwhile."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(1024.0 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
