"""Changes of sequences that keep their targets; magnitude 0 is none."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from rlagent_envs import draws

# At magnitude 1.
SHIFT = 0.12  # of the steps
SCALE = 0.3  # logarithm of the factor
NOISE = 0.3  # standard deviations of the inputs
MASKED = 0.3  # of the steps, and of the channels, at the most


def augment_sequences(x: jax.Array, magnitude: jax.Array, start: jax.Array) -> jax.Array:
    """Each sequence moved in time, scaled, with noise, and without some steps and channels.

    What moves in from outside and what is masked is zero, the mean of a channel.

    Args:
        x: standardised, `[batch, steps, channels]`.
        magnitude: from 0, which changes nothing, to 1, `[]`.
        start: of the random numbers, `[]`, uint32.

    Source: masks: Park et al. 2019, "SpecAugment" (arXiv:1904.08779), section 2.
    """
    size, steps, channels = x.shape
    chance = draws.uniform(draws.mix(start), (size, 6))
    signed = 2.0 * chance[:, :2] - 1.0
    most = int(SHIFT * steps)
    moved = _moved(x, jnp.round(most * magnitude * signed[:, 0]).astype(jnp.int32), most)
    scaled = moved * jnp.exp(SCALE * magnitude * signed[:, 1])[:, None, None]
    noisy = scaled + NOISE * magnitude * draws.normal(draws.mix(start + np.uint32(1)), x.shape)
    no_step = _masked(steps, MASKED * magnitude, chance[:, 2], chance[:, 3])
    no_channel = _masked(channels, MASKED * magnitude, chance[:, 4], chance[:, 5])
    return jnp.where(no_step[:, :, None] | no_channel[:, None, :], 0.0, noisy)


def _moved(x: jax.Array, by: jax.Array, most: int) -> jax.Array:
    """Each sequence `by` steps earlier, at most `most` either way.

    Bit by bit, all of a batch either cut at its beginning or at its end: on CPU, and inside a loop,
    that is much faster than to gather steps by their numbers.

    Args:
        x: `[batch, steps, channels]`.
        by: `[batch]`, int32.
        most: of its absolute values.
    """
    bits = (2 * most).bit_length()
    x = jnp.pad(x, ((0, 0), (most, 2**bits - 1 - most), (0, 0)))
    for bit in range(bits):
        cut_first = ((by + most) >> bit) & 1 == 1
        x = jnp.where(cut_first[:, None, None], x[:, 2**bit :], x[:, : -(2**bit)])
    return x


def _masked(size: int, share: jax.Array, width: jax.Array, place: jax.Array) -> jax.Array:
    """True in an interval of each row of `[batch, size]`, but nowhere where there is one place.

    Args:
        size: of a row.
        share: of it that an interval has at the most, `[]`.
        width: of the interval, as a share of that, `[batch]`.
        place: from 0 for the first one that there could be to 1 for the last, `[batch]`.
    """
    width = share * size * width * (size > 1)
    first = (size - width) * place
    middles = jnp.arange(size)[None, :] + 0.5
    return (middles >= first[:, None]) & (middles < (first + width)[:, None])
