"""The reference that every result is held against: AdamW, cosine to zero, one learning rate."""

from __future__ import annotations

from rlagent.baselines.frozen import learning_rate
from rlagent_envs.episode import Start
from rlagent_envs.models import FAMILIES
from rlagent_envs.settings import DEFAULT

REFERENCE_LEARNING_RATE = learning_rate("cosine")


def reference_start(seed: int, budget: float, decisions: int) -> Start:
    """A reference run: the committed learning rate, cosine decay, nothing else tuned."""
    return Start(
        seed=seed,
        settings=DEFAULT._replace(learning_rate=REFERENCE_LEARNING_RATE),
        rung=FAMILIES["mlp"].default,
        budget=budget,
        decisions=decisions,
        schedule="cosine",
    )
