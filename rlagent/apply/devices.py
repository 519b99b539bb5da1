"""Where the work is done, and the cache of programs that were compiled for it."""

from __future__ import annotations

import hashlib
import platform
import warnings
from pathlib import Path
from typing import Any, TextIO

PLATFORMS = {"cpu": "cpu", "gpu": "cuda", "tpu": "tpu"}  # by JAX's names
_READING = "Error reading persistent compilation cache entry for '"
_WRITING = "Error writing persistent compilation cache entry for '"


def use_device(name: str | None) -> None:
    """Makes JAX use a kind of device, if it has not begun to use another one.

    Args:
        name: cpu, gpu or tpu; None for the best there is.

    Raises:
        ValueError: if there is no such device, or JAX has begun already with another one.
    """
    import jax

    if name is None:
        return
    if name not in [*PLATFORMS]:
        raise ValueError(f"unknown device {name!r}; there are: {', '.join(PLATFORMS)}")
    before = jax.config.values["jax_platforms"]
    _set("jax_platforms", PLATFORMS[name])
    try:
        found = jax.default_backend()
    # Without a CUDA build JAX raises an AssertionError that says nothing.
    except (RuntimeError, AssertionError) as error:
        _set("jax_platforms", before)
        extra = {"gpu": "cuda", "tpu": "tpu"}.get(name)
        hint = f"; for one, pip install 'rlagent[{extra}]'" if extra else ""
        raise ValueError(f"JAX finds no {name} here{hint}") from error
    if found != name:
        _set("jax_platforms", before)
        raise ValueError(f"JAX has begun to use the {found} already, so it cannot use the {name}")


def use_compile_cache() -> None:
    """Keeps compiled programs on disk, so that the next start is faster.

    The folder is `~/.cache/rlagent/` and a name for the version of jaxlib and the CPU, or what the
    environment variable RLAGENT_CACHE_DIR says; empty, it means no cache. A damaged entry, which
    JAX would warn of at every start, is removed and made again. For programs of our own: it
    changes the settings of JAX and of `warnings` for the process.
    """
    from rlagent_envs.tasks.cache import cache_folder

    root = cache_folder()
    if root is None:
        return
    folder = root / _machine()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # it would only save time
    _set("jax_compilation_cache_dir", str(folder))
    _set("jax_persistent_cache_min_compile_time_secs", 0.0)
    _set("jax_persistent_cache_min_entry_size_bytes", 0)
    _mend(folder)


def _machine() -> str:
    """A name for what a compiled program fits: jaxlib's version and the CPU's features."""
    from jaxlib.version import __version__

    described = platform.machine() + platform.processor()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text(errors="replace").splitlines()
        telling = ("flags", "Features", "model name")
        described += "".join(sorted({line for line in lines if line.startswith(telling)}))
    return f"{__version__}-{hashlib.sha256(described.encode()).hexdigest()[:12]}"


def _mend(folder: Path) -> None:
    """Lets JAX's warnings of the cache remove the entries that they are about, unseen.

    JAX then writes them anew: it compiles, and finds no file where it puts the result.
    """
    show = warnings.showwarning

    def mended(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = str(message)
        if text.startswith(_READING):
            name = text.removeprefix(_READING).split("'")[0]
            for entry in folder.glob(f"{name}-*"):
                entry.unlink(missing_ok=True)
        elif not text.startswith(_WRITING):
            show(message, category, filename, lineno, file, line)

    replaced: Any = mended
    warnings.showwarning = replaced
    # Once for each would hide the second damaged entry of a program from us.
    for prefix in (_READING, _WRITING):
        warnings.filterwarnings("always", message=prefix)


def _set(option: str, value: object) -> None:
    """Sets an option of JAX."""
    import jax

    jax.config.update(option, value)  # type: ignore[no-untyped-call]
