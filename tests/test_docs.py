"""What the pages in docs/ name is there: commands of blocks with their options, files, headings."""

import re
import shlex
from pathlib import Path

import pytest

from rlagent.cli import parser

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)
SCRIPT = re.compile(r"python (?:-m )?(scripts[./][a-z_]\w*)([^`\n#]*)")


def joined(page: Path) -> str:
    """A page in which no command goes on in the next line."""
    return page.read_text("utf-8").replace("\\\n", " ")


def anchor(heading: str) -> str:
    """How a link names a heading."""
    return re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-")


COMMANDS = sorted(
    {
        line
        for page in PAGES
        for block in BLOCK.findall(joined(page))
        for line in block.splitlines()
        if line.startswith("rlagent ")
    }
)


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 40


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_is_understood(line: str) -> None:
    first = line.split("&&")[0]
    # It ends the process where it does not understand.
    assert callable(parser().parse_args(shlex.split(first, comments=True)[1:]).run)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_scripts_are_there_and_have_the_options_that_are_named(page: Path) -> None:
    for name, rest in SCRIPT.findall(joined(page)):
        source = ROOT / f"{name.replace('.', '/')}.py"
        assert source.exists(), name
        for option in re.findall(r"--[a-z][\w-]*", rest):
            assert f'"{option}"' in source.read_text("utf-8"), f"{source.name} {option}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, place in re.findall(r"\]\(([^)#\s]*)(?:#([\w-]+))?\)", page.read_text("utf-8")):
        if target.startswith(("http:", "https:")):
            continue
        there = page.parent / target if target else page
        assert there.exists(), target
        if place:
            prose = re.sub(r"```.*?```", "", there.read_text("utf-8"), flags=re.DOTALL)
            headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
            assert place in map(anchor, headings), f"{target}#{place}"
