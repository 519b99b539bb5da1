"""Builds the wheel and tries it outside the repository.

In the repository an editable install finds modules by accident that the wheel lacks.
"""

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Run in a folder with an `envs` package of the user's own, which must not get in the way.
# ppo needs torch, which is there: this Python has every extra.
TRY_IT = """
import importlib, pkgutil, sys
site, *editable = sys.argv[1:]
sys.path = [folder for folder in sys.path if folder not in editable]
import rlagent, rlagent_envs
for package in (rlagent, rlagent_envs):
    assert package.__file__.startswith(site), package.__file__
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
for name in rlagent.__all__:
    getattr(rlagent, name)
"""


def main() -> None:
    """Raises, saying what is wrong, if the wheel is not as it should be."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder).resolve()
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
        subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", work, ROOT], check=True)
        (wheel,) = work.glob("*.whl")
        check_contents(wheel)

        site = work / "site"
        subprocess.run([*pip, "install", "--no-deps", "--target", site, wheel], check=True)
        elsewhere = work / "elsewhere"
        (elsewhere / "envs").mkdir(parents=True)
        (elsewhere / "envs" / "__init__.py").write_text("raise ImportError('the wrong envs')\n")
        environment = os.environ | {"PYTHONPATH": f"{elsewhere}:{site}", "JAX_PLATFORMS": "cpu"}
        imports = [sys.executable, "-c", TRY_IT, str(site), str(ROOT), str(ROOT / "envs")]
        for command in (imports, [str(site / "bin" / "rlagent"), "--version"]):
            subprocess.run(command, cwd=elsewhere, env=environment, check=True)
        print(f"{wheel.name} is complete and runs")


def check_contents(wheel: Path) -> None:
    """Every file of the two packages is in the wheel, and nothing else but its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = files(ROOT, "rlagent") | files(ROOT / "envs", "rlagent_envs")
    if packed != expected:
        raise SystemExit(
            f"the wheel lacks {sorted(expected - packed)} and should not have "
            f"{sorted(packed - expected)}"
        )
    for package in ("rlagent", "rlagent_envs"):
        if f"{package}/py.typed" not in packed:
            raise SystemExit(f"the wheel lacks {package}/py.typed")


def files(root: Path, package: str) -> set[str]:
    """The package's files, relative to `root`, without what Python itself wrote."""
    return {
        path.relative_to(root).as_posix()
        for path in (root / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


if __name__ == "__main__":
    main()
