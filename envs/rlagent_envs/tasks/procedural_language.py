"""An endless distribution of random texts to learn character by character: one for each seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from rlagent_envs.forms import UNKNOWN
from rlagent_envs.tasks.procedural_common import (
    MAX_TRAIN_ROWS,
    MAX_VALID_ROWS,
    MOST_NOISE,
    context_of,
    log_uniform,
)
from rlagent_envs.tasks.task import Split, Task, default_batch_size

# Each of these has programs of its own, so there is one length and one vocabulary.
LENGTH, MOST_CHARACTERS = 64, 15
MOST_LINES, LEAST_LINE = 64, 1024  # a text is written so many lines at a time, each so long


class Automaton(NamedTuple):
    """A writer: in each state it draws a character, which says what state comes next."""

    chances: np.ndarray  # [states, characters]
    following: np.ndarray  # [states, characters], int


def sample_language_task(seed: int, test_rows: int = 0, difficulty: float | None = None) -> Task:
    """A text by a random automaton, to be learned as text files are; the same for a seed.

    Characters are numbered as those of a text file are, all of them known; see `from_text`.

    Args:
        seed: any number from 0.
        test_rows: windows of a test part, none by default. Another number of them gives another
            text of the same automaton.
        difficulty: from 0 to 1: how many characters are replaced; None: as it is drawn.
    """
    generator = np.random.default_rng([seed, 20])
    source = str(generator.choice(list(WRITERS)))
    count = int(generator.integers(3, MOST_CHARACTERS + 1))
    writer = WRITERS[source](generator, count)
    noise = float(generator.choice([0.0, 0.0, generator.uniform(0.0, MOST_NOISE)]))
    if difficulty is not None:
        noise = MOST_NOISE * difficulty
    # The larger of two draws, as for all procedural tasks.
    size = round(max(log_uniform(generator, 1_000, 200_000) for _ in range(2)))
    train = _windows(write(writer, generator, size, noise), -(-size // MAX_TRAIN_ROWS))
    valid_rows = int(np.clip(size // LENGTH // 4, 64, MAX_VALID_ROWS))
    valid, test = (
        _windows(write(writer, generator, rows * LENGTH + 1, noise), LENGTH) if rows else None
        for rows in (valid_rows, test_rows)
    )
    assert valid is not None
    return Task(
        name=f"procedural language:{seed}",
        kind="classification",
        train=train,
        valid=valid,
        test=test,
        outputs=UNKNOWN + count,
        batch_size=default_batch_size(len(train.x), (LENGTH,)),
        family="transformer",
        input_shape=(LENGTH,),
        vocabularies=(1 + UNKNOWN + MOST_CHARACTERS,),
        target_shape=(LENGTH,),
        continuous=np.zeros(LENGTH, bool),
        context=context_of(len(train.x), LENGTH, len(writer.chances), count, noise),
    )


def write(
    writer: Automaton, generator: np.random.Generator, characters: int, noise: float
) -> np.ndarray:
    """A text `[characters]`, numbers from 0 up, some of them replaced by any others."""
    count = int(np.clip(characters // LEAST_LINE, 1, MOST_LINES))
    states = generator.integers(len(writer.chances), size=count)
    limits = writer.chances.cumsum(axis=1)[:, :-1]
    lines = np.empty((-(-characters // count), count), np.int32)
    for step in range(len(lines)):
        lines[step] = (generator.random(count)[:, None] >= limits[states]).sum(axis=1)
        states = writer.following[states, lines[step]]
    text = lines.T.reshape(-1)[:characters]
    replaced = generator.random(characters) < noise
    others = generator.integers(writer.chances.shape[1], size=characters)
    return np.where(replaced, others, text)


def contexts(generator: np.random.Generator, count: int) -> Automaton:
    """The next character depends on the last one, two or three."""
    order = int(generator.integers(1, 1 + max(n for n in (1, 2, 3) if count**n <= 1024)))
    states = count**order
    following = np.arange(states)[:, None] * count % states + np.arange(count)
    return Automaton(_sparse(generator, states, count), following)


def hidden_states(generator: np.random.Generator, count: int) -> Automaton:
    """A few states, of which the characters tell something."""
    states = round(log_uniform(generator, 3, 64))
    following = generator.integers(states, size=(states, count))
    return Automaton(_sparse(generator, states, count), following)


def words(generator: np.random.Generator, count: int) -> Automaton:
    """Words, frequent and rare ones, with a character between them: a tree of beginnings."""
    vocabulary = round(log_uniform(generator, 4, 200))
    drawn = {
        tuple(generator.integers(1, count, generator.integers(1, 8)).tolist()): 1.0 / rank
        for rank in range(1, vocabulary + 1)
    }
    numbers: dict[tuple[int, ...], int] = {(): 0}
    for word in drawn:
        for end in range(1, len(word) + 1):
            numbers.setdefault(word[:end], len(numbers))
    weights = np.zeros((len(numbers), count))
    following = np.zeros((len(numbers), count), int)
    for word, frequency in drawn.items():
        for end, character in enumerate(word):
            weights[numbers[word[:end]], character] += frequency
            following[numbers[word[:end]], character] = numbers[word[: end + 1]]
        weights[numbers[word], 0] += frequency
    return Automaton(weights / weights.sum(axis=1, keepdims=True), following)


def brackets(generator: np.random.Generator, count: int) -> Automaton:
    """Brackets that are closed as they were opened, others in between: what is far away counts."""
    kinds = int(generator.integers(1, max(2, count // 3) + 1)) if count >= 4 else 1
    deepest = max(n for n in range(1, 6) if kinds**n <= 256)
    stacks: list[tuple[int, ...]] = [()]
    for stack in stacks:
        if len(stack) < deepest:
            stacks += [(*stack, kind) for kind in range(kinds)]
    numbers = {stack: number for number, stack in enumerate(stacks)}
    weights = np.zeros((len(stacks), count))
    weights[:, 2 * kinds :] = generator.dirichlet(np.ones(count))[2 * kinds :]
    following = np.tile(np.arange(len(stacks))[:, None], count)
    opening, closing = generator.uniform(0.2, 1.0, 2)
    for stack, number in numbers.items():
        if len(stack) < deepest:
            weights[number, :kinds] = opening / kinds
            following[number, :kinds] = [numbers[(*stack, kind)] for kind in range(kinds)]
        if stack:
            weights[number, kinds + stack[-1]] = closing
            following[number, kinds + stack[-1]] = numbers[stack[:-1]]
    return Automaton(weights / weights.sum(axis=1, keepdims=True), following)


WRITERS: dict[str, Callable[[np.random.Generator, int], Automaton]] = {
    "contexts": contexts,
    "hidden_states": hidden_states,
    "words": words,
    "brackets": brackets,
}


def _sparse(generator: np.random.Generator, states: int, count: int) -> np.ndarray:
    """Random chances for each state: even ones, or with few characters that are likely."""
    strength = log_uniform(generator, 0.05, 2.0)
    chances = generator.dirichlet(np.full(count, strength), states) + 1e-6
    return chances / chances.sum(axis=1, keepdims=True)


def _windows(text: np.ndarray, stride: int) -> Split:
    cut = np.lib.stride_tricks.sliding_window_view(text, LENGTH + 1)[::stride]
    x = (cut[:, :-1] + 1 + UNKNOWN).astype(np.float32)
    return Split(x, (cut[:, 1:] + UNKNOWN).astype(np.int32))
