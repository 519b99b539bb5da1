"""The rules about who may import what, read off the source, and tried in fresh interpreters."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import rlagent

ROOT = Path(__file__).parents[1]
ENVS = ROOT / "envs" / "rlagent_envs"
RLAGENT = ROOT / "rlagent"

# Earlier layers know nothing of later ones. The package's own __init__ is last.
LAYERS = (
    {"config", "draws", "forms", "settings"},
    {"tasks", "models"},
    {"training"},
    {"knobs", "growth"},
    {"telemetry", "observation", "reward"},
    {"books"},
    {"dynamics"},
    {"episode"},
    {"batch", "saving"},
    {"pool"},
    {"gym_env", "vector_env"},
    {"__init__"},
)
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names}
TORCH = {"torch", "stable_baselines3", "sb3_contrib", "tensorboard"}
EVENTS = "rlagent.apply.loggers.tensorboard_events"  # without torch, imported when asked for
UNSAFE = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}


def imports(source: str, module: str) -> Iterator[str]:
    """Absolute names of the modules that a module imports when it runs, also inside functions.

    `from a import b` gives both `a` and `a.b`, for `b` may be a module. Imports under
    `if TYPE_CHECKING` do not count. `module` is the importer's dotted name, with `__init__`.
    """
    waiting: list[ast.AST] = [ast.parse(source)]
    while waiting:
        node = waiting.pop()
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
                waiting.extend(node.orelse)
                continue
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom():
                above = module.split(".")[: -node.level] if node.level else []
                base = ".".join([*above, *([node.module] if node.module else [])])
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names)
        waiting.extend(ast.iter_child_nodes(node))


def roots(source: str, module: str) -> set[str]:
    """The top-level packages that a module imports."""
    return {name.split(".")[0] for name in imports(source, module)}


def backward_imports(source: str, module: str) -> list[str]:
    """What a module of rlagent_envs imports though it is not from its own layer or before."""
    own = module.split(".")[1]
    if own not in LAYER:
        return [f"{module} is in no layer: give it one in LAYERS"]
    wrong = sorted(roots(source, module) & ({"rlagent"} | TORCH))
    for name in imports(source, module):
        part = name.split(".")
        # What is no layer is a name that the package's __init__ offers.
        if part[0] != "rlagent_envs" or len(part) == 1:
            continue
        if LAYER.get(part[1], LAYER["__init__"]) > LAYER[own]:
            wrong.append(name)
    return wrong


def unsafe_reading(source: str, module: str) -> list[str]:
    """Imports of modules, and calls, that could run code found in a file."""
    wrong = sorted(roots(source, module) & UNSAFE)
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.keyword(arg="allow_pickle", value=ast.Constant(value=False)):
                pass
            case ast.keyword(arg="weights_only", value=ast.Constant(value=True)):
                pass
            case ast.keyword(arg="allow_pickle" | "weights_only" as argument):
                wrong.append(argument)
            case ast.Attribute(attr="read_pickle" | "to_pickle" as method):
                wrong.append(method)
    return wrong


def modules(package: Path) -> list[tuple[str, Path]]:
    """Dotted name, with `__init__`, and file of each module of a package or folder."""
    return [
        (".".join(file.relative_to(package.parent).with_suffix("").parts), file)
        for file in sorted(package.rglob("*.py"))
    ]


def test_imports_of_the_environment_run_one_way() -> None:
    found = modules(ENVS)
    assert found
    wrong = {name: bad for name, file in found if (bad := backward_imports(file.read_text(), name))}
    assert not wrong


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("rlagent_envs.config", "import rlagent_envs.batch"),
        ("rlagent_envs.models.mlp", "from rlagent_envs import training"),
        ("rlagent_envs.models.mlp", "from ..training import update"),
        ("rlagent_envs.models.mlp", "def f():\n    from rlagent_envs.training import update"),
        ("rlagent_envs.batch", "from rlagent_envs import TuningEnv"),
        ("rlagent_envs.gym_env", "import torch.nn"),
        ("rlagent_envs.__init__", "from rlagent import tune"),
        ("rlagent_envs.helpers", ""),
    ],
)
def test_a_backward_import_is_found(module: str, source: str) -> None:
    assert backward_imports(source, module)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("rlagent_envs.training.loop", "from ..config import EnvConfig\nfrom . import losses"),
        ("rlagent_envs.__init__", "from rlagent_envs.gym_env import TuningEnv"),
        ("rlagent_envs.config", "if TYPE_CHECKING:\n    from rlagent_envs.batch import Batch"),
    ],
)
def test_a_forward_import_is_allowed(module: str, source: str) -> None:
    assert not backward_imports(source, module)


def test_only_ppo_imports_torch() -> None:
    wrong = [
        name
        for name, file in modules(RLAGENT)
        if not name.startswith("rlagent.ppo.")
        and roots(file.read_text(), name) & (TORCH - allowed(name))
    ]
    assert not wrong


def allowed(module: str) -> set[str]:
    return {"tensorboard"} if module == EVENTS else set()


def test_nothing_reads_files_that_can_run_code() -> None:
    found = [*modules(ENVS), *modules(RLAGENT), *modules(ROOT / "scripts")]
    wrong = {name: bad for name, file in found if (bad := unsafe_reading(file.read_text(), name))}
    assert not wrong


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=flag)",
        "torch.load(path, weights_only=False)",
        "pd.read_pickle(path)",
    ],
)
def test_unsafe_reading_is_found(source: str) -> None:
    assert unsafe_reading(source, "rlagent.x")


def loaded_by(code: str) -> set[str]:
    """The top-level modules that are loaded in a fresh interpreter after `code`."""
    code += "\nimport sys; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True
    )
    return {name.split(".")[0] for name in run.stdout.split()}


def test_importing_rlagent_loads_nothing_heavy() -> None:
    heavy = {"jax", "flax", "numpy", "scipy", "sklearn", "pandas", "pydantic", "rlagent_envs"}
    assert not loaded_by("import rlagent") & (heavy | TORCH)


def test_what_few_need_is_loaded_by_what_needs_it() -> None:
    """Torch by PPO alone; the others take seconds at each start of the program."""
    names = [name.removesuffix(".__init__") for name, _ in [*modules(ENVS), *modules(RLAGENT)]]
    apart = ("rlagent.ppo", EVENTS)
    core = [name for name in names if not name.startswith(apart) and "__main__" not in name]
    slow = {"matplotlib", "optuna", "pandas", "ray", "scipy", "sklearn"}
    assert not loaded_by(f"import {', '.join(core)}") & (TORCH | slow)


@pytest.mark.parametrize("name", rlagent.__all__)
def test_a_public_name_is_where_the_table_says(name: str) -> None:
    assert getattr(rlagent, name) is not None
    assert name in dir(rlagent)


def test_an_unknown_name_is_named() -> None:
    with pytest.raises(AttributeError, match=r"^module 'rlagent' has no attribute 'tuna'$"):
        _ = rlagent.tuna
