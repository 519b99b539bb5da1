"""Folders and archives as people have them: parts, lone folders, other files, data files."""

from __future__ import annotations

import tarfile
import zipfile
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


def classes(task: Task) -> tuple[object, ...] | None:
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


def test_of_classes_with_the_same_folders_there_is_a_note() -> None:
    write("data/fold1")
    write("data/fold2")
    task = load_task("data")
    assert classes(task) == ("fold1", "fold2")
    assert task.notes == (
        "the classes fold1 and fold2 hold the same folders, cat, dog: if these are the classes, "
        "call those above train, valid and test",
    )
    Path("data/fold2/dog").rename(Path("data/fold2/more"))
    assert load_task("data").notes == ()


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


# Lone folders


def test_hidden_entries_beside_the_only_folder_of_an_archive_do_not_matter() -> None:
    expected = load_task(write("photos"))
    Path("._photos").write_bytes(b"of macOS")
    Path("__MACOSX").mkdir()
    Path("__MACOSX/._photos").write_bytes(b"of macOS")
    with tarfile.open("photos.tar", "w") as archive:
        for name in ("._photos", "photos", "__MACOSX"):
            archive.add(name)
    task = load_task("photos.tar")
    assert same(task, expected)
    assert (task.name, task.notes) == ("photos", ())
    Path("story.txt").write_text("once upon a time there was a fox. " * 100)
    Path("._story.txt").write_bytes(b"of macOS")
    zipped("story.zip", "._story.txt", "story.txt")
    assert same(load_task("story.zip"), load_task("story.txt"))


def test_a_lone_folder_is_gone_into_and_others_are_not() -> None:
    expected = load_task(write("photos", 20))
    write("data/archive/photos", 20)
    Path("data/__MACOSX").mkdir()
    Path("data/readme.txt").write_text("of photos")
    assert same(load_task("data"), expected)
    write("other/photos", 6)
    assert rows(load_task("data", valid="other")) == [20, 6]
    write("divided/train", 20)  # a part
    assert same(load_task("divided"), expected)
    write("one/class", 20)  # with a file of its own
    Path("one/class/cat/00.png").rename("one/class/x.png")
    assert sentence("one") == (
        "one has one folder of files alone, class, so there is a single class; it needs a folder "
        "for each class"
    )


# Files of other kinds


def test_files_of_other_kinds_are_counted() -> None:
    write("photos", suffix=".jfif")
    for name in ("cat/a.heic", "dog/b.HEIC", "dog/c.txt", "dog/._d.avif"):
        Path("photos", name).write_bytes(b"no image")
    task = load_task("photos")
    assert sum(rows(task)) == 12
    told = "files with other endings in the folders, which do not count: 2 .heic, 1 .txt"
    assert told in task.notes
    assert told in load_task("photos", streamed=True).notes
    for path in Path("photos").rglob("*.jfif"):
        path.rename(path.with_suffix(".heic"))
    assert sentence("photos").endswith(
        ".webp file; the most frequent ending in it is .heic (7 of 7 files)"
    )


# Files of archives


def zipped(path: str, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.write(name)


def test_files_of_an_archive_are_called_by_their_names_in_it() -> None:
    write("photos")
    Path("photos/cat/00.png").write_bytes(b"damaged")
    zipped("a.zip", *map(str, sorted(Path("photos").rglob("*.png"))))
    assert sentence("a.zip") == (
        "a.zip/photos/cat/00.png is not a readable image, it may be damaged; leave such files out "
        "by --skip-bad"
    )
    notes = load_task("a.zip", skip_bad=True).notes
    assert notes == ("1 of 12 files cannot be read and are left out: a.zip/photos/cat/00.png",)


def test_encrypted_and_unknown_archives_are_called_that() -> None:
    write("photos")
    zipped("a.zip", *map(str, sorted(Path("photos").rglob("*.png"))))
    content = Path("a.zip").read_bytes()
    directory = content.index(b"PK\x01\x02")
    secret, unknown = bytearray(content), bytearray(content)
    secret[directory + 8] |= 1
    unknown[directory + 10] = 97
    Path("secret.zip").write_bytes(secret)
    Path("unknown.zip").write_bytes(unknown)
    assert sentence("secret.zip") == "secret.zip is encrypted; unpack it by its password before"
    assert sentence("unknown.zip") == (
        "unknown.zip is compressed by a method that is not supported; use deflate, as is usual"
    )


# The file that is the data


def test_the_ratings_of_movielens_are_taken() -> None:
    lines = [f"{n % 10},{n % 7},{n % 5 + 1},{n}" for n in range(60)]
    Path("ml").mkdir()
    Path("ml/ratings.csv").write_text("userId,movieId,rating,timestamp\n" + "\n".join(lines))
    Path("ml/movies.csv").write_text("movieId,title\n1,a\n2,b\n")
    zipped("ml.zip", "ml/movies.csv", "ml/ratings.csv")
    expected = load_task("ml/ratings.csv")
    assert same(load_task("ml"), expected)
    assert same(load_task("ml.zip"), expected)


def test_the_only_pair_of_files_of_series_is_taken() -> None:
    Path("set").mkdir()
    for part, count in (("TRAIN", 20), ("TEST", 8)):
        series = np.random.default_rng(count).normal(size=(count, 12))
        lines = ["\t".join([str(n % 2), *map(str, one)]) for n, one in enumerate(series)]
        Path(f"set/Waves_{part}.tsv").write_text("\n".join(lines))
    Path("set/README.md").write_text("about it")
    zipped("set.zip", *map(str, Path("set").iterdir()))
    expected = load_task("set/Waves_TRAIN.tsv")
    assert rows(expected) == [16, 4, 8]
    assert same(load_task("set"), expected)
    assert same(load_task("set.zip"), expected)


def test_the_only_table_is_taken_and_of_several_one_is_to_be_named() -> None:
    lines = "\n".join(f"{n},{n % 2}" for n in range(40))
    Path("data").mkdir()
    Path("data/table.csv").write_text(f"a,y\n{lines}\n")
    Path("data/readme.txt").write_text("about it")
    zipped("data.zip", "data/table.csv", "data/readme.txt")
    expected = load_task("data/table.csv", target="y")
    assert same(load_task("data", target="y"), expected)
    assert same(load_task("data.zip", target="y"), expected)
    np.savez("data/more.npz", x=np.zeros((4, 2)), y=np.arange(4))
    assert sentence("data", target="y") == (
        "data holds several files of data; give one of them alone: more.npz, table.csv"
    )
    zipped("two.zip", "data/table.csv", "data/more.npz")
    assert sentence("two.zip") == (
        "two.zip/data holds several files of data; give one of them alone: more.npz, table.csv"
    )


# Pixels


def test_pgm_of_16_bits_is_read_as_png_of_16_bits() -> None:
    write("a")
    image = np.random.default_rng(0).integers(0, 2**16, (8, 8), np.uint16)
    head = b"P5\n8 8\n65535\n"
    Path("a/cat/00.pgm").write_bytes(head + image.astype(">u2").tobytes())
    Path("a/cat/00.png").unlink()
    write("b")
    Image.fromarray((image >> 8).astype(np.uint8)).save("b/cat/00.png")
    assert same(load_task("a"), load_task("b"))


def write_masks(folder: str, mode: str, labels: int = 3) -> None:
    """Ten images and their masks of noise, saved in a mode of Pillow's."""
    masks = np.random.default_rng(0).integers(0, labels, (10, 8, 8), np.uint8)
    for kind in ("images", "masks"):
        Path(folder, kind).mkdir(parents=True)
    for number, mask in enumerate(masks):
        image = np.random.default_rng(number).integers(0, 256, (8, 8), np.uint8)
        Image.fromarray(image).save(Path(folder, "images", f"{number}.png"))
        Image.fromarray(mask).convert(mode).save(Path(folder, "masks", f"{number}.png"))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_masks_of_equal_channels_are_grey(mode: str) -> None:
    write_masks("grey", "L")
    write_masks("data", mode)
    task = load_task("data")
    assert same(task, load_task("grey"))
    assert classes(task) == (0, 1, 2)
    assert task.notes == ()
    with Image.open("data/masks/3.png") as file:
        pixels = np.array(file)
    for place in (0, -1):  # a colour and, where there is one, the opacity
        changed = pixels.copy()
        changed[2, 2, place] = 9
        Image.fromarray(changed).save("data/masks/3.png")
        if (mode, place) != ("LA", 0):
            assert "3.png has colours, not a number for each pixel" in sentence("data")


def test_many_labels_of_masks_are_told() -> None:
    write_masks("few", "L", 32)
    assert load_task("few").notes == ()
    write_masks("many", "L", 33)
    assert load_task("many").notes == (
        "the masks hold 33 different numbers, each a class: soft edges or a JPEG?",
    )


def test_files_of_labels_may_be_hidden_and_have_a_mark_of_bytes() -> None:
    for folder in ("a", "b"):
        for kind in ("images", "labels"):
            Path(folder, kind).mkdir(parents=True)
        for number in range(10):
            image = np.random.default_rng(number).integers(0, 256, (16, 16), np.uint8)
            Image.fromarray(image).save(Path(folder, "images", f"{number}.png"))
            label = Path(folder, "labels", f"{number}.txt")
            label.write_text("0 0.5 0.5 0.25 0.25\n", "utf-8-sig" if folder == "a" else "utf-8")
    Path("a/labels/._0.txt").write_bytes(b"\x00\x05\x16\x07")
    assert same(load_task("a"), load_task("b"))
