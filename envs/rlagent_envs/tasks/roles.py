"""What the columns of a table are called that are no features, by the options that name them."""

from __future__ import annotations

from typing import NamedTuple


class Role(NamedTuple):
    """The words for a column in errors."""

    called: str
    purpose: str  # what it is needed for


ROLES = {
    "target": Role("the target", "for the target"),
    "split_column": Role("the split column", "to split by"),
    "group": Role("the group column", "to group by"),
    "split_time": Role("the column of times", "to split by time"),
    "time": Role("the column of times", "for the time"),
}
