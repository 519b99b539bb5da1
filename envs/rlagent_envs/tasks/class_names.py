"""The names of classes that labels call by their numbers, from files that stand beside them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlagent_envs.tasks.box_target import BoxTarget

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rlagent_envs.tasks.task import Task

YAML = ("data.yaml", "data.yml", "dataset.yaml")
TEXT = "classes.txt"


def find_names(folders: Iterable[Path]) -> tuple[dict[int, str], Path | None]:
    """The name of each class number, and the file that says it; nothing where there is none.

    Args:
        folders: where `data.yaml`, with `names`, or `classes.txt` may be. The first file counts.

    Raises:
        ValueError: naming the file that cannot be used.
    """
    for folder in folders:
        for path in (folder / name for name in YAML):
            if path.is_file() and (names := _of_yaml(path)) is not None:
                return names, path
        if (path := folder / TEXT).is_file():
            return dict(enumerate(_lines(path))), path
    return {}, None


def with_names(task: Task, names: Mapping[int, str]) -> Task:
    """A task for detection that knows the names of its classes."""
    stored = task.preprocessing
    assert stored is not None
    assert isinstance(stored.target, BoxTarget)
    named = stored.model_copy(update={"target": stored.target.named(names)})
    return replace(task, preprocessing=named)


def _lines(path: Path) -> list[str]:
    """A name in each line; empty ones at the end do not count."""
    return [line.strip() for line in _read(path).rstrip().splitlines()]


def _of_yaml(path: Path) -> dict[int, str] | None:
    """What stands under `names`, a list or a mapping; None where nothing does."""
    import yaml

    try:
        # BaseLoader makes texts, lists and dicts, and nothing else: no code runs, and a class that
        # is called `no` keeps its name, where YAML's own types would make it False.
        content: Any = yaml.load(_read(path), yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError):
        raise ValueError(f"{path} is not a readable YAML file") from None
    names = content.get("names") if isinstance(content, dict) else None
    if names is None:
        return None
    pairs = dict(enumerate(names)) if isinstance(names, list) else names
    try:
        made = {int(number): name for number, name in pairs.items()}
    except (AttributeError, TypeError, ValueError):
        made = {}
    if not made or not all(isinstance(name, str) for name in made.values()):
        raise ValueError(
            f"names of {path} must be a list of names, or a name for each class number"
        )
    return made


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not a text file in UTF-8") from None
