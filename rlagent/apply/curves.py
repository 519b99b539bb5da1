"""The picture of a run: losses, settings and architecture over one axis, the budget spent."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlagent.apply import panels
from rlagent.apply.panels import FAINT, GREEN, INK, ORANGE, PURPLE, SKY, VERMILION, Record
from rlagent.apply.wording import value_in_words
from rlagent.storage import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 9.0  # inches

# How settings are drawn: (name in the history, title, logarithmic, colour).
SETTINGS = (
    ("learning_rate", "learning rate", True, GREEN),
    ("weight_decay", "weight decay", True, PURPLE),
    ("momentum", "momentum", False, SKY),
    ("dropout", "dropout", False, ORANGE),
    ("label_smoothing", "label smoothing", False, VERMILION),
    ("focal_gamma", "focal gamma", False, GREEN),
    ("class_balance", "class balance", False, PURPLE),
    ("huber_delta", "Huber delta", True, SKY),
    ("quantile", "quantile", False, ORANGE),
    ("l2", "L2", False, VERMILION),
    ("l1", "L1", False, GREEN),
    ("clip_quantile", "clip quantile", False, PURPLE),
    ("average_decay", "average decay", False, SKY),
    ("augmentation", "augmentation", False, ORANGE),
    ("mixup", "mixup", False, VERMILION),
    ("cutmix", "cutmix", False, GREEN),
    ("adversarial_epsilon", "adversarial epsilon", False, PURPLE),
    ("adversarial_share", "adversarial share", False, SKY),
    ("adversarial_steps", "adversarial steps", False, ORANGE),
    ("adversarial_step", "adversarial step", False, VERMILION),
    ("trades", "TRADES", False, GREEN),
    ("activation", "activation", False, PURPLE),
    ("stochastic_depth", "stochastic depth", False, SKY),
)


def write_curves(path: Path, history: Sequence[Record], summary: Record) -> None:
    """Writes the picture as a PNG file, atomically."""
    picture = io.BytesIO()
    draw(history, summary).savefig(picture, format="png", dpi=150)
    write_atomically(path, picture.getvalue())


def draw(history: Sequence[Record], summary: Record) -> Figure:
    """Draws a run.

    Args:
        history: its decisions, at least one.
        summary: what came of it.

    Returns:
        A figure, in no window; settings that never changed are named below it, not drawn. Of
        several networks the best one by validation loss is drawn, and the others' losses behind it.
    """
    if not history:
        raise ValueError("the run has made no decision yet, so there is nothing to draw")
    # Not pyplot: that takes a second to load, and keeps figures alive.
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    whole, history = history, of_the_best(history)
    edges = np.array([0.0, *(record["spent"] for record in history)])
    moved = [row for row in SETTINGS if _moves(history, row[0])]
    grows = any(record["rung"] != history[0]["rung"] for record in history)
    heights = [3.0, *(1.5 if row[0] == "learning_rate" else 0.85 for row in moved)]
    heights += [0.75] if grows else []
    copying = any(record.get("copied") is not None for record in whole)
    heights += [0.3 + 0.17 * len(by_member(whole))] if copying else []
    engine = ConstrainedLayoutEngine(hspace=0.03, h_pad=0.06)
    figure = Figure(figsize=(WIDTH, 1.45 + sum(heights) * 1.12), layout=engine)
    grid = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)
    column: list[Axes] = list(grid[:, 0])
    panels.losses(column[0], history, edges)
    panels.others(column[0], [one for one in by_member(whole) if one != history])
    for axes, (name, title, logarithmic, colour) in zip(column[1:], moved, strict=False):
        panels.setting(axes, history, edges, name, logarithmic, colour)
        axes.set_ylabel(title.replace(" ", "\n"))
    if grows:
        panels.architecture(column[1 + len(moved)], history, edges)
    if copying:
        panels.copies(column[-1], whole, edges, history[0]["trial"])
        column[-1].set_ylabel("copies,\nby trial")
    for axes in column:
        _events(axes, history, edges)
        _plain(axes)
    column[-1].set_xlim(0.0, 1.0)
    column[-1].set_xlabel("share of the budget spent")
    column[-1].xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    figure.align_ylabels(column)
    heading = figure.suptitle(_title(summary), x=0.012, ha="left", fontsize=12, color=INK)
    heading.set(weight="bold", parse_math=False)  # a task is named by its users, `$` and all
    _legend(column[0], history)
    if constant := _constants(history, {row[0] for row in moved}, grows):
        figure.supxlabel(constant, x=0.012, ha="left", fontsize=8.5, color="#666666")
    return figure


def by_member(history: Sequence[Record]) -> list[list[Record]]:
    """The decisions of each network: of a member of a run, or of a trial of a population."""
    networks: dict[int | None, list[Record]] = {}
    for record in history:
        networks.setdefault(record.get("member", record.get("trial")), []).append(record)
    return list(networks.values())


def of_the_best(history: Sequence[Record]) -> list[Record]:
    """The decisions of the network with the lowest validation loss; all of them if it is alone."""
    if len(networks := by_member(history)) == 1:
        return networks[0]

    def lowest(records: Sequence[Record]) -> float:
        return min((one["valid_loss"] for one in records if one["improved"]), default=np.inf)

    return min(networks, key=lowest, default=[])


def _title(summary: Record) -> str:
    parts = [summary["task"], summary["method"]]
    if told := summary.get("ensemble"):
        parts.append(f"{told['kind']} of {told['members']}")
    if told := summary.get("cross_validation"):
        parts.append(f"{told['folds']} folds")
    for part in ("test", "valid"):
        if (score := summary[f"{part}_score"]) is not None:
            where = "test" if part == "test" else "validation"
            parts.append(f"{summary['score_name']} {score:.3g} on {where} data")
            break
    return "  ·  ".join(parts)


def _constants(history: Sequence[Record], moved: set[str], grows: bool) -> str:
    """What never changed, in words."""
    settings = history[0]["settings"]
    named = [
        f"{title} {value_in_words(name, settings[name])}"
        for name, title, _, _ in SETTINGS
        if name in settings and name not in moved
    ]
    named += [] if grows else [f"network {history[0]['rung']}"]
    return f"Unchanged: {', '.join(named)}." if named else ""


def _moves(history: Sequence[Record], name: str) -> bool:
    """Whether a setting is worth a panel; the learning rate always is."""
    values = {record["settings"].get(name) for record in history}
    return name == "learning_rate" or len(values) > 1


def _events(panel: Axes, history: Sequence[Record], edges: np.ndarray) -> None:
    """Marks decisions by ticks, and what was special about some by lines through all panels."""
    panel.vlines(
        edges[:-1], 0.0, 0.025, transform=panel.get_xaxis_transform(), color=FAINT, lw=0.8, zorder=0
    )
    for happened, colour, style, _, _ in EVENTS:
        # A divergence is known at the end of its slice, an edit is made at the beginning.
        late = happened is _diverged
        for number, record in enumerate(history):
            if happened(record):
                panel.axvline(edges[number + late], color=colour, ls=style, lw=1.1, zorder=0.5)


def _legend(panel: Axes, history: Sequence[Record]) -> None:
    """Names the kinds of lines that are there, above the first panel."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=FAINT, marker="|", ls="", ms=5, label="decision")]
    handles.append(
        Line2D([], [], color=INK, marker="o", mfc="none", ls="", ms=7, label="selected model")
    )
    for happened, colour, style, one, many in EVENTS:
        if count := sum(map(happened, history)):
            label = one if count == 1 else f"{count} {many}"
            handles.append(Line2D([], [], color=colour, ls=style, lw=1.3, label=label))
    panel.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=len(handles),
        frameon=False,
        fontsize=8.5,
        handlelength=1.6,
        columnspacing=1.4,
        borderaxespad=0.1,
    )


def _plain(panel: Axes) -> None:
    """Takes away what says nothing."""
    panel.spines[["top", "right"]].set_visible(False)
    panel.spines[["left", "bottom"]].set_color(FAINT)
    panel.tick_params(colors="#555555", labelsize=8.5)
    panel.tick_params(which="minor", left=False)
    panel.grid(axis="y", color="#EBEBEB", lw=0.7, zorder=0)
    panel.set_axisbelow(True)


def _diverged(record: Record) -> bool:
    return bool(record["diverged"])


def _restored(record: Record) -> bool:
    return bool(record["action"]["restore"] != "hold")


def _copied(record: Record) -> bool:
    return record.get("copied") is not None


def _grew(record: Record) -> bool:
    return bool(record["action"]["growth"] != "hold")


def _shrank(record: Record) -> bool:
    return bool(record["action"]["shrink"] != "hold")


# What may be special about a decision: (whether it is, colour, line, name of one, of many).
EVENTS: tuple[tuple[Callable[[Record], bool], str, Any, str, str], ...] = (
    (_diverged, VERMILION, "-", "divergence", "divergences"),
    (_restored, PURPLE, (0, (1, 1.5)), "return to the best", "returns to the best"),
    (_grew, SKY, (0, (5, 2)), "growth", "growths"),
    (_shrank, ORANGE, (0, (3, 1, 1, 1)), "shrinking", "shrinkings"),
    (_copied, GREEN, (0, (1, 1)), "copy of another trial", "copies of other trials"),
)
