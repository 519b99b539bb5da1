"""What is said of data that can be used, but may not be what was meant."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from rlagent_envs.tasks import from_arrays, load_task
from rlagent_envs.tasks.columns import row_numbers

ROWS = 60


def table() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "Id": np.arange(1, ROWS + 1),
            "price": generator.integers(0, 10**6, ROWS),  # all differ, and lie far apart
            "rooms": generator.integers(1, 6, ROWS),
            "size": generator.normal(size=ROWS),
        }
    )


def test_a_column_that_numbers_the_rows_is_named() -> None:
    labels = np.arange(ROWS) % 2
    (note,) = from_arrays(table(), labels).notes
    assert note.startswith("column 'Id' numbers the rows, from ")
    assert note.endswith("; drop it unless it is a quantity: --drop Id, in Python drop='Id'")
    assert from_arrays(table().drop(columns="Id"), labels).notes == ()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (range(100, 160), (100.0, 159.0)),
        ([*range(59), 0], None),  # two rows share a number
        ([one + 0.5 for one in range(60)], None),
        ([one * 1000 for one in range(60)], None),
        ([*range(59), None], None),
        (range(20), None),  # so few may be anything
        (np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 60), None),
        (np.arange(-30, 30, dtype=np.int8), (-30.0, 29.0)),
        (np.arange(-128, 128, dtype=np.int8)[::4], (-128.0, 124.0)),
    ],
)
def test_numbers_of_rows_are_whole_dense_and_all_differ(
    values: Any, told: tuple[float, float] | None
) -> None:
    assert row_numbers("n", pd.Series(values)) == told


def test_arrays_of_another_layout_are_told() -> None:
    x = np.random.default_rng(0).random((ROWS, 3, 16, 16), np.float32)
    labels = np.arange(ROWS) % 2
    assert from_arrays(x, labels).notes == (
        "examples of 3 x 16 x 16 numbers are taken for 768 quantities; images are "
        "[rows, height, width, channels]",
    )
    assert from_arrays(np.moveaxis(x, 1, 3), labels).notes == ()


def test_images_of_fewer_bits_than_their_files_are_told(tmp_path: Path) -> None:
    """Twelve bits in files of sixteen, as scanners write them: of them the upper four are left."""
    generator = np.random.default_rng(0)
    for bits, told in ((12, True), (16, False)):
        folder = tmp_path / str(bits)
        for number in range(12):
            (folder / f"{number % 2}").mkdir(parents=True, exist_ok=True)
            pixels = generator.integers(0, 2**bits, (8, 8)).astype(np.uint16)
            Image.fromarray(pixels).save(folder / f"{number % 2}" / f"{number}.png")
        notes = load_task(folder).notes
        assert bool(notes) is told
        if told:
            assert notes == (
                "the brightest pixel to train on is 15 of 255; if the images have fewer bits than "
                "their files, scale them",
            )
