"""Folders and archives as people have them: parts, lone folders, other files, data files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rlagent_envs.tasks import Preprocessing, Task, load_task


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RLAGENT_CACHE_DIR", "")


def write(folder: str, count: int = 12, suffix: str = ".png", size: int = 8) -> Path:
    """A folder for each of the classes cat and dog, with grey images of noise."""
    for number in range(count):
        path = Path(folder, ("cat", "dog")[number % 2], f"{number:02}{suffix}")
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (size, size), np.uint8)
        Image.fromarray(noise).save(path, "JPEG" if suffix == ".jfif" else None)
    return Path(folder)


def rows(task: Task) -> list[int]:
    """How many there are to train, validate and test on."""
    return [len(one.y) for one in (task.train, task.valid, task.test) if one is not None]


def classes(task: Task) -> tuple[object, ...]:
    assert isinstance(task.preprocessing, Preprocessing)
    return task.preprocessing.classes


def same(a: Task, b: Task) -> bool:
    pairs = [(a.train, b.train), (a.valid, b.valid), (a.test, b.test)]
    return all(
        np.array_equal(getattr(p, name), getattr(q, name)) for p, q in pairs for name in ("x", "y")
    )


def sentence(path: str | Path, **options: object) -> str:
    """What is said of data that cannot be used."""
    with pytest.raises(ValueError, match=r"\w") as caught:
        load_task(path, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Parts


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Training", "Testing"),  # Kaggle's brain MRI
        ("Training", "Test"),  # Fruits-360
        ("training", "testing"),  # MNIST as PNG
        ("training_set", "test_set"),
        ("train", "Testing"),
        ("seg_train/seg_train", "seg_test/seg_test"),  # Intel's scenes
    ],
)
def test_names_of_parts_are_no_classes(train: str, test: str) -> None:
    write(f"data/{train}", 20)
    write(f"data/{test}", 6)
    write("usual/train", 20)
    write("usual/test", 6)
    task = load_task("data")
    assert classes(task) == ("cat", "dog")
    assert rows(task) == [16, 4, 6]
    assert same(task, load_task("usual"))


def test_a_lone_folder_for_training_is_that_part() -> None:
    write("data/Training", 20)
    assert same(load_task("data"), load_task(write("plain", 20)))


@pytest.mark.parametrize(
    "names",
    [
        ("training", "testing"),  # without folders for classes in them
        ("steam_train", "test-tube"),  # one with a prefix, the other with a suffix
        ("steam_train", "bullet_train"),
        ("training", "jumping"),
    ],
)
def test_classes_may_be_called_as_parts_are(names: tuple[str, str]) -> None:
    write("data")
    for name, of_class in zip(names, ("cat", "dog"), strict=True):
        Path("data", of_class).rename(Path("data", name))
        if names != ("training", "testing"):
            Path("data", name, "inside").mkdir()
    assert classes(load_task("data")) == tuple(sorted(names))


def test_a_folder_beside_parts_is_named() -> None:
    write("data/seg_train")
    write("data/seg_test")
    Path("data/seg_pred").mkdir()
    assert sentence("data") == (
        "data has the folder seg_pred beside seg_train; there may be: train, valid, val, "
        "validation, dev, test, training, testing"
    )


def test_classes_with_the_same_folders_are_refused() -> None:
    write("data/fold1")
    write("data/fold2")
    assert sentence("data") == (
        "data would have the classes fold1 and fold2, but both hold the folders cat, dog; if "
        "these are the classes, call those above train, valid and test, else put the files of "
        "each class into its folder alone"
    )
    Path("data/fold2/dog").rename(Path("data/fold2/more"))
    assert classes(load_task("data")) == ("fold1", "fold2")


def test_parts_of_images_and_masks_have_these_names_too() -> None:
    for part, count in (("Training", 10), ("Testing", 4)):
        for kind in ("images", "masks"):
            Path(f"data/{part}/{kind}").mkdir(parents=True)
        for number in range(count):
            image = np.random.default_rng(number).integers(0, 256, (8, 8), np.uint8)
            Image.fromarray(image).save(f"data/{part}/images/{number}.png")
            Image.fromarray(image // 128).save(f"data/{part}/masks/{number}.png")
    task = load_task("data")
    assert (task.target_shape, rows(task)) == ((8, 8), [8, 2, 4])
