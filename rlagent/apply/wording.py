"""Numbers, settings and actions as people read them."""

from __future__ import annotations

from typing import Any

# How the level of a knob is written; `{}` is the level.
_ACTIONS = {
    "learning_rate": "learning rate x {:g}",
    "weight_decay": "weight decay x {:g}",
    "dropout": "dropout {:+g}",
    "label_smoothing": "label smoothing {:+g}",
    "momentum": "1 - momentum x {:g}",
    "growth": "{}",
    "restore": "back to the {}",
}
_HOLD = {"dropout": 0.0, "label_smoothing": 0.0, "growth": "hold", "restore": "hold"}


def number(value: float | None) -> str:
    """A loss with three digits; `inf` for one that was not finite."""
    return "inf" if value is None else f"{value:.3g}"


def settings_in_words(record: dict[str, Any]) -> str:
    """The settings of a line of the history, in two lines."""
    settings = record["settings"]
    named = [f"{name.replace('_', ' ')} {value:.2g}" for name, value in settings.items()]
    return "   ".join(named[:2]) + "\n" + "   ".join(named[2:])


def actions_in_words(record: dict[str, Any]) -> str:
    """What the decision changed, empty if nothing; with what came of it, if that was special."""
    parts = [
        _ACTIONS[name].format(level)
        for name, level in record["action"].items()
        if level != _HOLD.get(name, 1.0)
    ]
    if record["diverged"]:
        parts.append("diverged, so back to the best")
    return ", ".join(parts)
