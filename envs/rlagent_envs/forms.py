"""What an example is made of: it says which networks can read it, and what may be done to it."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

Form = Literal["table", "image", "sequence", "tokens", "record", "pair", "mixed", "choice"]

BOX_CELL = 4  # pixels, both ways, of what answers for the objects whose centres are in it
BOX_CHOICES = 5  # a class, and how far the edges left, top, right and bottom are
UNKNOWN = 1  # number of a token that is not in the vocabulary, or hidden; 0 stands for no token


def form_of(input_shape: tuple[int, ...], vocabularies: tuple[int, ...], features: int) -> Form:
    """The form of examples.

    A row of a table whose last columns are whole numbers is mixed; a pair, if there are two of
    them and nothing else. A record is tokens, and behind them such a row or one without numbers.

    Args:
        input_shape: of an example: (height, width, channels) of an image, (steps, channels) of a
            sequence, (length,) of tokens, (length, columns) of a record, (items,) of a user and
            items to choose from; () for a row of a table or a pair.
        vocabularies: where an example holds whole numbers from 0: how many there are, one for all
            tokens, one for the user and one for all items of a choice, or one for each of the last
            columns, of a record behind the one for its tokens; () where it is made of quantities.
        features: columns of a row.

    Raises:
        ValueError: naming both, if there is no such form.
    """
    if not input_shape and 0 < len(vocabularies) <= features:
        return "pair" if features == len(vocabularies) == 2 else "mixed"
    if len(input_shape) == 2 and 0 < len(vocabularies) <= 1 + input_shape[1]:
        return "record"
    forms: dict[tuple[int, int], Form] = {
        (0, 0): "table",
        (2, 0): "sequence",
        (3, 0): "image",
        (1, 1): "tokens",
        (1, 2): "choice",
    }
    form = forms.get((len(input_shape), len(vocabularies)))
    if form is None:
        raise ValueError(
            f"there are no examples of the shape {input_shape} with vocabularies {vocabularies}"
        )
    return form


def check_features(
    features: int, input_shape: tuple[int, ...], vocabularies: tuple[int, ...]
) -> None:
    """Raises ValueError if a row of so many numbers is no example of the form."""
    form = form_of(input_shape, vocabularies, features)
    expected = sum(input_shape) if form == "record" else math.prod(input_shape)
    if input_shape and features != expected + (form == "choice"):
        raise ValueError(f"its {features} features are no {form} of the shape {input_shape}")


def check_numbers(
    name: str, x: np.ndarray, input_shape: tuple[int, ...], vocabularies: tuple[int, ...]
) -> None:
    """Raises ValueError if a token or id is not of its vocabulary.

    Args:
        name: what an error calls the rows.
        x: `[rows, features]`.
        input_shape: as of `form_of`.
        vocabularies: the same, at least one.
    """
    numbers = x if input_shape else x[:, -len(vocabularies) :]
    limits = np.array(vocabularies)
    if len(input_shape) == 2:  # of a record: its tokens and its last columns
        length, numbered = input_shape[0], len(vocabularies) - 1
        numbers = np.delete(x, slice(length, x.shape[1] - numbered), axis=1)
        limits = np.repeat(limits, [length, *[1] * numbered])
    elif len(vocabularies) == 2 and input_shape:  # of a choice
        limits = np.repeat(limits, (1, *input_shape))
    known = (numbers >= 0) & (numbers < limits) & (numbers % 1 == 0)
    if not known.all():
        raise ValueError(
            f"{name} has {numbers[~known][0]:g} for a number; vocabularies are of "
            f"{', '.join(map(str, vocabularies))}, from 0"
        )


def boxes_shape(image_size: tuple[int, ...]) -> tuple[int, int, int]:
    """The targets of an image with boxes: rows of cells, cells of a row, choices of a cell.

    Args:
        image_size: height and width, in pixels; the last cells may reach beyond the image.
    """
    height, width = image_size
    return -(-height // BOX_CELL), -(-width // BOX_CELL), BOX_CHOICES


def has_boxes(target_shape: tuple[int, ...]) -> bool:
    """Whether the targets of an example are those of boxes, which alone have three axes."""
    return len(target_shape) == 3


def check_targets(target_shape: tuple[int, ...], form: Form, input_shape: tuple[int, ...]) -> None:
    """Raises ValueError if many targets of an example do not fit it.

    They are one for each token or pixel, or those of boxes in an image.
    """
    places: tuple[tuple[int, ...], ...] = ()
    if form == "tokens":
        places = (input_shape,)
    if form == "image":
        places = (input_shape[:2], boxes_shape(input_shape[:2]))
    if target_shape and target_shape not in places:
        raise ValueError(f"targets of the shape {target_shape} do not fit {form} {input_shape}")
