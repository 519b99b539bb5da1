"""Reading .wav files: sound as one row of numbers from -1 to 1."""

from __future__ import annotations

import math
import struct
import warnings
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np

SUFFIX = ".wav"
WARNINGS = Lock()  # what is done with them is the same for all threads of the process


class Recording(NamedTuple):
    """The sound of a file."""

    rate: int  # samples per second
    samples: np.ndarray  # [samples], float32; the mean of all channels


def read_wav(path: Path) -> Recording:
    """Reads PCM of 8, 16, 24 or 32 bits, or floats.

    Raises:
        ValueError: naming the file, if it is damaged, cut short, empty, or of another encoding.
    """
    from scipy.io import wavfile

    try:
        with WARNINGS, warnings.catch_warnings():
            # Chunks of notes are passed over; an end before the end is none.
            warnings.simplefilter("ignore", wavfile.WavFileWarning)
            warnings.filterwarnings("error", "Reached EOF", wavfile.WavFileWarning)
            rate, values = wavfile.read(path)
    except wavfile.WavFileWarning:
        raise ValueError(f"{path} is cut short") from None
    except (struct.error, EOFError, TypeError, ZeroDivisionError, UnboundLocalError):
        # So SciPy stumbles over headers that are cut short or contradict themselves.
        raise ValueError(f"{path} is not a readable .wav file: its header is damaged") from None
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise ValueError(f"{path} is not a readable .wav file: {reason}") from None
    samples = _as_floats(values)
    if samples.size == 0 or rate <= 0:
        raise ValueError(f"{path} holds no sound")
    if not np.isfinite(samples).all():
        raise ValueError(f"{path} holds values that are not finite")
    return Recording(int(rate), samples.reshape(len(samples), -1).mean(axis=1, dtype=np.float32))


def resampled(recording: Recording, rate: int) -> np.ndarray:
    """The samples at another rate, `[samples]`, float32."""
    from scipy.signal import resample_poly

    if recording.rate == rate:
        return recording.samples
    common = math.gcd(rate, recording.rate)
    made = resample_poly(recording.samples, rate // common, recording.rate // common)
    return made.astype(np.float32)


def _as_floats(values: np.ndarray) -> np.ndarray:
    """Whole numbers by their range, which begins at 0 for 8 bits; 24 bits come as 32."""
    if values.dtype == np.uint8:
        return (values.astype(np.float32) - 128.0) / 128.0
    if values.dtype.kind == "i":
        return values.astype(np.float32) / np.float32(-float(np.iinfo(values.dtype).min))
    return values.astype(np.float32)
