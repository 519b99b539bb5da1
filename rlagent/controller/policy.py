"""The controller's network: from an observation to one level of each knob, inside jit."""

from collections.abc import Mapping
from itertools import accumulate, pairwise

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from numpy.typing import NDArray

Weights = dict[str, NDArray[np.float32]]

# sb3_contrib's MaskableCategorical has the same number; not -inf, so that p log p stays 0.
MASKED = -1e8


class PolicyNetwork(nnx.Module):
    """An MLP with tanh hidden layers, and the logits of all knobs side by side.

    Its weights are called `layers.N.kernel` [in, out], `layers.N.bias` [out], `logits.kernel` and
    `logits.bias`.
    """

    def __init__(
        self,
        features: int,
        level_counts: tuple[int, ...],
        hidden: tuple[int, ...] = (128, 128),
        *,
        rngs: nnx.Rngs,
    ) -> None:
        """A network with random weights.

        Args:
            features: length of the observation.
            level_counts: how many levels each knob has.
            hidden: units of each hidden layer.
            rngs: draws the weights.
        """
        self.level_counts = level_counts
        sizes = (features, *hidden)
        self.layers = nnx.List([_linear(*size, rngs) for size in pairwise(sizes)])
        self.logits = _linear(sizes[-1], sum(level_counts), rngs)

    def __call__(self, observation: Array) -> Array:
        """The logits `[sum of levels]` for an observation `[features]`."""
        for layer in self.layers:
            observation = jnp.tanh(layer(observation))
        return self.logits(observation)


def log_probabilities(policy: PolicyNetwork, observation: Array, mask: Array) -> Array:
    """Log-probability of each level of each knob, among those that the mask allows.

    Args:
        policy: the network.
        observation: `[features]`.
        mask: `[sum of levels]`, True where a level may be chosen, at least once for each knob.

    Returns:
        `[sum of levels]`, in nats: the exponentials add up to 1 for each knob; forbidden levels
        have -1e8.

    Source: the same numbers, to rounding, as sb3_contrib's MaskableMultiCategoricalDistribution.
    """
    # Not -1e8 here: huge weights could give an allowed level less than that.
    logits = jnp.where(mask, policy(observation), -jnp.inf)
    parts = [jax.nn.log_softmax(part) for part in _split(policy, logits)]
    # The mask comes last too, so that not even a NaN lets a forbidden level through.
    return jnp.where(mask, jnp.concatenate(parts), MASKED)


def choose(
    policy: PolicyNetwork, observation: Array, mask: Array, key: Array | None = None
) -> Array:
    """Chooses a level of each knob.

    Args:
        policy: the network.
        observation: `[features]`.
        mask: `[sum of levels]`, True where a level may be chosen, at least once for each knob.
        key: draws the levels; consumed. Without it each knob gets its most probable level.

    Returns:
        `[knobs]`, int32: the number of the level of each knob.
    """
    parts = _split(policy, log_probabilities(policy, observation, mask))
    if key is None:
        levels = [jnp.argmax(part) for part in parts]
    else:
        keys = jax.random.split(key, len(parts))
        levels = [jax.random.categorical(k, part) for k, part in zip(keys, parts, strict=True)]
    return jnp.stack(levels).astype(jnp.int32)


def weight_shapes(
    features: int, level_counts: tuple[int, ...], hidden: tuple[int, ...]
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights of `PolicyNetwork(features, level_counts, hidden)`."""
    sizes = (features, *hidden)
    layers = [(f"layers.{n}", *size) for n, size in enumerate(pairwise(sizes))]
    shapes: dict[str, tuple[int, ...]] = {}
    for name, inputs, outputs in [*layers, ("logits", sizes[-1], sum(level_counts))]:
        shapes[f"{name}.kernel"] = (inputs, outputs)
        shapes[f"{name}.bias"] = (outputs,)
    return shapes


def weights_of(policy: PolicyNetwork) -> Weights:
    """The network's weights by name, as NumPy arrays."""
    state = nnx.to_flat_state(nnx.state(policy))
    return {_name(path): np.asarray(variable.get_value()) for path, variable in state}


def policy_with(
    weights: Mapping[str, NDArray[np.float32]],
    features: int,
    level_counts: tuple[int, ...],
    hidden: tuple[int, ...],
) -> PolicyNetwork:
    """The network that has these weights, named and shaped as `weight_shapes` says."""
    # Only the structure is built here: nothing is drawn, nothing compiles.
    empty = nnx.eval_shape(lambda: PolicyNetwork(features, level_counts, hidden, rngs=nnx.Rngs(0)))
    definition, state = nnx.split(empty)
    filled = [
        (path, variable.replace(jnp.asarray(weights[_name(path)])))
        for path, variable in nnx.to_flat_state(state)
    ]
    return nnx.merge(definition, nnx.from_flat_state(filled))


def weights_from_sb3(state: Mapping[str, NDArray[np.float32]]) -> Weights:
    """Takes the actor's weights from the `state_dict` of SB3's MaskableActorCriticPolicy.

    Args:
        state: the tensors of the policy as NumPy arrays; those of the critic are ignored.

    Returns:
        Weights for `PolicyNetwork`; SB3 stores a kernel as `[out, in]`, here it is `[in, out]`.
    """
    depth = sum(name.startswith(_SB3_LAYERS) and name.endswith(".weight") for name in state)
    weights: Weights = {}
    for ours, theirs in _sb3_names(depth).items():
        weights[f"{ours}.kernel"] = np.ascontiguousarray(state[f"{theirs}.weight"].T)
        weights[f"{ours}.bias"] = np.array(state[f"{theirs}.bias"])
    return weights


def weights_to_sb3(weights: Mapping[str, NDArray[np.float32]]) -> Weights:
    """The inverse of `weights_from_sb3`: the actor's part of SB3's `state_dict`."""
    depth = len(weights) // 2 - 1
    state: Weights = {}
    for ours, theirs in _sb3_names(depth).items():
        state[f"{theirs}.weight"] = np.ascontiguousarray(weights[f"{ours}.kernel"].T)
        state[f"{theirs}.bias"] = np.array(weights[f"{ours}.bias"])
    return state


_SB3_LAYERS = "mlp_extractor.policy_net."


def _sb3_names(depth: int) -> dict[str, str]:
    """SB3's name of each layer; it counts the activations between the layers as well."""
    layers = {f"layers.{n}": f"{_SB3_LAYERS}{2 * n}" for n in range(depth)}
    return layers | {"logits": "action_net"}


def _linear(inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Linear:
    """A float32 layer, also under x64; at full precision, which accelerators would cut to 1e-3."""
    return nnx.Linear(
        inputs,
        outputs,
        dtype=jnp.float32,
        param_dtype=jnp.float32,
        precision=jax.lax.Precision.HIGHEST,
        rngs=rngs,
    )


def _split(policy: PolicyNetwork, values: Array) -> list[Array]:
    """Cuts `[sum of levels]` into one piece for each knob."""
    return jnp.split(values, list(accumulate(policy.level_counts))[:-1])


def _name(path: tuple[object, ...]) -> str:
    """`layers.0.kernel` for the path ("layers", 0, "kernel")."""
    return ".".join(map(str, path))
