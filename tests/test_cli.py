"""The command line: what it prints and where, its sentences about bad input, Ctrl-C."""

import csv
import inspect
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from sklearn.datasets import load_iris

import rlagent
from rlagent import cli
from rlagent.apply import jobs
from rlagent.apply.devices import use_compile_cache
from rlagent.apply.request import Request
from rlagent.cli import main
from rlagent.storage import write_arrays
from rlagent_envs.tasks import load_task
from rlagent_envs.tasks.options import Options

SMALL = ["--updates", "60", "--decisions", "6", "--rung", "32x1"]
COSINE = ["--method", "cosine", *SMALL]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And without the compile cache, which would change JAX for all other tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RLAGENT_CACHE_DIR", "")


def write_table(path: str, rows: int = 90, header: str = "size,colour,kind") -> None:
    """A .csv file of numbers and categories, with gaps."""
    generator = np.random.default_rng(1)
    lines = [header]
    for number in range(rows):
        size, colour = generator.normal(), generator.choice(["red", "green", "blue"])
        kind = "yes" if size + (colour == "red") > 0.5 else "no"
        lines.append(f"{'' if number % 17 == 0 else f'{size:.4f}'},{colour},{kind}")
    Path(path).write_text("\n".join(lines) + "\n")


def sentence(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a failing command says: one line on stderr, status 2, nothing on stdout."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("rlagent: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err.removeprefix("rlagent: ").rstrip("\n")


def read_table(path: str) -> list[dict[str, str]]:
    """The rows of a .csv file."""
    return list(csv.DictReader(Path(path).read_text().splitlines()))


# What is printed where


def test_the_version_loads_nothing() -> None:
    code = "import sys; from rlagent.cli import main; main(['--version']); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    version, loaded = run.stdout.splitlines()
    assert version == f"rlagent {rlagent.__version__}"
    assert not {"jax", "numpy", "rich", "pydantic", "rlagent_envs"} & set(loaded.split())


def test_json_is_the_only_thing_on_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "iris", *COSINE, "--json", "--out", "run"]) == 0
    out, err = capfd.readouterr()
    summary = json.loads(out)
    assert err == ""
    assert summary == json.loads(Path("run/summary.json").read_text())
    assert (summary["task"], summary["method"], summary["rung"]) == ("iris", "cosine", "32x1")


def test_the_report_tells_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    write_table("table.csv")
    assert main(["tune", "table.csv", "--target", "kind", *COSINE, "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "accuracy" in out
    assert "next: rlagent predict runs/table-cosine-1 FILE.csv --out predictions.csv" in out
    assert main(["tune", "--resume", "runs/table-cosine-1"]) == 0
    again, err = capsys.readouterr()
    assert err == "the run runs/table-cosine-1 is finished; there is nothing to go on with\n"
    assert again == out


def test_a_second_run_gets_the_next_number(capsys: pytest.CaptureFixture[str]) -> None:
    for number in (1, 2):
        assert main(["tune", "iris", *COSINE, "--quiet"]) == 0
        assert f"runs/iris-cosine-{number}\n" in capsys.readouterr().out


def test_the_tasks_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks"]) == 0
    shown = capsys.readouterr().out
    assert "digits         classification  1797        64       10" in shown.splitlines()
    assert main(["tasks", "--json"]) == 0
    names = [task["name"] for task in json.loads(capsys.readouterr().out)]
    assert names == ["breast_cancer", "diabetes", "digits", "iris", "wine"]


def test_a_reader_that_leaves_is_no_error() -> None:
    command = f"{sys.executable} -m rlagent tasks | true"
    run = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert run.stderr == ""


# predict


def test_predictions_of_a_table_with_an_unseen_category(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_table("table.csv")
    assert main(["tune", "table.csv", "--target", "kind", *COSINE, "--out", "run", "--quiet"]) == 0
    Path("new.csv").write_text("colour,size,more\nviolet,1.5,x\nred,,y\ngreen,-1,z\n")
    assert main(["predict", "run", "new.csv", "--out", "out.csv"]) == 0
    rows = read_table("out.csv")
    assert len(rows) == 3
    assert list(rows[0]) == ["prediction", "probability_no", "probability_yes"]
    for row in rows:
        chances = {name: float(row[f"probability_{name}"]) for name in ("no", "yes")}
        assert sum(chances.values()) == pytest.approx(1.0, abs=1e-5)
        assert row["prediction"] == max(chances, key=chances.__getitem__)
    capsys.readouterr()
    assert main(["predict", "run", "new.csv"]) == 0
    assert capsys.readouterr().out == Path("out.csv").read_text()
    Path("less.csv").write_text("colour\nred\n")
    assert sentence(["predict", "run", "less.csv"], capsys) == "less.csv lacks the column 'size'"


def test_predictions_of_a_regression_are_in_its_units(capsys: pytest.CaptureFixture[str]) -> None:
    x = np.linspace(-1.0, 1.0, 80)[:, None]
    np.savez("line.npz", x=x, y=1000.0 + 100.0 * x[:, 0])
    cosine = ["--method", "cosine", "--updates", "400", "--rung", "32x1"]
    assert main(["tune", "line.npz", *cosine, "--out", "run", "--quiet"]) == 0
    assert main(["predict", "run", "line.npz", "--out", "out.csv"]) == 0
    rows = read_table("out.csv")
    assert list(rows[0]) == ["prediction"]
    predicted = [float(row["prediction"]) for row in rows]
    np.testing.assert_allclose(predicted, 1000.0 + 100.0 * x[:, 0], atol=25.0)


# Bad input: one sentence, status 2, nothing written


def bad_files() -> None:
    """Files that cannot be used."""
    write_table("table.csv")
    x, y = load_iris(return_X_y=True)
    np.savez("iris.npz", x=x, y=y)
    np.savez("few.npz", x_train=x, y_train=np.minimum(y, 1), x_test=x, y_test=y)
    np.savez("nan.npz", x=np.where(x > 7.8, np.nan, x), y=y)
    np.savez("texts.npz", x=x.astype(str), y=y)
    Path("cut.npz").write_bytes(Path("iris.npz").read_bytes()[:200])
    Path("empty.csv").write_text("")
    Path("one.csv").write_text("a,b\n" + "1.5,x\n2.5,x\n" * 20)
    Path("gone.csv").write_text(
        "a,b,c,split\n" + "1.5,,x,train\n2.5,,y,train\n" * 20 + "1.5,1,x,valid\n"
    )
    Path("inf.csv").write_text("a,b\n" + "1.5,x\n2.5,y\n" * 40 + "inf,x\n")
    write_arrays("old.safetensors", {}, {"controller": {"format_version": 9}})


BAD: list[tuple[str, str | None]] = [
    (
        "tune digit",
        "unknown task 'digit'; there are: breast_cancer, diabetes, digits, iris, wine, or give a "
        ".csv, .tsv, .parquet, .jsonl, .npz, .npy, .ts or .txt file, a folder of images or of "
        ".wav files, or a .zip or .tar of it",
    ),
    ("tune nowhere.csv", "there is no file nowhere.csv"),
    ("tune table.csv", "name the target column of table.csv; it has: size, colour, kind"),
    (
        "tune table.csv --target sort",
        "table.csv has no column 'sort' for the target; it has: size, colour, kind",
    ),
    (
        "tune table.csv --target kind --split-column part",
        "table.csv has no column 'part' to split by; it has: size, colour, kind",
    ),
    ("tune one.csv --target b", "the target is 'x' in every row"),
    (
        "tune gone.csv --target c",
        "column 'b' has no values in the training rows, so drop it: --drop b, in Python drop='b'",
    ),
    ("tune empty.csv --target a", "empty.csv is empty"),
    ("tune cut.npz", "cut.npz is not a readable .npz file, it may be damaged"),
    ("tune texts.npz", "x must hold numbers, got <U32; give a DataFrame for texts"),
    (
        "tune nan.npz",
        "x has values that are not finite, 1 of 600, the first at [131, 0]",
    ),
    (
        "tune inf.csv --target b",
        "column 'a' has 'inf' in row 81, which is not a finite number",
    ),
    ("tune few.npz", "the test part has classes that the train part lacks: 2"),
    ("tune iris --updates 0", "updates must be a whole number from 1 up, got 0"),
    ("tune iris --minutes -1", "minutes must be more than 0, got -1"),
    ("tune iris --decisions 0", "decisions must be a whole number from 1 up, got 0"),
    (
        "tune iris --updates many",
        "argument --updates: invalid int value: 'many'; see rlagent tune --help",
    ),
    ("tune iris --valid iris.npz", "valid is for files, but iris is a bundled task"),
    ("tune iris.npz --valid nowhere.npz", "there is no file nowhere.npz"),
    (
        "tune iris --method magic",
        "unknown method 'magic'; there are: controller, constant, cosine, "
        "one-cycle, step, exponential, warmup-cosine",
    ),
    ("tune iris --controller gone.safetensors", "there is no file gone.safetensors"),
    (
        "tune iris --controller old.safetensors",
        "controller old.safetensors has format version 9; this rlagent reads: 1",
    ),
    (
        "tune iris --score auc",
        "unknown score 'auc' for classification; there are: accuracy, balanced_accuracy, "
        "macro_f1, log_loss",
    ),
    ("tune iris --out table.csv", "table.csv is a file, not a folder"),
    ("tune iris --out table.csv/run", "cannot write into ROOT/table.csv"),
    ("tune iris --out full", "the folder full is not empty"),
    ("tune --resume nowhere", "there is no folder nowhere"),
    ("tune --resume full", "the folder full holds no run: it has no run.json"),
    ("tune", "name a task or a file, or --resume the folder of a run"),
    ("tune iris --speed 3", "unrecognized arguments: --speed 3; see rlagent --help"),
    ("predict nowhere iris.npz", "there is no folder nowhere"),
    ("fly", None),  # argparse's words, which change between versions
]


@pytest.mark.parametrize(("command", "message"), BAD, ids=[command for command, _ in BAD])
def test_bad_input_is_named_in_one_sentence(
    command: str, message: str | None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bad_files()
    (tmp_path / "full").mkdir()
    Path("full/precious").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    arguments = command.split()
    if arguments[:2] == ["tune", "iris"] and {"--method", "--controller"}.isdisjoint(arguments):
        arguments += ["--method", "cosine"]
    elif arguments[0] == "tune" and len(arguments) > 1 and arguments[1] != "iris":
        arguments += [] if "--resume" in arguments else ["--method", "cosine"]
    said = sentence(arguments, capsys)
    if message is not None:
        assert said.replace(str(tmp_path), "ROOT") == message
    assert sorted(tmp_path.rglob("*")) == before
    assert Path("full/precious").read_text() == "mine"


def test_an_unknown_controller_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    said = sentence(["tune", "iris", "--controller", "wise"], capsys)
    assert said.startswith("unknown controller 'wise'; there are: ")


def test_a_folder_with_a_run_is_not_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "iris", *COSINE, "--out", "run", "--quiet"]) == 0
    capsys.readouterr()
    before = Path("run/model.safetensors").read_bytes()
    said = sentence(["tune", "iris", *COSINE, "--seed", "4", "--out", "run"], capsys)
    assert said == "the folder run is not empty; go on with the run in it by --resume run"
    assert Path("run/model.safetensors").read_bytes() == before


def test_an_unwritable_folder_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    # Root may write everywhere, but not even root into /proc.
    folder = Path("/proc") if os.geteuid() == 0 else locked
    said = sentence(["tune", "iris", *COSINE, "--out", f"{folder}/run"], capsys)
    assert said.startswith(f"cannot write into {folder}")
    assert not list(locked.iterdir())


def test_a_file_that_changed_since_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_table("table.csv")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("rlagent.apply.tuning._run", interrupted)
        command = ["tune", "table.csv", "--target", "kind", *COSINE, "--out", "run"]
        assert main(command) == 130
    capsys.readouterr()
    write_table("table.csv", rows=91)
    path = Path("table.csv").resolve()
    said = sentence(["tune", "--resume", "run"], capsys)
    assert said == (
        f"{path} is not what the run run began with: it has changed since, or this version of "
        f"rlagent reads it in another way"
    )
    path.unlink()
    assert sentence(["tune", "--resume", "run"], capsys) == f"there is no file {path}"


def test_a_run_of_another_format_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("run").mkdir()
    Path("run/run.json").write_text('{"format_version": 7}')
    said = sentence(["tune", "--resume", "run"], capsys)
    assert said == "the run run has format version 7; this rlagent reads: 1"
    Path("run/run.json").write_text('{"format_version": 1}')
    assert sentence(["tune", "--resume", "run"], capsys) == "the run run cannot be read: 'request'"
    Path("run/run.json").write_text('{"format_ver')
    assert sentence(["tune", "--resume", "run"], capsys).startswith("run/run.json cannot be read: ")


def test_training_without_torch_names_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith("rlagent.ppo")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("stable_baselines3", "sb3_contrib"):
        monkeypatch.setitem(sys.modules, name, None)
    said = sentence(["train", "--out", "x"], capsys)
    assert said.startswith("training a controller needs ")
    assert said.endswith(": pip install 'rlagent[train]'")


# In processes of their own: devices, Ctrl-C, the compile cache


def start(arguments: list[str], **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "rlagent", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )


@pytest.mark.parametrize("device", ["gpu", "tpu"])
def test_a_device_that_is_not_there_is_named(device: str) -> None:
    process = start(["tune", "iris", *COSINE, "--device", device], JAX_PLATFORMS="")
    out, err = process.communicate(timeout=120)
    extra = {"gpu": "cuda", "tpu": "tpu"}[device]
    if process.returncode == 0:
        pytest.skip(f"there is a {device} here")
    said = f"rlagent: JAX finds no {device} here; for one, pip install 'rlagent[{extra}]'\n"
    assert (process.returncode, out, err) == (2, "", said)
    assert not Path("runs").exists()


def test_ctrl_c_leaves_the_best_model_and_the_history() -> None:
    long = ["--method", "cosine", "--rung", "32x1", "--updates", "9000000", "--decisions", "90000"]
    process = start(["tune", "iris", *long, "--out", "run", "--json"])
    deadline = time.monotonic() + 120
    while not Path("run/history.jsonl").exists():  # written with the first checkpoint
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    result = rlagent.load_run("run")
    made = result.summary["decisions"]
    assert made == len(result.history) > 0
    assert result.predict(load_iris().data).shape == (150,)
    assert err == (
        f"rlagent: interrupted after decision {made} of 90000; the best model so far and the "
        f"history are in run; go on with: rlagent tune --resume run\n"
    )


def test_a_damaged_cache_entry_does_no_harm() -> None:
    cache = Path("cache").resolve()

    def run(out: str) -> tuple[str, bytes]:
        arguments = ["tune", "iris", *COSINE, "--out", out, "--json"]
        process = start(arguments, RLAGENT_CACHE_DIR=str(cache))
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0
        return err, Path(out, "model.safetensors").read_bytes()

    first = run("first")
    assert first[0] == ""
    entries = sorted(cache.rglob("*-cache"))
    assert len(entries) >= 3
    sizes = [entry.stat().st_size for entry in entries]
    entries[0].write_bytes(entries[0].read_bytes()[:100])  # truncated
    entries[1].write_bytes(os.urandom(5000))  # garbage
    entries[2].write_bytes(b"")
    assert run("second") == first
    again = sorted(cache.rglob("*-cache"))
    assert [entry.name for entry in again] == [entry.name for entry in entries]
    assert all(
        abs(e.stat().st_size - size) < 0.1 * size for e, size in zip(again, sizes, strict=True)
    )


def test_a_cache_that_cannot_be_made_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file").write_text("")
    monkeypatch.setenv("RLAGENT_CACHE_DIR", "file/x")
    before = jax.config.values["jax_compilation_cache_dir"]  # of a test before this one, or none
    jax.config.update("jax_compilation_cache_dir", None)  # type: ignore[no-untyped-call]
    try:
        use_compile_cache()
        assert jax.config.values["jax_compilation_cache_dir"] is None
    finally:
        jax.config.update("jax_compilation_cache_dir", before)  # type: ignore[no-untyped-call]


def test_versions_are_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "iris", *COSINE, "--out", "run", "--quiet"]) == 0
    stored = json.loads(Path("run/run.json").read_text())
    assert stored["versions"]["rlagent"] == rlagent.__version__
    assert stored["versions"] == jobs.versions()
    assert stored["plan"]["updates"] == 60


def defaults(of: Any) -> dict[str, object]:
    """The parameters of a function that have a default, with it."""
    parameters = inspect.signature(of).parameters.values()
    return {one.name: one.default for one in parameters if one.default is not one.empty}


def test_every_interface_has_the_options_that_there_are() -> None:
    data, run = defaults(Options), defaults(Request)
    assert defaults(load_task) == data
    assert data.items() <= run.items()
    of_python = {"x", "y", "callback", "view"}
    of_both = {"out", "resume", "log"}
    assert defaults(rlagent.tune).items() >= run.items()
    assert defaults(rlagent.tune).keys() == run.keys() | of_python | of_both
    given = vars(cli.parser().parse_args(["tune", "iris"])).keys() - {"run", "json", "quiet", "x"}
    assert given == (run.keys() - {"settings"} | of_both | {"set"})
