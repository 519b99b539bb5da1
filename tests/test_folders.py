"""Folders of images and archives: what becomes of them, and what is refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rlagent.apply.result import load_run
from rlagent.cli import main
from rlagent_envs.tasks import Task, cifar, from_arrays, load_task, read_features
from rlagent_envs.tasks.preprocessing import Preprocessing

SMALL = ["--method", "cosine", "--updates", "60", "--decisions", "6", "--rung", "32x1"]
MLP = [*SMALL, "--family", "mlp"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RLAGENT_CACHE_DIR", "")


def drawn(number: int, size: tuple[int, int] = (8, 8)) -> np.ndarray:
    """A grey image, bright above for even numbers and below for odd ones."""
    image = np.random.default_rng(number).integers(0, 100, size, np.uint8)
    half = slice(0, size[0] // 2) if number % 2 == 0 else slice(size[0] // 2, None)
    image[half] += 120
    return image


def write(folder: str, count: int = 40, size: tuple[int, int] = (8, 8)) -> Path:
    """A folder for each of two classes, with images of one size."""
    for number in range(count):
        path = Path(folder) / ("above", "below")[number % 2] / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn(number, size)).save(path)
    return Path(folder)


def arrays(count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """The same, in the order of the folders and names."""
    numbers = [*range(0, count, 2), *range(1, count, 2)]
    images = np.stack([drawn(number) for number in numbers])[..., None]
    return images, np.array(["above"] * (count // 2) + ["below"] * (count // 2))


def damage(path: str) -> None:
    """Half of the file."""
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[: len(content) // 2])


def message_of(call: Callable[..., object], *arguments: Any, **options: Any) -> str:
    with pytest.raises(ValueError, match=r"\w") as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def sentence(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a failing command says: one line, status 2, and nothing is left behind."""
    before = sorted(Path().rglob("*"))
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert sorted(Path().rglob("*")) == before
    return err.removeprefix("rlagent: ").rstrip("\n")


def parts(task: Task) -> list[np.ndarray]:
    found = [split for split in (task.train, task.valid, task.test) if split is not None]
    return [array for split in found for array in split]


def same(a: Task, b: Task) -> bool:
    return all(np.array_equal(p, q) for p, q in zip(parts(a), parts(b), strict=True))


def stored(task: Task) -> Preprocessing:
    assert task.preprocessing is not None
    return task.preprocessing


# Images


def test_many_large_images_are_to_be_resized(monkeypatch: pytest.MonkeyPatch) -> None:
    write("images")
    monkeypatch.setattr("rlagent_envs.tasks.image_folders.MOST_BYTES", 10_000)
    with pytest.raises(
        ValueError, match=r"^40 images of 8x8 pixels would take up to 0 GiB; name a "
    ):
        load_task("images")
    assert load_task("images", image_size=8).input_shape == (8, 8, 1)


def test_a_folder_a_class_is_the_task_of_its_images() -> None:
    task = load_task(write("images"))
    assert same(task, from_arrays(*arrays()))
    assert (task.name, task.input_shape, task.family) == ("images", (8, 8, 1), "mlp")
    assert stored(task).classes == ("above", "below")
    assert task.notes == ()


def test_hidden_files_and_others_do_not_count() -> None:
    write("images")
    Path("images/.git").mkdir()
    Path("images/.git/x.png").write_text("")
    Path("images/above/notes.txt").write_text("no image")
    Path("images/above/._000.png").write_text("of macOS")
    assert same(load_task("images"), from_arrays(*arrays()))


def test_a_second_folder_validates() -> None:
    write("images")
    write("more", 20)
    task = load_task("images", valid="more")
    assert [len(one) for one in parts(task)[1::2]] == [40, 20]
    x, y = arrays(20)
    assert same(task, from_arrays(*arrays(), x_valid=x, y_valid=y))
    write("divided/train")
    write("divided/valid", 20)
    assert same(load_task("images", valid="divided"), task)
    assert message_of(load_task, "divided", valid="more") == (
        "divided has validation rows already, so more cannot be used too"
    )
    assert message_of(load_task, "images", valid="more/above/000.png") == (
        "valid must be a folder, as images is, got more/above/000.png"
    )


def test_folders_train_val_and_test_are_the_parts() -> None:
    for part, count in (("train", 40), ("val", 20), ("test", 12)):
        write(f"images/{part}", count)
    task = load_task("images")
    assert [len(one) for one in parts(task)[1::2]] == [40, 20, 12]
    x, y = arrays(40)
    expected = from_arrays(x, y, x_valid=arrays(20)[0], y_valid=arrays(20)[1])
    np.testing.assert_array_equal(task.train.x, expected.train.x)
    np.testing.assert_array_equal(np.sort(task.valid.x, axis=0), np.sort(expected.valid.x, axis=0))


@pytest.mark.parametrize("asked", [None, 6, "6x10"])
def test_images_of_different_sizes_are_resized(asked: str | int | None) -> None:
    write("images")
    Image.fromarray(drawn(2, (20, 12))).save("images/above/002.png")
    task = load_task("images", image_size=asked)
    height, width = {None: (32, 32), 6: (6, 6), "6x10": (6, 10)}[asked]
    assert task.input_shape == (height, width, 1)
    said = "images of 2 sizes are resized to 32x32 pixels; --image-size chooses another size"
    assert task.notes == ((said,) if asked is None else ())
    resized = np.asarray(
        Image.fromarray(drawn(2, (20, 12))).resize((width, height), Image.Resampling.BILINEAR)
    )
    values = stored(task).to_json()["inputs"]["values"]
    expected = (resized.reshape(-1) - values["mean"][0]) / values["scale"][0]
    made = stored(task).transform([Path("images/above/002.png")])
    np.testing.assert_allclose(made[0], expected, rtol=1e-5, atol=1e-5)
    rows = np.concatenate([split for split in parts(task)[::2]])
    assert (rows == made[0]).all(axis=1).any()


def test_any_colour_makes_all_images_coloured_and_opacity_is_dropped() -> None:
    write("images")
    grey = Image.fromarray(drawn(0))
    grey.convert("RGB").save("images/above/000.png")  # colours, all of them grey
    grey.convert("RGBA").save("images/above/002.png")
    assert load_task("images").input_shape == (8, 8, 1)
    colours = np.random.default_rng(0).integers(0, 256, (8, 8, 4), np.uint8)
    Image.fromarray(colours, "RGBA").save("images/above/004.png")
    task = load_task("images")
    assert task.input_shape == (8, 8, 3)
    values = stored(task).to_json()["inputs"]["values"]

    def back(image: Any) -> np.ndarray:
        made = stored(task).transform([image]) * values["scale"][0] + values["mean"][0]
        return np.round(made).reshape(8, 8, 3)

    np.testing.assert_array_equal(back("images/above/004.png"), colours[..., :3])
    np.testing.assert_array_equal(back("images/above/006.png"), np.dstack([drawn(6)] * 3))
    np.testing.assert_array_equal(back(drawn(6)), np.dstack([drawn(6)] * 3))


def test_other_kinds_of_pixels_and_lying_images_are_read_as_they_look() -> None:
    image = drawn(3, (8, 12))
    wide = Image.fromarray(image)
    wide.convert("P").save("palette.gif")
    Image.fromarray(image.astype(np.uint16) * 256 + 7).save("sixteen.png")
    lying = Image.fromarray(np.rot90(image))  # to be turned clockwise, says its camera
    exif = lying.getexif()
    exif[0x0112] = 6
    lying.save("lying.png", exif=exif)
    for number in range(4):
        for name in ("a", "b"):
            Path(f"images/{name}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(drawn(number, (8, 12))).save(f"images/{name}/{number}.png")
    task = load_task("images")
    expected = stored(task).transform([image])
    for path in ("palette.gif", "sixteen.png", "lying.png"):
        np.testing.assert_array_equal(stored(task).transform([path]), expected, err_msg=path)
    Path("images/a/lying.png").write_bytes(Path("lying.png").read_bytes())
    assert load_task("images").notes == ()  # upright it has the size of the others


def test_what_is_stored_makes_the_same_of_raw_images() -> None:
    write("images", size=(16, 12))
    task = load_task("images", image_size=8)
    again = Preprocessing.from_json(json.loads(json.dumps(stored(task).to_json())))
    assert again == stored(task)
    paths = read_features("images", again)
    assert isinstance(paths, list)
    made = again.transform(paths)
    rows = np.concatenate(parts(task)[::2])
    assert len(made) == len(rows) == 40
    assert sorted(map(bytes, made)) == sorted(map(bytes, rows))
    damaged = stored(task).to_json()
    damaged["inputs"]["values"]["shape"] = [64]
    assert message_of(Preprocessing.from_json, damaged) == (
        "the preprocessing cannot be read: its images are of another shape"
    )


def test_a_tuned_folder_is_predicted_image_by_image(capsys: pytest.CaptureFixture[str]) -> None:
    write("images", 60)
    write("new", 12)
    assert main(["tune", "images", *MLP, "--updates", "200", "--out", "run"]) == 0
    out, err = capsys.readouterr()
    assert "next: rlagent predict run FOLDER --out predictions.csv" in out
    assert (
        "images: classification, 36 rows to train, 12 to validate, 12 to test, image inputs of "
        "8x8x1, 2 classes, the largest above 50 %, the smallest below 50 %"
    ) in err.splitlines()
    assert main(["predict", "run", "new"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "file,prediction,probability_above,probability_below"
    found = {line.split(",")[0]: line.split(",")[1] for line in lines[1:]}
    assert found == {
        f"new/{name}/{number:03}.png": name
        for number in range(12)
        for name in [("above", "below")[number % 2]]
    }
    assert main(["predict", "run", "new/above/000.png"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == lines[1]
    result = load_run("run")
    assert result.predict([drawn(0), drawn(1)]).tolist() == ["above", "below"]
    assert result.predict(np.stack([drawn(0), drawn(1)])).tolist() == ["above", "below"]


def test_a_run_on_a_folder_goes_on_unless_an_image_has_changed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    write("images", size=(8, 10))
    with monkeypatch.context() as patched:
        patched.setattr("rlagent.apply.tuning._run", interrupted)
        assert main(["tune", "images", *MLP, "--image-size", "8", "--out", "run"]) == 130
    capsys.readouterr()
    before = Path("images/above/004.png").read_bytes()
    Image.fromarray(drawn(5, (8, 10))).save("images/above/004.png")
    said = sentence(["tune", "--resume", "run"], capsys)
    assert "images is not what the run run began with: it has changed since, or" in said
    Path("images/above/004.png").write_bytes(before)
    assert main(["tune", "--resume", "run", "--quiet"]) == 0


def test_a_corrupt_image_is_named_and_left_out_if_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write("images")
    damage("images/below/021.png")  # in the middle
    Path("images/above/006.png").write_bytes(b"no image")
    said = sentence(["tune", "images", *MLP], capsys)
    assert said == (
        "images/above/006.png is not a readable image, it may be damaged; leave such files out by "
        "--skip-bad"
    )
    Path("images/above/006.png").unlink()
    said = sentence(["tune", "images", *MLP], capsys)
    assert said == (
        "images/below/021.png is not a readable image, it may be damaged; leave such files out by "
        "--skip-bad"
    )
    assert main(["tune", "images", *MLP, "--skip-bad", "--out", "run"]) == 0
    out, err = capsys.readouterr()
    note = "1 of 39 files cannot be read and are left out: images/below/021.png"
    assert note in err.splitlines()
    assert f"  {note}" in out.splitlines()
    assert json.loads(Path("run/summary.json").read_text())["notes"] == [note]
    assert sum(len(one) for one in parts(load_task("images", skip_bad=True))[1::2]) == 38
    # To predict for.
    assert sentence(["predict", "run", "images"], capsys).startswith("images/below/021.png is not")
    assert main(["predict", "run", "images", "--skip-bad"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1 + 38
    assert err == f"{note}\n"


def test_an_image_with_a_whole_head_but_no_end_is_damaged_too() -> None:
    for number in range(40):
        path = Path("photos") / ("above", "below")[number % 2] / f"{number:03}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn(number, (32, 32))).save(path)
    damage("photos/above/020.jpg")
    assert message_of(load_task, "photos") == (
        "photos/above/020.jpg is not a readable image, it may be damaged; leave such files out by "
        "--skip-bad"
    )
    task = load_task("photos", skip_bad=True)
    assert task.notes == ("1 of 40 files cannot be read and are left out: photos/above/020.jpg",)
    assert len(read_features("photos", stored(task))) == 40
    assert len(read_features("photos", stored(task), skip_bad=True)) == 39


def test_folders_that_cannot_be_used_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    write("images")
    Path("empty").mkdir()
    Path("flat").mkdir()
    Image.fromarray(drawn(0)).save("flat/x.png")
    write("odd/train")
    Path("odd/extra").mkdir()
    write("hollow")
    Path("hollow/none").mkdir()
    write("lone")
    Path("lone/rare").mkdir()
    Image.fromarray(drawn(0)).save("lone/rare/x.png")
    write("strange/train")
    write("strange/test", 4)
    Path("strange/test/below").rename("strange/test/beside")
    Image.fromarray(drawn(1).astype(np.float32), "F").save("deep.tiff")
    write("floats")
    Path("floats/above/x.tiff").write_bytes(Path("deep.tiff").read_bytes())
    types = ".bmp .gif .jfif .jpeg .jpg .pgm .png .ppm .tif .tiff .webp".replace(" ", " or ")
    for command, message in (
        ("empty", "empty holds no folders, one for each class"),
        ("flat", "flat holds no folders, one for each class"),
        (
            "odd",
            "odd has the folder extra beside train; there may be: train, valid, val, validation, "
            "dev, test, training, testing",
        ),
        ("hollow", f"the folder hollow/none of a class holds no {types} file"),
        (
            "lone",
            "the class 'rare' of lone has a single file; it needs two at least, one to train on "
            "and one to validate on",
        ),
        ("strange", "the test part has classes that the train part lacks: 'beside'"),
        (
            "floats",
            "floats/above/x.tiff has pixels of 32 bits; give 8 or 16 bits; leave such files out "
            "by --skip-bad",
        ),
        (
            "images --image-size 3",
            "image_size must be SIDE or HEIGHTxWIDTH, at least 4 pixels each, for instance 32 or "
            "24x32, got '3'",
        ),
        (
            "images --target y",
            "images holds no table that names its files, so there is no column 'y'",
        ),
        ("flat/x.png", "flat/x.png is a single image; give a folder with a folder for each class"),
    ):
        assert sentence(["tune", *command.split(), *MLP], capsys) == message, command


def test_images_that_cannot_be_used_are_named() -> None:
    preprocessing = stored(load_task(write("images")))
    assert message_of(preprocessing.transform, "images") == (
        "the input must be a list of images, as in training"
    )
    assert message_of(preprocessing.transform, [drawn(0), np.zeros((8, 8))]) == (
        "image 1 must be a path, an image of Pillow's, or an array of uint8 [height, width] or "
        "with 1, 3 or 4 channels behind, got float64 (8, 8)"
    )


# Archives


def zipped(folder: str, path: str, prefix: str = "") -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(Path(folder).rglob("*")):
            archive.write(file, prefix + str(file))


def test_archives_of_a_folder_or_a_table_are_read_and_nothing_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = tmp_path / "temporary"
    room.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(room))
    expected = load_task(write("images"))
    zipped("images", "a.zip", "deep/")
    Path("__MACOSX/images").mkdir(parents=True)
    Path("__MACOSX/images/._x.png").write_text("")
    with zipfile.ZipFile("a.zip", "a") as archive:
        archive.write("__MACOSX/images/._x.png")
    with tarfile.open("b.tar.gz", "w:gz") as tar:
        tar.add("images")
    rows = "\n".join(f"{number},{number % 2}" for number in range(40))
    Path("t.csv").write_text(f"a,y\n{rows}\n")
    with zipfile.ZipFile("c.zip", "w") as archive:
        archive.write("t.csv")
    for path in ("a.zip", "b.tar.gz"):
        assert same(load_task(path), expected)
    assert same(load_task("c.zip", target="y"), load_task("t.csv", target="y"))
    assert not list(room.iterdir())


def climbing_zip(name: str) -> Callable[[], None]:
    def make() -> None:
        zipped("images", "bad.zip")
        with zipfile.ZipFile("bad.zip", "a") as archive:
            archive.writestr(name, b"evil")

    return make


def tar_with(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> Callable[[], None]:
    def make() -> None:
        with tarfile.open("bad.tar", "w") as archive:
            archive.add("images")
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.size = kind, target, 0
            archive.addfile(entry, io.BytesIO())

    return make


@pytest.mark.parametrize(
    ("make", "path", "message"),
    [
        *(
            (make(name), path, f"FILE has the member {name!r}, whose path leads out of the archive")
            for make, path in ((climbing_zip, "bad.zip"), (tar_with, "bad.tar"))
            for name in ("../evil.png", "/evil.png", "images/../../evil.png", "C:evil.png")
        ),
        (
            climbing_zip("..\\evil.png"),
            "bad.zip",
            r"FILE has the member '..\\evil.png', whose path leads out of the archive",
        ),
        (
            tar_with("images/link", tarfile.SYMTYPE, "/etc/passwd"),
            "bad.tar",
            "FILE has the member 'images/link', which is a link or a device",
        ),
        (
            tar_with("images/fifo", tarfile.FIFOTYPE),
            "bad.tar",
            "FILE has the member 'images/fifo', which is a link or a device",
        ),
        (
            lambda: Path("bad.zip").write_bytes(b"PK not really"),
            "bad.zip",
            "FILE is not a readable archive, it may be damaged",
        ),
        (
            lambda: Path("bad.tar.gz").write_bytes(b"not really"),
            "bad.tar.gz",
            "FILE is not a readable archive, it may be damaged",
        ),
        (
            lambda: Path("table.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n")),
            "table.csv.gz",
            "FILE is no archive, or it is damaged; unpack a single file before",
        ),
    ],
)
def test_archives_that_climb_out_or_are_damaged_are_refused(
    make: Callable[[], object],
    path: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    room = tmp_path / "temporary"
    room.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(room))
    write("images", 4)
    make()
    assert sentence(["tune", path, *MLP], capsys) == message.replace("FILE", path)
    assert not list(room.iterdir())


def cifar_archive(path: str, folder: str = cifar.FOLDER, rows: int = 12) -> np.ndarray:
    """A small archive of the form; returns its records."""
    generator = np.random.default_rng(0)
    records = generator.integers(0, 256, (6, rows, 3073), np.uint8)
    records[..., 0] = np.arange(rows) % 3
    with tarfile.open(path, "w:gz") as archive:
        for place, name in enumerate([*cifar.BATCHES["train"], *cifar.BATCHES["test"]]):
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size = records[place].size
            archive.addfile(entry, io.BytesIO(records[place].tobytes()))
    return records


def test_the_binary_archive_of_cifar_10(monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path("cifar-10-binary.tar.gz")
    records = cifar_archive(str(path))
    assert message_of(load_task, path).startswith(
        f"{path} is not the archive of CIFAR-10 that was published, its MD5 is "
    )
    monkeypatch.setattr(cifar, "MD5", hashlib.md5(path.read_bytes()).hexdigest())
    task = load_task(path)
    assert (task.name, task.input_shape, task.mirrored) == ("cifar10", (32, 32, 3), True)
    assert [len(one) for one in parts(task)[1::2]] == [48, 12, 12]
    assert stored(task).classes == ("airplane", "automobile", "bird")
    values = stored(task).to_json()["inputs"]["values"]
    images = task.test.x * values["scale"][0] + values["mean"][0]  # type: ignore[union-attr]
    red, green, blue = (records[5, 4, 1 + 1024 * c :][:1024].reshape(32, 32) for c in range(3))
    np.testing.assert_allclose(
        images[4].reshape(32, 32, 3), np.dstack([red, green, blue]), atol=1e-3
    )
    np.testing.assert_array_equal(parts(task)[5], records[5, :, 0])


def test_pickles_of_cifar_10_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    cifar_archive("cifar-10-python.tar.gz", cifar.PICKLES)
    said = sentence(["tune", "cifar-10-python.tar.gz", *MLP], capsys)
    assert said == (
        "cifar-10-python.tar.gz holds pickles, which could run any code when they are read; give "
        "the binary version, cifar-10-binary.tar.gz"
    )
