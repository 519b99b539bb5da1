"""The report: what it says, that it is safe to open, and that it works in a browser."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation

from rlagent.apply.curves import draw
from rlagent.apply.panels import MOST_STEP, side_by_side
from rlagent.cli import main
from rlagent.experiments import report
from rlagent.experiments.report import figures, write_report
from rlagent.experiments.report.page import render
from rlagent.experiments.report.timeline import choose, knob_table, pack, rounded, timeline
from rlagent.experiments.scoreboard import scoreboard
from rlagent.experiments.stored_run import StoredRun
from rlagent_envs.knobs import KNOBS

ROOT = Path(__file__).parents[1]
PACKAGE = Path(report.__file__).parent
EVIL = "</script><img src=x onerror=\"document.title='owned'\"><!--"
TASKS = ("digits", EVIL, "wine")


def load_script() -> ModuleType:
    """The module that invents experiments for the measurement of size."""
    path = ROOT / "scripts" / "report_size.py"
    spec = importlib.util.spec_from_file_location("report_size", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


invented = load_script()


def experiment() -> list[StoredRun]:
    methods = [invented.METHODS[place] for place in (0, 4, 8, 10)]
    extent = invented.Extent(methods, TASKS, 3, (100, 300), 9, 12)
    runs: list[StoredRun] = invented.invented_runs(extent)
    return runs


@pytest.fixture(scope="module")
def runs() -> list[StoredRun]:
    return experiment()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def store(folder: Path, runs: list[StoredRun]) -> Path:
    path = folder / "runs.sqlite"
    invented.write_store(path, runs)
    return path


@pytest.fixture(scope="module")
def page(folder: Path, store: Path) -> Path:
    path = folder / "report.html"
    write_report(store, path)
    return path


@pytest.fixture(scope="module")
def run_folder(folder: Path, runs: list[StoredRun]) -> Path:
    """A folder as `rlagent tune` leaves it, as far as the report reads it."""
    path = folder / "run"
    path.mkdir()
    (run,) = [one for one in runs if one.key == shown_run(runs).key]
    lines = "".join(json.dumps(record) + "\n" for record in run.decisions)
    (path / "history.jsonl").write_text(lines)
    summary = {
        "task": "digits",
        "method": "controller",
        "status": "finished",
        "seed": 0,
        "budget": 300,
        "updates": 282,
        "decisions": len(run.decisions),
        "flops": 858292312.5,
        "seconds": 4.565,
        "valid_loss": 0.104,
        "valid_score": 0.969,
        "test_loss": 0.0909,
        "test_score": 0.9693593314763231,
        "score_name": "accuracy",
        "diverged": 1,
        "rung": "128x3",
        "device": "cpu (cpu)",
        "run_dir": str(path),
    }
    (path / "summary.json").write_text(json.dumps(summary))
    return path


def shown_run(runs: list[StoredRun]) -> StoredRun:
    """The run whose timeline the page shows first: of the largest budget and the first task."""
    found = [run for run in runs if run.decisions and run.updates == 300]
    return min(found, key=lambda run: (run.task, run.seed))


def contents(page: Path) -> dict[str, Any]:
    """What the page embeds, as a browser would read it."""
    text = page.read_text("utf-8")
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text)
    found: dict[str, Any] = json.loads(data)
    return found


# ---- what the page holds ------------------------------------------------------------------------


def test_page_holds_the_scoreboard_of_the_store(page: Path, runs: list[StoredRun]) -> None:
    found = contents(page)
    expected = json.loads(json.dumps(scoreboard(in_order(runs))))
    failed = expected.pop("failed")
    assert found["board"] == expected
    assert found["failed"] == failed
    assert len(failed) == found["facts"]["failed"] == 1
    assert found["facts"]["finished"] == len(runs) - 1
    assert found["facts"]["flops"] == pytest.approx(sum(run.flops or 0 for run in runs), rel=1e-4)
    assert found["facts"]["versions"]["jax"] == ["0.10.2"]


def in_order(runs: list[StoredRun]) -> list[StoredRun]:
    return sorted(runs, key=lambda run: (run.task, run.updates, run.method, run.seed, run.key))


def test_page_compares_with_the_method_asked_for(folder: Path, store: Path) -> None:
    out = folder / "cosine.html"
    write_report(store, out, against="cosine")
    assert contents(out)["board"]["against"] == "cosine"
    with pytest.raises(ValueError, match=r"'nosuch'.*cosine"):
        write_report(store, out, against="nosuch")


def test_the_command_compares_with_the_method_asked_for(
    folder: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, tables = folder / "asked.html", folder / "asked.md"
    asked = ["report", str(store), "--out", str(out), "--markdown", str(tables)]
    assert main([*asked, "--against", "cosine"]) == 0
    assert contents(out)["board"]["against"] == "cosine"
    assert "Differences are from `cosine`, run by run." in " ".join(tables.read_text().split())
    capsys.readouterr()
    out.unlink()
    assert main([*asked, "--against", "sine"]) == 2
    named = ", ".join(dict.fromkeys(run.method for run in in_order(experiment())))
    assert capsys.readouterr().err == f"rlagent: no finished run of 'sine'; there are: {named}\n"
    assert not out.exists()


def test_nothing_can_be_compared_where_all_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run,) = [one for one in experiment() if one.status == "failed"]
    path = tmp_path / "runs.sqlite"
    invented.write_store(path, [run])
    asked = ["report", str(path), "--out", str(tmp_path / "x.html"), "--against", "cosine"]
    assert main(asked) == 2
    said = "rlagent: there is no finished run to judge, of 1 in the store\n"
    assert capsys.readouterr().err == said


def test_names_cannot_break_out_of_the_page(page: Path) -> None:
    text = page.read_text("utf-8")
    assert EVIL not in text
    assert text.count("</script") == 2  # the data and the program
    assert "<img" not in text
    assert EVIL in contents(page)["board"]["tasks"]
    assert "<b>" not in render({"kind": "store", "title": "<b>"})


def test_a_name_that_looks_like_a_place_of_the_template_is_left_alone() -> None:
    text = render({"kind": "store", "title": "{{data}} {{script}}"})
    assert "<title>{{data}} {{script}} · rlagent</title>" in text


def test_page_names_no_other_file(page: Path) -> None:
    text = page.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.findall(r"https?://|@import|url\(|<link(?! rel=\"icon\" href=\"data:,\")", text)
    assert "default-src 'none'" in text
    assert "unsafe" not in text


def test_a_store_without_a_finished_run_reports_the_failures(tmp_path: Path) -> None:
    (run,) = [one for one in experiment() if one.status == "failed"]
    invented.write_store(tmp_path / "runs.sqlite", [run])
    write_report(tmp_path / "runs.sqlite", tmp_path / "report.html")
    found = contents(tmp_path / "report.html")
    assert found["board"] is None
    assert [one["reason"] for one in found["failed"]] == [run.reason]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no store or run folder"),
        (lambda path: path.mkdir(), "neither a store nor the folder of a finished run"),
        (lambda path: path.write_text("a,b\n1,2\n" * 200), "not a store of runs"),
        (lambda path: invented.write_store(path, []), "holds no run"),
    ],
)
def test_what_is_neither_store_nor_run_is_named(tmp_path: Path, make: Any, message: str) -> None:
    source = tmp_path / "source"
    make(source)
    with pytest.raises(ValueError, match=message) as caught:
        write_report(source, tmp_path / "report.html")
    assert str(source) in str(caught.value)
    assert not (tmp_path / "report.html").exists()


def test_a_damaged_run_folder_is_named(tmp_path: Path, run_folder: Path) -> None:
    copy = shutil.copytree(run_folder, tmp_path / "copy")
    (copy / "history.jsonl").write_text('{"decision": 1}\n')
    with pytest.raises(ValueError, match="a decision of the run has no rung"):
        write_report(copy, tmp_path / "report.html")
    (copy / "history.jsonl").write_text("")
    with pytest.raises(ValueError, match="has no decision"):
        write_report(copy, tmp_path / "report.html")
    with pytest.raises(ValueError, match="no folder"):
        write_report(run_folder, tmp_path / "missing" / "report.html")
    with pytest.raises(ValueError, match="single run"):
        write_report(run_folder, tmp_path / "report.html", against="cosine")


# ---- timelines ----------------------------------------------------------------------------------


def test_packed_columns_are_the_records(runs: list[StoredRun]) -> None:
    run = shown_run(runs)
    packed = pack(run.decisions)
    for place, record in enumerate(run.decisions):
        assert packed["spent"][place] == pytest.approx(record["spent"], rel=1e-4)
        assert packed["rungs"][packed["rung"][place]] == record["rung"]
        assert packed["diverged"][place] == record["diverged"]
        for name, value in record["settings"].items():
            assert packed["settings"][name][place] == pytest.approx(value, rel=1e-4)
        for name, level in record["action"].items():
            assert packed["actions"][name][place] == level
        for name, shares in record["probabilities"].items():
            assert packed["probabilities"][name][place] == pytest.approx(
                [1000 * share for share in shares], abs=0.51
            )


def test_numbers_are_short_and_finite() -> None:
    value = {"a": [1.23456789e-4, float("nan")], "b": (float("inf"), 3, "x", None, True)}
    assert rounded(value) == {"a": [1.2346e-4, None], "b": [None, 3, "x", None, True]}


def test_levels_are_labelled_as_they_act() -> None:
    table = knob_table()
    assert table["learning_rate"]["labels"][0] == "\u00d70.1"
    assert table["dropout"]["labels"] == ["\u22120.1", "hold", "+0.1"]
    for name, knob in KNOBS.items():
        assert table[name]["labels"][knob.hold] == "hold"
        assert len(table[name]["labels"]) == len(knob.levels)


def test_timelines_are_of_controllers_first_and_of_each_cell_before_further_seeds(
    runs: list[StoredRun],
) -> None:
    decisions = shown_run(runs).decisions
    plain = [
        {name: one for name, one in record.items() if name != "probabilities"}
        for record in decisions
    ]
    by_key = {
        run.key: replace(run, decisions=plain)
        if run.method == "cosine" and run.status == "finished"
        else run
        for run in runs
    }
    bare = [replace(run, decisions=[]) for run in by_key.values()]

    chosen = [run for run, _ in choose(bare, lambda run: by_key[run.key], limit=10**9)]
    cells = [(run.task, run.method, run.updates) for run in chosen]
    assert {run.method for run in chosen} == {"controller", "cosine"}
    assert len(chosen) == sum(bool(run.decisions) for run in by_key.values())
    assert {cell[1] for cell in cells[:6]} == {"controller"}  # 3 tasks, 2 budgets
    assert len(set(cells[:12])) == 12
    assert [cell[2] for cell in cells[:6]] == [300] * 3 + [100] * 3


def test_timelines_stay_within_the_limit(runs: list[StoredRun]) -> None:
    sizes = [len(json.dumps(timeline(run), separators=(",", ":"))) for run in runs if run.decisions]
    limit = 3 * max(sizes)
    chosen = choose(runs, lambda run: run, limit=limit)
    assert 3 <= len(chosen) < len(sizes)
    told = [len(json.dumps(packed, separators=(",", ":"))) for _, packed in chosen]
    assert sum(told) <= limit
    assert len(choose(runs, lambda run: run, limit=1)) == 1


def population(run: StoredRun) -> StoredRun:
    """Three trials of a population, of which the second is the best; the third has copied twice."""
    return of_trials(run, 3, {(1, 3): 0, (2, 3): 1, (2, 6): 1})


def of_trials(run: StoredRun, trials: int, copies: dict[tuple[int, int], int]) -> StoredRun:
    """A population like a run, of which the second is the best.

    Args:
        run: whose decisions all trials have, with another loss and dropout.
        trials: how many.
        copies: by the trial that copied, and before which decision it did, the one that it copied.
    """
    records = []
    for trial, factor in enumerate([1.5, 1.0, *[2.0] * (trials - 2)]):
        for record in run.decisions:
            loss = record["valid_loss"]
            settings = record["settings"] | {"dropout": 0.1 * (trial % 5)}
            told = {"trial": trial, "settings": settings}
            told["valid_loss"] = None if loss is None else factor * loss
            if (trial, record["decision"]) in copies:
                told["copied"] = copies[trial, record["decision"]]
            plain = {name: one for name, one in record.items() if name != "probabilities"}
            records.append(plain | told)
    return replace(run, key="f" * 16, method=f"pbt:{trials}", decisions=records)


def test_timeline_of_a_population_is_that_of_its_best_and_tells_who_copied_whom(
    runs: list[StoredRun], tmp_path: Path
) -> None:
    run = population(shown_run(runs))
    packed = timeline(run)
    best = [record for record in run.decisions if record["trial"] == 1]
    assert (packed["trials"], packed["trial"]) == (3, 1)
    assert packed["valid_loss"] == rounded([record["valid_loss"] for record in best])
    told = [(one["at"], one["trial"], one["copied"]) for one in packed["copies"]]
    assert told == [(2, 1, 0), (2, 2, 1), (5, 2, 1)]
    for one in packed["copies"]:
        assert one["settings"]["dropout"] == pytest.approx(0.1 * one["trial"])
        (there,) = [
            record
            for record in run.decisions
            if (record["trial"], record["decision"]) == (one["trial"], one["at"] + 1)
        ]
        rate = there["settings"]["learning_rate"]
        assert one["settings"]["learning_rate"] == pytest.approx(rate, rel=1e-4)
    assert "copies" not in timeline(shown_run(runs))
    # The picture has an arrow for each copy, from the one that was copied.
    summary = {"task": "t", "method": "pbt:3", "test_score": 0.9, "score_name": "r2"}
    panel = draw(run.decisions, summary).axes[-1]
    edges = [0.0, *(record["spent"] for record in best)]
    arrows = {(one.xy, one.xyann) for one in panel.texts if isinstance(one, Annotation)}
    # Two of one round share the line of trial 1, so they stand side by side.
    offsets = [-MOST_STEP / 2, MOST_STEP / 2, 0.0]
    expected = [
        ((edges[at] + by, trial), (edges[at] + by, copied))
        for (at, trial, copied), by in zip(told, offsets, strict=True)
    ]
    np.testing.assert_allclose(sorted(arrows), sorted(expected))


def many_copies() -> list[tuple[int, int, int]]:
    """The round, the trial that copied and the one copied: four rounds of eight among 32."""
    generator = np.random.default_rng(0)
    made = []
    for at in (2, 4, 6, 8):
        order = generator.permutation(32)
        made += [(at, int(one), int(generator.choice(order[:8]))) for one in order[-8:]]
    return made


def test_arrows_of_one_round_never_meet_and_take_no_more_columns_than_they_must() -> None:
    made = many_copies()
    columns = side_by_side(made)
    for at in {at for at, *_ in made}:
        lines: dict[int, list[int]] = {}  # of each column, the trials whose lines arrows touch
        for (other, *ways), column in zip(made, columns, strict=True):
            if other == at:
                lines.setdefault(column, []).extend(range(min(ways), max(ways) + 1))
        assert all(len(taken) == len(set(taken)) for taken in lines.values())
        touched = Counter(trial for taken in lines.values() for trial in taken)
        assert set(lines) == set(range(max(touched.values())))


# ---- figures ------------------------------------------------------------------------------------


def test_figures_are_written_in_both_forms_and_equal_twice(
    tmp_path: Path, runs: list[StoredRun]
) -> None:
    board = scoreboard([run for run in runs if run.updates == 300], draws=100)
    run = shown_run(runs)
    summary = {"method": run.method, "test_score": 0.9, "valid_score": None, "score_name": "r2"}
    # Two names that become one when they are made fit for a file, and one that is no formula.
    pictures = [(run.decisions, summary | {"task": task}) for task in ("a/b", "a b", r"cost $\x$")]
    written = figures.write_figures(tmp_path / "one" / "two", board, pictures)
    parts = ("scoreboard-300", "profiles-300", "trials-300", "anytime-300", "by-task-300")
    names = [*parts, "timeline-a_b", "timeline-a_b2", "timeline-cost_x"]
    assert [path.name for path in written] == [
        f"{name}.{form}" for name in names for form in ("png", "svg")
    ]
    figures.write_figures(tmp_path / "again", board, pictures[:1])
    for path in written[: 2 * len(parts) + 2]:
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name
    assert (tmp_path / "one" / "two" / "trials-300.png").read_bytes().startswith(b"\x89PNG")
    assert "controller" in (tmp_path / "one" / "two" / "trials-300.svg").read_text("utf-8")


def test_scoreboard_figure_shows_the_intervals(runs: list[StoredRun]) -> None:
    board = scoreboard(runs, draws=200)
    panel = figures.scoreboard(board, 300).axes[0]
    rows = {row["method"]: row for row in board["rows"] if row["updates"] == 300}
    names = [label.get_text() for label in panel.get_yticklabels()]
    assert sorted(names) == sorted(name for name in rows if name != board["against"])
    drawn = {
        names[round(float(np.asarray(line.get_ydata())[0]))]: np.asarray(line.get_xdata())
        for line in panel.lines
        if len(np.asarray(line.get_xdata())) == 2 and np.ptp(np.asarray(line.get_ydata())) == 0
    }
    for name, ends in drawn.items():
        difference = rows[name]["difference"]
        np.testing.assert_allclose(ends, [difference["low"], difference["high"]])
    assert set(drawn) == set(names)


def test_figure_of_tasks_shows_each_difference(runs: list[StoredRun]) -> None:
    board = scoreboard(runs, draws=200)
    panel = figures.by_task(board, 300).axes[0]
    methods = [label.get_text() for label in panel.get_yticklabels()]
    tasks = [label.get_text() for label in panel.get_xticklabels()]
    cells = [cell for cell in board["by_task"] if cell["updates"] == 300 and cell["difference"]]
    assert set(tasks) == set(TASKS)
    assert board["against"] not in methods
    shown = {
        (methods[round(text.get_position()[1])], tasks[round(text.get_position()[0])]): (
            text.get_text(),
            text.get_fontweight() == "bold",
        )
        for text in panel.texts
    }
    assert shown == {
        (cell["method"], cell["task"]): (
            f"{cell['difference']['value']:+.2f}",
            cell["verdict"] in ("better", "worse"),
        )
        for cell in cells
    }
    for bar in panel.patches:
        assert isinstance(bar, Rectangle)
        x, y = bar.get_center()
        better = shown[methods[round(y)], tasks[round(x)]][0].startswith("-")
        red, _, blue, _ = to_rgba(bar.get_facecolor())
        assert (blue > red) == better


def test_a_task_whose_name_looks_like_a_formula_is_drawn(
    tmp_path: Path, runs: list[StoredRun]
) -> None:
    (first, *_) = {run.task for run in runs}
    named = [replace(run, task="a$_$b" if run.task == first else run.task) for run in runs]
    board = scoreboard([run for run in named if run.updates == 300], draws=100)
    figures.write_figures(tmp_path, board, [])
    assert "a$_$b" in (tmp_path / "anytime-300.svg").read_text("utf-8")


def test_each_setting_has_a_colour_of_the_page(page: Path) -> None:
    text = page.read_text("utf-8")
    for setting in contents(page)["settings"]:
        assert text.count(f"--{setting['colour']}:") == 2, setting  # for paper and for the dark


def test_figures_of_a_run(tmp_path: Path, run_folder: Path) -> None:
    write_report(run_folder, tmp_path / "report.html", tmp_path / "figures")
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == [
        "timeline-digits.png",
        "timeline-digits.svg",
    ]
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot write into"):
        write_report(run_folder, tmp_path / "report.html", tmp_path / "file")


# Machado, Oliveira and Fernandes 2009, severity 1.0: what people without one kind of cone see.
SEEN = {
    "all cones": np.eye(3),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
}


def linear(colour: str) -> np.ndarray:
    values = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(light: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear sRGB."""
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    x, y, z = np.cbrt(to_xyz @ np.clip(light, 1e-3, 1) / np.array([0.9505, 1.0, 1.089]))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(one: str, two: str) -> float:
    weights = np.array([0.2126, 0.7152, 0.0722])
    low, high = sorted(float(weights @ linear(colour)) for colour in (one, two))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("seen", SEEN)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_of_methods_can_be_told_apart(scheme: str, seen: str) -> None:
    style = (PACKAGE / "report.css").read_text("utf-8")
    light, dark = style.split("prefers-color-scheme: dark", 1)
    part = light if scheme == "light" else dark
    colours = re.findall(r"--m\d: (#\w{6})", part)
    (paper, ink, soft) = (re.findall(rf"--{name}: (#\w{{6}})", part)[0] for name in PAPERS)
    assert len(colours) == 8
    for one, two in combinations(colours, 2):
        distance = np.linalg.norm(lab(SEEN[seen] @ linear(one)) - lab(SEEN[seen] @ linear(two)))
        assert distance > 17, (one, two)
    # WCAG 2.2: 3 for graphics, 4.5 for text.
    assert min(contrast(colour, paper) for colour in colours) >= 3.0
    assert min(contrast(colour, paper) for colour in (ink, soft)) >= 4.5


PAPERS = ("paper", "ink", "soft")


def test_figures_have_the_colours_of_the_page() -> None:
    light = (PACKAGE / "report.css").read_text("utf-8").split("prefers-color-scheme: dark", 1)[0]
    colours = [colour.lower() for colour in (figures.NEUTRAL, *figures.COLOURS)]
    assert colours == re.findall(r"--m\d: (#\w{6})", light)


# ---- in a browser -------------------------------------------------------------------------------

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
in_browser = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="chromium and chromedriver are not installed (Debian: chromium, chromium-driver)",
)


class Browser:
    """A headless Chromium, and what the tests ask of it."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, page: Path, *, width: int = 1280, dark: bool = False) -> None:
        """Opens a page anew, forgetting what was logged before."""
        self.scheme(dark=dark)
        self.size(width)
        self.driver.get_log("performance")
        self.driver.get_log("browser")
        self.driver.get(page.as_uri())

    def scheme(self, *, dark: bool, still: bool = False) -> None:
        asked = {
            "prefers-color-scheme": "dark" if dark else "light",
            "prefers-reduced-motion": "reduce" if still else "no-preference",
        }
        features = [{"name": name, "value": value} for name, value in asked.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def size(self, width: int) -> None:
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def count(self, selector: str) -> int:
        return int(self.run("return document.querySelectorAll(arguments[0]).length", selector))

    def texts(self, selector: str) -> list[str]:
        script = "return [...document.querySelectorAll(arguments[0])].map((one) => one.textContent)"
        found: list[str] = self.run(script, selector)
        return found

    def click(self, selector: str) -> None:
        script = """const node = document.querySelector(arguments[0]);
            node.focus();
            node.click();"""
        self.run(script, selector)

    def write(self, selector: str, text: str) -> None:
        script = """const node = document.querySelector(arguments[0]);
            node.value = arguments[1];
            node.dispatchEvent(new Event("input"));"""
        self.run(script, selector, text)

    def point(self, selector: str, x: float, y: float, kind: str = "mouse") -> None:
        """Moves a real pointer to shares of the width and height of an element."""
        # Two frames later, the page has been told that it was scrolled.
        script = """const [selector, done] = arguments;
            const node = document.querySelector(selector);
            node.scrollIntoView({block: "center"});
            requestAnimationFrame(() => requestAnimationFrame(() => {
                const box = node.getBoundingClientRect();
                done([box.left, box.top, box.width, box.height]);
            }));"""
        left, top, width, height = self.driver.execute_async_script(script, selector)
        place = {"x": left + x * width, "y": top + y * height}
        if kind == "mouse":
            event = {"type": "mouseMoved", **place}
            self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", event)
        else:
            for event in (
                {"type": "touchStart", "touchPoints": [place]},
                {"type": "touchEnd", "touchPoints": []},
            ):
                self.driver.execute_cdp_cmd("Input.dispatchTouchEvent", event)

    def press(self, selector: str, key: str) -> None:
        script = "document.querySelector(arguments[0]).focus({preventScroll: true})"
        self.run(script, selector)
        self.strike(key)

    def strike(self, key: str) -> None:
        """A key where the focus is."""
        for kind in ("keyDown", "keyUp"):
            event = {"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
            self.driver.execute_cdp_cmd("Input.dispatchKeyEvent", event)

    def named(self) -> list[tuple[str, str]]:
        """Role and name of what a screen reader finds on the page."""
        nodes = self.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        return [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in nodes
            if not node["ignored"]
        ]

    def requests(self) -> list[str]:
        """Addresses that were asked for since the page was opened, it among them."""
        messages = [json.loads(line["message"])["message"] for line in self.log("performance")]
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]

    def log(self, kind: str) -> list[dict[str, Any]]:
        lines: list[dict[str, Any]] = self.driver.get_log(kind)
        return lines


KEYS = {
    "ArrowRight": 39,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowDown": 40,
    "End": 35,
    "Home": 36,
    "Escape": 27,
    "Tab": 9,
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    selenium = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service

    options = selenium.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = Service(DRIVER, log_output=subprocess.DEVNULL)
    driver = selenium.Chrome(options=options, service=service)
    try:
        yield Browser(driver)
    finally:
        driver.quit()


def row_names(browser: Browser) -> list[str]:
    script = "return [...document.querySelectorAll('[data-row]')].map((one) => one.dataset.row)"
    found: list[str] = browser.run(script)
    return found


@in_browser
@pytest.mark.parametrize("width", [1280, 768, 360])
def test_page_opens_without_errors_and_without_the_network(
    browser: Browser, page: Path, run_folder: Path, folder: Path, width: int
) -> None:
    write_report(run_folder, folder / "run.html")
    for one in (page, folder / "run.html"):
        browser.open(one, width=width)
        assert browser.run("return document.title") != "owned"
        assert browser.log("browser") == []
        # The icon is empty data: there is nothing to fetch.
        assert [url for url in browser.requests() if not url.startswith("data:")] == [one.as_uri()]
        # Nothing sticks out, although the task's name is one long word.
        widths = (
            "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        scrolled, seen = browser.run(widths)
        assert scrolled <= seen
        assert seen == width


@in_browser
def test_all_sections_are_drawn_as_the_data_say(browser: Browser, page: Path) -> None:
    found = contents(page)
    board = found["board"]
    browser.open(page)
    methods, tasks = len(board["methods"]), len(board["tasks"])
    assert sorted(row_names(browser)) == sorted(board["methods"])
    assert browser.count("#scoreboard .interval") == methods - 1
    assert browser.count("#profiles path.line") == methods
    assert browser.count("#anytime .multiples svg[role=application]") == tasks
    shown = [curve for curve in board["anytime"] if curve["updates"] == 300]
    assert browser.count("#anytime path.line") == len(shown)
    (pool,) = [one for one in board["trials"] if one["updates"] == 300]
    assert browser.count("#trials path.line") == 1
    assert browser.count("#trials circle.dye") == len(pool["expected"])
    assert browser.count("#trials line.line[y1]:not(g line)") == 3  # controller, cosine, reference
    assert browser.count("#by-task .cell") == (methods - 1) * tasks
    assert browser.count("#timeline option") == len(found["timelines"])
    run = found["timelines"][0]
    assert browser.count("#timeline circle[data-line=validation]") == sum(
        loss is not None for loss in run["valid_loss"]
    )
    assert browser.count("#timeline .event.diverged") == 4 * 1 + 1  # panels, and the legend
    assert browser.count("#timeline .event.grew") == 4 * 2 + 1
    assert browser.count("[data-failed]") == 1
    assert "out of memory" in browser.texts("#failed .reason")[0]
    assert EVIL in "".join(browser.texts("#by-task title"))


@in_browser
def test_line_of_a_profile_goes_where_the_data_say(browser: Browser, page: Path) -> None:
    board = contents(page)["board"]
    profile = next(one for one in board["profiles"] if one["updates"] is None)
    browser.open(page)
    method = board["methods"][0]
    script = "return document.querySelector(arguments[0]).getAttribute('d')"
    line = browser.run(script, f'#profiles path.line[data-method="{method}"]')
    points = np.array([pair.split() for pair in re.findall(r"[\d.]+ [\d.]+", line)], float)
    share = np.array(profile["methods"][method]["share"])
    # Heights are a linear function of the shares, the axis being upside down.
    heights = np.polyfit(share, points[:, 1], 1)
    assert heights[0] < 0
    np.testing.assert_allclose(np.polyval(heights, share), points[:, 1], atol=0.2)
    widths = np.polyfit(profile["thresholds"], points[:, 0], 1)
    np.testing.assert_allclose(np.polyval(widths, profile["thresholds"]), points[:, 0], atol=0.2)


@in_browser
def test_pointing_at_a_profile_tells_the_share_of_each_method(browser: Browser, page: Path) -> None:
    board = contents(page)["board"]
    profile = next(one for one in board["profiles"] if one["updates"] is None)
    browser.open(page)
    browser.press("#profiles svg", "Home")
    for _ in range(3):
        browser.press("#profiles svg", "ArrowRight")
    place = 3
    expected = {name: line["share"][place] for name, line in profile["methods"].items()}
    assert browser.texts("#tip .head") == [f"regret at most {profile['thresholds'][place]:.3g}"]
    told = dict(
        zip(browser.texts("#tip td:first-child"), browser.texts("#tip td:last-child"), strict=True)
    )
    assert {name.strip(): text for name, text in told.items()} == {
        name: f"{100 * share:.1f} %" for name, share in expected.items()
    }
    browser.press("#profiles svg", "Escape")
    assert browser.run("return document.getElementById('tip').hidden")
    browser.point("#profiles svg", 0.5, 0.5)
    assert not browser.run("return document.getElementById('tip').hidden")


@in_browser
def test_pointing_at_a_cell_tells_its_difference(browser: Browser, page: Path) -> None:
    board = contents(page)["board"]
    browser.open(page)
    browser.point("#by-task .cell", 0.5, 0.5)
    name = browser.run("return document.querySelector('#by-task .cell').dataset.cell")
    cell = next(
        one
        for one in board["by_task"]
        if f"{one['method']} {one['task']}" == name and one["updates"] == 300
    )
    text = browser.texts("#tip")[0].replace("\u2212", "-")
    assert f"{cell['difference']['value']:+.3f}" in text
    assert f"{cell['score']['value']:.3f}" in text
    assert {"better": "better", "worse": "worse", "equal": "no clear difference"}[
        cell["verdict"]
    ] in text


@in_browser
def test_table_is_sorted_by_any_column(browser: Browser, page: Path) -> None:
    rows = {row["method"]: row for row in contents(page)["board"]["rows"] if row["updates"] is None}
    browser.open(page)
    by_difference = sorted(
        rows, key=lambda name: (rows[name]["difference"] or {"value": 0})["value"]
    )
    assert row_names(browser) == by_difference
    browser.click("[data-sort=regret]")
    by_regret = sorted(rows, key=lambda name: rows[name]["regret"]["value"])
    assert row_names(browser) == by_regret
    browser.click("[data-sort=regret]")
    assert row_names(browser) == by_regret[::-1]
    assert browser.run("return document.activeElement.dataset.sort") == "regret"
    browser.click("[data-sort=method]")
    assert row_names(browser) == sorted(rows)
    # What is best is bold, wherever it stands.
    best = min(rows, key=lambda name: rows[name]["score"]["value"])
    bold = browser.run(
        "return [...document.querySelectorAll('td.top[data-column=score]')]"
        ".map((one) => one.closest('tr').dataset.row)"
    )
    assert bold == [best]


@in_browser
def test_filters_work_on_all_sections(browser: Browser, page: Path) -> None:
    board = contents(page)["board"]
    browser.open(page)
    browser.write("[data-filter=method]", "controller, cos")
    assert set(row_names(browser)) == {"controller", "cosine"}
    assert browser.count("#profiles path.line") == 2
    assert browser.count("#anytime path.line") == 2 * len(TASKS)
    assert browser.count("#by-task .cell") == 2 * len(TASKS)
    browser.write("[data-filter=task]", "wine")
    assert browser.count("#anytime path.line") == 2
    assert browser.count("#by-task .cell") == 2
    assert browser.count("#timeline option") == sum(
        run["task"] == "wine" for run in contents(page)["timelines"]
    )
    browser.click("[data-budget='100']")
    cell = next(
        one
        for one in board["by_task"]
        if (one["method"], one["task"], one["updates"]) == ("controller", "wine", 100)
    )
    told = browser.texts("[data-row=controller] .figure")[0].replace("\u2212", "-")
    assert told == f"{cell['difference']['value']:+.3f}"
    browser.write("[data-filter=task]", "nothing")
    assert row_names(browser) == []
    assert browser.log("browser") == []
    browser.click("[data-all=task]")
    browser.click("[data-all=method]")
    assert len(row_names(browser)) == len(board["methods"])
    browser.click(".chip[data-name=cosine]")
    assert "cosine" not in row_names(browser)
    # Two of three tasks: the mean over both, and no interval.
    browser.click(".chip[data-name=wine]")
    cells = [
        one["difference"]["value"]
        for one in board["by_task"]
        if (one["method"], one["updates"]) == ("controller", 100) and one["task"] != "wine"
    ]
    told = browser.texts("[data-row=controller] .figure")[0].replace("\u2212", "-")
    assert float(told) == pytest.approx(np.mean(cells), abs=6e-4)
    assert browser.count("#scoreboard .interval") == 0


@in_browser
@pytest.mark.parametrize("way", ["mouse", "touch", "keys", "buttons"])
def test_timeline_tells_what_was_decided(
    browser: Browser, page: Path, runs: list[StoredRun], way: str
) -> None:
    run = shown_run(runs)
    browser.open(page)
    assert contents(page)["timelines"][0]["seed"] == run.seed
    place = 4
    picture = "#timeline .chart svg"
    if way == "keys":
        for _ in range(place):
            browser.press(picture, "ArrowRight")
    elif way == "buttons":
        for _ in range(place):
            browser.click("#timeline [aria-label='next decision']")
            focused = browser.run("return document.activeElement.getAttribute('aria-label')")
            assert focused == "next decision"  # so that Enter goes on
    else:
        script = """const box = (one) => document.querySelector(one).getBoundingClientRect();
            const node = box(arguments[0]), line = box(arguments[0] + " [data-line=learning_rate]");
            return [(line.left - node.left) / node.width, line.width / node.width];"""
        left, width = browser.run(script, picture)
        browser.point(picture, left + width * (place + 0.5) / len(run.decisions), 0.3, way)
    record = run.decisions[place]
    assert browser.texts(".detail h3") == [f"Decision {place + 1} of {len(run.decisions)}"]
    told = {
        name: browser.texts(f".detail [data-value='{name}']")[0]
        for name in ("train loss", "valid loss", "learning rate", "network")
    }
    assert told["network"] == record["rung"]
    assert float(told["train loss"]) == pytest.approx(record["train_loss"], rel=5e-3)
    assert float(told["valid loss"]) == pytest.approx(record["valid_loss"], rel=5e-3)
    rate = float(told["learning rate"].replace("\u2212", "-"))
    assert rate == pytest.approx(record["settings"]["learning_rate"], rel=5e-3)
    (did,) = browser.texts(".detail .did")
    assert "back to the best weights" in did  # the decision in the middle restores
    for name, knob in KNOBS.items():
        shares = browser.run(
            "return [...document.querySelectorAll(`.chance[data-knob=${arguments[0]}]`)]"
            ".map((one) => Number(one.dataset.share))",
            name,
        )
        assert shares == pytest.approx([1000 * one for one in record["probabilities"][name]], abs=1)
        chosen = browser.run(
            "return [...document.querySelectorAll(`.chance[data-knob=${arguments[0]}]`)]"
            ".findIndex((one) => one.classList.contains('chosen'))",
            name,
        )
        assert knob.levels[chosen] == record["action"][name]


@in_browser
def test_dark_mode_changes_the_colours_also_while_the_page_is_open(
    browser: Browser, page: Path
) -> None:
    script = """const lines = ["#profiles path.line", "#timeline path.line"];
        const parts = ["body", "#profiles text", ...lines];
        return parts.map((one) => {
            const style = getComputedStyle(document.querySelector(one));
            return style.backgroundColor + style.stroke + style.fill;
        });"""
    browser.open(page)
    light = browser.run(script)
    browser.scheme(dark=True)
    dark = browser.run(script)
    assert all(one != two for one, two in zip(light, dark, strict=True))
    browser.open(page, dark=True)
    assert browser.run(script) == dark


@in_browser
def test_page_of_a_run(browser: Browser, run_folder: Path, folder: Path) -> None:
    write_report(run_folder, folder / "run.html")
    browser.open(folder / "run.html")
    assert browser.texts("h1") == ["digits, controller"]
    assert browser.texts(".lead") == ["accuracy 0.969 on test data"]
    facts = dict(zip(browser.texts(".facts dt"), browser.texts(".facts dd"), strict=True))
    assert facts["updates"] == "282 of 300"
    assert facts["compute"] == "858 MFLOP"
    assert browser.count("#timeline .chart path.line") == 5  # 3 losses, learning rate, weight decay
    assert browser.count("#timeline select") == 0


@in_browser
def test_a_speed_up_that_is_only_a_bound_says_so(browser: Browser, tmp_path: Path) -> None:
    # The reference gains 0.1 with each doubling: the middle one equals a half, the best none.
    gains = (("fast", -0.9, 1.0), ("slow", 0.9, 1.0), ("half", 0.1, 1.0), ("reference", 0.0, 1.0))
    multiples = [
        (f"reference:{2.0**power:g}", -0.1 * power, 2.0**power) for power in (-2, -1, 1, 2)
    ]
    made = invented.invented_runs(invented.Extent((*gains, *multiples), ("digits",), 1, (100,)))
    scores = {name: gain - 1.0 for name, gain, _ in (*gains, *multiples)}
    told = [
        replace(run, status="finished", reason=None, test_score=scores[run.method]) for run in made
    ]
    invented.write_store(tmp_path / "runs.sqlite", told)
    write_report(tmp_path / "runs.sqlite", tmp_path / "report.html")
    browser.open(tmp_path / "report.html")
    speeds = {
        name: browser.texts(f"[data-row={name}] [data-column=speed]")[0]
        for name in ("fast", "slow", "half")
    }
    assert speeds == {
        "fast": "\u2265 4 \u00d7",
        "slow": "\u2264 0.25 \u00d7",
        "half": "0.5 \u00d7",
    }


@in_browser
def test_the_headline_names_the_best_for_the_cost_of_a_single_run(
    browser: Browser, tmp_path: Path
) -> None:
    methods = (
        ("reference:4", -0.3, 4.0),
        ("controller", -0.2, 1.0),
        ("reference", 0.0, 1.0),
        ("lucky", -2.0, 1.0),  # on one task only
    )
    gains = {name: gain for name, gain, _ in methods}

    def opened(names: Sequence[str]) -> None:
        chosen = [method for method in methods if method[0] in names]
        made = invented.invented_runs(invented.Extent(chosen, ("digits", "wine"), 3, (100,)))
        told = [replace(run, test_score=gains[run.method] - 1.0) for run in made]
        path = tmp_path / f"{len(names)}.sqlite"
        kept = [run for run in told if run.method != "lucky" or run.task == "wine"]
        invented.write_store(path, [run for run in kept if run.status == "finished"])
        write_report(path, tmp_path / "report.html")
        browser.open(tmp_path / "report.html")

    opened(["reference:4", "controller", "reference", "lucky"])
    assert browser.texts("h1") == [
        "controller has the best score for the cost of a single run, and is better than reference"
    ]
    assert browser.texts(".lead")[0] == "reference:4 scores 0.1 lower still, at 4 \u00d7 the cost."
    opened(["controller", "reference"])
    assert browser.texts("h1")[0].startswith("controller has the best score for the cost of a")
    assert browser.texts(".lead")[0].startswith("2 methods on 2 tasks")
    opened(["reference:4"])
    assert browser.texts("h1") == [
        "reference:4 has the best score at 4 \u00d7 the cost of a single run"
    ]


@in_browser
def test_wide_intervals_leave_room_for_the_values(browser: Browser, page: Path) -> None:
    found = contents(page)
    rows = [row for row in found["board"]["rows"] if row["updates"] is None and row["difference"]]
    values = [row["difference"]["value"] for row in rows]
    rows[0]["difference"] |= {"low": -100.0, "high": 100.0}
    wide = page.with_name("wide.html")
    wide.write_text(render(found), "utf-8")
    browser.open(wide)
    assert browser.count("#scoreboard .beyond") == 2
    assert "An arrow" in browser.texts("#scoreboard .note")[0]
    script = """return [...document.querySelectorAll("#scoreboard circle")]
        .map((one) => Number(one.getAttribute("cx")))"""
    assert np.ptp(browser.run(script)) > 168 / 4 * np.ptp(values) / np.ptp([*values, 0.0])
    browser.open(page)
    assert browser.count("#scoreboard .beyond") == 0


@in_browser
def test_a_store_where_all_failed_still_opens(browser: Browser, tmp_path: Path) -> None:
    (run,) = [one for one in experiment() if one.status == "failed"]
    invented.write_store(tmp_path / "runs.sqlite", [run])
    write_report(tmp_path / "runs.sqlite", tmp_path / "report.html")
    browser.open(tmp_path / "report.html")
    assert browser.texts("h1") == ["No run has finished"]
    assert browser.count("[data-failed]") == 1
    assert browser.log("browser") == []


# ---- for everybody ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def everything(folder: Path, runs: list[StoredRun]) -> Path:
    """A page that has all there can be: a population, a failure, a controller."""
    path = folder / "everything.sqlite"
    invented.write_store(path, [*runs, population(shown_run(runs))])
    write_report(path, folder / "everything.html")
    return folder / "everything.html"


def choose_population(browser: Browser) -> None:
    """Chooses the timeline of the population."""
    browser.run("""const select = document.querySelector("#run");
        select.value = [...select.options].find((one) => one.textContent.startsWith("pbt")).value;
        select.dispatchEvent(new Event("change"));""")


@in_browser
@pytest.mark.parametrize("width", [1280, 390])
def test_a_screen_reader_finds_names_states_and_tables(
    browser: Browser, everything: Path, width: int
) -> None:
    board = contents(everything)["board"]
    browser.open(everything, width=width)
    found = browser.named()
    pictures = {"image", "img", "application"}
    controls = {"button", "searchbox", "combobox", "checkbox", "link", "region", *pictures}
    assert [role for role, name in found if role in controls and not name.strip()] == []
    names = [name for role, name in found if role in pictures]
    (profile,) = [name for name in names if name.startswith("Performance profiles")]
    overall = next(one for one in board["profiles"] if one["updates"] is None)
    for method, line in overall["methods"].items():
        assert f"{method} {100 * line['share'][-1]:.1f} %" in profile
    (tasks,) = [name for name in names if name.startswith("Differences to reference on")]
    cells = [
        cell
        for cell in board["by_task"]
        if (cell["updates"], cell["method"]) == (300, "controller") and cell["difference"]
    ]
    better, worse = (sum(c["verdict"] == verdict for c in cells) for verdict in ("better", "worse"))
    assert f"controller is better on {better} and worse on {worse}" in tasks
    assert any(name.startswith("Timeline of controller on ") for name in names)
    assert ("searchbox", "Filter methods") in found
    assert ("button", "all tasks") in found
    # A table stays one where the style makes blocks of its rows.
    rows = [name for role, name in found if role == "rowheader"]
    assert len(rows) == len(board["methods"]) + 1  # and what failed
    assert sum(role == "row" for role, _ in found) == len(rows) + (2 if width > 1150 else 0)
    pressed = browser.run("""return [...document.querySelectorAll(".chip, .tabs button")]
        .map((one) => one.getAttribute("aria-pressed"))""")
    assert set(pressed) == {"true", "false"}
    browser.click(".chip[data-name=cosine]")
    chip = "return document.querySelector('.chip[data-name=cosine]').getAttribute('aria-pressed')"
    assert browser.run(chip) == "false"


@in_browser
@pytest.mark.parametrize("width", [1280, 390])
def test_the_direction_of_sorting_is_said_and_seen(
    browser: Browser, page: Path, width: int
) -> None:
    rows = {row["method"]: row for row in contents(page)["board"]["rows"] if row["updates"] is None}
    by_regret = sorted(rows, key=lambda name: rows[name]["regret"]["value"])
    browser.open(page, width=width)
    browser.run("""const select = document.querySelector("#sorter");
        select.value = "regret";
        select.dispatchEvent(new Event("change"));""")
    sorted_by = "return document.querySelector('th[aria-sort]').textContent"
    state = "return document.querySelector('th[aria-sort]').getAttribute('aria-sort')"
    seen = "return document.querySelector('.way').offsetWidth > 0"
    assert row_names(browser) == by_regret
    assert browser.run(state) == "ascending"
    assert browser.run(sorted_by) == "regret \u2191"
    assert browser.run(seen) == (width < 1150)
    assert browser.texts(".way") == ["\u2191 lowest first"]
    browser.click(".way")
    assert row_names(browser) == by_regret[::-1]
    assert browser.run(state) == "descending"
    assert browser.texts(".way") == ["\u2193 highest first"]


@in_browser
def test_the_keyboard_reaches_all_and_the_focus_is_seen(browser: Browser, everything: Path) -> None:
    browser.open(everything)
    state = """const one = document.activeElement, style = getComputedStyle(one);
        return [one === document.body ? "" : one.outerHTML.slice(0, 200),
            style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2];"""
    wanted = """const all = "a[href], button, input, select, [tabindex='0']";
        return [...document.querySelectorAll(all)]
        .filter((one) => one.getClientRects().length || one.matches(".skip"))
        .map((one) => one.outerHTML.slice(0, 200))"""
    expected = browser.run(wanted)
    reached = {}
    for _ in range(len(expected) + 5):  # and the summary, the end of the page
        browser.strike("Tab")
        text, seen = browser.run(state)
        reached[text] = seen
    assert set(expected) <= set(reached)
    assert [text for text, seen in reached.items() if text and not seen] == []
    # Cells are walked through in both directions.
    board = contents(everything)["board"]
    across = len(board["tasks"])
    for key in ("Home", "ArrowRight", "ArrowDown"):
        browser.press("#by-task svg", key)
    names = browser.run(
        "return [...document.querySelectorAll('#by-task .cell')].map((one) => one.dataset.cell)"
    )
    assert browser.texts("#tip .head") == [names[across + 1].replace(" ", ", ", 1)]
    browser.run("document.activeElement.blur()")
    browser.point("#profiles svg", 0.5, 0.5)
    browser.strike("Escape")
    assert browser.run("return document.getElementById('tip').hidden")


@in_browser
def test_intervals_can_be_read_without_a_pointer(browser: Browser, page: Path) -> None:
    rows = {row["method"]: row for row in contents(page)["board"]["rows"] if row["updates"] is None}
    browser.open(page, width=390)
    browser.press("#timeline .chart svg", "End")
    (decision,) = browser.texts(".detail h3")
    assert browser.count("#scoreboard .side") == 0
    browser.click("#details")
    score = rows["controller"]["score"]
    told = browser.texts("[data-row=controller] [data-column=score] .side")[0]
    assert told.replace("\u2212", "-") == f"{score['low']:.3f} to {score['high']:.3f}"
    assert browser.texts(".detail h3") == [decision]  # what else was chosen stays


@in_browser
@pytest.mark.parametrize("dark", [False, True])
def test_all_text_can_be_told_from_what_is_behind_it(
    browser: Browser, everything: Path, run_folder: Path, folder: Path, dark: bool
) -> None:
    write_report(run_folder, folder / "run.html")
    script = """const found = [], page = document.getElementById("page");
        const walker = document.createTreeWalker(page, NodeFilter.SHOW_TEXT);
        for (let node; (node = walker.nextNode());) {
            const one = node.parentElement, style = getComputedStyle(one);
            const seen = node.textContent.trim() && one.getClientRects().length;
            if (!seen || one.closest("#by-task svg")) continue; // its cells are checked below
            let behind = one, colour = "rgba(0, 0, 0, 0)";
            while (behind && colour === "rgba(0, 0, 0, 0)") {
                colour = getComputedStyle(behind).backgroundColor;
                behind = behind.parentElement;
            }
            const ink = one instanceof SVGElement ? style.fill : style.color;
            found.push([ink, colour, node.textContent]);
        }
        return found;"""
    for path in (everything, folder / "run.html"):
        browser.open(path, dark=dark)
        if path == everything:
            choose_population(browser)
            browser.click("#details")
        found = {(ink, paper): text for ink, paper, text in browser.run(script)}
        assert len(found) >= 3
        for (ink, paper), text in found.items():
            assert contrast(hexed(ink), hexed(paper)) >= 4.5, (ink, paper, text)


def hexed(colour: str) -> str:
    """`rgb(1, 2, 3)` as `#010203`."""
    return "#" + "".join(f"{int(part):02x}" for part in re.findall(r"\d+", colour)[:3])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_lines_edges_and_cells_have_contrast(scheme: str) -> None:
    style = (PACKAGE / "report.css").read_text("utf-8")
    part = style.split("prefers-color-scheme: dark", 1)[scheme == "dark"]
    found = dict(re.findall(r"--([\w-]+): (#\w{6})", part)[::-1])
    kept = (
        *("edge", "better", "worse", "accent", "train", "valid", "best", "size"),
        *("diverged", "restored", "grew", "shrank", "copied"),
    )
    for name in kept:  # WCAG 2.2, 1.4.11
        assert contrast(found[name], found["paper"]) >= 3.0, name
    assert contrast(found["edge"], found["panel"]) >= 3.0
    for name in ("good", "bad"):  # of a full cell, 0.6 of its colour lies over the paper
        shares = [
            [int(found[one][place : place + 2], 16) for place in (1, 3, 5)]
            for one in (name, "paper")
        ]
        cell = [round(0.6 * over + 0.4 * under) for over, under in zip(*shares, strict=True)]
        blended = "#" + "".join(f"{value:02x}" for value in cell)
        assert contrast(found["ink"], blended) >= 4.5, name


@in_browser
def test_nothing_moves_for_who_asked_for_that(browser: Browser, page: Path) -> None:
    script = """return getComputedStyle(document.querySelector("#profiles path.line"))
        .transitionDuration"""
    browser.open(page)
    assert browser.run(script) == "0.12s"
    browser.scheme(dark=False, still=True)
    assert browser.run(script) == "0s"


@in_browser
def test_timeline_of_a_population_in_the_page(browser: Browser, everything: Path) -> None:
    (run,) = [one for one in contents(everything)["timelines"] if one["method"] == "pbt:3"]
    browser.open(everything)
    choose_population(browser)
    drawn = browser.run("""return [...document.querySelectorAll("#timeline [data-copy]")]
        .map((one) => one.dataset.copy)""")
    assert drawn == [f"{one['at']} {one['trial']} {one['copied']}" for one in run["copies"]]
    browser.press("#timeline .chart svg", "ArrowRight")
    browser.press("#timeline .chart svg", "ArrowRight")
    assert "goes on from the weights of trial 0" in browser.texts(".detail .did")[0]
    told = browser.texts(".detail .copies li")
    assert [line.split(",")[0] for line in told] == [
        "trial 1 (this one) copied trial 0",
        "trial 2 copied trial 1",
    ]
    assert "dropout 0.2" in told[1]
    assert "copy of another trial" in browser.texts("#timeline .legend")[0]


@in_browser
@pytest.mark.parametrize("width", [1280, 390])
def test_copies_of_one_round_are_told_apart_and_told_in_words(
    browser: Browser, runs: list[StoredRun], tmp_path: Path, width: int
) -> None:
    made = many_copies()
    run = of_trials(shown_run(runs), 32, {(trial, at + 1): source for at, trial, source in made})
    invented.write_store(tmp_path / "large.sqlite", [run])
    write_report(tmp_path / "large.sqlite", tmp_path / "large.html")
    browser.open(tmp_path / "large.html", width=width)
    drawn = browser.run("""const rounds = document.querySelectorAll("#timeline [data-round]");
        return [...rounds].map((one) => [one.dataset.round, one.getAttribute("aria-label"),
        one.querySelector("title").textContent,
        [...one.querySelectorAll("[data-copy]")].map((arrow) => {
            const { left, right, top, bottom } = arrow.getBoundingClientRect();
            return [arrow.dataset.copy, left, right, top, bottom];
        })])""")
    assert [int(at) for at, *_ in drawn] == [2, 4, 6, 8]
    for at, label, title, arrows in drawn:
        own = sorted((trial, source) for place, trial, source in made if place == int(at))
        said = ", ".join(f"trial {trial} takes from {source}" for trial, source in own)
        assert label == title == f"8 copies before decision {int(at) + 1}: {said}"
        assert [name for name, *_ in arrows] == [f"{at} {one} {other}" for one, other in own]
        for (_, *one), (_, *other) in combinations(arrows, 2):
            (left, right, top, bottom), (left2, right2, top2, bottom2) = one, other
            apart = min(right, right2) <= max(left, left2) + 0.01
            assert apart or min(bottom, bottom2) <= max(top, top2)
    names = [name for role, name in browser.named() if role in ("img", "image")]
    assert [one[1] for one in drawn] == [name for name in names if "takes from" in name]


FIGURES = ("#profiles", "#trials", "#anytime", "#by-task", "#timeline")


@in_browser
@pytest.mark.parametrize("figure", FIGURES)
def test_each_figure_is_saved_as_it_is_seen(
    browser: Browser, everything: Path, tmp_path: Path, figure: str
) -> None:
    browser.open(everything, dark=True)
    where = {"behavior": "allow", "downloadPath": str(tmp_path)}
    browser.driver.execute_cdp_cmd("Browser.setDownloadBehavior", where)
    saved = {}
    for form in ("svg", "png"):
        browser.click(f"{figure} [data-save={form}]")
        end = time.monotonic() + 60
        while not (found := list(tmp_path.glob(f"*.{form}"))) and time.monotonic() < end:
            time.sleep(0.05)
        (saved[form],) = found
    assert browser.log("browser") == []
    text = saved["svg"].read_text("utf-8")
    assert not re.search(r"var\(|class=|data-|tabindex", text)
    picture = ElementTree.fromstring(text)
    assert hexed(picture[0].get("fill", "")) == "#16181a"  # the paper of the dark
    size = [float(picture.get(name, "nan")) for name in ("width", "height")]
    content = saved["png"].read_bytes()
    assert content.startswith(b"\x89PNG")
    assert list(struct.unpack(">II", content[16:24])) == [2 * round(side) for side in size]
    words = ["".join(one.itertext()) for one in picture.iter() if one.tag.endswith("}text")]
    script = "return [...document.querySelectorAll(arguments[0])].map((one) => one.textContent)"
    shown = browser.run(script, f"{figure} .chart svg text")
    assert shown
    own = shown if figure != "#anytime" else shown[:3]
    assert [one for one in own if one not in words] == []
    # Lines have the colours that they have in the page.
    line = browser.run(
        """const one = document.querySelector(arguments[0] + " svg path.line");
        return one && getComputedStyle(one).stroke""",
        figure,
    )
    assert line is None or any(one.get("stroke") == line for one in picture.iter())
