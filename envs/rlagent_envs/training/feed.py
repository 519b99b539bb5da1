"""Data beyond memory: the batches of each slice are read in time and put into a bank as a block."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import jax
import numpy as np

from rlagent_envs import draws
from rlagent_envs.tasks.streamed import Streamed
from rlagent_envs.tasks.task import Task
from rlagent_envs.training.bank import Bank, make_bank, streaming_bank
from rlagent_envs.training.loop import BATCH

LEAST_BLOCK = 8  # updates; longer blocks have a power of two, so that few programs serve all
MOST_BYTES = 2**33  # of the batches of two slices: of the one that trains, and of the next one
SPARE = 2  # updates that are read ahead beyond those of the last slice: the next may be longer


class Span(NamedTuple):
    """Updates that a block is for."""

    first: int
    updates: int


class Feed:
    """Makes the bank of each slice, and reads what the next one needs while this one trains.

    Which rows an update sees is the function of the run's key and of its number that the compiled
    program of resident data computes (see `loop.batch`), so that both train the same, bit for bit.
    """

    def __init__(self, task: Task) -> None:
        """Puts all that fits onto the device.

        Args:
            task: with rows that are streamed.

        Raises:
            ValueError: if they are not.
        """
        if task.streamed is None:
            raise ValueError(f"the rows of {task.name} are in memory, so they need no feed")
        self._rows: Streamed = task.streamed
        self._batch_size = task.batch_size
        lookup = task.streamed.lookup
        # Bytes are looked up on the device: in memory and on the way there they take a fourth.
        self._raw = lookup is not None
        rest = streaming_bank(task).replace(lookup=None if lookup is None else lookup[None])
        self._rest: Bank = jax.device_put(rest)
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="feed")
        self._coming: tuple[bytes, Span, Future[np.ndarray]] | None = None

    @property
    def rest(self) -> Bank:
        """The bank without a block: targets, validation rows, and what is known of the task."""
        return self._rest

    def bank(self, key: np.ndarray, span: Span, *, last: bool = False) -> Bank:
        """The bank for some updates of a run.

        Args:
            key: of the run, `[2]`, uint32.
            span: the updates.
            last: the run ends behind them, so that nothing is read ahead.
        """
        block = self._block(key, span)
        self._coming = None
        if not last:
            following = Span(span.first + span.updates, span.updates + SPARE)
            read = self._reader.submit(self._read, key, following)
            self._coming = key.tobytes(), following, read
        return self._rest.replace(
            train_x=jax.device_put(block[None]), block=np.array([span.first], np.int32)
        )

    def _block(self, key: np.ndarray, span: Span) -> np.ndarray:
        """The batches of some updates: those that were read ahead, where they are among them."""
        if self._coming is not None:
            of, there, read = self._coming
            if of == key.tobytes() and there.first == span.first and there.updates >= span.updates:
                block = read.result()[: self._length(span)]
                block[span.updates * self._batch_size :] = 0
                return block
        return self._read(key, span)

    def _length(self, span: Span) -> int:
        """Rows of the block of some updates."""
        return _batches(span.updates) * self._batch_size

    def _read(self, key: np.ndarray, span: Span) -> np.ndarray:
        """Their inputs `[length of the block, features]`, zeros behind them.

        Float32, or uint8 where the device looks them up.
        """
        numbers = batch_rows(key, span, self._batch_size, len(self._rows))
        kind = np.uint8 if self._raw else np.float32
        block = np.zeros((self._length(span), self._rows.inputs.features), kind)
        given = self._rows.rows[numbers] if self._raw else self._rows.take(numbers)
        block[: len(numbers)] = given.reshape(len(numbers), -1)
        return block


def _batches(updates: int) -> int:
    """How many batches the block of so many updates has room for."""
    return max(LEAST_BLOCK, 1 << (updates - 1).bit_length())


def batch_bytes(rows: Streamed, batch_size: int) -> int:
    """What the inputs of a batch take in memory and on the way to the device."""
    return batch_size * rows.inputs.features * (4 if rows.lookup is None else 1)


def check_room(task: Task, updates: int, decisions: int) -> None:
    """Raises ValueError if the batches of a slice of streamed rows would take too much memory.

    Args:
        task: any; one that is in memory has no such batches.
        updates: of a whole run.
        decisions: the same.
    """
    if task.streamed is None:
        return
    each = -(-updates // decisions)
    batches = _batches(each) + _batches(each + SPARE)
    needed = batches * batch_bytes(task.streamed, task.batch_size)
    if needed > MOST_BYTES:
        fewer = "more decisions, " if batches > 2 * LEAST_BLOCK else ""
        raise ValueError(
            f"the batches of two decisions, of {each} updates of {task.batch_size} examples each, "
            f"would take {needed / 2**30:.0f} GiB; give {fewer}a smaller batch_size or "
            "smaller examples"
        )


def data_of(task: Task) -> Bank | Feed:
    """What a run of a task draws its batches from, on the device."""
    if task.streamed is not None:
        return Feed(task)
    bank: Bank = jax.device_put(make_bank(task, padded=False))
    return bank


def bank_of(data: Bank | Feed) -> Bank:
    """A bank of it, which lacks the batches if they are streamed."""
    return data.rest if isinstance(data, Feed) else data


def batch_rows(key: np.ndarray, span: Span, batch_size: int, total: int) -> np.ndarray:
    """The rows of some updates one after another, `[updates x batch_size]`, as the loop draws them.

    Args:
        key: of the run, `[2]`, uint32.
        span: the updates.
        batch_size: rows of each.
        total: rows that there are to train on.
    """
    updates = np.arange(span.first, span.first + span.updates, dtype=np.uint32)
    with np.errstate(over="ignore"):  # hashes wrap
        starts = draws.stream(key, updates, BATCH)[:, None]
        positions = np.arange(batch_size, dtype=np.uint32)[None, :]
        drawn: np.ndarray = draws.rows(starts, positions, np.uint32(total))
    return drawn.reshape(-1).astype(np.int64)
