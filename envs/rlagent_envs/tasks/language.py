"""Language modelling by characters: tasks from text files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rlagent_envs.forms import UNKNOWN
from rlagent_envs.tasks.characters import (
    CharacterInput,
    CharacterTarget,
    characters_of,
    numbers_of,
)
from rlagent_envs.tasks.preprocessing import Preprocessing
from rlagent_envs.tasks.task import Split, Task, default_batch_size

LENGTH = 64  # of a window, in characters
VALID_SHARE, TEST_SHARE = 0.05, 0.05  # of a text
# To train on: windows overlap, so that a character is met at many places, as long as there
# are not more than that. A window takes 512 bytes.
MOST_OVERLAPPING = 65_536


def from_text(
    text: str,
    *,
    valid: str | None = None,
    test: str | None = None,
    length: int = LENGTH,
    name: str = "text",
    batch_size: int | None = None,
    seed: int = 0,
) -> Task:
    """A task of saying the next character at each place of windows of text.

    The first 90 % of the text train, the next 5 % validate and the last 5 % test: in order, because
    neighbouring windows are about the same things. The characters of the part to train on are the
    vocabulary. Windows to validate and test on do not overlap; what is left at the end of a part is
    not used. Each place of a window sees the characters before it in the window alone.

    Args:
        text: at least 1,300 characters for the length of 64.
        valid: another text to validate on; then all of `text` trains, and there is no test part
            but one that is given.
        test: another text to test on; then 95 % of `text` train, or all of it.
        length: of a window.
        name: of the task.
        batch_size: windows per update; 32 where None.
        seed: orders the windows to validate on, of which an episode looks at the first ones.

    Raises:
        ValueError: if a part is too short for a window, or there is only one character.
    """
    parts = _parts(text, valid, test)
    for part, own in parts.items():
        if len(own) <= length:
            raise ValueError(
                f"the {part} part of {name} has {len(own)} characters, a window and the character "
                f"behind it need {length + 1}"
            )
    train = parts["train"]
    characters = characters_of(train)
    if len(characters) == 1:
        raise ValueError(f"the train part of {name} has only one character, {characters!r}")
    preprocessing = Preprocessing(
        inputs=CharacterInput(characters=characters, length=length),
        target=CharacterTarget(characters=characters, length=length),
    )
    splits = {part: windows(own, characters, length, length) for part, own in parts.items()}
    stride = min(-(-len(train) // MOST_OVERLAPPING), length)
    splits["train"] = windows(train, characters, length, stride)
    order = np.random.default_rng(seed).permutation(len(splits["valid"].x))
    inputs = preprocessing.inputs
    return Task(
        name=name,
        kind="classification",
        train=splits["train"],
        valid=Split(*(array[order] for array in splits["valid"])),
        test=splits.get("test"),
        outputs=preprocessing.outputs,
        batch_size=default_batch_size(0, (length,)) if batch_size is None else batch_size,
        family="transformer",
        input_shape=inputs.input_shape,
        vocabularies=inputs.vocabularies,
        target_shape=preprocessing.target_shape,
        preprocessing=preprocessing,
        continuous=np.array(inputs.continuous),
    )


def _parts(text: str, valid: str | None, test: str | None) -> dict[str, str]:
    """The parts that are given, and those of a text, one behind the other."""
    given = {"valid": valid, "test": test}
    parts = {part: own for part, own in given.items() if own is not None}
    if valid is not None:
        return {"train": text, **parts}
    if test is not None:
        first = round(len(text) * (1.0 - VALID_SHARE))
        return {"train": text[:first], "valid": text[first:], "test": test}
    first = round(len(text) * (1.0 - VALID_SHARE - TEST_SHARE))
    second = round(len(text) * (1.0 - TEST_SHARE))
    return {"train": text[:first], "valid": text[first:second], "test": text[second:]}


def windows(text: str, characters: str, length: int, stride: int) -> Split:
    """Windows of a text with the characters that follow each of theirs.

    Args:
        text: longer than `length`.
        characters: those known, in their order.
        length: of a window.
        stride: from the beginning of a window to that of the next one.
    """
    numbers = numbers_of(text, characters)
    cut = np.lib.stride_tricks.sliding_window_view(numbers, length + 1)[::stride]
    return Split((cut[:, :-1] + UNKNOWN).astype(np.float32), np.ascontiguousarray(cut[:, 1:]))


def read_text(path: Path) -> str:
    """A text file; ValueError if it is not in UTF-8, or if it holds time series."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not a text file in UTF-8") from None
    rows = [line.split() for line in text[:100_000].splitlines()[:10]]
    of_a_set = path.stem.upper().endswith(("_TRAIN", "_TEST"))  # as those of UCR are called
    if of_a_set and all(map(_are_numbers, rows)):
        raise ValueError(
            f"{path} holds time series, and no text; they are read from .ts and .tsv files"
        )
    return text


def _are_numbers(cells: list[str]) -> bool:
    """Whether a line holds numbers alone."""
    try:
        return bool([float(cell) for cell in cells])
    except ValueError:
        return False
