"""Tasks: data that is split and preprocessed, from a name, a file or arrays."""

from rlagent_envs.tasks.arrays import from_arrays
from rlagent_envs.tasks.files import read_features
from rlagent_envs.tasks.preprocessing import Preprocessing
from rlagent_envs.tasks.ratings import from_ratings
from rlagent_envs.tasks.registry import TASKS, describe_tasks, is_name, load_task
from rlagent_envs.tasks.task import Split, Task

__all__ = [
    "TASKS",
    "Preprocessing",
    "Split",
    "Task",
    "describe_tasks",
    "from_arrays",
    "from_ratings",
    "is_name",
    "load_task",
    "read_features",
]
