"""The loss of each example, and the score by which a model is judged whatever the loss was."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rlagent_envs.settings import Settings

# Added to the logits of classes that are padding: their probability becomes an exact zero.
FORBIDDEN = -1e9


def example_losses(
    kind: str,
    outputs: jax.Array,
    targets: jax.Array,
    classes: jax.Array,
    label_smoothing: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """What training minimises where the loss is no lever, and the plain loss, of each example.

    Args:
        kind: classification or regression.
        outputs: of the network, `[batch, outputs]`, or `[batch, *targets, outputs]`.
        targets: class numbers or standardised values, `[batch]`, or `[batch, *targets]`.
        classes: 1 for an output in use, 0 for padding, `[outputs]`.
        label_smoothing: share of the target that is spread over all classes, `[]`.

    Returns:
        Two arrays `[batch]`: with label smoothing, and without; in nats for classification, in
        squared standard deviations of the target for regression (where smoothing has no meaning).
        Of an example with many targets the mean over them.
    """
    trained, plain = _target_losses(kind, outputs, targets, classes, label_smoothing)
    return _of_examples(trained), _of_examples(plain)


def _target_losses(
    kind: str,
    outputs: jax.Array,
    targets: jax.Array,
    classes: jax.Array,
    label_smoothing: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """The same for each target, `[batch, *targets]`."""
    if kind == "regression":
        squared = jnp.square(outputs[..., 0] - targets)
        return squared, squared
    log_p = log_probabilities(outputs, classes)
    plain = _cross_entropy(log_p, targets)
    spread = -jnp.sum(jnp.where(classes > 0, log_p, 0.0), axis=-1) / jnp.sum(classes)
    return (1.0 - label_smoothing) * plain + label_smoothing * spread, plain


def _of_examples(values: jax.Array) -> jax.Array:
    """The mean over the targets of each example, `[batch]`."""
    return values if values.ndim == 1 else jnp.mean(values, axis=tuple(range(1, values.ndim)))


def designed_losses(
    kind: str,
    outputs: jax.Array,
    targets: jax.Array,
    classes: jax.Array,
    shares: jax.Array,
    settings: Settings,
) -> tuple[jax.Array, jax.Array]:
    """What training minimises where the loss is a lever, and the plain loss, of each example.

    With every setting at its default this is `example_losses`.

    Args:
        kind: classification or regression.
        outputs: of the network, `[batch, outputs]`, or `[batch, *targets, outputs]`.
        targets: class numbers or standardised values, `[batch]`, or `[batch, *targets]`.
        classes: 1 for an output in use, 0 for padding, `[outputs]`.
        shares: of each class among the rows to train on, 0 for padding, `[outputs]`.
        settings: of them label_smoothing, focal_gamma, class_balance, huber_delta and quantile.

    Returns:
        Two arrays `[batch]`, as of `example_losses`.

    Source: focal loss: Lin et al. 2017 (arXiv:1708.02002), section 3; Huber 1964, "Robust
    Estimation of a Location Parameter"; quantiles: Koenker and Bassett 1978.
    """
    trained, plain = _target_losses(kind, outputs, targets, classes, settings.label_smoothing)
    if kind == "regression":
        trained = _asymmetric_huber(outputs[..., 0] - targets, settings)
    else:
        p = jnp.exp(-plain)
        # Where an example is certain, the gradient of a power below 1 would be infinite.
        focus = jnp.maximum(1.0 - p, 1e-6) ** settings.focal_gamma
        trained = focus * _class_weights(shares, settings.class_balance)[targets] * trained
    return _of_examples(trained), _of_examples(plain)


def log_probabilities(outputs: jax.Array, classes: jax.Array) -> jax.Array:
    """Of each class, of the form of the outputs; of padding next to minus infinity."""
    return jax.nn.log_softmax(jnp.where(classes > 0, outputs, FORBIDDEN))


def _cross_entropy(log_p: jax.Array, targets: jax.Array) -> jax.Array:
    return -jnp.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]


def _class_weights(shares: jax.Array, balance: jax.Array) -> jax.Array:
    """Inverse to a power of the classes' shares; their mean over the rows is 1, `[outputs]`."""
    there = shares > 0
    weights = jnp.where(there, jnp.where(there, shares, 1.0) ** -balance, 0.0)
    return weights / jnp.sum(shares * weights)


def _asymmetric_huber(error: jax.Array, settings: Settings) -> jax.Array:
    """Squared up to delta and linear beyond; weighed by the side of the quantile.

    Divided by delta where that is below 1, so that it becomes the absolute error (twice) as delta
    goes to 0, as it becomes the squared error where delta is large.
    """
    delta = settings.huber_delta
    size = jnp.abs(error)
    huber = jnp.where(size <= delta, jnp.square(error), delta * (2.0 * size - delta))
    side = jnp.where(error < 0, settings.quantile, 1.0 - settings.quantile)
    return 2.0 * side * huber / jnp.minimum(delta, 1.0)


def output_change(
    kind: str, outputs: jax.Array, attacked: jax.Array, classes: jax.Array
) -> jax.Array:
    """How much an attack has changed what the network says of each example, `[batch]`.

    The Kullback-Leibler divergence of the probabilities in nats, or the squared difference.

    Args:
        kind: classification or regression.
        outputs: for the inputs as they are, `[batch, outputs]`, or `[batch, *targets, outputs]`.
        attacked: for the attacked inputs, the same.
        classes: 1 for an output in use, 0 for padding, `[outputs]`.
    """
    if kind == "regression":
        return _of_examples(jnp.square(attacked[..., 0] - outputs[..., 0]))
    before, after = log_probabilities(outputs, classes), log_probabilities(attacked, classes)
    change = jnp.exp(before) * jnp.where(classes > 0, before - after, 0.0)
    return _of_examples(jnp.sum(change, axis=-1))


def example_hits(
    kind: str, outputs: jax.Array, targets: jax.Array, classes: jax.Array
) -> jax.Array:
    """The share of each example's targets that are classified rightly, `[batch]` float32.

    Zeros for regression.
    """
    if kind == "regression":
        return jnp.zeros(targets.shape[:1], jnp.float32)
    guess = jnp.argmax(jnp.where(classes > 0, outputs, FORBIDDEN), axis=-1)
    return _of_examples((guess == targets).astype(jnp.float32))
