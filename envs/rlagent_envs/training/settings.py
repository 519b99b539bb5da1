"""The numbers that training obeys and the agent may change: always traced, never compiled in."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np


class Settings(NamedTuple):
    """The settings now in force; a run holds them as one vector `[settings]` in this order."""

    learning_rate: Any
    weight_decay: Any  # decoupled: a share of learning_rate x weights, as in AdamW
    dropout: Any  # share of hidden units dropped
    label_smoothing: Any  # share of the target spread over all classes
    momentum: Any  # decay of the first moment, Adam's b1

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


LOW = Settings(1e-8, 1e-6, 0.0, 0.0, 0.5)
HIGH = Settings(1.0, 1.0, 0.6, 0.3, 0.99)
DEFAULT = Settings(1e-3, 1e-4, 0.0, 0.0, 0.9)
