"""Sentences on data that can be used, but may not be what was meant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rlagent_envs.tasks.box_target import crowded
from rlagent_envs.tasks.columns import (
    NumericColumn,
    column_names,
    how_to_drop,
    is_table,
    mark_among_numbers,
    numbered_texts,
    row_numbers,
)
from rlagent_envs.tasks.record_input import RecordInput
from rlagent_envs.tasks.table_input import TableInput

if TYPE_CHECKING:
    import pandas as pd

    from rlagent_envs.tasks.preprocessing import Preprocessing

MANY_CLASSES = 32  # of masks: edges between two classes that were smoothed have more
DARK = 64  # of 256: photos have a brighter pixel somewhere


def on_inputs(x: Any, preprocessing: Preprocessing) -> list[str]:
    """Of columns that number the rows, and of arrays that may be images of another layout.

    Args:
        x: the training rows as they were given.
        preprocessing: fitted on them.
    """
    inputs, notes = preprocessing.inputs, []
    if is_table(x):
        for name, place in column_names(x).items():
            if (numbers := row_numbers(name, x.iloc[:, place])) is not None:
                notes.append(
                    f"column {name!r} numbers the rows, from {numbers[0]:g} to {numbers[1]:g}; "
                    f"drop it unless it is a quantity: {how_to_drop(name)}"
                )
        return notes + on_marks(x, inputs)
    shape = getattr(x, "shape", ())
    if len(shape) > 2 and not inputs.input_shape:
        told = " x ".join(map(str, shape[1:]))
        notes.append(
            f"examples of {told} numbers are taken for {inputs.features} quantities; "
            "images are [rows, height, width, channels]"
        )
    return notes


def on_marks(x: pd.DataFrame, inputs: Any) -> list[str]:
    """Of columns of categories that most likely are of numbers, with a mark for missing ones.

    Args:
        x: the training rows as they were given.
        inputs: what was fitted on them.
    """
    table = inputs.table if isinstance(inputs, RecordInput) else inputs
    notes, names = [], column_names(x)
    for column in table.columns if isinstance(table, TableInput) else ():
        if isinstance(column, NumericColumn):
            continue
        _, texts = numbered_texts(column.name, x.iloc[:, names[column.name]])
        if (mark := mark_among_numbers(texts)) is not None:
            notes.append(
                f"column {column.name!r} is of categories, because it has {mark!r} among its "
                "numbers; leave such cells empty if it is a quantity"
            )
    return notes


def on_times(column: pd.Series, times: np.ndarray, train: int, valid: int) -> str:
    """Of rows that were divided by time: when the parts end.

    Args:
        column: the times as they were given, `[rows]`.
        times: numbers in their order, `[rows]`.
        train: how many rows train.
        valid: how many validate.
    """
    order = np.argsort(times, kind="stable")
    last, then = (column.iloc[order[place - 1]] for place in (train, train + valid))
    ends = f"up to {last} they train, up to {then} they validate, later ones test"
    return f"the rows are divided by time: {ends}"


def on_boxes(given: Mapping[str, np.ndarray], encoded: Mapping[str, np.ndarray]) -> list[str]:
    """Of objects that are not learned; both by part."""
    lost = sum(crowded(boxes, encoded[part]) for part, boxes in given.items())
    return [f"{lost} objects share a cell of 4 x 4 pixels with a smaller one"] if lost else []


def on_masks(classes: int) -> list[str]:
    """Of masks with so many classes that they may be no masks."""
    if classes <= MANY_CLASSES:
        return []
    return [f"the masks hold {classes} different numbers, each a class: soft edges or a JPEG?"]


def on_brightness(brightest: int) -> list[str]:
    """Of images with hardly any light in them: those of 12 bits in files of 16 bits.

    Args:
        brightest: the largest of all pixels to train on, of 255.
    """
    if brightest >= DARK:
        return []
    return [
        f"the brightest pixel to train on is {brightest} of 255; if the images have fewer bits "
        "than their files, scale them"
    ]
