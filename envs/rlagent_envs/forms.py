"""What an example is made of: it says which networks can read it, and what may be done to it."""

from __future__ import annotations

import math
from typing import Literal

Form = Literal["table", "image", "sequence", "tokens", "pair"]

UNKNOWN = 1  # number of a token that is not in the vocabulary, or hidden; 0 stands for no token


def form_of(input_shape: tuple[int, ...], vocabularies: tuple[int, ...]) -> Form:
    """The form of examples.

    Args:
        input_shape: of an example: (height, width, channels) of an image, (steps, channels) of a
            sequence, (length,) of tokens; () for a row of a table or a pair.
        vocabularies: where an example is made of whole numbers from 0: how many there are, one for
            all tokens, or one for each of a pair; () where it is made of quantities.

    Raises:
        ValueError: naming both, if there is no such form.
    """
    forms: dict[tuple[int, int], Form] = {
        (0, 0): "table",
        (2, 0): "sequence",
        (3, 0): "image",
        (1, 1): "tokens",
        (0, 2): "pair",
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
    form = form_of(input_shape, vocabularies)
    expected = 2 if form == "pair" else math.prod(input_shape) if input_shape else features
    if features != expected:
        raise ValueError(f"its {features} features are no {form} of the shape {input_shape}")


def check_targets(
    target_shape: tuple[int, ...], input_shape: tuple[int, ...], vocabularies: tuple[int, ...]
) -> None:
    """Raises ValueError if many targets of an example are not one for each token or pixel of it."""
    form = form_of(input_shape, vocabularies)
    places = {"tokens": input_shape, "image": input_shape[:2]}
    if target_shape and target_shape != places.get(form):
        raise ValueError(f"targets of the shape {target_shape} do not fit {form} {input_shape}")
