"""Model families, each with its ladder of rungs."""

from rlagent_envs.models.cnn import CNN
from rlagent_envs.models.ladder import Family, Rung, ShapeClass
from rlagent_envs.models.mlp import MLP

FAMILIES: dict[str, Family] = {
    "mlp": MLP,
    "cnn": CNN,
}

__all__ = ["CNN", "FAMILIES", "MLP", "Family", "Rung", "ShapeClass"]
