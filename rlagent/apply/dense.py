"""What is predicted where an example has many targets: masks, boxes, and texts that go on."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlagent.apply.generation import generate
from rlagent.apply.result import load_run
from rlagent.storage import write_atomically
from rlagent_envs.tasks.box_folders import label_lines
from rlagent_envs.tasks.box_target import BoxTarget, padded
from rlagent_envs.tasks.characters import CharacterInput
from rlagent_envs.tasks.files import check_file, read_features
from rlagent_envs.tasks.language import read_text
from rlagent_envs.tasks.mask_folders import IMAGES

if TYPE_CHECKING:
    from rlagent.apply.model import Predictor


def predict_dense(
    folder: Path, file: Path, out: Path | None, *, skip_bad: bool = False, **options: Any
) -> str | None:
    """Predicts for a file with the model of a run, if its examples have many targets.

    Of images masks are written: an array `prediction` of a .npz file, or .png files of a folder; or
    boxes: an array `prediction` `[rows, most, 6]`, in which rows of -1 stand for nothing, or .txt
    files of a folder, as `read_labels` reads them, with the confidence behind. Of a text, which is
    the prompt, what follows it.

    Args:
        folder: of the run.
        file: a file of the form of the training data, or a folder of images.
        out: where to; None for standard output.
        skip_bad: leave out images of a folder that cannot be read.
        options: characters, temperature and seed of a text; see `generate`.

    Returns:
        What is to be printed; None if the run has a target an example, and nothing was done.

    Raises:
        ValueError: if there is no such run, or file or options do not suit it.
    """
    model = load_run(folder).model
    stored = model.preprocessing
    is_text = stored is not None and isinstance(stored.inputs, CharacterInput)
    if options and not is_text:
        raise ValueError(
            f"{next(iter(options))} is for models of text, but {folder} is of {model.task}"
        )
    if stored is None or not model.target_shape:
        return None
    if not is_text:
        _write_of_images(model, file, out, skip_bad=skip_bad)
        return ""
    made = generate(model, read_text(check_file(file, ".txt")), **options)
    if out is None:
        return f"{made}\n"
    write_atomically(out, made.encode())
    return ""


def _write_of_images(model: Predictor, file: Path, out: Path | None, *, skip_bad: bool) -> None:
    """Masks or boxes for the images of a .npz file or a folder."""
    stored = model.preprocessing
    assert stored is not None
    boxes = stored.target if isinstance(stored.target, BoxTarget) else None
    what = "masks" if boxes is None else "boxes"
    if out is None:
        raise ValueError(f"{what} go into a file: give --out, a .npz file or a folder")
    if out.suffix.lower() not in ("", ".npz") or (not out.suffix and out.is_file()):
        raise ValueError(f"{what} go into a .npz file or a folder, got {out}")
    inside = file / IMAGES
    images = read_features(inside if inside.is_dir() else file, stored, skip_bad=skip_bad)
    made = model.labels(model.values(model.raw(model.transform(images))))
    paths = images if isinstance(images, list) else []
    if out.suffix:
        packed = io.BytesIO()
        arrays = {"prediction": made if boxes is None else padded(made.tolist(), 6)}
        if paths:
            arrays["name"] = np.array([path.name for path in paths])
        np.savez_compressed(packed, allow_pickle=False, **arrays)
        write_atomically(out, packed.getvalue())
        return
    names = [path.stem for path in paths] or [f"{number:05d}" for number in range(len(made))]
    if len(set(names)) < len(names):
        raise ValueError("two images have one name: give a .npz file")
    if boxes is None:
        _write_pictures(out, names, paths, made)
        return
    out.mkdir(parents=True, exist_ok=True)
    height, width = boxes.shape
    for name, found in zip(names, made, strict=True):
        write_atomically(out / f"{name}.txt", label_lines(found, (height, width)).encode())


def _write_pictures(out: Path, names: list[str], paths: list[Path], masks: np.ndarray) -> None:
    """A grey .png file for each mask, of the size of its image; true is 255."""
    from PIL import Image

    from rlagent_envs.tasks.pictures import size_of

    if masks.min() < 0 or masks.max() > 255:
        raise ValueError(
            f"the classes {masks.min()} to {masks.max()} do not fit into .png files: give a .npz"
        )
    numbers = masks.astype(np.uint8) * (255 if masks.dtype == bool else 1)
    out.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        picture = Image.fromarray(numbers[number])
        if paths:
            picture = picture.resize(size_of(paths[number])[::-1], Image.Resampling.NEAREST)
        packed = io.BytesIO()
        picture.save(packed, "png")
        write_atomically(out / f"{name}.png", packed.getvalue())
