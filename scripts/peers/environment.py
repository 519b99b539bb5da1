"""The virtual environment of the peers, and the data that is made there."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

from scripts.peers.worker_process import ROOT

VENV = ROOT / ".venv-peers"
TORCH = "torch==2.13.0"


def install(folder: Path) -> None:
    """Makes the virtual environment of the peers."""
    venv.create(folder, with_pip=True)
    (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    pip = [str(python_of(folder)), "-m", "pip", "install", "--quiet"]
    pinned = ["-c", str(ROOT / "constraints.txt")]
    # Alone and first: what else asks for torch is then content with a CPU build that is at hand.
    for arguments in (
        [TORCH],
        [*pinned, "-r", str(ROOT / "scripts" / "peers-requirements.txt")],
        [*pinned, "-e", str(ROOT)],
    ):
        print(f"pip install {' '.join(arguments)}", file=sys.stderr)
        subprocess.run([*pip, *arguments], check=True)


def made_data(folder: Path, python: Path) -> dict[str, Path]:
    """The data of the decisions, written by the peers' Python, which has NumPy."""
    program = (
        "import sys; from pathlib import Path; from scripts.peers import made_data\n"
        "for name, rows in made_data.SIZES.items():\n"
        "    made_data.write(Path(sys.argv[1]) / f'{name}.npz', rows)"
    )
    subprocess.run([str(python), "-c", program, str(folder)], cwd=ROOT, check=True)
    return {name: folder / f"{name}.npz" for name in ("small", "full")}


def python_of(folder: Path) -> Path:
    """The Python of a virtual environment."""
    return folder / "bin" / "python"
