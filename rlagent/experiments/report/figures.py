"""The figures of a report as pictures for papers and slides."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlagent.apply.panels import BLUE, FAINT, INK, VERMILION, name_beside
from rlagent.experiments.stored_run import Record
from rlagent.storage import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Board = dict[str, Any]

# As in the page; told apart with deuteranopia and protanopia too, which the tests hold.
COLOURS = (BLUE, VERMILION, "#00A67D", "#82127A", "#5E5000", "#8F7DF2", "#3B1200")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)))
NEUTRAL = "#5F666B"  # of the method that the others are compared with
COLUMNS = 3  # of small pictures beside each other
MOST_BANDS = 5  # with more lines, only the best and the method compared with show theirs
SINGLE = 1.5  # budgets of a single run that a method may cost to count as one
DPI = 150


def write_figures(
    folder: Path,
    board: Board | None,
    runs: Sequence[tuple[Sequence[Record], dict[str, Any]]] = (),
) -> list[Path]:
    """Writes each figure as a PNG and an SVG file; equal results give equal files.

    Args:
        folder: made if it is missing.
        board: a scoreboard; None where only runs are to be drawn.
        runs: history and summary of each run to draw.

    Returns:
        The files.

    Raises:
        ValueError: if the folder cannot be made or written.
    """
    from matplotlib import rc_context

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"cannot write into {folder}: {error.strerror}") from error
    written = []
    # Identifiers in an SVG file are random without a salt; its text stays text.
    with rc_context({"svg.hashsalt": "rlagent", "svg.fonttype": "none"}):
        for name, figure in _all(board, runs):
            for form, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
                picture = io.BytesIO()
                figure.savefig(picture, format=form, dpi=DPI, metadata=metadata)
                path = folder / f"{name}.{form}"
                write_atomically(path, picture.getvalue())
                written.append(path)
    return written


def scoreboard(board: Board, updates: int | None) -> Figure:
    """The difference of each method to the one compared with, as a dot with its interval.

    Args:
        board: a scoreboard.
        updates: a budget; None for all together.
    """
    rows = [row for row in board["rows"] if row["updates"] == updates and row["difference"]]
    rows.sort(key=lambda row: row["difference"]["value"], reverse=True)
    figure = _figure(7.0, 1.2 + 0.28 * max(1, len(rows)))
    panel = figure.subplots()
    look = _looks(board)
    for place, row in enumerate(rows):
        difference, (colour, _) = row["difference"], look[row["method"]]
        if difference["low"] is not None and difference["high"] is not None:
            panel.plot([difference["low"], difference["high"]], [place, place], color=colour, lw=2)
        filled = colour if row["verdict"] in ("better", "worse") else "white"
        panel.plot(difference["value"], place, "o", ms=6, mfc=filled, mec=colour, mew=1.4)
    values = [row["difference"]["value"] for row in rows]
    panel.set_xlim(_roomy([0.0, *values], panel.get_xlim(), 1.0))
    panel.axvline(0.0, color=NEUTRAL, lw=1, zorder=0)
    panel.set_yticks(range(len(rows)), [row["method"] for row in rows])
    label = f"difference in score to {board['against']} (left is better), {_at(updates)}"
    panel.set_xlabel(label, parse_math=False)
    _plain(panel, "x")
    return figure


def profiles(board: Board, updates: int | None) -> Figure:
    """The share of runs whose regret is at most a value; raises KeyError without such a budget."""
    profile = _of(board["profiles"], updates)
    figure = _figure(7.0, 4.2)
    panel = figure.subplots()
    look = _looks(board)
    ends = []
    for method in [name for name in board["methods"] if name in profile["methods"]]:
        line, (colour, dash) = profile["methods"][method], look[method]
        panel.plot(profile["thresholds"], line["share"], color=colour, ls=dash, lw=1.7)
        if _has_band(board, method, len(profile["methods"])):
            _band(panel, profile["thresholds"], line["low"], line["high"], colour)
        ends.append((method, line["share"][-1], colour))
    panel.set_ylim(0.0, 1.0)
    panel.set_xlim(profile["thresholds"][0], profile["thresholds"][-1])
    panel.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    panel.set_xlabel(f"regret at most, {_at(updates)}")
    panel.set_ylabel("share of runs")
    _plain(panel, "y")
    _name_ends(panel, ends)
    return figure


def trials(board: Board, updates: int) -> Figure:
    """The expected best of k trials of a search, beside the methods that train one network."""
    pool = _of(board["trials"], updates)
    single = {
        row["method"]
        for row in board["rows"]
        if row["updates"] == updates and row["cost"] is not None and row["cost"] <= SINGLE
    }
    counts, values = zip(*pool["expected"], strict=True)
    figure = _figure(7.0, 4.0)
    panel = figure.subplots()
    panel.plot(counts, values, "o-", color=INK, lw=1.7, ms=4)
    ends = [(f"{pool['pool']}, best of k", values[-1], INK)]
    look = _looks(board)
    for method in [name for name in board["methods"] if name in single]:
        level = _level(board, pool, method)
        if level is None:
            continue
        colour, dash = look[method]
        panel.axhline(level, color=colour, ls=dash, lw=1.4)
        ends.append((method, level, colour))
    panel.set_xscale("log", base=2)
    panel.set_xticks(counts, [str(count) for count in counts])
    panel.minorticks_off()
    panel.set_xlabel(f"k, trials of {pool['pool']} search, {_at(updates)}")
    panel.set_ylabel("expected test score (lower is better)")
    _plain(panel, "y")
    _name_ends(panel, ends)
    return figure


def anytime(board: Board, updates: int) -> Figure:
    """The best validation score so far against compute, a panel for each task."""
    curves = [curve for curve in board["anytime"] if curve["updates"] == updates]
    tasks = [task for task in board["tasks"] if any(curve["task"] == task for curve in curves)]
    lines = -(-len(tasks) // COLUMNS)
    figure = _figure(9.5, 0.5 + 2.5 * max(1, lines))
    grid = figure.subplots(max(1, lines), COLUMNS, squeeze=False)
    look = _looks(board)
    far = max((curve["spent"][-1] for curve in curves), default=1.0)
    methods = [name for name in board["methods"] if any(one["method"] == name for one in curves)]
    for panel, task in zip(grid.flat, tasks, strict=False):
        for curve in [one for one in curves if one["task"] == task]:
            colour, dash = look[curve["method"]]
            panel.step(curve["spent"], curve["score"], where="post", color=colour, ls=dash, lw=1.4)
            if curve.get("low") and _has_band(board, curve["method"], len(methods)):
                _band(panel, curve["spent"], curve["low"], curve["high"], colour, step="post")
        scores = [score for one in curves if one["task"] == task for score in one["score"]]
        panel.set_ylim(_roomy(scores, panel.get_ylim(), 0.4))
        if far > 2.0:
            panel.set_xscale("log")
            panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        panel.set_title(task, fontsize=9.5, loc="left", color=INK, parse_math=False)
        _plain(panel, "y")
    for panel in list(grid.flat)[len(tasks) :]:
        panel.set_visible(False)
    figure.supxlabel(f"compute, in budgets of a single run, {_at(updates)}", fontsize=9.5)
    figure.supylabel("validation score, best so far", fontsize=9.5)
    _legend(figure, [(name, *look[name]) for name in methods])
    return figure


def by_task(board: Board, updates: int) -> Figure:
    """The difference to the method compared with, a cell for each method and task.

    The colour is full at the 95th percentile of all differences; bold is what is clear of zero.
    """
    cells = {
        (cell["method"], cell["task"]): cell
        for cell in board["by_task"]
        if cell["updates"] == updates and cell["difference"]
    }
    methods = [name for name in board["methods"] if any(method == name for method, _ in cells)]
    tasks = [name for name in board["tasks"] if any(task == name for _, task in cells)]
    sizes = sorted(abs(cell["difference"]["value"]) for cell in cells.values())
    strongest = (sizes[int(0.95 * (len(sizes) - 1))] if sizes else 0.0) or 1e-9
    longest = max(map(len, tasks), default=0)
    # Wide enough for what is said below, too.
    width, height = max(6.0, 2.2 + 0.75 * len(tasks)), 1.1 + 0.06 * longest + 0.3 * len(methods)
    figure = _figure(width, height)
    panel = figure.subplots()
    for (method, task), cell in cells.items():
        value, place = cell["difference"]["value"], (tasks.index(task), methods.index(method))
        shade = 0.04 + 0.56 * min(1.0, abs(value) / strongest)
        colour = BLUE if value < 0 else VERMILION
        panel.bar(place[0], 0.92, 0.96, place[1] - 0.46, color=colour, alpha=shade, lw=0)
        bold = "bold" if cell["verdict"] in ("better", "worse") else "normal"
        centred: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8.5, "color": INK}
        panel.text(*place, f"{value:+.2f}", weight=bold, **centred)
    names: dict[str, Any] = {
        "rotation": 45,
        "ha": "left",
        "rotation_mode": "anchor",
        "parse_math": False,
    }
    panel.set_xticks(range(len(tasks)), tasks, **names)
    panel.xaxis.tick_top()
    panel.set_yticks(range(len(methods)), methods, parse_math=False)
    panel.set_xlim(-0.5, max(1, len(tasks)) - 0.5)
    panel.set_ylim(max(1, len(methods)) - 0.5, -0.5)
    panel.spines[:].set_visible(False)
    panel.tick_params(length=0, colors="#333333", labelsize=8.5)
    label = f"difference in score to {board['against']} (lower is better), {_at(updates)}"
    panel.set_xlabel(label, parse_math=False)
    panel.xaxis.set_label_position("bottom")
    return figure


def _all(
    board: Board | None, runs: Sequence[tuple[Sequence[Record], dict[str, Any]]]
) -> Iterator[tuple[str, Figure]]:
    """Each figure with the name of its files."""
    from rlagent.apply.curves import draw

    if board is not None:
        for updates in [None, *board["budgets"]] if len(board["budgets"]) > 1 else board["budgets"]:
            ending = "all" if updates is None else str(updates)
            yield f"scoreboard-{ending}", scoreboard(board, updates)
            yield f"profiles-{ending}", profiles(board, updates)
        parts: tuple[tuple[str, Callable[[Board, int], Figure]], ...] = (
            ("trials", trials),
            ("anytime", anytime),
            ("by_task", by_task),
        )
        for updates in board["budgets"]:
            for name, figure in parts:
                there = [one for one in board[name] if one["updates"] == updates]
                if any(one.get("difference", True) for one in there):
                    yield f"{name.replace('_', '-')}-{updates}", figure(board, updates)
    taken: set[str] = set()
    for history, summary in runs:
        # A task is named by its users, and two names may become the same file.
        name = "timeline-" + (re.sub(r"[^\w.-]+", "_", summary["task"]).strip("._") or "task")
        number = 2
        while name in taken:
            name, number = f"{name.rstrip('0123456789')}{number}", number + 1
        taken.add(name)
        yield name, draw(history, summary)


def _looks(board: Board) -> dict[str, tuple[str, Any]]:
    """Colour and dashes of each method: the same in all figures, and in the page."""
    others = [name for name in board["methods"] if name != board["against"]]
    looks = {
        name: (COLOURS[place % len(COLOURS)], DASHES[place // len(COLOURS) % len(DASHES)])
        for place, name in enumerate(others)
    }
    return looks | {board["against"]: (NEUTRAL, "-")}


def _of(parts: Sequence[Board], updates: int | None) -> Board:
    for part in parts:
        if part["updates"] == updates:
            return part
    raise KeyError(updates)


def _level(board: Board, pool: Board, method: str) -> float | None:
    """Where a method's line lies: on the curve at as many trials as it is worth.

    Beyond the ends of the curve, at its mean score over the tasks of the pool.
    """
    match = pool["to_match"].get(method)
    if match is None:
        return None
    if match["value"] is not None and not (match["at_least"] or match.get("at_most")):
        import numpy as np

        counts, expected = zip(*pool["expected"], strict=True)
        return float(np.interp(np.log(max(1.0, match["value"])), np.log(counts), expected))
    values = [
        cell["score"]["value"]
        for cell in board["by_task"]
        if cell["method"] == method
        and cell["updates"] == pool["updates"]
        and cell["task"] in pool["tasks"]
    ]
    return sum(values) / len(values) if values else None


def _at(updates: int | None) -> str:
    return "all budgets" if updates is None else f"{updates:,} updates"


def _figure(width: float, height: float) -> Figure:
    # Not pyplot: that takes a second to load, and keeps figures alive.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _plain(panel: Axes, grid: str) -> None:
    """Takes away what says nothing."""
    panel.spines[["top", "right"]].set_visible(False)
    panel.spines[["left", "bottom"]].set_color(FAINT)
    panel.tick_params(colors="#555555", labelsize=8.5)
    panel.tick_params(which="minor", left=False, bottom=False)
    panel.grid(axis="x" if grid == "x" else "y", color="#EBEBEB", lw=0.7)
    panel.set_axisbelow(True)


def _has_band(board: Board, method: str, lines: int) -> bool:
    return lines <= MOST_BANDS or method in (board["methods"][0], board["against"])


def _band(
    panel: Axes,
    x: Sequence[float],
    low: Sequence[float | None],
    high: Sequence[float | None],
    colour: str,
    step: Any = None,
) -> None:
    """A band where both of its ends are known."""
    import numpy as np

    # None becomes NaN, where nothing is drawn.
    below, above = np.array(low, float), np.array(high, float)
    panel.fill_between(np.array(x), below, above, color=colour, alpha=0.14, lw=0, step=step)


def _roomy(
    values: Sequence[float | None], limits: tuple[float, float], share: float
) -> tuple[float, float]:
    """Limits that leave room for the values: a few runs may have wide intervals."""
    known = [value for value in values if value is not None]
    if not known:
        return limits
    low, high = min(known), max(known)
    room = share * (high - low or abs(low) or 1.0)
    return max(limits[0], low - room), min(limits[1], high + room)


def _name_ends(panel: Axes, ends: Sequence[tuple[str, float, str]]) -> None:
    """Names lines right of their ends, moved apart where they would overlap."""
    low, high = panel.get_ylim()
    gap = 20.0 / panel.get_window_extent().height  # of the axis
    # Of equal ones, the first stays on top.
    lines = sorted(reversed(ends), key=lambda line: line[1])
    places: list[float] = []
    for _, value, _ in lines:
        place = (value - low) / (high - low)
        places.append(max(place, places[-1] + gap) if places else place)
    limit = 1.0
    for number in reversed(range(len(places))):
        places[number] = limit = min(places[number], limit)
        limit -= gap
    for place, (name, _, colour) in zip(places, lines, strict=True):
        name_beside(panel, name, place, colour, "axes fraction", size=8.5)


def _legend(figure: Figure, looks: Sequence[tuple[str, str, Any]]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=colour, ls=dash, label=name) for name, colour, dash in looks]
    figure.legend(handles=handles, loc="outside upper left", ncols=6, frameon=False, fontsize=8.5)
