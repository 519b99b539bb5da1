"""What is done to inputs is learned from the rows that train, whatever the others are like."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from rlagent_envs.tasks import Task, from_arrays, load_task

ROWS, SIDE = 30, 16
PARTS = {"train": 30, "valid": 12, "test": 12}


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RLAGENT_CACHE_DIR", "")


def label_of(number: int) -> str:
    return ("above", "below")[number % 2]


def drawn(number: int) -> np.ndarray:
    """A grey image, bright above or below."""
    image = np.random.default_rng(number).integers(0, 100, (SIDE, SIDE), np.uint8)
    image[slice(0, 8) if number % 2 == 0 else slice(8, None)] += 120
    return image


def save(picture: Image.Image, *path: str | Path) -> None:
    Path(*path).parent.mkdir(parents=True, exist_ok=True)
    picture.save(Path(*path))


def enlarged(path: Path, mode: str) -> None:
    """Another size and other colours; the numbers of a mask as they are."""
    picture = Image.open(path).convert("RGB" if mode == "RGB" else "L").resize((24, 20), 0)
    if mode == "RGB":
        pixels = np.asarray(picture).copy()
        pixels[3:6, 2:9] = (200, 10, 60)
        picture = Image.fromarray(pixels)
    picture.save(path)


class Classes:
    """A folder for each class."""

    @staticmethod
    def write(folder: str, rows: int) -> None:
        for number in range(rows):
            save(Image.fromarray(drawn(number)), folder, label_of(number), f"{number:03}.png")

    @staticmethod
    def order(rows: int) -> list[int]:
        """The numbers in the order of the files."""
        return sorted(range(rows), key=lambda number: (number % 2, number))

    @staticmethod
    def change(folder: str, number: int) -> None:
        enlarged(Path(folder, label_of(number), f"{number:03}.png"), "RGB")


class Masks:
    """Images with a mask each."""

    @staticmethod
    def write(folder: str, rows: int) -> None:
        for number in range(rows):
            image = drawn(number)
            save(Image.fromarray(image), folder, "images", f"{number:03}.png")
            mask = Image.fromarray((image > 110).astype(np.uint8))
            save(mask, folder, "masks", f"{number:03}.png")

    @staticmethod
    def order(rows: int) -> list[int]:
        return list(range(rows))

    @staticmethod
    def change(folder: str, number: int) -> None:
        enlarged(Path(folder, "images", f"{number:03}.png"), "RGB")
        enlarged(Path(folder, "masks", f"{number:03}.png"), "L")


class Boxes:
    """Images with YOLO's labels."""

    @staticmethod
    def write(folder: str, rows: int) -> None:
        for number in range(rows):
            save(Image.fromarray(drawn(number)), folder, "images", f"{number:03}.png")
            path = Path(folder, "labels", f"{number:03}.txt")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"1 0.5 {0.25 + 0.5 * (number % 2)} 0.5 0.25\n")

    @staticmethod
    def order(rows: int) -> list[int]:
        return list(range(rows))

    @staticmethod
    def change(folder: str, number: int) -> None:
        enlarged(Path(folder, "images", f"{number:03}.png"), "RGB")


class Coco:
    """Images with annotations of COCO, as Roboflow exports them, or in one file."""

    @staticmethod
    def file(folder: str) -> Path:
        of_part = folder.endswith(tuple(PARTS))
        return Path(folder, "_annotations.coco.json" if of_part else "instances.json")

    @staticmethod
    def write(folder: str, rows: int) -> None:
        made: dict[str, Any] = {"categories": [{"id": 1, "name": "half"}]}
        made |= {"images": [], "annotations": []}
        for number in range(rows):
            name = f"{number:03}.png"
            save(Image.fromarray(drawn(number)), folder, name)
            made["images"].append({"id": number, "file_name": name, "width": 16, "height": 16})
            box = {"image_id": number, "bbox": [4, 2 + 8 * (number % 2), 8, 4], "category_id": 1}
            made["annotations"].append(box | {"id": number, "iscrowd": 0})
        Coco.file(folder).write_text(json.dumps(made))

    @staticmethod
    def order(rows: int) -> list[int]:
        return list(range(rows))

    @staticmethod
    def change(folder: str, number: int) -> None:
        enlarged(Path(folder, f"{number:03}.png"), "RGB")
        made = json.loads(Coco.file(folder).read_text())
        made["images"][number] |= {"width": 24, "height": 20}
        Coco.file(folder).write_text(json.dumps(made))


class Sound:
    """A folder of .wav files for each class."""

    @staticmethod
    def write(folder: str, rows: int, seconds: float = 0.3, rate: int = 8000) -> None:
        for number in range(rows):
            Sound.record(folder, number, seconds + 0.001 * number, rate)

    @staticmethod
    def record(folder: str, number: int, seconds: float, rate: int) -> None:
        time = np.arange(int(seconds * rate)) / rate
        sound = np.sin(2 * np.pi * (400 + 900 * (number % 2) + 5 * number) * time)
        path = Path(folder, label_of(number), f"{number:03}.wav")
        path.parent.mkdir(parents=True, exist_ok=True)
        wavfile.write(path, rate, np.round(16000 * sound).astype(np.int16))

    @staticmethod
    def order(rows: int) -> list[int]:
        return Classes.order(rows)

    @staticmethod
    def change(folder: str, number: int) -> None:
        Sound.record(folder, number, 0.9, 16_000)


FORMS = pytest.mark.parametrize("form", [Classes, Masks, Boxes, Coco, Sound])


def drawn_to_train(form: Any) -> set[int]:
    """The rows of a folder that train, by a task of their numbers that is divided alike."""
    order = form.order(ROWS)
    one_of_two = form in (Classes, Sound)
    y = np.array([label_of(n) for n in order]) if one_of_two else np.arange(ROWS) / 7
    numbers = np.array(order, float)[:, None]
    task = from_arrays(numbers, y, kind="classification" if one_of_two else "regression")
    values = task.preprocessing.to_json()["inputs"]  # type: ignore[union-attr]
    back = task.train.x[:, 0] * values["scale"][0] + values["mean"][0]
    return set(np.round(back).astype(int).tolist())


def same_training(one: Task, other: Task) -> None:
    assert one.preprocessing == other.preprocessing
    for a, b in zip(one.train, other.train, strict=True):
        np.testing.assert_array_equal(a, b)


@FORMS
def test_parts_that_are_told_do_not_change_what_trains(form: Any) -> None:
    for part, rows in PARTS.items():
        form.write(f"data/{part}", rows)
    before = load_task("data")
    assert before.notes == ()
    form.change("data/valid", 3)
    for number in range(12):
        form.change("data/test", number)
    after = load_task("data")
    same_training(before, after)
    assert after.test is not None
    assert len(after.test.x) == 12
    assert not np.array_equal(before.test.x, after.test.x)  # type: ignore[union-attr]
    if form is Sound:
        assert after.notes == ("recordings resampled to 8000 Hz: 13 of 54",)
    else:
        assert after.notes == (
            "13 other images have other sizes and are resized to 16x16 pixels, "
            "as those to train on have",
            "13 other images have colours and become grey, as those to train on are",
        )


@FORMS
def test_files_that_are_drawn_to_test_do_not_change_what_trains(form: Any) -> None:
    form.write("data", ROWS)
    before = load_task("data")
    train = drawn_to_train(form)
    assert len(train) == len(before.train.x)
    for number in set(range(ROWS)) - train:
        form.change("data", number)
    after = load_task("data")
    same_training(before, after)
    assert len(after.notes) == (1 if form is Sound else 2)
    # One that trains does.
    form.change("data", min(train))
    changed = load_task("data")
    if form is not Sound:
        assert changed.input_shape == (32, 32, 3)
        assert changed.notes == (
            "images of 2 sizes are resized to 32x32 pixels; --image-size chooses another size",
        )
    assert changed.preprocessing != before.preprocessing


def test_other_images_become_what_raw_ones_become() -> None:
    for part, rows in PARTS.items():
        Classes.write(f"data/{part}", rows)
    changed = [Path("data/test", label_of(number), f"{number:03}.png") for number in range(12)]
    for number in range(12):
        Classes.change("data/test", number)
    task = load_task("data")
    assert task.preprocessing is not None
    assert task.test is not None
    raw = task.preprocessing.transform(changed)
    np.testing.assert_array_equal(task.test.x, raw[Classes.order(12)])
    # By hand: grey, then of the size of training, then standardised by its mean and deviation.
    grey = Image.open(changed[0]).convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    pixels = np.stack([drawn(number) for number in range(PARTS["train"])]).astype(float)
    expected = (np.asarray(grey, float) - pixels.mean()) / pixels.std()
    np.testing.assert_allclose(raw[0].reshape(SIDE, SIDE), expected, rtol=1e-4, atol=1e-4)


def test_images_that_are_left_out_leave_the_size_to_those_that_train() -> None:
    Classes.write("data", ROWS)
    number = min(drawn_to_train(Classes))
    path = Path("data", label_of(number), f"{number:03}.png")
    Image.fromarray(drawn(number)).resize((40, 40)).save(path)
    path.write_bytes(path.read_bytes()[:-200])  # its head tells a size, but it cannot be read
    task = load_task("data", skip_bad=True)
    assert task.input_shape == (SIDE, SIDE, 1)
    assert task.notes == (f"1 of {ROWS} files cannot be read and are left out: {path}",)
    path.unlink()
    same_training(task, load_task("data"))


def worded(generator: np.random.Generator, words: str) -> list[str]:
    return [" ".join(generator.choice(words.split(), 5)) for _ in range(60)]


@pytest.mark.parametrize("what", ["array", "images", "texts", "table", "record"])
def test_rows_in_memory_that_are_drawn_to_test_do_not_change_what_trains(what: str) -> None:
    import pandas as pd

    generator = np.random.default_rng(0)
    y = np.arange(60) % 2
    numbers = from_arrays(np.arange(60.0)[:, None], y)
    values = numbers.preprocessing.to_json()["inputs"]  # type: ignore[union-attr]
    back = np.round(numbers.train.x[:, 0] * values["scale"][0] + values["mean"][0]).astype(int)
    outside = np.setdiff1d(np.arange(60), back)
    texts = np.array(worded(generator, "red green blue and or not"), object)
    others = np.array(worded(generator, "one two three four five six seven eight"), object)
    amount = generator.normal(size=60)
    colour = generator.choice(["a", "b", "c"], 60)
    later = np.isin(np.arange(60), outside)
    make: dict[str, Callable[[bool], Any]] = {
        "array": lambda other: np.where((later & other)[:, None], 1e3, amount[:, None] + [0, 1]),
        "images": lambda other: np.where(
            (later & other)[:, None, None], 255, np.arange(64).reshape(8, 8) + y[:, None, None]
        ),
        "texts": lambda other: np.where(later & other, others, texts).tolist(),
        "table": lambda other: pd.DataFrame(
            {
                "amount": np.where(later & other, np.nan, amount),
                "colour": np.where(later & other, "new", colour),
            }
        ),
        "record": lambda other: pd.DataFrame(
            {
                "text": np.where(later & other, others, texts),
                "amount": np.where(later & other, 1e4, amount),
            }
        ),
    }
    one, other = (from_arrays(make[what](changed), y) for changed in (False, True))
    same_training(one, other)
    assert not np.array_equal(one.valid.x, other.valid.x)
