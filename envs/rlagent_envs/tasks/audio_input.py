"""Sound as input: what is done to a recording before a network hears it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from rlagent_envs.tasks.array_input import MadeInput
from rlagent_envs.tasks.spectra import BANDS, log_mel
from rlagent_envs.tasks.wav import Recording, read_wav, resampled


class AudioInput(MadeInput):
    """Resampling, log-mel spectra of one length, and their standardising."""

    kind: Literal["audio"] = "audio"
    rate: Annotated[int, Field(gt=0)]  # samples per second
    steps: Annotated[int, Field(gt=0)]  # of 10 ms

    def check(self) -> None:
        """Raises ValueError if the parts do not fit together."""
        self.values.check()
        if self.input_shape != (self.steps, BANDS):
            raise ValueError("its spectra are of another shape")

    def transform(self, given: Any) -> np.ndarray:
        """A list of paths, or spectra `[files, steps, bands]`, to float32 `[files, features]`."""
        return self.values.transform(self._spectra(given) if _are_paths(given) else given)

    def row_names(self, given: Any) -> tuple[str, list[str]]:
        """What the rows are called, and the name of each."""
        return "file", [str(path) for path in given]

    def _spectra(self, paths: Sequence[str | Path]) -> np.ndarray:
        return spectra([read_wav(Path(path)) for path in paths], self.rate, self.steps)


def spectra(recordings: Sequence[Recording], rate: int, steps: int) -> np.ndarray:
    """The log-mel spectra of recordings, float32 `[recordings, steps, bands]`."""
    made = np.empty((len(recordings), steps, BANDS), np.float32)
    for number, recording in enumerate(recordings):
        made[number] = log_mel(resampled(recording, rate), rate, steps)
    return made


def _are_paths(given: Any) -> bool:
    return isinstance(given, list | tuple) and all(isinstance(one, str | Path) for one in given)
