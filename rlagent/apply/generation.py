"""Texts that a language model continues, character by character."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rlagent.apply.model import log_softmax
from rlagent_envs.tasks.characters import CharacterInput, CharacterTarget

if TYPE_CHECKING:
    from rlagent.apply.model import Predictor

CHARACTERS, TEMPERATURE = 200, 0.8  # where nothing is said


def generate(
    model: Predictor,
    prompt: str,
    characters: int = CHARACTERS,
    temperature: float = TEMPERATURE,
    seed: int = 0,
) -> str:
    """Continues a text.

    Each character is drawn from what the model says of it, given as many of the characters before
    it as a window has. Characters that training lacked are read as one unknown, and never written.

    Args:
        model: of a text file.
        prompt: what is to be continued, at least one character.
        characters: how many follow.
        temperature: 1 draws from the probabilities as they are, less prefers what is likely; 0
            always takes what is most likely.
        seed: the same seed continues in the same way.

    Returns:
        What follows, without the prompt.

    Raises:
        ValueError: if the model is of other data, or a number makes no sense.
    """
    stored = model.preprocessing
    if stored is None or not isinstance(stored.target, CharacterTarget):
        raise ValueError(f"the model of {model.task} does not continue texts")
    if not prompt:
        raise ValueError("give a prompt of at least one character")
    if characters < 1:
        raise ValueError(f"characters must be at least 1, got {characters}")
    if not 0.0 <= temperature < np.inf:
        raise ValueError(f"temperature must be at least 0, got {temperature:g}")
    assert isinstance(stored.inputs, CharacterInput)
    length, generator, made = stored.inputs.length, np.random.default_rng(seed), prompt
    for _ in range(characters):
        window = made[-length:]
        raw = model.forward(stored.transform([window]))[0, len(window) - 1]
        made += stored.target.classes[_drawn(raw, temperature, generator)]
    return made[len(prompt) :]


def _drawn(raw: np.ndarray, temperature: float, generator: np.random.Generator) -> int:
    """The number of a class, which is not 0, that of unknown characters."""
    known = np.asarray(raw[1:], np.float64)
    if temperature == 0.0:
        return 1 + int(np.argmax(known))
    shares = np.exp(log_softmax(known / temperature))
    return 1 + int(generator.choice(len(known), p=shares / shares.sum()))
