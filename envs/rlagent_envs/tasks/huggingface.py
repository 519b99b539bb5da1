"""Data sets of Hugging Face, through its own library, if that is installed."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rlagent_envs.tasks.cache import download_folder
from rlagent_envs.tasks.image_folders import as_pixels, asked_size, image_task, size_for_all
from rlagent_envs.tasks.left_out import without_dropped
from rlagent_envs.tasks.loading import rows_to_train, task_of_parts
from rlagent_envs.tasks.options import Options
from rlagent_envs.tasks.pictures import picture_of
from rlagent_envs.tasks.splits import SPLIT_NAMES

if TYPE_CHECKING:
    from rlagent_envs.tasks.task import Task

PREFIX = "hf:"
USUAL_SPLITS = ("train", "validation", "test")


class _Part(NamedTuple):
    """Rows of a split, as its library has them, without the target; and the target."""

    rows: Any
    y: np.ndarray  # [rows]


def load_huggingface(name: str, options: Options) -> Task:
    """Makes a task of a data set: of its images, if it has some, else of its other columns.

    Its splits are the parts; a split without labels is left out.

    Args:
        name: such as `hf:ylecun/mnist`, or `hf:nyu-mll/glue:sst2` where it has configurations.
        options: target (where None the single column of classes), image size, columns to drop,
            kind, batch size and seed are looked at.

    Raises:
        ValueError: if the library is not installed, there is no such data set, or no network.
    """
    own = ("target", "image_size", "drop", "kind", "vocabulary")
    options.allow(f"{name} is a data set of Hugging Face", *own)
    target, parts = _labelled_parts(name, _fetched(name), options.target)
    title = name.removeprefix(PREFIX).split("/")[-1].replace(":", "-")
    features = parts["train"].rows.features
    images = [one for one, feature in features.items() if _type(feature) == "Image"]
    if images:
        if options.drop is not None:
            raise ValueError(f"drop is for tables, but {name} holds images")
        return _image_task(title, parts, images[0], options)
    roles = {"the target": target}
    tables = {
        part: (without_dropped(_table(one), options.drop, f"{part} of {name}", roles), one.y)
        for part, one in parts.items()
    }
    return task_of_parts(tables, title, options)


def _fetched(name: str) -> Mapping[str, Any]:
    """The splits by their names."""
    try:
        import datasets
    except ModuleNotFoundError:
        raise ValueError(f"{name} needs the library datasets: pip install 'rlagent[hub]'") from None
    path, _, config = name.removeprefix(PREFIX).partition(":")
    with download_folder("huggingface") as folder, _quiet():
        try:
            found: Mapping[str, Any] = datasets.load_dataset(
                path, config or None, cache_dir=str(folder)
            )
        # Of the network OSErrors; of sets that are programs, which are not run, RuntimeErrors.
        except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{name} cannot be downloaded: {reason}") from None
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the lines in which the Hub's client tells of each try."""
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _labelled_parts(
    name: str, splits: Mapping[str, Any], target: str | None
) -> tuple[str, dict[str, _Part]]:
    """The target, and the splits that are parts and have it; ValueError if none is to train on."""
    # Of several for one part the usual name counts, which comes last here.
    usual = sorted(splits, key=lambda split: (split in USUAL_SPLITS, split))
    known = {SPLIT_NAMES[split]: splits[split] for split in usual if split in SPLIT_NAMES}
    if "train" not in known:
        raise ValueError(f"{name} has no split train; it has: {', '.join(splits)}")
    target = target or _only_classes(name, known["train"].features)
    if target not in known["train"].features:
        columns = ", ".join(known["train"].features)
        raise ValueError(f"{name} has no column {target!r} for the target; it has: {columns}")
    parts: dict[str, _Part] = {}
    for part, rows in known.items():
        feature, values = rows.features[target], np.asarray(rows[target])
        if _type(feature) == "ClassLabel":
            if np.any(values < 0):  # hidden, as of the test parts of competitions
                continue
            values = np.array(feature.names)[values]
        parts[part] = _Part(rows.remove_columns(target), values)
    if "train" not in parts:
        raise ValueError(f"{name} has rows without a class in its split train")
    return target, parts


def _only_classes(name: str, features: Mapping[str, Any]) -> str:
    found = [one for one, feature in features.items() if _type(feature) == "ClassLabel"]
    if len(found) != 1:
        raise ValueError(f"name the target column of {name}; it has: {', '.join(features)}")
    return found[0]


def _table(part: _Part) -> Any:
    """A DataFrame, with the names of classes where a column has some."""
    table = part.rows.to_pandas()
    for name, feature in part.rows.features.items():
        if _type(feature) == "ClassLabel":
            table[name] = np.array([*feature.names, None], object)[table[name]]
    return table


def _image_task(title: str, parts: Mapping[str, _Part], column: str, options: Options) -> Task:
    """The task of a column of images; the others are left out."""
    pictures = {
        part: [picture_of(image, f"image {place}") for place, image in enumerate(one.rows[column])]
        for part, one in parts.items()
    }
    sizes = {part: [(one.height, one.width) for one in images] for part, images in pictures.items()}
    rows = rows_to_train({part: one.y for part, one in parts.items()}, options)
    asked = asked_size(options)
    size, notes = size_for_all(
        [sizes["train"][row] for row in rows], list(chain(*sizes.values())), asked
    )
    given = {
        part: ([as_pixels(one, size) for one in images], parts[part].y)
        for part, images in pictures.items()
    }
    return image_task(given, title, options, notes)


def _type(feature: Any) -> str:
    return type(feature).__name__
