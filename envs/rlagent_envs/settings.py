"""The numbers that training obeys and the agent may change: always traced, never compiled in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import jax


class Settings(NamedTuple):
    """The settings now in force; a run holds them as one vector `[settings]` in this order."""

    learning_rate: Any
    weight_decay: Any  # decoupled: a share of learning_rate x weights, as in AdamW
    dropout: Any  # share of hidden units dropped
    label_smoothing: Any  # share of the target spread over all classes
    momentum: Any  # decay of the first moment, Adam's b1
    focal_gamma: Any = 0.0  # 0: cross-entropy; above, examples that are right already count less
    class_balance: Any = 0.0  # 0: all examples count the same; 1: all classes do
    huber_delta: Any = 100.0  # errors above it count linearly; in standard deviations of the target
    quantile: Any = 0.5  # that a regression aims at; 0.5: the middle
    l2: Any = 0.0  # penalty in the loss: half of it times the squared norm of the weights
    l1: Any = 0.0  # the same: times the sum of their magnitudes
    clip_quantile: Any = 1.0  # gradients are shortened to this quantile of recent norms; 1: never
    average_decay: Any = 0.0  # of the mean of the weights that is judged; 0: the weights as are
    augmentation: Any = 0.0  # how strongly inputs are changed; 0: not
    mixup: Any = 0.0  # alpha of the mixing of pairs of examples; 0: none are mixed
    cutmix: Any = 0.0  # the same, where a rectangle of one image is put into another
    adversarial_epsilon: Any = 0.0  # how far inputs are moved against the network; 0: not
    adversarial_share: Any = 1.0  # share of the batch that is attacked
    adversarial_steps: Any = 1.0  # of the attack: 1 is FGSM, more are PGD
    adversarial_step: Any = 2.5  # length of a step of the attack, in epsilon / steps
    trades: Any = (
        0.0  # 0: learn attacked examples; above, weight of the change that the attack makes
    )
    activation: Any = 0.0  # number of the activation, of `ACTIVATIONS` in models/activations.py
    stochastic_depth: Any = 0.0  # share of examples that skip the last residual block

    @classmethod
    def unpack(cls, vector: jax.Array) -> Settings:
        """The settings by name, from their vector."""
        return cls(*vector)

    def pack(self) -> np.ndarray:
        """The vector `[settings]`, float32."""
        return np.array(self, np.float32)

    def check(self) -> None:
        """Raises ValueError, naming the setting, its value and its bounds, if one is outside."""
        for name, value, low, high in zip(self._fields, self, LOW, HIGH, strict=True):
            if not low <= value <= high:
                raise ValueError(f"{name} must be from {low:g} to {high:g}, got {value:g}")


class _Bounds(NamedTuple):
    low: float
    high: float
    least: float = 0.0  # the smallest value that is not off, where a product cannot leave 0
    lever: str = ""  # what a program must contain for it to act; "": always there


_BOUNDS = Settings(
    learning_rate=_Bounds(1e-8, 1.0),
    weight_decay=_Bounds(1e-6, 1.0),
    dropout=_Bounds(0.0, 0.6),
    label_smoothing=_Bounds(0.0, 0.3),
    momentum=_Bounds(0.5, 0.99),
    focal_gamma=_Bounds(0.0, 5.0, lever="loss"),
    class_balance=_Bounds(0.0, 1.0, lever="loss"),
    huber_delta=_Bounds(0.01, 100.0, lever="loss"),
    quantile=_Bounds(0.01, 0.99, lever="loss"),
    l2=_Bounds(0.0, 1.0, least=1e-6, lever="penalty"),
    l1=_Bounds(0.0, 1.0, least=1e-7, lever="penalty"),
    clip_quantile=_Bounds(0.05, 1.0, lever="clipping"),
    average_decay=_Bounds(0.0, 0.9995, lever="averaging"),
    augmentation=_Bounds(0.0, 1.0, lever="augmentation"),
    mixup=_Bounds(0.0, 1.0, lever="mixing"),
    cutmix=_Bounds(0.0, 1.0, lever="mixing"),
    adversarial_epsilon=_Bounds(0.0, 10.0, least=1e-2, lever="adversarial"),
    adversarial_share=_Bounds(0.0, 1.0, lever="adversarial"),
    adversarial_steps=_Bounds(1.0, 10.0, lever="adversarial"),
    adversarial_step=_Bounds(0.5, 4.0, lever="adversarial"),
    trades=_Bounds(0.0, 10.0, lever="adversarial"),
    activation=_Bounds(0.0, 3.0, lever="activation"),
    stochastic_depth=_Bounds(0.0, 0.8, lever="skipping"),
)
LOW = Settings(*(bounds.low for bounds in _BOUNDS))
HIGH = Settings(*(bounds.high for bounds in _BOUNDS))
DEFAULT = Settings(1e-3, 1e-4, 0.0, 0.0, 0.9)
LEAST = Settings(*(bounds.least for bounds in _BOUNDS))
LEVER_OF = {name: bounds.lever for name, bounds in zip(Settings._fields, _BOUNDS, strict=True)}
# What a program may contain besides the plain update; each costs time where it is, so that a
# program has only those that a run can use. Moving their settings never compiles anything.
LEVERS = tuple(dict.fromkeys(lever for lever in LEVER_OF.values() if lever))
ATTACKS = tuple(name for name, lever in LEVER_OF.items() if lever == "adversarial")
PLAIN = tuple(name for name, lever in LEVER_OF.items() if not lever)  # settings always there


def named(settings: Any, levers: tuple[str, ...]) -> dict[str, float]:
    """The settings that a run obeys by name, as Python floats.

    Args:
        settings: in their order, `[settings]`.
        levers: of the run's programs.
    """
    return {
        name: float(value)
        for name, value in zip(Settings._fields, settings, strict=True)
        if LEVER_OF[name] in ("", *levers)
    }


def levers_of(settings: Settings, open_knobs: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The levers that a run needs: of what it begins with, and of what may be moved.

    Args:
        settings: at the start, as Python floats.
        open_knobs: names of knobs; those that are not settings need none.
    """
    used = {
        LEVER_OF[name]
        for name, value, default in zip(Settings._fields, settings, DEFAULT, strict=True)
        if name in open_knobs or value != default
    }
    return tuple(lever for lever in LEVERS if lever in used)
