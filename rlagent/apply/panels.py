"""The panels of the picture of a run, each drawn on axes of its own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count, groupby
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Record = dict[str, Any]

# The colours of Okabe and Ito, which people tell apart however they see colours.
ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE = (
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
INK, FAINT = "#222222", "#B8B8B8"
SHADES = ("#E3EEF6", "#C3DBEC", "#9CC5E0", "#6FAAD2")  # of the levels of depth and width
MOST_STEP = 0.014  # of the axis, between arrows that stand side by side
LEAST_SEGMENT = 0.045  # of the axis: a narrower one is too small for its number


def losses(panel: Axes, history: Sequence[Record], edges: np.ndarray) -> None:
    """Training, validation and best loss, each named at its right end."""
    tiny = 1e-12
    train = np.array([_positive(record["train_loss"], tiny) for record in history])
    valid = np.array([_positive(record["valid_loss"], tiny) for record in history])
    improved = np.array([record["improved"] for record in history])
    best = np.fmin.accumulate(np.where(improved, valid, np.nan))
    middles = (edges[:-1] + edges[1:]) / 2
    panel.plot(middles, train, color=ORANGE, lw=1.6, solid_capstyle="round")
    panel.plot(edges[1:], valid, color=BLUE, lw=1.8, marker="o", ms=3.0, mew=0)
    panel.plot(edges[1:], best, color=INK, lw=1.1, ls=(0, (4, 2)), drawstyle="steps-post")
    if improved.any():
        chosen = int(np.flatnonzero(improved)[-1])
        panel.plot(edges[1 + chosen], valid[chosen], "o", ms=9, mfc="none", mec=INK, mew=1.3)
    panel.set_ylabel("loss")
    # A run that diverges should not squeeze all else into a line.
    kept = np.concatenate([values[np.isfinite(values)] for values in (train, valid)])
    if len(kept):
        low, high = kept.min(), min(kept.max(), 8.0 * np.median(kept[: max(3, len(kept) // 8)]))
        _logarithmic(panel, low / 1.35, max(high, low * 1.5) * 1.35)
    ends = [("train", train, ORANGE), ("valid", valid, BLUE), ("best", best, INK)]
    _name_ends(panel, [(name, _last(values), colour) for name, values, colour in ends])


def others(panel: Axes, histories: Sequence[Sequence[Record]]) -> None:
    """The validation losses of the other networks of a run, faint, within the axes as they are."""
    for history in histories:
        spent = [record["spent"] for record in history]
        valid = [_positive(record["valid_loss"], 1e-12) for record in history]
        panel.plot(spent, valid, color=BLUE, lw=0.9, alpha=0.35, zorder=1)


def _name_ends(panel: Axes, ends: list[tuple[str, float, str]]) -> None:
    """Names the curves right of their ends, moved apart where they would overlap."""
    ends = [end for end in ends if np.isfinite(end[1])]
    if not ends:  # the axis has no logarithmic scale then
        return
    low, high = np.log(panel.get_ylim())
    places = [
        ((np.log(value) - low) / (high - low), name, value, colour) for name, value, colour in ends
    ]
    previous = -1.0
    for place, name, value, colour in sorted(places):
        place = max(min(place, 1.0), previous + 0.075)
        previous = place
        name_beside(panel, f"{name} {value:.3g}", place, colour, "axes fraction")


def setting(
    panel: Axes,
    history: Sequence[Record],
    edges: np.ndarray,
    name: str,
    logarithmic: bool,
    colour: str,
) -> None:
    """A setting as steps, with a dot where a decision changed it."""
    values = np.array([record["settings"][name] for record in history])
    panel.stairs(values, edges, baseline=None, color=colour, lw=1.8)
    changed = np.flatnonzero(np.diff(values) != 0) + 1
    if len(changed) < len(history) - 1:  # a schedule changes at each: dots would say nothing
        panel.plot(edges[changed], values[changed], "o", color=colour, ms=3.6, mew=0)
    low, high = values.min(), values.max()
    if logarithmic:
        spread = max((high / low) ** 0.12, 2.0 if low == high else 1.1)
        _logarithmic(panel, low / spread, high * spread)
    else:
        spread = max(0.15 * (high - low), 0.01)
        panel.set_ylim(low - spread, high + spread)
    name_beside(panel, f"{values[-1]:.2g}", values[-1], colour, "data")


def name_beside(
    panel: Axes, words: str, height: float, colour: str, units: str, size: float = 9
) -> None:
    """Words right of a panel.

    Args:
        panel: beside which they are.
        words: what they say.
        height: of their middle.
        colour: of the letters.
        units: of the height: `axes fraction` or `data`.
        size: of the letters, in points.
    """
    panel.annotate(
        words,
        (1.0, height),
        xycoords=("axes fraction", units),
        xytext=(7, 0),
        textcoords="offset points",
        va="center",
        color=colour,
        fontsize=size,
        annotation_clip=False,
    )


def _logarithmic(panel: Axes, low: float, high: float) -> None:
    """A logarithmic axis: ticks at each decade, or at 1, 2 and 5 where there are few decades."""
    from matplotlib.ticker import LogLocator, NullLocator

    few = np.log10(high / low) < 1.7
    panel.set_yscale("log")
    panel.set_ylim(low, high)
    panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=8))
    panel.yaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_major_formatter(lambda value, _: f"{value:g}")


def architecture(panel: Axes, history: Sequence[Record], edges: np.ndarray) -> None:
    """Two rows, layers and width: a segment with its number, the darker the larger."""
    sizes = [tuple(map(int, record["rung"].split("x"))) for record in history]
    for row, place in ((0, 0), (1, 1)):  # width, then layers above it
        levels = sorted({size[place] for size in sizes})
        values = [size[place] for size in sizes]
        for value, members in groupby(range(len(sizes)), values.__getitem__):
            numbers = list(members)
            left, right = edges[numbers[0]], edges[numbers[-1] + 1]
            shade = SHADES[min(levels.index(value), len(SHADES) - 1)]
            panel.barh(row, right - left, left=left, height=0.8, color=shade, ec="white", lw=1.2)
            if right - left >= LEAST_SEGMENT:
                middle = (left + right) / 2
                panel.text(middle, row, str(value), ha="center", va="center", fontsize=9, color=INK)
    panel.set_ylim(-0.55, 1.55)
    panel.set_yticks([0, 1], ["width", "layers"])


def copies(panel: Axes, history: Sequence[Record], edges: np.ndarray, own: int) -> None:
    """A line for each trial of a population, and an arrow from it to each that copied it.

    Arrows of one round stand side by side where one would lie on another, in its middle.

    Args:
        panel: to draw on.
        history: decisions of all trials.
        edges: shares of the budget at which the decisions of the trial that is shown begin and end.
        own: the trial that is shown.
    """
    trials = sorted({record["trial"] for record in history})
    for trial in trials:
        colour, width = (INK, 1.6) if trial == own else (FAINT, 0.9)
        panel.plot([0.0, edges[-1]], [trial, trial], color=colour, lw=width)
    copied = [record for record in history if record.get("copied") is not None]
    made = [(record["decision"] - 1, record["trial"], record["copied"]) for record in copied]
    for (_, trial, source), place in zip(made, _places(made, edges), strict=True):
        colour = INK if trial == own else BLUE
        panel.annotate(
            "",
            (place, trial),
            (place, source),
            arrowprops={
                "arrowstyle": "-|>",
                "color": colour,
                "lw": 1.1,
                "shrinkA": 0,
                "shrinkB": 0,
            },
        )
        panel.plot([place], [source], marker=".", ms=4, color=colour)
    panel.set_yticks(trials, [str(trial) for trial in trials])
    panel.set_ylim(trials[-1] + 0.6, trials[0] - 0.6)  # the first on top


def _places(made: Sequence[tuple[int, int, int]], edges: np.ndarray) -> list[float]:
    """Where on the axis the arrow of each copy stands; see `side_by_side`."""
    if not made:
        return []
    columns = side_by_side(made)
    last = {
        at: max(c for (other, *_), c in zip(made, columns, strict=True) if other == at)
        for at, *_ in made
    }
    middles = edges[sorted(last)]
    # As far from the middle of a round as to those beside it, or to the ends, at the most.
    around = np.concatenate([-middles[:1], middles, 2 * edges[-1:] - middles[-1:]])
    step = min(0.8 * np.diff(around).min() / (1 + max(columns)), MOST_STEP)
    return [
        float(edges[at] + (column - last[at] / 2) * step)
        for (at, *_), column in zip(made, columns, strict=True)
    ]


def side_by_side(copies: Sequence[tuple[int, int, int]]) -> list[int]:
    """For each copy a column in which no other one of the same round meets it, as few as can be.

    Args:
        copies: the round, the trial that copied and the one that it copied, of each.
    """
    columns = [0] * len(copies)
    ends: dict[tuple[int, int], int] = {}  # of a round and a column, how far down it is taken
    for place in sorted(range(len(copies)), key=lambda one: sorted(copies[one][1:])):
        at, *ways = copies[place]
        column = next(one for one in count() if ends.get((at, one), -1) < min(ways))
        columns[place] = column
        ends[at, column] = max(ways)
    return columns


def _positive(value: float | None, tiny: float) -> float:
    return np.nan if value is None else max(value, tiny)


def _last(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known[-1]) if len(known) else np.nan
