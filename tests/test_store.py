"""The store of experiments: what goes in comes out, whatever happens; and its tables and texts."""

import dataclasses
import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlagent.experiments import store_file
from rlagent.experiments.export import export, list_text, show_text
from rlagent.experiments.store import Store
from rlagent.experiments.store_file import MIGRATIONS
from rlagent.experiments.stored_run import Curve, StoredRun, Trial

NOBODY = 65534

# Adds runs for ever, a few at each opening, and prints the number of each that is in.
WRITER = """
import sys
from rlagent.experiments.store import Store
from rlagent.experiments.stored_run import StoredRun

number = int(sys.argv[2])
print("ready", flush=True)
while True:
    with Store.open(sys.argv[1], write=True) as store:
        for _ in range(3):
            decisions = [{"decision": one, "run": number} for one in range(200)]
            store.add(
                StoredRun(f"{number:016x}", "t", "m", number, 9, {}, {}, decisions=decisions)
            )
            print(number, flush=True)
            number += 1
"""
# Opens a store to write, says so, and waits to be killed.
HOLDER = """
import sys, time
from rlagent.experiments.store import Store

with Store.open(sys.argv[1], write=True):
    print("ready", flush=True)
    time.sleep(600)
"""


def decision(number: int, **changed: Any) -> dict[str, Any]:
    record: dict[str, Any] = {
        "decision": number,
        "updates": 50 * number,
        "spent": number / 80,
        "rung": "64x2",
        "settings": {"learning_rate": 1e-3 / number, "dropout": 0.1},
        "action": {"learning_rate": 1.0, "dropout": 0.0, "growth": "hold", "restore": "hold"},
        "train_loss": 0.1 + 0.2,
        "valid_loss": None,
        "reward": -1 / 3,
        "improved": True,
        "diverged": False,
        "probabilities": {"learning_rate": [0.25, 0.75]},
    }
    return record | changed


def make(number: int = 0, **changed: Any) -> StoredRun:
    values: dict[str, Any] = {
        "key": f"{number:016x}",
        "task": "digits",
        "method": "controller",
        "seed": number,
        "updates": 4000,
        "config": {"task": "digits", "nested": {"b": [1, 2.5, None], "a": "é"}},
        "versions": {"rlagent": "0.1", "device": "cpu"},
        "budget_flops": 1e9,
        "flops": 1.6e10,
        "seconds": 1.25,
        "valid_score": -1 / 3,
        "test_score": -0.1234567890123456,
        "metric_name": "accuracy",
        "test_metric": 0.975,
        "trials": [
            Trial({"learning_rate": 1e-3}, "64x2", "cosine", -0.5, None, 4000, 1e9),
            Trial({"learning_rate": 1e-2}, "64x2", "cosine", None, None, 10, 1e7, stopped=True),
        ],
        "curve": Curve([1e8, 2e8, 1e9], [0.1 + 0.2, 0.1, -1e-17]),
        "decisions": [decision(one) for one in range(1, 4)],
    }
    return StoredRun(**(values | changed))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs of today?.sqlite"  # a name that must be quoted in an address


def fill(path: Path, *runs: StoredRun) -> None:
    with Store.open(path, write=True) as store:
        for run in runs:
            store.add(run)


def read(path: Path, **wanted: Any) -> list[StoredRun]:
    with Store.open(path, write=False) as store:
        return store.runs(**wanted)


def rows(path: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT * FROM runs ORDER BY key").fetchall()


# What goes in comes out


def test_a_run_comes_back_as_it_was(path: Path) -> None:
    failed = StoredRun(f"{9:016x}", "iris", "tpe:16", 2**40, 1, {}, {}, "failed", "no\nmemory é")
    fill(path, make(1), failed)
    assert read(path) == [make(1), failed]
    with Store.open(path, write=False) as store:
        assert store.get(f"{1:016x}") == make(1)


_finite = st.floats(allow_nan=False, allow_infinity=False)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | _finite | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_text = st.text(st.characters(codec="utf-8"))


@given(
    config=st.dictionaries(_text, _json, max_size=3),
    decisions=st.lists(st.dictionaries(_text, _json, max_size=3), max_size=3),
    curve=st.none() | st.lists(_finite).map(lambda line: Curve(line, line)),
    score=st.none() | _finite,
    reason=st.none() | _text,
    seed=st.integers(-(2**63), 2**63 - 1),
)
def test_any_run_comes_back_as_it_was(**changed: Any) -> None:
    score = changed.pop("score")
    run = make(**changed, test_score=score)
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder) / "s", run)
        assert read(Path(folder) / "s") == [run]


def test_equal_runs_give_equal_rows(tmp_path: Path) -> None:
    one = [make(1), make(2)]
    # Equal, but in another order, of other types, and put in the other way round.
    config = dict(reversed(make().config.items()))
    trials = [
        dataclasses.replace(trial, flops=int(trial.flops), settings=dict(trial.settings))
        for trial in make().trials
    ]
    curve = Curve([100_000_000, 200_000_000, 1_000_000_000], list(make().curve.valid_score))  # type: ignore[union-attr]
    changed: dict[str, Any] = {"config": config, "trials": trials, "curve": curve}
    changed |= {"flops": 16_000_000_000, "test_metric": np.float64(0.975)}
    other = [make(2, **changed), make(1, **changed)]
    assert one == other[::-1]
    fill(tmp_path / "one", *one)
    fill(tmp_path / "other", *other)
    assert rows(tmp_path / "one") == rows(tmp_path / "other")


def test_numpy_numbers_are_stored_as_numbers(path: Path) -> None:
    trial = Trial({"dropout": np.float32(0.5)}, "8x1", "constant", np.float32(1), None, 5, 1.0)  # type: ignore[dict-item,arg-type]
    fill(path, make(seed=np.int64(3), test_score=np.float32(0.25), trials=[trial]))
    (run,) = read(path)
    assert (run.seed, run.test_score, run.trials[0].settings) == (3, 0.25, {"dropout": 0.5})


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_refused(path: Path, bad: float) -> None:
    trial = Trial({"learning_rate": bad}, "8x1", "constant", None, None, 1, 1.0)
    with Store.open(path, write=True) as store:
        for changed in (
            {"test_score": bad},
            {"seconds": np.float32(bad)},
            {"config": {"x": [bad]}},
            {"trials": [trial]},
            {"curve": Curve([1.0], [bad])},
            {"decisions": [{"reward": bad}]},
        ):
            (name,) = changed
            with pytest.raises(ValueError, match=rf"^cannot store the run 0+: its {name} is "):
                store.add(make(**changed))
        assert store.keys() == set()


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"key": "xyz"}, r"^a key has 16 lower-case hexadecimal digits, not 'xyz'$"),
        ({"key": "A" * 16}, r"^a key has 16 lower-case"),
        ({"status": "done"}, r"^unknown status 'done'; choices: finished, failed$"),
        ({"config": {"x": {1, 2}}}, r"its config is not JSON: Object of type set"),
        ({"seed": 2**63}, r"^cannot store the run 0+: its seed is 9223372036854775808, not "),
    ],
)
def test_a_run_that_makes_no_sense_is_refused(
    path: Path, changed: dict[str, Any], sentence: str
) -> None:
    with Store.open(path, write=True) as store, pytest.raises(ValueError, match=sentence):
        store.add(make(**changed))


def test_a_failed_run_is_replaced_a_finished_one_never(path: Path) -> None:
    failed = make(1, status="failed", reason="no memory")
    fill(path, failed, dataclasses.replace(failed, reason="still none"))
    assert [run.reason for run in read(path)] == ["still none"]
    fill(path, make(1))
    with Store.open(path, write=True) as store:
        for again in (make(1), failed):
            with pytest.raises(ValueError, match=r"holds a finished run 0{15}1 already$"):
                store.add(again)
    assert read(path) == [make(1)]


# What one asks for


def test_runs_are_found_by_what_is_asked_for(path: Path) -> None:
    made = [
        make(number, task=task, method=method, seed=seed, updates=updates)
        for number, (seed, updates, method, task) in enumerate(
            (seed, updates, method, task)
            for seed in (10, 9)
            for updates in (1000, 200)
            for method in ("tpe:4", "cosine")
            for task in ("wine", "iris")
        )
    ]
    fill(path, *made)
    ordered = sorted(made, key=lambda run: (run.task, run.updates, run.method, run.seed))
    assert read(path) == ordered
    wine_200 = {run.key for run in made if run.task == "wine" and run.updates == 200}
    for wanted, kept in (
        ({"tasks": ["iris"]}, lambda run: run.task == "iris"),
        ({"methods": ("cosine",)}, lambda run: run.method == "cosine"),
        ({"seeds": {9, 11}}, lambda run: run.seed == 9),
        (
            {"updates": [200], "tasks": ["wine"]},
            lambda run: run.key in wine_200,
        ),
        ({"tasks": []}, lambda run: False),
        ({"tasks": ["iris' OR 1"]}, lambda run: False),
        ({"key_prefix": "0" * 15 + "A"}, lambda run: run.key.endswith("a")),
    ):
        expected = [run for run in ordered if kept(run)]
        assert read(path, **wanted) == expected, wanted


def test_many_values_may_be_asked_for(path: Path) -> None:
    fill(path, make(70_000))
    assert len(read(path, seeds=range(100_000))) == 1


def test_runs_and_keys_are_found_by_status(path: Path) -> None:
    fill(path, make(1), make(2, status="failed"))
    assert [run.seed for run in read(path, status="failed")] == [2]
    with Store.open(path, write=False) as store:
        assert store.keys() == {f"{1:016x}", f"{2:016x}"}
        assert store.keys("finished") == {f"{1:016x}"}
        with pytest.raises(ValueError, match=r"^unknown status 'done'; choices: finished, failed$"):
            store.keys("done")


def test_details_are_left_out_on_demand(path: Path) -> None:
    fill(path, make())
    bare = make(trials=[], curve=None, decisions=[])
    assert read(path, details=False) == [bare]
    assert read(path, details=["curve"]) == [dataclasses.replace(bare, curve=make().curve)]
    with pytest.raises(ValueError, match=r"^unknown detail 'x'; choices: trials, curve, decisions"):
        read(path, details=["x"])


def test_a_run_is_got_by_the_beginning_of_its_key(path: Path) -> None:
    keys = ["ab" + "0" * 14, "ab1" + "0" * 13, "c" * 16]
    fill(path, *(make(key=key, seed=seed) for seed, key in enumerate(keys)))
    with Store.open(path, write=False) as store:
        assert store.get("c").key == keys[2]
        assert store.get("AB1") == make(key=keys[1], seed=1)
        with pytest.raises(
            ValueError, match=rf"^2 runs begin with 'ab': {keys[0]} \(digits, controller, seed 0\)"
        ):
            store.get("ab")
        with pytest.raises(ValueError, match=rf"begins with 'd'; runs: {', '.join(keys)}$"):
            store.get("d")
        for bad in ("", "x", "*", "0" * 17):
            with pytest.raises(ValueError, match="hexadecimal digits"):
                store.get(bad)


def test_a_run_is_superseded_by_a_newer_one_of_its_cell(path: Path) -> None:
    with Store.open(path, write=True) as store:
        for number, seed, status in (
            (9, 0, "finished"), (5, 1, "finished"), (3, 0, "finished"), (7, 1, "failed")
        ):  # fmt: skip
            run = make(key=f"{number:016x}", seed=seed, status=status)
            store.add(
                run
                if status == "finished"
                else dataclasses.replace(run, reason="no", test_score=None)
            )
        assert store.superseded() == {f"{9:016x}"}


def test_all_runs_are_deleted_or_none(path: Path) -> None:
    fill(path, make(1), make(2), make(3))
    with Store.open(path, write=True) as store:
        with pytest.raises(ValueError, match=r"holds no run ffff, so nothing was deleted$"):
            store.delete([f"{1:016x}", "ffff"])
        assert len(store.keys()) == 3
        store.delete(iter([f"{1:016x}", f"{3:016x}", f"{3:016x}"]))
    assert [run.seed for run in read(path)] == [2]


# Kills, crashes and neighbours


@pytest.fixture
def processes() -> Iterator[list["subprocess.Popen[str]"]]:
    begun: list[subprocess.Popen[str]] = []
    yield begun
    for process in begun:
        with process:
            process.kill()


def start(
    processes: list["subprocess.Popen[str]"], program: str, *arguments: str
) -> "subprocess.Popen[str]":
    """Starts a program, and waits until it says that it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True
    )
    processes.append(process)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_killed_writer_leaves_whole_runs_only(
    path: Path, processes: list["subprocess.Popen[str]"]
) -> None:
    there = 0
    for wait in np.random.default_rng(0).uniform(0.0, 0.15, size=8):
        process = start(processes, WRITER, str(path), str(there))
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        told = process.communicate()[0].split()
        if not told and not path.exists():
            continue
        fill(path)  # the lock died with the writer
        before = there
        runs = read(path)
        there = len(runs)
        # One more may be in than was told.
        assert len(told) <= there - before <= len(told) + 1
        assert [run.seed for run in runs] == list(range(there))
        for run in runs[before:]:
            assert run.decisions == [{"decision": one, "run": run.seed} for one in range(200)]
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert there > 10


def test_a_store_is_read_as_a_kill_left_it(
    tmp_path: Path, processes: list["subprocess.Popen[str]"]
) -> None:
    path = tmp_path / "s"
    process = start(processes, WRITER, str(path), "0")
    assert process.stdout is not None
    told = [process.stdout.readline() for _ in range(20)]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    left = set(tmp_path.iterdir())
    assert len(read(path)) >= len(told)
    assert left <= set(tmp_path.iterdir()) <= left | {tmp_path / "s-shm"}  # if its log needs it


def test_a_change_that_a_kill_cut_short_is_undone(tmp_path: Path) -> None:
    path, copy = tmp_path / "s", tmp_path / "copy"
    fill(path, *(make(number) for number in range(9)))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA cache_size = 1")  # so that the change goes into the file
        connection.execute("BEGIN")
        connection.execute("DELETE FROM runs")
        shutil.copy(path, copy)
        shutil.copy(tmp_path / "s-journal", tmp_path / "copy-journal")
    assert len(read(copy)) == 9


def test_a_transaction_that_fails_leaves_nothing(path: Path) -> None:
    def interrupted(store: Store) -> None:
        with store._transaction() as connection:
            connection.execute("DELETE FROM runs")
            raise KeyboardInterrupt

    with Store.open(path, write=True) as store:
        store.add(make(1))
        with pytest.raises(KeyboardInterrupt):
            interrupted(store)
        assert store.runs() == [make(1)]
        store.add(make(2))


def test_what_is_added_survives_a_power_cut(path: Path) -> None:
    with Store.open(path, write=True) as store, store._transaction() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        assert connection.execute("PRAGMA fullfsync").fetchone() == (1,)


def test_a_second_writer_is_told_to_wait(
    path: Path, processes: list["subprocess.Popen[str]"]
) -> None:
    process = start(processes, HOLDER, str(path))
    sentence = rf"^another runner \(process {process.pid}\) is writing .*; wait until it has ended"
    with pytest.raises(ValueError, match=sentence), Store.open(path, write=True):
        pass
    link = path.with_name("link")  # another name of the same store
    link.symlink_to(path)
    with pytest.raises(ValueError, match=sentence), Store.open(link, write=True):
        pass
    assert read(path) == []
    process.send_signal(signal.SIGKILL)
    process.communicate()
    fill(path, make())
    assert len(read(link)) == 1


def test_a_writer_excludes_others_of_its_own_process(path: Path) -> None:
    with Store.open(path, write=True):
        for _ in range(2):  # the first must not drop the lock
            with pytest.raises(ValueError, match="is writing"), Store.open(path, write=True):
                pass
    fill(path)


def test_readers_see_what_is_added_and_never_wait(path: Path) -> None:
    with Store.open(path, write=True) as store, Store.open(path, write=False) as reader:
        assert reader.keys() == set()
        store.add(make(1))
        assert reader.runs() == [make(1)]
        with store._transaction() as connection:
            connection.execute("DELETE FROM runs")
            begun = time.monotonic()
            assert reader.runs() == [make(1)]
            assert time.monotonic() - begun < 5
        assert reader.keys() == set()
    with Store.open(path, write=False) as reader:
        fill(path, make(2))  # a reader does not keep a writer out either
        assert reader.runs() == [make(2)]


def test_a_store_at_rest_is_one_file(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s", write=True) as store:
        store.add(make())
        assert (tmp_path / "s-wal").exists()
        read(tmp_path / "s")
    assert read(tmp_path / "s") == [make()]
    assert list(tmp_path.iterdir()) == [tmp_path / "s"]


def test_a_copy_without_its_log_is_read_and_gets_no_files(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    copy = tmp_path / "copy" / "s"
    fill(tmp_path / "s", make(1))
    with Store.open(tmp_path / "s", write=True):
        shutil.copy(tmp_path / "s", copy)
    assert copy.read_bytes()[18:20] == b"\x02\x02"  # it says that it has a log
    assert read(copy) == [make(1)]
    assert list(copy.parent.iterdir()) == [copy]


@pytest.fixture
def private() -> Iterator[Path]:
    """A folder in which the test has no more rights than anybody, though root may run it."""
    folder = Path(tempfile.mkdtemp())
    root = os.geteuid() == 0
    if root:
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    try:
        yield folder
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(stat.S_IRWXU)
        shutil.rmtree(folder)


@pytest.mark.parametrize("logged", [False, True])
def test_a_store_in_a_folder_that_is_read_only_can_be_read_only(
    private: Path, logged: bool
) -> None:
    path = private / "s"
    fill(path, make())
    if logged:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
    private.chmod(0o555)
    assert read(path) == [make()]
    for name in (path, private / "new"):
        with (
            pytest.raises(ValueError, match=rf"^cannot write into {private}: Permission denied$"),
            Store.open(name, write=True),
        ):
            pass


def test_a_file_that_is_read_only_can_be_read_only(private: Path) -> None:
    path = private / "s"
    fill(path, make())
    path.chmod(0o444)
    assert read(path) == [make()]
    with pytest.raises(
        ValueError, match=r"^cannot write .*s: the file or its folder is read-only$"
    ):
        fill(path, make(1))
    path.chmod(0)
    with pytest.raises(ValueError, match=r"^cannot read .*s: Permission denied$"):
        read(path)


def test_a_full_disk_loses_nothing_that_was_stored(path: Path) -> None:
    with Store.open(path, write=True) as store:
        store.add(make(1))
        with store._transaction() as connection:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            connection.execute(f"PRAGMA max_page_count = {pages + 1}")
        large = make(2, config={"x": "y" * 100_000})
        with pytest.raises(ValueError, match=r"^cannot write .*: the disk is full$"):
            store.add(large)
        assert store.runs() == [make(1)]
        with store._transaction() as connection:
            connection.execute("PRAGMA max_page_count = 1000000")
        store.add(large)
    assert read(path) == [make(1), large]


def test_a_lock_of_another_program_is_waited_for_and_told(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(path, make())
    monkeypatch.setattr(store_file, "LOCK_SECONDS", 0.2)
    sentence = r"^another program has kept .* locked for 0\.2 seconds; close it, or try again later"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for write in (True, False):
            with pytest.raises(ValueError, match=sentence), Store.open(path, write=write):
                pass
        other.execute("ROLLBACK")
    with (
        Store.open(path, write=True) as store,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(ValueError, match=sentence):
            store.add(make(1))
        other.execute("ROLLBACK")
        store.add(make(1))


# Files that are no stores of ours


def refused(path: Path, sentence: str, *, also_to_write: bool = True) -> None:
    before = path.read_bytes() if path.is_file() else None
    for write in (False, True) if also_to_write else (False,):
        with pytest.raises(ValueError, match=sentence) as caught, Store.open(path, write=write):
            pass
        assert "\n" not in str(caught.value)
    assert (path.read_bytes() if path.is_file() else None) == before
    assert not path.with_name(f"{path.name}.lock").exists()


def test_a_missing_store_is_named_and_not_created(tmp_path: Path) -> None:
    refused(tmp_path / "s", r"^there is no store .*/s$", also_to_write=False)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"^cannot write .*: there is no folder .*/none$"):
        fill(tmp_path / "none" / "s")


def test_a_folder_is_no_store(tmp_path: Path) -> None:
    refused(tmp_path, r"is a folder, not a file$")


CONTENTS = [b"key,task\n" * 200, b"x", b"\0" * 5000, b"SQLite format 3\0" + b"\xff" * 5000]


@pytest.mark.parametrize("content", CONTENTS)
def test_a_file_of_another_kind_is_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    refused(path, r"is not a store of runs: it is no SQLite database$")


def test_the_database_of_another_program_is_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE runs (key TEXT)")
        connection.commit()
    refused(path, r"is an SQLite database of another program, not a store of runs$")


def test_an_empty_file_can_become_a_store(path: Path) -> None:
    path.touch()
    refused(path, r"is empty: no run has ever been stored in it$", also_to_write=False)
    fill(path, make())
    assert read(path) == [make()]


def test_a_store_is_seen_as_it_was_before_it_was_made_or_after(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            made: list[str] = []

            def make_it_now(statement: str) -> None:
                if "user_version" in statement and not made:
                    made.append(statement)
                    store_file._migrate(writer, 0)

            reader.set_trace_callback(make_it_now)
            assert store_file._version(reader, path) == 0
            assert made
            assert store_file._version(reader, path) == len(MIGRATIONS)


def test_a_store_of_a_newer_version_is_left_alone(path: Path) -> None:
    fill(path, make())
    newer = len(MIGRATIONS) + 1
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {newer}")
    refused(path, rf"has schema version {newer}; this rlagent reads versions up to {newer - 1}: ")


def test_a_store_of_an_older_version_is_read_and_brought_up_to_date(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(path, make(), make(1))
    steps = ("UPDATE runs SET task = task || '-two'", "UPDATE runs SET task = task || '-three'")
    with monkeypatch.context() as patch:
        patch.setattr(store_file, "MIGRATIONS", (*MIGRATIONS, *steps))
        before = path.read_bytes()
        assert [run.task for run in read(path)] == ["digits-two-three"] * 2
        assert path.read_bytes() == before  # a reader changes nothing
        fill(path)
        assert path.read_bytes() != before
        fill(path)  # once
        assert [run.task for run in read(path)] == ["digits-two-three"] * 2
    refused(path, "has schema version 3; this rlagent reads versions up to 1")


def test_a_migration_that_fails_changes_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(path, make())
    monkeypatch.setattr(store_file, "MIGRATIONS", (*MIGRATIONS, "DELETE FROM runs; NONSENSE"))
    with pytest.raises(ValueError, match=r"^cannot use the store .*NONSENSE"):
        fill(path)
    monkeypatch.undo()
    assert read(path) == [make()]


def test_the_table_has_the_fields_of_a_run(path: Path) -> None:
    fill(path)
    with closing(sqlite3.connect(path)) as connection:
        columns = connection.execute("SELECT name FROM pragma_table_info('runs')").fetchall()
    assert [name for (name,) in columns] == [one.name for one in dataclasses.fields(StoredRun)]


def test_a_damaged_store_is_named(path: Path) -> None:
    fill(path, *(make(number) for number in range(50)))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, r"^the store .* is damaged: database disk image is malformed$")
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    with pytest.raises(ValueError, match=r"^the store .* is damaged: "):
        read(path)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("config", "{"),
        ("trials", '[{"width": 3}]'),
        ("curve", "[]"),
        ("decisions", b"x\x9c"),
        ("decisions", b""),
    ],
)
def test_a_damaged_run_is_named(path: Path, column: str, value: str | bytes) -> None:
    fill(path, make())
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"UPDATE runs SET {column} = ?", (value,))
        connection.commit()
    with pytest.raises(ValueError, match=r"^the run 0{16} in .* is damaged: "):
        read(path)


def test_text_that_is_no_text_is_named(path: Path) -> None:
    fill(path, make())
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE runs SET task = CAST(x'ff' AS TEXT)")
        connection.commit()
    with pytest.raises(ValueError, match=r"^the store .* is damaged: Could not decode to UTF-8"):
        read(path)


def test_a_file_system_without_shared_memory_is_named(path: Path) -> None:
    address = f"{path.as_uri()}?vfs=unix-dotfile"
    with closing(sqlite3.connect(address, uri=True)) as connection:
        connection.execute("CREATE TABLE x (y)")
        with pytest.raises(ValueError, match="its file system has no shared memory"):
            store_file._enter_wal(connection, path)


def test_a_store_opened_to_read_is_not_written(path: Path) -> None:
    fill(path, make())
    with Store.open(path, write=False) as store:
        with pytest.raises(ValueError, match=r"was opened for reading only$"):
            store.add(make(1))
        with pytest.raises(ValueError, match=r"was opened for reading only$"):
            store.delete([make().key])


# Texts and tables


def test_the_list_is_an_aligned_table() -> None:
    failed = make(
        2, task="a", method="tpe:16", status="failed", flops=None, test_score=None, test_metric=None
    )
    text = list_text([make(1, trials=[], curve=None, decisions=[]), failed])
    assert text.splitlines() == [
        "key               task    method      updates  seed  status    "
        "test score           metric   cost  seconds",
        "0000000000000001  digits  controller     4000     1  finished  "
        "   -0.1235  accuracy 0.9750  16.00      1.2",
        "0000000000000002  a       tpe:16         4000     2  failed    "
        "         -                -      -      1.2",
    ]
    assert list_text([]) == "no runs"


def test_a_run_is_shown_with_all_that_is_known() -> None:
    grown = {"learning_rate": 2.0, "dropout": 0.0, "growth": "wider", "restore": "hold"}
    decisions = [
        *(decision(one) for one in (1, 2, 3)),
        decision(4, action=grown, rung="128x2", valid_loss=0.25),
        decision(5),
    ]
    text = show_text(make(decisions=decisions, status="failed", reason="no memory"))
    lines = [line.strip() for line in text.splitlines()]
    for line in (
        "reason       no memory",
        "cost         16.00 budgets, 1.6e+10 FLOPs",
        'nested  {"b": [1, 2.5, null], "a": "é"}',
        "device   cpu",
        "0      -0.5000           -     4000  64x2  cosine    whole    learning rate 0.001",
        "1            -           -       10  64x2  cosine    stopped  learning rate 0.01",
        "2  1.00      -0.0000",
        "1-3  64x2          inf",
        "4  128x2        0.25  learning rate x 2, wider",
    ):
        assert line.replace("  ", " ") in {one.replace("  ", " ") for one in lines} or line in lines
    population = [
        decision(1, trial=0),
        decision(2, trial=0, copied=1, valid_loss=0.5),
        decision(1, trial=1),
        decision(2, trial=1),
    ]
    told = show_text(make(decisions=population)).splitlines()
    place = next(at for at, line in enumerate(told) if line == "decisions")
    assert [line.split(None, 4) for line in told[place + 1 :]] == [
        ["trial", "decision", "rung", "valid", "loss  change"],
        ["0", "1", "64x2", "inf"],
        ["0", "2", "64x2", "0.5", "copies trial 1: learning rate 0.0005, dropout 0.1"],
        ["1", "1-2", "64x2", "inf"],
    ]
    bare = show_text(StoredRun("0" * 16, "t", "m", 0, 1, {}, {}))
    assert "None" not in bare
    assert "decisions" not in bare


def test_a_table_of_runs_comes_back_from_csv(tmp_path: Path) -> None:
    path = tmp_path / "runs.CSV"
    runs = [make(12), make(2, reason='a "quote", a comma\nand a line é', test_score=None)]
    export(runs, path)
    frame = pd.read_csv(path, dtype={"key": str})
    assert list(frame["key"]) == [run.key for run in runs]
    assert list(frame["flops"] / frame["budget_flops"]) == list(frame["cost"]) == [16.0, 16.0]
    assert frame["test_score"][0] == runs[0].test_score
    assert np.isnan(frame["test_score"][1])
    assert frame["reason"][1] == runs[1].reason
    assert json.loads(frame["config"][0]) == runs[0].config
    assert {"trials", "curve", "decisions"}.isdisjoint(frame.columns)


READERS = {
    ".csv": lambda path: pd.read_csv(path, dtype={"key": str}),
    ".json": lambda path: pd.DataFrame(json.loads(path.read_text())),
    ".parquet": pd.read_parquet,
}


@pytest.mark.parametrize("ending", READERS)
def test_details_become_rows(tmp_path: Path, ending: str) -> None:
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    runs = [make(1), make(2, curve=None), make(3, trials=[], decisions=[])]
    frames = {}
    for what in ("curves", "trials", "decisions"):
        path = tmp_path / f"{what}{ending}"
        export(runs, path, what)
        frames[what] = READERS[ending](path)
        assert list(frames[what])[:5] == ["key", "task", "method", "seed", "updates"]
        assert set(frames[what]["updates"]) == {4000}
    curves, trials, decisions = frames.values()
    assert list(curves["seed"]) == [1] * 3 + [3] * 3
    assert list(curves["valid_score"][:3]) == runs[0].curve.valid_score  # type: ignore[union-attr]
    assert list(curves["cost"][:3]) == [0.1, 0.2, 1.0]
    assert list(curves["point"][:3]) == [0, 1, 2]
    assert list(trials["key"]) == [runs[0].key] * 2 + [runs[1].key] * 2
    assert list(trials["setting_learning_rate"][:2]) == [1e-3, 1e-2]
    assert list(trials["updates_done"][:2]) == [4000, 10]
    assert list(trials["stopped"][:2]) == [False, True]
    assert trials["valid_score"].isna().tolist()[:2] == [False, True]
    assert trials["test_score"].isna().all()
    assert list(decisions["decision"]) == [1, 2, 3] * 2
    assert list(decisions["updates_done"][:3]) == [50, 100, 150]
    assert list(decisions["setting_learning_rate"][:3]) == [1e-3, 1e-3 / 2, 1e-3 / 3]
    assert set(decisions["action_growth"]) == {"hold"}
    probabilities = decisions["probabilities"][0]
    if ending != ".json":
        probabilities = json.loads(probabilities)
    assert probabilities == {"learning_rate": [0.25, 0.75]}


def test_a_row_that_lacks_a_column_has_null_in_json_and_nothing_in_csv(tmp_path: Path) -> None:
    runs = [make(decisions=[decision(1), decision(2, valid_accuracy=0.5)])]
    export(runs, tmp_path / "d.csv", "decisions")
    accuracies = pd.read_csv(tmp_path / "d.csv")["valid_accuracy"]
    assert accuracies.isna().tolist() == [True, False]
    assert accuracies[1] == 0.5
    export(runs, tmp_path / "d.json", "decisions")
    found = json.loads((tmp_path / "d.json").read_text())
    assert [row["valid_accuracy"] for row in found] == [None, 0.5]
    assert [list(row) for row in found] == [list(found[0])] * 2
    export(runs, tmp_path / "r.json")
    (row,) = json.loads((tmp_path / "r.json").read_text())
    assert row["config"] == make().config


@pytest.mark.parametrize(
    ("name", "what", "sentence"),
    [
        ("x.xlsx", "runs", r"^cannot export to .*x\.xlsx: its name must end in \.csv, \.json or "),
        ("x", "runs", r"must end in \.csv, \.json or \.parquet$"),
        ("x.csv", "points", r"^cannot export 'points'; choices: runs, curves, trials or decisions"),
        ("none/x.csv", "runs", r"there is no folder "),
        ("x.csv", "trials", r"^nothing to export: none of 1 runs has trials$"),
    ],
)
def test_an_export_that_makes_no_sense_is_refused(
    tmp_path: Path, name: str, what: str, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        export([make(trials=[])], tmp_path / name, what)
    assert not list(tmp_path.iterdir())


def test_no_runs_are_not_exported(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^nothing to export: there are no runs$"):
        export([], tmp_path / "x.csv")


def test_parquet_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"needs pyarrow: pip install 'rlagent\[bench\]'$"):
        export([make()], tmp_path / "x.parquet")
    assert not list(tmp_path.iterdir())
