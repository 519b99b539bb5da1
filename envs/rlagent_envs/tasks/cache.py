"""The folder on this machine in which things are kept that would take time to get again."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VARIABLE = "RLAGENT_CACHE_DIR"


def cache_folder() -> Path | None:
    """`~/.cache/rlagent`, or what RLAGENT_CACHE_DIR says; None if that is empty: no cache."""
    told = os.environ.get(VARIABLE)
    return None if told == "" else Path(told or Path.home() / ".cache" / "rlagent")


@contextmanager
def download_folder(name: str) -> Iterator[Path]:
    """A folder for downloads of a kind; a temporary one where there is no cache.

    If what is done in it fails, folders that were not there before and are empty are removed.
    """
    root = cache_folder()
    if root is None:
        with tempfile.TemporaryDirectory(prefix="rlagent-") as temporary:
            yield Path(temporary)
        return
    folder = root / "data" / name
    fresh = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"cannot write into {folder}: {error.strerror}") from error
    try:
        yield folder
    except BaseException:
        for one in sorted((*folder.rglob("*"), *fresh), reverse=True):
            if one.is_dir() and not any(one.iterdir()):
                one.rmdir()
        raise
