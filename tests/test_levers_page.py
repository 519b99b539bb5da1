"""The page of the levers says what the code has."""

import re
from pathlib import Path

from rlagent_envs.settings import DEFAULT, HIGH, LOW, Settings

PAGE = Path(__file__).parents[1] / "docs" / "levers.md"
ROW = re.compile(r"^\| `(\w+)` \| [^|]+ \| (\S+) to (\S+) \| (\S+) \|", re.MULTILINE)


def test_the_page_has_each_setting_with_its_range_and_default() -> None:
    told = {name: numbers for name, *numbers in ROW.findall(PAGE.read_text("utf-8"))}
    expected = {
        name: [f"{low:g}", f"{high:g}", f"{default:g}"]
        for name, low, high, default in zip(Settings._fields, LOW, HIGH, DEFAULT, strict=True)
        if name != "learning_rate"
    }
    assert told == expected
