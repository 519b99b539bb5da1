"""The computer that a number was measured on; needs the standard library only."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """The model of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def peak_memory() -> float:
    """The largest resident memory of this process so far, in bytes.

    On Linux `getrusage` also counts what the parent had when it started this one; /proc does not.
    """
    import resource

    if sys.platform == "linux":
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
