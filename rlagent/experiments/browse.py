"""`rlagent runs`: looks into a store, takes out of it, and writes what others can read."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlagent.experiments.export import export, list_text, show_text
from rlagent.experiments.store import Store
from rlagent.storage import write_atomically

# What has to be read for a table, besides the rows of runs themselves.
DETAILS_OF = {"trials": ("trials",), "curves": ("curve",), "decisions": ("decisions",)}
FILTERS = ("tasks", "methods", "seeds", "updates", "status")


def browse(action: str, options: Mapping[str, Any]) -> None:
    """Does one action of `rlagent runs`.

    Args:
        action: list, show, delete or export.
        options: as the command line has them.

    Raises:
        ValueError: if the store cannot be used, or no run is meant.
    """
    path = Path(options["store"])
    wanted = {name: options[name] for name in FILTERS if options.get(name) is not None}
    match action:
        case "list":
            with Store.open(path, write=False) as store:
                print(list_text(store.runs(**wanted, details=False)))
        case "show":
            with Store.open(path, write=False) as store:
                print(show_text(store.get(options["key"])))
        case "export":
            with Store.open(path, write=False) as store:
                what = options["what"]
                parts = DETAILS_OF.get(what, ())
                export(store.runs(**wanted, details=parts), options["out"], what)
            print(options["out"])
        case "delete":
            old, asking = options["superseded"], not options["yes"]
            delete(path, wanted, options["keys"], superseded=old, asking=asking)


def delete(
    path: Path,
    wanted: Mapping[str, Any],
    prefixes: list[str],
    *,
    superseded: bool = False,
    asking: bool,
) -> None:
    """Deletes the runs of some keys, or those that meet conditions; never all by accident.

    Args:
        path: of the store.
        wanted: conditions, as `Store.runs` takes them.
        prefixes: how keys begin.
        superseded: only runs after which another one of the same cell was finished.
        asking: whether to ask before.

    Raises:
        ValueError: if no run is meant, or the store cannot be used.
    """
    if not wanted and not prefixes and not superseded:
        raise ValueError("name the runs to delete by their keys, or by --tasks, --methods, …")
    with Store.open(path, write=False) as store:
        keys = {store.get(prefix).key for prefix in prefixes}
        if wanted:
            meant = {run.key for run in store.runs(**wanted, details=False)}
            keys = meant & keys if prefixes else meant
        if superseded:
            old = store.superseded()
            keys = old & keys if wanted or prefixes else old
    if not keys:
        raise ValueError(f"no run in {path} meets these conditions")
    if asking:
        print(f"delete {len(keys)} runs of {path} for good? [y/N] ", end="", file=sys.stderr)
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            print("nothing was deleted", file=sys.stderr)
            return
    with Store.open(path, write=True) as store:
        store.delete(keys)
    print(f"deleted {len(keys)} runs")


def write_tables(path: Path, out: Path, *, against: str | None = None) -> None:
    """Writes the tables of a store as Markdown; `against` as of `write_report`."""
    from rlagent.experiments.scoreboard import scoreboard
    from rlagent.experiments.tables import markdown

    with Store.open(path, write=False) as store:
        board = scoreboard(store.runs(details=("trials", "curve")), against=against)
    write_atomically(out, markdown(board).encode())
