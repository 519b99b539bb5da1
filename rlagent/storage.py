"""Writes files so that a crash leaves the old one or the new one, never half of one."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

# One entry holds all metadata: safetensors writes several in random order, and then equal content
# would not give equal bytes.
METADATA_ENTRY = "rlagent"


def write_atomically(path: str | Path, content: bytes) -> None:
    """Replaces the file at `path` by `content` in one step, which a crash cannot interrupt.

    A symbolic link stays one: the file that it points to is replaced. A process that is killed
    outright may leave a hidden `.HEX.tmp` beside the file, never a damaged file.

    Raises:
        ValueError: if the folder does not exist, or `path` is a folder.
        OSError: if the system fails to write, for instance on a full disk; the old file stays.
    """
    target = Path(path).resolve()
    if not target.parent.is_dir():
        raise ValueError(f"cannot write {path}: there is no folder {target.parent}")
    if target.is_dir():
        raise ValueError(f"cannot write {path}: it is a folder")
    # In the same folder, because a rename is atomic only within one file system.
    temporary = target.with_name(f".{uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
        _sync_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | Path, value: object) -> None:
    """Writes `value` as JSON, indented, atomically; raises ValueError if it is not JSON, as NaN."""
    write_atomically(path, (_to_json(path, value, indent=2) + "\n").encode())


def write_arrays(
    path: str | Path, arrays: Mapping[str, ArrayLike], metadata: Mapping[str, object]
) -> None:
    """Writes arrays and JSON metadata as one safetensors file, atomically.

    Equal arrays and metadata give equal bytes.

    Raises:
        ValueError: if the metadata are not JSON, an array is not numeric, or `path` cannot be a
            file.
    """
    text = _to_json(path, dict(metadata), indent=None)
    # Not np.ascontiguousarray, which turns a scalar into a vector.
    dense = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    try:
        content = save(dense, {METADATA_ENTRY: text})
    except SafetensorError as error:
        raise ValueError(f"cannot write {path}: safetensors files hold numbers only") from error
    write_atomically(path, content)


def read_arrays(path: str | Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Reads what `write_arrays` wrote, running no code from the file.

    Returns:
        The arrays by name, and the metadata (empty if another program wrote the file).

    Raises:
        ValueError: in one sentence that names the file, if it is missing, a folder, empty, not
            safetensors, or damaged.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"there is no file {path}")
    if path.is_dir():
        raise ValueError(f"{path} is a folder, not a file")
    try:
        if path.stat().st_size == 0:
            raise ValueError(f"{path} is empty")
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            entries = file.metadata() or {}
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    # AttributeError: a file may declare number types, such as 8-bit floats, that NumPy lacks.
    except (SafetensorError, AttributeError) as error:
        raise ValueError(f"{path} is not a safetensors file, or it is damaged") from error
    return arrays, _metadata(path, entries.get(METADATA_ENTRY, "{}"))


def _metadata(path: Path, text: str) -> dict[str, Any]:
    """The metadata in `text`; raises ValueError, naming the file, if it holds something else."""
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: its metadata are not JSON") from error
    if not isinstance(metadata, dict):
        raise ValueError(f"{path} is damaged: its metadata are not a JSON object")
    return metadata


def _to_json(path: str | Path, value: object, indent: int | None) -> str:
    """`value` in strict JSON, which has no NaN; raises ValueError, naming the file to be."""
    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"cannot write {path} as JSON: {error}") from error


def _sync_folder(folder: Path) -> None:
    """Makes a rename in `folder` last through a power cut, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows opens no folders
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
