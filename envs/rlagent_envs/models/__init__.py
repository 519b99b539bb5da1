"""Model families, each with its ladder of rungs."""

from rlagent_envs.forms import Form
from rlagent_envs.models.cnn import CNN
from rlagent_envs.models.detection import DETECTION
from rlagent_envs.models.embedding_mlp import EMBEDDING_MLP
from rlagent_envs.models.factorization import FACTORIZATION
from rlagent_envs.models.ladder import Family, Rung, ShapeClass
from rlagent_envs.models.mlp import MLP
from rlagent_envs.models.record import RECORD
from rlagent_envs.models.segmentation import SEGMENTATION
from rlagent_envs.models.sequence import SEQUENCE
from rlagent_envs.models.text import TEXT
from rlagent_envs.models.transformer import TRANSFORMER

# A family that is to be the choice for a form of examples stands before others that can read it.
FAMILIES: dict[str, Family] = {
    "sequence": SEQUENCE,
    "cnn": CNN,
    "mlp": MLP,
    "text": TEXT,
    "record": RECORD,
    "factorization": FACTORIZATION,
    "embedding_mlp": EMBEDDING_MLP,
    "transformer": TRANSFORMER,
    "segmentation": SEGMENTATION,
    "detection": DETECTION,
}


def fitting(form: Form, target_shape: tuple[int, ...]) -> list[str]:
    """The families that read a form of examples, and say as much of each as is asked for."""
    return [
        family.name
        for family in FAMILIES.values()
        if form in family.reads and len(target_shape) in family.target_axes
    ]


def usual(form: Form, input_shape: tuple[int, ...], target_shape: tuple[int, ...]) -> str:
    """The family of a task that names none: the first that fits and is not for larger images."""
    side = min(input_shape[:2]) if form == "image" else 0
    names = fitting(form, target_shape)
    return next(name for name in names if FAMILIES[name].least_side <= side)


__all__ = [
    "CNN",
    "DETECTION",
    "EMBEDDING_MLP",
    "FACTORIZATION",
    "FAMILIES",
    "MLP",
    "RECORD",
    "SEGMENTATION",
    "SEQUENCE",
    "TEXT",
    "TRANSFORMER",
    "Family",
    "Rung",
    "ShapeClass",
    "fitting",
    "usual",
]
