"""The loss of each example, and the score by which a model is judged whatever the loss was."""

from __future__ import annotations

import jax
import jax.numpy as jnp

# Added to the logits of classes that are padding: their probability becomes an exact zero.
FORBIDDEN = -1e9


def example_losses(
    kind: str,
    outputs: jax.Array,
    targets: jax.Array,
    classes: jax.Array,
    label_smoothing: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """What training minimises, and the plain loss, of each example.

    Args:
        kind: classification or regression.
        outputs: of the network, `[batch, outputs]`.
        targets: class numbers or standardised values, `[batch]`.
        classes: 1 for an output in use, 0 for padding, `[outputs]`.
        label_smoothing: share of the target that is spread over all classes, `[]`.

    Returns:
        Two arrays `[batch]`: with label smoothing, and without; in nats for classification, in
        squared standard deviations of the target for regression (where smoothing has no meaning).
    """
    if kind == "regression":
        squared = jnp.square(outputs[:, 0] - targets)
        return squared, squared
    log_p = jax.nn.log_softmax(jnp.where(classes[None, :] > 0, outputs, FORBIDDEN))
    plain = -jnp.take_along_axis(log_p, targets[:, None], axis=1)[:, 0]
    spread = -jnp.sum(jnp.where(classes[None, :] > 0, log_p, 0.0), axis=1) / jnp.sum(classes)
    return (1.0 - label_smoothing) * plain + label_smoothing * spread, plain


def example_hits(
    kind: str, outputs: jax.Array, targets: jax.Array, classes: jax.Array
) -> jax.Array:
    """Whether each example is classified rightly, `[batch]` float32; zeros for regression."""
    if kind == "regression":
        return jnp.zeros(targets.shape, jnp.float32)
    guess = jnp.argmax(jnp.where(classes[None, :] > 0, outputs, FORBIDDEN), axis=1)
    return (guess == targets).astype(jnp.float32)
