"""What README.md tells the reader to type works.

Quick: each command of an `sh` block exists, with the options used. Slow: each block runs, in order,
in one empty folder; a Python block runs in a Python of its own, so it must be complete. A block is
left out of the slow test by `<!-- not run: reason -->` on the line above it, and only then.
"""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>.+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """A fenced block of a Markdown text."""

    language: str
    text: str
    reason: str | None  # why it is not run


def blocks(markdown: str) -> list[Block]:
    """The fenced blocks of a text, in order."""
    return [Block(m["language"], m["text"], m["reason"]) for m in BLOCK.finditer(markdown)]


def commands(block: Block) -> list[str]:
    """The lines of a shell block, those that end in a backslash joined, without comments."""
    lines = block.text.replace("\\\n", " ").splitlines()
    words = [" ".join(shlex.split(line, comments=True)) and line.strip() for line in lines]
    return [line for line in words if line]


README = blocks((ROOT / "README.md").read_text())
SHELL = [line for block in README if block.language == "sh" for line in commands(block)]


def test_blocks_are_found_with_their_reasons() -> None:
    text = "```sh\nls\n```\n\n<!-- not run: long -->\n```python\nf()\n\ng()\n```\n```text\nx\n```\n"
    assert blocks(text) == [
        Block("sh", "ls\n", None),
        Block("python", "f()\n\ng()\n", "long"),
        Block("text", "x\n", None),
    ]


def test_commands_are_whole_lines_without_comments() -> None:
    block = Block("sh", "# first\nrlagent tune \\\n  digits\n\nmake test  # second\n", None)
    assert [shlex.split(line, comments=True) for line in commands(block)] == [
        ["rlagent", "tune", "digits"],
        ["make", "test"],
    ]


def test_every_block_says_its_language() -> None:
    assert {block.language for block in README} <= {"python", "sh", "text"}


@pytest.mark.parametrize("line", SHELL)
def test_a_command_exists(line: str) -> None:
    program, *arguments = shlex.split(line, comments=True)
    match program:
        case "rlagent":
            check_rlagent(arguments)
        case "make":
            subprocess.run(["make", "--dry-run", *arguments], cwd=ROOT, check=True)
        case "pip":
            check_pip(arguments)
        case "cd" | "git" | "tensorboard":
            pass  # not ours
        case _:
            pytest.fail(f"README.md tells to run {program!r}: say here how that is checked")


def check_rlagent(arguments: list[str]) -> None:
    """The command has help, and the help knows every option."""
    options = {argument.split("=")[0] for argument in arguments if argument.startswith("-")}
    command = [] if arguments[0].startswith("-") else arguments[:1]
    shown = subprocess.run(
        [BIN / "rlagent", *command, "--help"], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    assert options <= set(re.findall(r"(?<![\w-])--?\w[\w-]*", shown))


def check_pip(arguments: list[str]) -> None:
    """The extras asked for are in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for argument in arguments:
        if extras := re.search(r"\[(.+)\]", argument):
            assert set(extras[1].split(",")) <= set(project["optional-dependencies"])


@pytest.mark.slow
def test_every_block_runs(tmp_path: Path) -> None:
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    for block in README:
        if block.reason is not None or block.language == "text":
            continue
        if block.language == "python":
            run = [[sys.executable, "-c", block.text]]
        else:
            # The others change the computer (pip), or are run by .ci/run anyway (make).
            run = [["sh", "-c", line] for line in commands(block) if line.startswith("rlagent ")]
        for command in run:
            result = subprocess.run(
                command,
                cwd=tmp_path,
                env=os.environ | {"PATH": path},
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            assert result.returncode == 0, f"{command[-1]}\n{result.stderr}"
