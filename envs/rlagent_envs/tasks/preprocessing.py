"""From a table or an array to the float32 inputs and targets of a network, and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, ValidationError

from rlagent_envs.tasks.array_input import ArrayForm, ArrayInput
from rlagent_envs.tasks.audio_input import AudioInput
from rlagent_envs.tasks.box_target import BoxTarget
from rlagent_envs.tasks.characters import CharacterInput, CharacterTarget
from rlagent_envs.tasks.choices import ChoiceInput
from rlagent_envs.tasks.columns import Stored, is_table
from rlagent_envs.tasks.image_input import ImageInput
from rlagent_envs.tasks.mask_target import MaskTarget, read_masks
from rlagent_envs.tasks.record_input import RecordInput
from rlagent_envs.tasks.series_input import SeriesInput
from rlagent_envs.tasks.table_input import TableInput
from rlagent_envs.tasks.targets import ClassTarget, RegressionTarget, read_target
from rlagent_envs.tasks.texts import TextInput, read_texts, text_columns
from rlagent_envs.tasks.window_input import WindowInput

if TYPE_CHECKING:
    from rlagent_envs.tasks.task import Kind


Made = ImageInput | AudioInput | SeriesInput | WindowInput  # what arrays are made of


class Preprocessing(Stored):
    """What was learned from the training rows, to be applied to all others.

    Numeric columns are imputed by the median and standardised, with a flag for missing values if
    training had any; categories and booleans become one feature for each category, or, where there
    are more than 64, its number. Arrays are standardised, images by one mean and scale, sequences
    by those of each channel. Standardised inputs are clipped to [-10, 10]. Free text becomes the
    numbers of its words, before the other columns of its table.
    """

    version: Literal[1] = 1
    inputs: Annotated[
        ArrayInput | CharacterInput | TableInput | TextInput | RecordInput | ChoiceInput | Made,
        Field(discriminator="kind"),
    ]
    target: Annotated[
        BoxTarget | CharacterTarget | ClassTarget | MaskTarget | RegressionTarget,
        Field(discriminator="kind"),
    ]

    @classmethod
    def fit(
        cls,
        x: Any,
        y: Any,
        kind: Kind,
        form: ArrayForm | None = None,
        *,
        ids: Collection[str] = (),
        embed: bool = True,
        vocabulary: int | None = None,
    ) -> Preprocessing:
        """Learns from training rows alone.

        Args:
            x: DataFrame, array `[rows, ...]`, or texts `[rows]`.
            y: labels or values, `[rows]`, or whole numbers, a class for each pixel, `[rows, height,
                width]`, or floats, boxes `[rows, most, 5]`.
            kind: whether `y` holds classes or quantities.
            form: of the examples in an array; found by its shape where None.
            ids: of a DataFrame, the columns that hold identifiers.
            embed: of a DataFrame, number the categories of columns that have more than 64.
            vocabulary: of texts, how many tokens there are at most, see `TextInput.fit`.

        Raises:
            ValueError: naming the column or value that cannot be used.
        """
        inputs = _fit_inputs(x, form, ids, embed, vocabulary)
        if np.ndim(y) == 3 and np.asarray(y).dtype.kind == "f":
            return cls(inputs=inputs, target=BoxTarget.fit(y, inputs.input_shape))
        if np.ndim(y) == 3:
            masks = MaskTarget.fit(read_masks(y))
            masks.check_images(inputs.input_shape)
            return cls(inputs=inputs, target=masks)
        target = ClassTarget if kind == "classification" else RegressionTarget
        return cls(inputs=inputs, target=target.fit(read_target(y)))

    @property
    def features(self) -> int:
        """Columns of the preprocessed input."""
        return self.inputs.features

    @property
    def outputs(self) -> int:
        """Number of classes, or 1 for regression."""
        return self.target.outputs

    @property
    def classes(self) -> tuple[bool | int | float | str, ...] | None:
        """The labels in the order of the class numbers; None for regression."""
        return self.target.classes

    @property
    def target_shape(self) -> tuple[int, ...]:
        """Of an example's targets: () where it has one."""
        return self.target.target_shape

    def transform(self, table_or_array: Any) -> np.ndarray:
        """Inputs of the form of training to float32 `[rows, features]`, always finite.

        Raises:
            ValueError: for a missing column, another shape of rows, text in a numeric column,
                infinite values, and, in arrays, missing ones.
        """
        return self.inputs.transform(table_or_array)

    def encode_target(self, y: Any, part: str = "given") -> np.ndarray:
        """Labels to int32 class numbers, or values to standardised float32, `[rows, *targets]`.

        Raises:
            ValueError: for classes that training lacked, in the part named by `part`.
        """
        return self.target.encode(y, part)

    def decode_target(self, encoded: np.ndarray) -> np.ndarray:
        """Class numbers to labels, or standardised values to the units of the target."""
        return self.target.decode(encoded)

    def made_by(self, inputs: Callable[..., Made]) -> Preprocessing:
        """The same for what arrays are made of: `inputs` gets the standardising as `values`."""
        assert isinstance(self.inputs, ArrayInput)
        return Preprocessing(inputs=inputs(values=self.inputs), target=self.target)

    def to_json(self) -> dict[str, Any]:
        """Plain lists, numbers and texts; `from_json` makes the same object of it, exactly."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Preprocessing:
        """What `to_json` gave; ValueError of one sentence for anything else."""
        try:
            # By way of text, because in JSON a tuple is a list, and nothing else is converted.
            read = cls.model_validate_json(json.dumps(stored))
            read.inputs.check()
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(step) for step in first["loc"]) or "it"
            message = f"{place}: {first['msg']}"
            raise ValueError(f"the preprocessing cannot be read: {message}") from None
        except (ValueError, TypeError) as error:
            raise ValueError(f"the preprocessing cannot be read: {error}") from None
        return read


def _fit_inputs(
    x: Any, form: ArrayForm | None, ids: Collection[str], embed: bool, vocabulary: int | None
) -> ArrayInput | TableInput | TextInput | RecordInput:
    if is_table(x):
        texts, others = (x.iloc[:, :0], x) if ids else text_columns(x)
        if texts.shape[1] and others.shape[1]:
            return RecordInput.fit(texts, others, embed, vocabulary)
        if texts.shape[1]:
            return TextInput.fit(texts, vocabulary)
    elif (listed := read_texts(x)) is not None:
        return TextInput.fit(listed.to_frame(), vocabulary)
    if vocabulary is not None:
        raise ValueError("vocabulary is for texts, but there is no column of free text")
    return TableInput.fit(x, ids, embed) if is_table(x) else ArrayInput.fit(x, form)
