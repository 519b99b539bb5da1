"""What is predicted where an example has many targets: masks, boxes, and texts that go on."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlagent.apply.box_files import check_out, file_names, write_arrays_of, write_boxes
from rlagent.apply.generation import generate
from rlagent.apply.result import load_run
from rlagent.storage import write_atomically
from rlagent_envs.tasks.box_target import BoxTarget
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
    boxes, see `write_boxes`. Of a text, which is the prompt, what follows it.

    Args:
        folder: of the run.
        file: a file of the form of the training data, a folder of images, or for boxes a .json file
            of COCO, which names images.
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
    if isinstance(stored.target, BoxTarget):
        write_boxes(model, stored.target, file, out, skip_bad=skip_bad)
        return ""
    if not is_text:
        _write_masks(model, file, out, skip_bad=skip_bad)
        return ""
    made = generate(model, read_text(check_file(file, ".txt")), **options)
    if out is None:
        return f"{made}\n"
    write_atomically(out, made.encode())
    return ""


def _write_masks(model: Predictor, file: Path, out: Path | None, *, skip_bad: bool) -> None:
    """Masks for the images of a .npz file or a folder."""
    stored = model.preprocessing
    assert stored is not None
    out = check_out("masks", out, ".npz")
    inside = file / IMAGES
    images = read_features(inside if inside.is_dir() else file, stored, skip_bad=skip_bad)
    made = model.labels(model.values(model.raw(model.transform(images))))
    paths = images if isinstance(images, list) else []
    if out.suffix:
        write_arrays_of(out, paths, prediction=made)
    else:
        _write_pictures(out, file_names(paths, len(made)), paths, made)


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
