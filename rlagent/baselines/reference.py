"""The reference that every result is held against: AdamW, cosine to zero, one learning rate."""

from __future__ import annotations

from rlagent_envs.episode import Start
from rlagent_envs.models import Rung
from rlagent_envs.training.settings import DEFAULT

# The best of a grid on procedural tasks: `scripts/reference_learning_rate.py` measures it.
REFERENCE_LEARNING_RATE = 3e-3
REFERENCE_RUNG = Rung(depth=2, width=64)


def reference_start(seed: int, budget: float, decisions: int) -> Start:
    """A reference run: the committed learning rate, cosine decay, nothing else tuned."""
    return Start(
        seed=seed,
        settings=DEFAULT._replace(learning_rate=REFERENCE_LEARNING_RATE),
        rung=REFERENCE_RUNG,
        budget=budget,
        decisions=decisions,
        cosine=True,
    )
