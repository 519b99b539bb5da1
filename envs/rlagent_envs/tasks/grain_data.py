"""Data sets and loaders of grain: what is in an example, in memory or read when it is needed.

They are known by the module of their class, so that grain need not be there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np

from rlagent_envs.tasks.streamed import (
    STREAMED_BYTES,
    OnDisk,
    beyond_memory,
    gathered,
    in_threads,
)

MOST_EXAMPLES = 2**40  # more is what grain says of a data set that repeats without end
# What the entries of an example may be called.
TARGETS = ("y", "label", "labels", "target", "targets", "mask")
INPUTS = ("x", "image", "images", "input", "inputs", "features", "text", "audio")


def is_grain(x: Any) -> bool:
    """Whether something is a data set, a data loader or an iterator of grain."""
    return any(cls.__module__.split(".")[0] == "grain" for cls in type(x).__mro__)


class Examples:
    """The inputs of a data set that can be asked for any example, as an array on disk can."""

    def __init__(self, data: Any) -> None:
        """Looks at the first example.

        Args:
            data: a `grain.MapDataset` whose examples have inputs of one shape and type.
        """
        first = np.asarray(_pair(data[0])[0])
        self._data = data
        self.shape = (len(data), *first.shape)
        self.dtype = first.dtype
        if first.dtype.kind not in "biuf":
            raise ValueError(f"only numbers can be streamed, but examples have {first.dtype}")

    def __len__(self) -> int:
        """How many examples there are."""
        return self.shape[0]

    def __getitem__(self, numbers: np.ndarray) -> np.ndarray:
        """The inputs of some examples, in memory."""
        return gathered(self._read, numbers, self.shape[1:], self.dtype)

    def _read(self, number: int) -> np.ndarray:
        """The inputs of an example."""
        x = np.asarray(_pair(self._data[number])[0])
        if x.shape != self.shape[1:]:
            raise ValueError(
                f"example {number} has the shape {x.shape}, the first one {self.shape[1:]}; "
                "all must be the same"
            )
        return x


def read_grain(data: Any, name: str, *, streamed: bool | None = None) -> tuple[Any, np.ndarray]:
    """Inputs and targets of all examples.

    An example is a pair, or a mapping of which the entries have usual names, such as `image` and
    `label`. What is not a `grain.MapDataset` is read to its end; there, targets with an axis are
    those of a batch of examples.

    Args:
        data: a `grain.MapDataset`, a `grain.IterDataset` or a `grain.DataLoader`.
        name: what an error calls it.
        streamed: leave the inputs of a MapDataset where they are, see `from_arrays`; it is read
            once for its targets. Where None, inputs that would take more than 2 GiB are left.

    Returns:
        `Examples` on disk, an array `[examples, ...]` or a list of texts; and an array of targets.

    Raises:
        ValueError: if there are no examples, or no end of them; if an entry of an example cannot
            be told; if what can only be read in order is to be streamed, or is too large.
    """
    random_access = hasattr(data, "__getitem__") and hasattr(data, "__len__")
    if not random_access:
        if streamed:
            raise ValueError(
                f"streamed needs a grain.MapDataset, which gives examples in any order, "
                f"got {type(data).__name__}"
            )
        return _in_order(data, name)
    if len(data) > MOST_EXAMPLES:
        raise ValueError(f"{name} repeats without end; give it before repeat()")
    if len(data) == 0:
        raise ValueError(f"{name} has no examples")
    size = len(data) * np.size(_pair(data[0])[0])
    if streamed or (streamed is None and beyond_memory(size)):
        examples = OnDisk(Examples(data))
        return examples, _targets([y for _, y in _every(data)], name)
    pairs = list(_every(data))
    targets = _targets([y for _, y in pairs], name)
    return _together([x for x, _ in pairs], name), targets


def _targets(each: list[Any], name: str) -> np.ndarray:
    """The targets of all examples as one array."""
    shapes = {np.shape(y) for y in each}
    if len(shapes) > 1:
        one, other = sorted(shapes)[:2]
        raise ValueError(
            f"{name} has targets of the shapes {one} and {other}; give it before batch()"
        )
    return np.stack([np.asarray(y) for y in each])


def _every(data: Any) -> Iterator[tuple[Any, Any]]:
    """The inputs and the target of each example, read some at a time."""
    return in_threads(lambda number: _pair(data[number]), range(len(data)))


def _in_order(data: Iterable[Any], name: str) -> tuple[Any, np.ndarray]:
    inputs, targets, taken = [], [], 0
    for element in data:
        x, y = _pair(element)
        batched = np.ndim(y) > 0
        inputs.append(x if batched else [x])
        targets.append(np.asarray(y) if batched else np.asarray([y]))
        taken += 4 * np.size(x)
        if taken > STREAMED_BYTES:
            raise ValueError(
                f"{name} gives more than {STREAMED_BYTES / 2**30:g} GiB, or has no end; a "
                "grain.MapDataset can be streamed"
            )
    if not targets:
        raise ValueError(f"{name} has no examples")
    return _together(list(chain.from_iterable(inputs)), name), np.concatenate(targets)


def _together(inputs: list[Any], name: str) -> Any:
    """The inputs of all examples: texts as a list, others as one array."""
    if isinstance(inputs[0], str | bytes):
        return [x.decode() if isinstance(x, bytes) else x for x in inputs]
    shapes = {np.shape(x) for x in inputs}
    if len(shapes) > 1:
        one, other = sorted(shapes)[:2]
        raise ValueError(f"{name} has inputs of the shapes {one} and {other}; all must be the same")
    return np.stack(inputs)


def _pair(element: Any) -> tuple[Any, Any]:
    """The inputs and the target of an example, or of a batch of them."""
    if isinstance(element, tuple | list) and len(element) == 2:
        return element[0], element[1]
    if isinstance(element, Mapping):
        x = [name for name in INPUTS if name in element]
        y = [name for name in TARGETS if name in element]
        if len(x) == len(y) == 1:
            return element[x[0]], element[y[0]]
    entries = sorted(element) if isinstance(element, Mapping) else type(element).__name__
    raise ValueError(
        f"an example must be a pair (x, y), or have one of {', '.join(INPUTS)} and one of "
        f"{', '.join(TARGETS)}; it is {entries}"
    )
