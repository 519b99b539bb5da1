"""The task that parts of data make which were read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from rlagent_envs.tasks.arrays import check_kind, drawn_to_train, from_arrays
from rlagent_envs.tasks.options import Options
from rlagent_envs.tasks.task import Task


def rows_to_train(
    targets: Mapping[str, Any],
    options: Options,
    image_size: tuple[int, ...] = (),
    *,
    streamed: bool = False,
) -> np.ndarray:
    """The rows of the part `train` that `task_of_parts` trains on: all, unless they are divided.

    So what inputs are made of can be found out by these alone, before it makes them.

    Args:
        targets: of each part.
        options: kind and seed are looked at.
        image_size: height and width of the examples, where they are images.
        streamed: whether the inputs are on disk.

    Raises:
        ValueError: if there are too few rows to divide.
    """
    y = targets["train"]
    if "valid" in targets:
        return np.arange(len(y))
    return drawn_to_train(
        y,
        check_kind(options.kind),
        test_given="test" in targets,
        image_size=image_size,
        streamed=streamed,
        seed=options.seed,
    )


def task_of_parts(
    parts: Mapping[str, tuple[Any, Any]],
    name: str,
    options: Options,
    groups: Any = None,
    notes: tuple[str, ...] = (),
    times: Any = None,
) -> Task:
    """The task of inputs and targets that were read.

    Args:
        parts: inputs and targets of train and, where they are known, of valid and test.
        name: of the task.
        options: kind, form, batch size, streamed, seed, family and vocabulary are looked at.
        groups: of the rows of train, see `from_arrays`.
        notes: what there is to say of the data; see `Task`.
        times: of the rows of train, see `from_arrays`.
    """
    (x, y), unknown = parts["train"], (None, None)
    x_valid, y_valid = parts.get("valid", unknown)
    x_test, y_test = parts.get("test", unknown)
    task = from_arrays(
        x,
        y,
        x_valid=x_valid,
        y_valid=y_valid,
        x_test=x_test,
        y_test=y_test,
        groups=groups,
        times=times,
        name=name,
        kind=check_kind(options.kind),
        form=options.form,
        batch_size=options.batch_size,
        streamed=options.streamed,
        seed=options.seed,
        embed=options.embeds,
        vocabulary=options.vocabulary,
    )
    return replace(task, notes=(*task.notes, *notes))
