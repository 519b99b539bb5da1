"""The spectrum of sound over time, as ears have it: log-mel."""

from __future__ import annotations

from functools import cache

import numpy as np

BANDS = 40
WINDOW, STEP = 0.025, 0.010  # seconds
FLOOR = 1e-8  # of the largest power in a recording: -80 dB


def log_mel(samples: np.ndarray, rate: int, steps: int) -> np.ndarray:
    """Decibels below the loudest band of the recording, -80 to 0, float32 `[steps, bands]`.

    Sound that is too long loses as much at its beginning as at its end, sound that is too short
    gets silence at both. How loud a recording is as a whole does not matter.

    Args:
        samples: `[samples]`.
        rate: samples per second.
        steps: of 10 ms.

    Source: Davis and Mermelstein 1980, "Comparison of parametric representations for monosyllabic
    word recognition", section 2.
    """
    from scipy.signal import get_window

    window, step = _sizes(rate)
    samples = _of_length(samples, window + (steps - 1) * step)
    frames = np.lib.stride_tricks.sliding_window_view(samples, window)[::step]
    size = _transform_size(window)
    spectrum = np.fft.rfft(frames * get_window("hann", window).astype(np.float32), size)
    power = np.square(np.abs(spectrum)) @ mel_filters(rate, size).T
    loudest = max(float(power.max()), np.finfo(np.float32).tiny)
    return (10.0 * np.log10(np.maximum(power / loudest, FLOOR))).astype(np.float32)


def steps_of(samples: int, rate: int) -> int:
    """How many steps so many samples are, at least one."""
    window, step = _sizes(rate)
    return 1 + max(samples - window, 0) // step


@cache
def mel_filters(rate: int, size: int) -> np.ndarray:
    """Triangles that overlap by half, evenly spaced in mel, `[bands, size // 2 + 1]`.

    Source: O'Shaughnessy 1987, "Speech Communication", page 150: 2595 log10(1 + f / 700).
    """
    highest = 2595.0 * np.log10(1.0 + rate / 2.0 / 700.0)
    corners = 700.0 * (10.0 ** (np.linspace(0.0, highest, BANDS + 2) / 2595.0) - 1.0)
    frequencies = np.fft.rfftfreq(size, 1.0 / rate)
    rising = (frequencies - corners[:-2, None]) / np.diff(corners)[:-1, None]
    falling = (corners[2:, None] - frequencies) / np.diff(corners)[1:, None]
    return np.maximum(np.minimum(rising, falling), 0.0)


def _sizes(rate: int) -> tuple[int, int]:
    """Samples of a window, and from one to the next."""
    return max(round(WINDOW * rate), 2), max(round(STEP * rate), 1)


def _transform_size(window: int) -> int:
    """Twice the window and a power of two, so that the narrowest band holds a frequency."""
    return 1 << (2 * window - 1).bit_length()


def _of_length(samples: np.ndarray, length: int) -> np.ndarray:
    more = length - len(samples)
    if more > 0:
        return np.pad(samples, (more // 2, more - more // 2))
    return samples[-more // 2 :][:length]
