"""Folders beyond memory: read when they are needed, they are those of memory, bit for bit."""

from __future__ import annotations

import json
import re
import wave
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import rlagent
from rlagent.apply.source import fingerprint
from rlagent.apply.tuning import Interrupted
from rlagent.cli import main
from rlagent.experiments.sources import source
from rlagent_envs import episode as episodes
from rlagent_envs.episode import Start
from rlagent_envs.models import Rung
from rlagent_envs.pool import fixed_task
from rlagent_envs.settings import DEFAULT
from rlagent_envs.tasks import Task, load_task
from rlagent_envs.tasks.file_rows import FileRows
from rlagent_envs.tasks.splits import with_fewer
from rlagent_envs.tasks.streamed import Flat, OnDisk
from rlagent_envs.training.feed import Feed, Span, batch_rows
from rlagent_envs.training.loop import batch as batch_of

RUN = ["--method", "cosine", "--updates", "24", "--decisions", "3", "--rung", "32x1"]
MLP = [*RUN, "--family", "mlp"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RLAGENT_CACHE_DIR", "")


def write(
    folder: str, count: int = 40, size: tuple[int, int] = (8, 8), *, colours: bool = True
) -> Path:
    """A folder for each of two classes: bright above or below; grey images beside coloured ones."""
    for number in range(count):
        image = np.random.default_rng(number).integers(0, 100, (*size, 3), np.uint8)
        image[: size[0] // 2] += 120 * np.uint8(number % 2 == 0)
        image[size[0] // 2 :] += 120 * np.uint8(number % 2 == 1)
        picture = Image.fromarray(image)
        path = Path(folder) / ("above", "below")[number % 2] / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        (picture if colours and number % 3 else picture.convert("L")).save(path)
    return Path(folder)


def write_sound(folder: str, count: int = 30) -> Path:
    """The same with tones, high or low, of different lengths and rates."""
    for number in range(count):
        rate = 8000 if number % 5 else 4000
        generator = np.random.default_rng(number)
        times = np.arange(generator.integers(600, 1200)) / rate
        tone = np.sin(2 * np.pi * (400, 900)[number % 2] * times + generator.random())
        path = Path(folder) / ("low", "high")[number % 2] / f"{number:03}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes((tone * 20_000).astype("<i2").tobytes())
    return Path(folder)


def damage(path: str) -> None:
    """Half of the file."""
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[: len(content) // 2])


def refused(call: Callable[..., object], *arguments: Any, **options: Any) -> str:
    with pytest.raises(ValueError, match=r"\w") as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def check_same(streamed: Task, resident: Task) -> None:
    """All that is in a task, and the bits of it."""
    assert streamed.streamed is not None
    assert resident.streamed is None
    rows = len(resident.train.x)
    numbers = np.concatenate([np.arange(rows)[::-1], [3, 3, 0]])
    taken = streamed.streamed.take(numbers)
    assert taken.dtype == np.float32
    np.testing.assert_array_equal(taken, resident.train.x[numbers])
    np.testing.assert_array_equal(streamed.train.y, resident.train.y)
    for part in ("valid", "test"):
        one, other = getattr(streamed, part), getattr(resident, part)
        assert (one is None) == (other is None)
        for array, expected in zip(one or (), other or (), strict=True):
            np.testing.assert_array_equal(array, expected)
    assert streamed.preprocessing == resident.preprocessing
    for fact in ("name", "kind", "outputs", "batch_size", "family", "input_shape", "notes"):
        assert getattr(streamed, fact) == getattr(resident, fact)


# What a task is made of


@pytest.mark.parametrize(
    "options",
    [{}, {"image_size": "6x5"}, {"valid": "more"}, {"seed": 3, "mirrored": True}],
    ids=str,
)
def test_a_streamed_folder_is_the_task_of_its_images(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlagent_envs.tasks.columns.VALUES_AT_ONCE", 100)  # within an image
    write("images")
    write("more", 10)
    check_same(load_task("images", streamed=True, **options), load_task("images", **options))


def test_parts_that_are_told_and_grey_images() -> None:
    for part, count in (("train", 20), ("val", 10), ("test", 12)):
        write(f"images/{part}", count, colours=False)
    Image.fromarray(np.full((8, 8, 3), 9, np.uint8)).save("images/train/above/rgb.png")  # grey, too
    streamed = load_task("images", streamed=True)
    assert streamed.input_shape == (8, 8, 1)
    check_same(streamed, load_task("images"))


def test_images_that_only_judge_decide_neither_size_nor_colours() -> None:
    write("images/train", colours=False)
    write("images/valid", 20, (9, 11))
    write("images/test", 20)
    task = load_task("images", streamed=True)
    check_same(task, load_task("images"))
    assert task.input_shape == (8, 8, 1)
    assert any("have other sizes" in note for note in task.notes)
    assert any("have colours and become grey" in note for note in task.notes)


def test_statistics_of_some_rows_are_those_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlagent_envs.tasks.array_input.MOST_FITTED", 7)
    write("images")
    check_same(load_task("images", streamed=True), load_task("images"))


def test_streamed_sound_is_the_task_of_its_recordings() -> None:
    write_sound("sounds")
    streamed, resident = load_task("sounds", streamed=True), load_task("sounds")
    assert resident.notes == ("recordings resampled to 8000 Hz: 6 of 30",)
    check_same(streamed, resident)
    assert fingerprint(streamed) == fingerprint(load_task("sounds", streamed=True))
    assert streamed.streamed is not None
    rows = streamed.streamed.rows
    assert isinstance(rows.rows, FileRows)
    assert rows.numbers is not None
    path, other = (Path(rows.rows.files[rows.numbers[place]]) for place in (0, 1))
    path.write_bytes(other.read_bytes())
    says = f"{path} has changed since it was first read"
    assert refused(streamed.streamed.take, np.array([0])) == says


@given(st.integers(1, 30), st.integers(1, 4), st.integers(1, 3), st.integers(1, 12))
def test_pieces_are_those_of_numpy(rows: int, steps: int, columns: int, count: int) -> None:
    x = np.arange(rows * steps * columns).reshape(rows, steps, columns)
    flat = Flat(OnDisk(x), columns, lambda some: some)
    pieces = list(flat.split(count))
    expected = np.array_split(x.reshape(-1, columns), count)
    assert len(flat) == rows * steps
    for piece, other in zip(pieces, expected, strict=True):
        np.testing.assert_array_equal(piece, other)


def test_many_rows_leave_few_to_judge_by(monkeypatch: pytest.MonkeyPatch) -> None:
    write("images", 60)
    monkeypatch.setattr("rlagent_envs.tasks.arrays.MOST_VALID_ROWS", 5)
    streamed, resident = load_task("images", streamed=True), load_task("images")
    assert streamed.test is not None
    assert [len(p.y) for p in (streamed.train, streamed.valid, streamed.test)] == [50, 5, 5]
    np.testing.assert_array_equal(streamed.valid.y, resident.valid.y[:5])
    assert with_fewer({"train": np.arange(3), "valid": np.arange(3, 6)}, 2)["train"].size == 4


# When it is streamed


def test_a_folder_beyond_the_limit_is_streamed_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    write("images")
    write("grey", colours=False)
    values = 40 * 8 * 8 * 3
    for limit, folder, expected in (
        (4 * values, "images", False),
        (4 * values - 1, "images", True),
        (4 * values - 1, "grey", False),
        (4 * values // 3 - 1, "grey", True),
    ):
        monkeypatch.setattr("rlagent_envs.tasks.streamed.STREAMED_BYTES", limit)
        assert (load_task(folder).streamed is not None) == expected, (limit, folder)
    assert load_task("images", streamed=False).streamed is None
    check_same(load_task("grey"), load_task("grey", streamed=False))
    write_sound("sounds")
    assert load_task("sounds").streamed is not None


def test_experiments_and_episodes_have_folders_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    write("images")
    monkeypatch.setattr("rlagent_envs.tasks.streamed.STREAMED_BYTES", 1)
    assert load_task("images").streamed is not None
    assert source("images").load().streamed is None
    assert fixed_task("images")[0].streamed is None
    says = "unknown option 'streamed' of the task images; there are: name, "
    assert refused(source, {"task": "images", "streamed": True}).startswith(says)


def test_a_folder_in_an_archive_goes_to_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    write("images")
    shutil.make_archive("packed", "zip", "images")
    monkeypatch.setattr("rlagent_envs.tasks.streamed.STREAMED_BYTES", 1)
    assert load_task("packed.zip").streamed is None
    assert refused(load_task, "packed.zip", streamed=True) == (
        "streamed needs files that stay, but packed.zip is unpacked to be read"
    )


def test_what_cannot_be_streamed_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("table.csv").write_text("a,b\n1,2\n")
    for folder in ("scenes/images", "scenes/masks"):
        Path(folder).mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(f"{folder}/1.png")
    for arguments in (["table.csv", "--target", "b"], ["scenes"], ["iris"]):
        assert main(["tune", *arguments, "--streamed"]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        purpose = "streamed is for arrays on disk and folders with a folder for each class, but "
        assert said.startswith(f"rlagent: {purpose}{arguments[0]}")


def test_too_many_images_to_judge_by_are_to_be_resized(monkeypatch: pytest.MonkeyPatch) -> None:
    write("images")
    monkeypatch.setattr("rlagent_envs.tasks.image_folders.MOST_BYTES", 16 * 8 * 8 * 3 * 4 - 1)
    assert refused(load_task, "images", streamed=True) == (
        "16 images to validate and test on of 8x8 pixels would take up to 0 GiB; name a smaller "
        "image_size, or 8x8 to keep it"
    )
    monkeypatch.setattr("rlagent_envs.tasks.image_folders.MOST_BYTES", 16 * 8 * 8 * 3 * 4)
    assert load_task("images", streamed=True).streamed is not None
    assert refused(load_task, "images").startswith("40 images of 8x8 pixels would take up to")


def test_slices_that_need_too_much_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    write("images")
    needed = 2 * 8 * 32 * 8 * 8 * 3  # bytes, in two blocks of 8 batches
    monkeypatch.setattr("rlagent_envs.training.feed.MOST_BYTES", needed - 1)
    options: dict[str, Any] = {"method": "cosine", "streamed": True, "decisions": 3}
    assert refused(rlagent.tune, "images", updates=24, **options) == (
        "the batches of two decisions, of 8 updates of 32 examples each, would take 0 GiB; give "
        "more decisions, a smaller batch_size or smaller examples"
    )
    assert not Path("runs").exists()


# Files that are damaged, or change


def test_a_corrupt_image_is_named_or_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    write("images")
    damage("images/below/021.png")
    Path("images/above/006.png").write_bytes(b"no image")
    for bad in ("images/above/006.png", "images/below/021.png"):
        assert main(["tune", "images", *MLP, "--streamed"]) == 2
        assert capsys.readouterr().err == (
            f"rlagent: {bad} is not a readable image, it may be damaged; leave such files out by "
            "--skip-bad\n"
        )
        if bad.endswith("006.png"):
            Path(bad).unlink()
    assert not Path("runs").exists()
    task = load_task("images", streamed=True, skip_bad=True)
    check_same(task, load_task("images", skip_bad=True))
    assert task.notes == ("1 of 39 files cannot be read and are left out: images/below/021.png",)


def test_an_image_with_a_whole_head_but_no_end_is_named_or_left_out() -> None:
    write("images", 40, (32, 32))
    Image.open("images/above/020.png").save("images/above/020.jpg", quality=95)
    damage("images/above/020.jpg")
    assert refused(load_task, "images", streamed=True) == (
        "images/above/020.jpg is not a readable image, it may be damaged; leave such files out by "
        "--skip-bad"
    )
    task = load_task("images", streamed=True, skip_bad=True)
    check_same(task, load_task("images", skip_bad=True))
    assert task.notes == ("1 of 41 files cannot be read and are left out: images/above/020.jpg",)


def test_a_file_that_is_damaged_or_changed_later_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write("images", colours=False)
    task = load_task("images", streamed=True)
    assert task.streamed is not None
    rows = task.streamed.rows
    assert isinstance(rows.rows, FileRows)
    assert rows.numbers is not None
    path = rows.rows.files[rows.numbers[5]]
    Image.fromarray(np.random.default_rng(0).integers(0, 9, (8, 8, 3), np.uint8)).save(path)
    everything = np.arange(len(task.train.y))
    assert refused(task.streamed.take, everything) == (
        f"{path} has changed since it was first read"
    )
    feed = Feed(task)
    Path(path).write_bytes(b"no image")
    said = refused(feed.bank, np.array([1, 2], np.uint32), Span(0, 20))
    assert said == f"{path} is not a readable image, it may be damaged"


def test_odd_files_are_read_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    write("images")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)  # a warning, and here that is an error
    check_same(load_task("images", streamed=True), load_task("images"))


# Runs


def test_what_is_known_of_files_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    write("images")
    task = load_task("images", streamed=True)
    with monkeypatch.context() as patched:
        patched.setattr(FileRows, "__getitem__", None)
        first = fingerprint(task)
    assert fingerprint(load_task("images", streamed=True)) == first
    assert task.streamed is not None
    before, rows = task.streamed.digest(), task.streamed.rows
    assert rows.numbers is not None
    others = replace(task.streamed, rows=rows.only(np.arange(len(rows))[::-1]))
    assert others.digest() != before
    path = rows.rows.files[rows.numbers[5]]
    image = np.array(Image.open(path).convert("RGB"))
    image[0, 0] ^= 1
    Image.fromarray(image).save(path)
    changed = load_task("images", streamed=True)
    assert changed.streamed is not None
    assert changed.streamed.digest() != before
    assert fingerprint(changed) != first


def test_blocks_of_images_are_bytes_and_the_last_is_not_read_ahead() -> None:
    write("images")
    task, resident = load_task("images", streamed=True), load_task("images")
    feed = Feed(task)
    key = np.array([1, 2], np.uint32)
    block = feed.bank(key, Span(0, 3))
    assert block.train_x.dtype == np.uint8
    assert block.train_x.shape == (1, 8 * 32, 192)
    start = Start(0, DEFAULT, Rung(1, 32), budget=16.0, decisions=1)
    shape = episodes.begin(task, feed.rest, start, ()).shape
    rows = batch_rows(key, Span(2, 1), 32, len(task.train.y))
    x, y = batch_of(shape, block, jnp.int32(0), jnp.asarray(key), jnp.uint32(2))
    np.testing.assert_array_equal(x, resident.train.x[rows])
    np.testing.assert_array_equal(y, resident.train.y[rows])
    assert feed._coming is not None
    feed._coming[2].result()
    feed.bank(key, Span(3, 3), last=True)
    assert feed._coming is None


@pytest.mark.slow  # bits of programs as users have them; see conftest.py
@pytest.mark.parametrize("family", ["mlp", "cnn"])
def test_a_streamed_run_is_that_of_memory(family: str) -> None:
    write("images", 60, (16, 16))
    options: dict[str, Any] = {
        "method": "cosine",
        "updates": 30,
        "decisions": 4,
        "family": family,
        "rung": "32x1" if family == "mlp" else "8x1",
        "mirrored": True,
        "settings": {"augmentation": 0.3, "mixup": 0.2, "cutmix": 0.2},
    }
    runs = [rlagent.tune("images", streamed=how, **options) for how in (True, False)]
    times = ("seconds", "elapsed")
    told = [[{k: v for k, v in line.items() if k not in times} for line in r.history] for r in runs]
    assert told[0] == told[1]
    for name in ("test_loss", "valid_loss"):
        assert runs[0].summary[name] == runs[1].summary[name]
    images = [np.asarray(Image.open(path).convert("RGB")) for path in Path().glob("images/*/*.png")]
    chances = [run.predict_proba(images) for run in runs]
    np.testing.assert_array_equal(chances[0], chances[1])


@pytest.mark.slow  # bits of programs as users have them; see conftest.py
def test_streamed_sound_trains_as_in_memory() -> None:
    write_sound("sounds")
    options: dict[str, Any] = {"method": "cosine", "updates": 16, "decisions": 2, "rung": "16x1"}
    runs = [rlagent.tune("sounds", streamed=how, **options) for how in (True, False)]
    assert runs[0].summary["valid_loss"] == runs[1].summary["valid_loss"]


@pytest.mark.slow  # bits of programs as users have them; see conftest.py
def test_a_streamed_run_that_was_interrupted_ends_as_if_it_had_not_been(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write("images")
    assert main(["tune", "images", *MLP, "--streamed", "--out", "whole"]) == 0

    def stop(line: dict[str, Any]) -> None:
        if line["decision"] == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("rlagent.apply.driver.CHECKPOINT_SECONDS", 0.0)
    options: dict[str, Any] = {"updates": 24, "decisions": 3, "rung": "32x1", "family": "mlp"}
    with pytest.raises(Interrupted):
        rlagent.tune("images", method="cosine", streamed=True, out="run", callback=stop, **options)
    image = Path("images/above/004.png").read_bytes()
    Path("images/above/004.png").write_bytes(Path("images/below/005.png").read_bytes())
    capsys.readouterr()
    assert main(["tune", "--resume", "run"]) == 2
    assert re.search(r"images is not what the run run began with", capsys.readouterr().err)
    Path("images/above/004.png").write_bytes(image)
    assert main(["tune", "--resume", "run"]) == 0
    found = [json.loads(Path(run, "summary.json").read_text()) for run in ("whole", "run")]
    assert found[0]["valid_loss"] == found[1]["valid_loss"]
    assert found[0]["test_loss"] == found[1]["test_loss"]


def test_a_streamed_run_predicts_raw_images(capsys: pytest.CaptureFixture[str]) -> None:
    write("images", 60)
    write("new", 6)
    assert main(["tune", "images", *MLP, "--updates", "150", "--streamed", "--out", "run"]) == 0
    err = capsys.readouterr().err
    assert "36 rows to train, 12 to validate, 12 to test" in err
    assert main(["predict", "run", "new"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split(",")[1] for line in lines] == ["above"] * 3 + ["below"] * 3
    assert json.loads(Path("run/summary.json").read_text())["train_rows"] == 36
