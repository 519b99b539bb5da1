"""An agent that tunes a neural network while it trains."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlagent.apply.result import Result, load_run
    from rlagent.apply.tuning import tune
    from rlagent.controller.file import Controller, load_controller

__version__ = "0.1.0"
__all__ = ["Controller", "Result", "__version__", "load_controller", "load_run", "tune"]

# Where each public name lives. They are looked up at first use, because JAX takes a second to load
# and `rlagent --version` should not.
_HOMES = {
    "Controller": "rlagent.controller.file",
    "Result": "rlagent.apply.result",
    "load_controller": "rlagent.controller.file",
    "load_run": "rlagent.apply.result",
    "tune": "rlagent.apply.tuning",
}


def __getattr__(name: str) -> Any:
    """Imports the public name where it lives (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'rlagent' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value  # so that the next use does not come here
    return value


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted({*globals(), *__all__})
