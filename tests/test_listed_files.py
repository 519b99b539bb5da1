"""Folders of images or sound beside a table that tells the class of each file."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from rlagent.cli import main
from rlagent_envs.tasks import Task, from_arrays, load_task


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def drawn(number: int) -> np.ndarray:
    """A grey image, dark for even numbers and bright for odd ones."""
    noise = np.random.default_rng(number).integers(0, 60, (8, 8), np.uint8)
    return noise + np.uint8(40 + 120 * (number % 2))


def label(number: int) -> str:
    return "bright" if number % 2 else "dark"


def write(path_of: Callable[[int], str], numbers: Sequence[int] = range(40)) -> None:
    for number in numbers:
        path = Path(path_of(number))
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn(number)).save(path)


def write_table(
    path: str, name_of: Callable[[int], str], numbers: Sequence[int] = range(40)
) -> None:
    """Backwards, with numbers that are no names of files."""
    lines = [f"{number % 7},{name_of(number)},{label(number)}" for number in reversed(numbers)]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("\n".join(["age,file,class", *lines]))


def expected(numbers: Sequence[int] = range(40), **given: object) -> Task:
    x = np.stack([drawn(number) for number in numbers])[..., None]
    return from_arrays(x, np.array([label(number) for number in numbers]), **given)  # type: ignore[arg-type]


def same(task: Task, other: Task) -> None:
    for part in ("train", "valid", "test"):
        for a, b in zip(getattr(task, part), getattr(other, part), strict=True):
            np.testing.assert_array_equal(a, b)


def sentence(path: str, target: str | None) -> str:
    with pytest.raises(ValueError, match=r"\w") as caught:
        load_task(path, target=target)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("image", "table", "name"),
    [
        ("set/images/{:02d}.png", "set/labels.csv", "{:02d}.png"),
        ("set/images/{:02d}.png", "set/labels.csv", "{:02d}"),
        ("set/images/{:02d}.png", "set/labels.csv", "images/{:02d}.png"),
        ("set/images/{:02d}.png", "set/meta/labels.csv", "./data/set/images/{:02d}.png"),
        ("set/{:02d}.png", "set/labels.csv", "{:02d}.png"),
        ("set/train/{:02d}.png", "set/train.csv", "{:02d}"),
    ],
)
def test_a_column_of_a_table_has_the_classes_of_files(image: str, table: str, name: str) -> None:
    write(image.format)
    write_table(table, name.format)
    task = load_task("set", target="class")
    assert task.preprocessing is not None
    assert (task.name, task.preprocessing.classes) == ("set", ("bright", "dark"))
    same(task, expected())


def test_files_of_several_folders_are_found_and_others_do_not_count() -> None:
    write(lambda number: f"set/part_{number // 20}/{number:02d}.png")
    write_table("set/meta.csv", "{:02d}".format, range(1, 37))
    same(load_task("set", target="class"), expected(range(1, 37)))


def test_names_of_tables_tell_the_parts() -> None:
    """Files of both parts are called the same, so that those of another would be seen."""
    write("set/train/{:02d}.png".format)
    write_table("set/train.csv", "{:02d}.png".format)
    write(lambda number: f"set/test/{number - 100:02d}.png", range(100, 110))
    Path("set/sample_submission.csv").write_text("file,class\n" + "00.png,dark\n" * 10)
    same(load_task("set", target="class"), expected())
    lines = [f"{number - 100:02d}.png,{label(number)}" for number in range(100, 110)]
    Path("set/test.csv").write_text("\n".join(["file,class", *lines]))
    x_test = np.stack([drawn(number) for number in range(100, 110)])[..., None]
    y_test = [label(number) for number in range(100, 110)]
    same(load_task("set", target="class"), expected(x_test=x_test, y_test=y_test))


def test_sound_has_such_tables_too() -> None:
    Path("set/audio").mkdir(parents=True)
    for number in range(20):
        wave = 9000 * np.sin(np.arange(2400) * (0.2 + 0.4 * (number % 2)))
        wavfile.write(f"set/audio/{number}.wav", 8000, wave.astype(np.int16))
    write_table("set/meta/list.csv", "{}.wav".format, range(20))
    task = load_task("set", target="class")
    assert task.preprocessing is not None
    assert (task.form, task.preprocessing.classes) == ("sequence", ("bright", "dark"))
    assert sentence("set", None) == (
        "the folder set/meta of a class holds no .wav file; the most frequent ending in it is .csv "
        "(1 of 1 files); but set/meta/list.csv names files too: --target takes their classes from "
        "a column of it, age, class"
    )


def test_tables_that_cannot_be_used_are_named() -> None:
    write("set/images/{:02d}.png".format)
    assert sentence("set", "class") == (
        "set holds no table that names its files, so there is no column 'class'"
    )
    assert sentence("set", None) == (
        "set has one folder of files alone, images, so there is a single class; it needs a folder "
        "for each class"
    )
    write_table("set/a.csv", "{:02d}".format)
    hint = "; but set/a.csv names files too: --target takes their classes from a column of it, age,"
    assert f"for each class{hint} class" in sentence("set", None)
    assert sentence("set", "kind") == (
        "set/a.csv has no column 'kind' for the target; it has: age, file, class"
    )
    assert sentence("set", "file") == (
        "the column 'file' of set/a.csv names the files, so it is no target"
    )
    write_table("set/b.csv", "{:02d}".format)
    assert sentence("set", "class") == (
        "set holds several tables with the column 'class': a.csv, b.csv"
    )
    Path("set/b.csv").unlink()
    text = Path("set/a.csv").read_text()
    Path("set/a.csv").write_text(text.replace("05,bright", "50,bright"))
    assert sentence("set", "class") == (
        "set/a.csv names '50' in column 'file', but there is no such file in set, or more than one"
    )
    Path("set/a.csv").write_text(text.replace("05,bright", "06,bright"))
    assert sentence("set", "class") == (
        "column 'file' of set/a.csv names a file in more than one row"
    )
    Path("set/a.csv").write_text(text.replace("05,bright", "05,"))
    assert sentence("set", "class") == "column 'class' of set/a.csv is empty in 1 of 40 rows"
    Path("set/a.csv").write_text(text)
    write("set/more/{:02d}.png".format, [5, 6])
    assert "names '06' in column 'file', but there is no such file" in sentence("set", "class")
    assert load_task("set").notes[-1] == hint.removeprefix("; but ") + " class"


def test_a_damaged_table_matters_only_where_a_table_is_asked_for() -> None:
    write(lambda number: f"photos/{label(number)}/{number}.png")
    classes = load_task("photos")
    Path("photos/notes.csv").write_text('a,b\n1,2\n"3')
    same(load_task("photos"), classes)
    assert sentence("photos", "a").startswith("photos/notes.csv is not a well-formed .csv file: ")


def test_folders_of_images_and_targets_are_no_classes() -> None:
    for folder in ("images", "annotations/trimaps"):
        write(f"set/{folder}/{{:02d}}.png".format)
    assert sentence("set", None).startswith(
        "set has the folders annotations and images, which are called as no classes are; masks go "
    )


def test_images_of_a_table_are_tuned_and_predicted(capsys: pytest.CaptureFixture[str]) -> None:
    write("set/images/{:02d}.png".format)
    write_table("set/labels.csv", "{:02d}".format)
    command = "tune set --target class --method cosine --updates 30 --decisions 2 --rung 32x1"
    assert main([*command.split(), "--family", "mlp", "--out", "run", "--quiet"]) == 0
    write("new/{:02d}.png".format, [60, 61])
    capsys.readouterr()
    assert main(["predict", "run", "new"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["prediction"] for row in rows] == ["dark", "bright"]


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("a.xlsx", "save the table as .csv, with the names of the columns in the first line"),
        ("a.mat", "save its arrays as .npz, x and y"),
        ("a.mp3", "make a folder of .wav files of it"),
    ],
)
def test_files_of_other_programs_come_with_advice(name: str, advice: str) -> None:
    Path(name).write_bytes(b"x")
    ending = Path(name).suffix
    assert sentence(name, None) == f"{name} has the unknown extension {ending!r}; {advice}"
