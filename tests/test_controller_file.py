"""The policy, the controller file, and the writing of files."""

import json
import os
import pickle
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from safetensors.numpy import save

from rlagent.baselines import catalog
from rlagent.baselines.single import Controlled
from rlagent.controller import file, policy
from rlagent.controller.file import (
    Controller,
    bind,
    check_compatible,
    load_controller,
    save_controller,
)
from rlagent.storage import read_arrays, write_arrays, write_atomically, write_json
from rlagent_envs.config import TUNABLE

FEATURES = (("progress", 1), ("loss_ratio", 2), ("noise_scale", 1))
KNOBS: dict[str, tuple[float | str, ...]] = {
    "learning_rate": (0.1, 0.7071067811865476, 1.0, 2.0),
    "growth": ("none", "wider"),
    "momentum": (-0.5, 0.0, 0.5),
}
LEVEL_COUNTS = (4, 2, 3)
SPLITS = [4, 6]
HIDDEN = (8, 5)

choose = jax.jit(policy.choose)
choose_often = jax.jit(jax.vmap(policy.choose, in_axes=(None, None, None, 0)))
log_probabilities = jax.jit(policy.log_probabilities)


def random_weights(seed: int, scale: float = 1.0) -> policy.Weights:
    generator = np.random.default_rng(seed)
    shapes = policy.weight_shapes(len(FEATURES), LEVEL_COUNTS, HIDDEN)
    return {
        name: (scale * generator.normal(size=shape)).astype(np.float32)
        for name, shape in shapes.items()
    }


def controller(seed: int = 0, **changes: Any) -> Controller:
    fields: dict[str, Any] = {
        "name": "small",
        "features": FEATURES,
        "knobs": KNOBS,
        "hidden": HIDDEN,
        "weights": random_weights(seed),
        "training": {"tasks": ["moons", "blobs"], "seed": 3, "share": 0.1},
        "evaluation": {"regret": 0.0375},
        "licence": "Apache-2.0",
    }
    return Controller(**(fields | changes))


def message_of(function: Callable[..., object], *arguments: Any, **keywords: Any) -> str:
    """The text of the ValueError that the function raises."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the callers compare all of the text)
        function(*arguments, **keywords)
    return str(caught.value)


@dataclass(frozen=True)
class Feature:
    name: str
    version: int


@dataclass(frozen=True)
class Knob:
    name: str
    levels: tuple[float | str, ...]
    hold: int


def environment() -> tuple[tuple[Feature, ...], dict[str, Knob]]:
    """More features, knobs and levels than the controller uses, in another order."""
    features = (
        Feature("loss_ratio", 1),
        Feature("noise_scale", 1),
        Feature("rung", 1),
        Feature("loss_ratio", 2),
        Feature("progress", 1),
    )
    knobs = (
        Knob("dropout", (0.5, 1.0, 2.0), 1),
        Knob("momentum", (-0.5, 0.0, 0.5), 1),
        Knob("learning_rate", (2.0, 1.0, 0.7071067811865476, 0.5, 0.1), 1),
        Knob("growth", ("deeper", "none", "wider"), 1),
    )
    return features, {knob.name: knob for knob in knobs}


# The policy


def random_input(seed: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """An observation, and a mask that leaves each knob at least one level."""
    generator = np.random.default_rng(seed)
    mask = generator.random(sum(LEVEL_COUNTS)) < 0.4
    for start, count in zip((0, *SPLITS), LEVEL_COUNTS, strict=True):
        mask[start + generator.integers(count)] = True
    return generator.normal(size=len(FEATURES)).astype(np.float32), mask


def network(seed: int, scale: float = 1.0) -> policy.PolicyNetwork:
    return policy.policy_with(random_weights(seed, scale), len(FEATURES), LEVEL_COUNTS, HIDDEN)


@pytest.mark.parametrize("seed", range(5))
def test_the_policy_computes_what_plain_numpy_does(seed: int) -> None:
    weights = random_weights(seed)
    observation, mask = random_input(seed)
    values = observation.astype(np.float64)
    for layer in ("layers.0", "layers.1"):
        values = np.tanh(values @ weights[f"{layer}.kernel"] + weights[f"{layer}.bias"])
    logits = values @ weights["logits.kernel"] + weights["logits.bias"]
    parts = zip(np.split(logits, SPLITS), np.split(mask, SPLITS), strict=True)
    expected = [
        np.where(allowed, part - np.log(np.exp(part[allowed]).sum()), policy.MASKED)
        for part, allowed in parts
    ]
    found = log_probabilities(network(seed), observation, mask)
    np.testing.assert_allclose(found, np.concatenate(expected), rtol=1e-5, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31 - 1),
    scale=st.sampled_from([0.0, 1.0, 30.0, 1e6, 1e30]),  # to logits beyond the mask's -1e8
)
def test_forbidden_levels_are_never_chosen(seed: int, scale: float) -> None:
    net = network(seed, scale)
    observation, mask = random_input(seed)
    for key in (None, jax.random.key(seed), jax.random.key(seed + 1)):
        action = np.asarray(choose(net, observation, mask, key))
        assert action.dtype == np.int32
        for level, allowed in zip(action, np.split(mask, SPLITS), strict=True):
            assert allowed[level]
    probabilities = np.exp(np.asarray(log_probabilities(net, observation, mask), np.float64))
    assert (probabilities[~mask] == 0).all()
    for part in np.split(probabilities, SPLITS):
        np.testing.assert_allclose(part.sum(), 1, rtol=1e-5)


def test_a_forbidden_level_is_not_chosen_even_if_the_observation_is_not_a_number() -> None:
    _, mask = random_input(1)
    for key in (None, jax.random.key(0)):
        action = choose(network(0), np.full(3, np.nan, np.float32), mask, key)
        assert all(part[n] for n, part in zip(action, np.split(mask, SPLITS), strict=True))


def test_levels_are_drawn_as_often_as_their_probabilities_say() -> None:
    net = network(0, 0.5)
    observation, mask = random_input(3)
    draws = 20_000
    keys = jax.random.split(jax.random.key(5), draws)
    actions = choose_often(net, observation, mask, keys)
    probabilities = np.exp(log_probabilities(net, observation, mask))
    for knob, expected in enumerate(np.split(probabilities, SPLITS)):
        found = np.bincount(actions[:, knob], minlength=len(expected)) / draws
        np.testing.assert_allclose(found, expected, atol=4 * 0.5 / draws**0.5)
    # Each knob draws for itself: equal probabilities must not mean equal levels.
    actions = choose_often(network(0, 0.0), observation, np.ones(9, bool), keys)
    assert abs(np.corrcoef(actions[:, 0], actions[:, 1])[0, 1]) < 0.05


def test_a_new_network_has_the_declared_weights() -> None:
    net = policy.PolicyNetwork(3, LEVEL_COUNTS, HIDDEN, rngs=nnx.Rngs(0))
    weights = policy.weights_of(net)
    assert {name: array.shape for name, array in weights.items()} == policy.weight_shapes(
        3, LEVEL_COUNTS, HIDDEN
    )
    again = policy.weights_of(policy.policy_with(weights, 3, LEVEL_COUNTS, HIDDEN))
    for name, array in weights.items():
        np.testing.assert_array_equal(again[name], array)


def test_controllers_of_equal_shapes_share_one_compilation() -> None:
    traces = 0

    @jax.jit
    def counted(net: policy.PolicyNetwork, observation: jax.Array, mask: jax.Array) -> jax.Array:
        nonlocal traces
        traces += 1
        return policy.choose(net, observation, mask)

    for seed in range(3):
        counted(controller(seed).policy, *map(jnp.asarray, random_input(seed)))
    assert traces == 1


@pytest.mark.parametrize("hidden", [(), (16,), (16, 8)])
def test_log_probabilities_equal_those_of_stable_baselines(hidden: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("sb3_contrib")
    from gymnasium import spaces
    from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy

    torch.manual_seed(0)
    theirs = MaskableActorCriticPolicy(
        spaces.Box(-5, 5, (3,), np.float32),
        spaces.MultiDiscrete(list(LEVEL_COUNTS)),
        lambda _: 1e-3,
        net_arch={"pi": list(hidden), "vf": [7]},
    )
    with torch.no_grad():  # their start is almost uniform, and would hide mistakes
        for parameter in theirs.parameters():
            parameter.copy_(torch.randn_like(parameter))
    state = {name: tensor.numpy() for name, tensor in theirs.state_dict().items()}
    weights = policy.weights_from_sb3(state)
    ours = policy.policy_with(weights, 3, LEVEL_COUNTS, hidden)
    for seed in range(20):
        observation, mask = random_input(seed)
        masked: Any = theirs.get_distribution(torch.tensor(observation)[None], mask[None])
        expected = torch.cat([part.logits for part in masked.distributions], dim=1)[0]
        found = log_probabilities(ours, observation, mask)
        np.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-5, atol=1e-5)
        assert choose(ours, observation, mask).tolist() == masked.mode()[0].tolist()
    back = policy.weights_to_sb3(weights)
    actor = {n for n in state if n.startswith(("mlp_extractor.policy_net", "action_net"))}
    assert set(back) == actor
    for name, array in back.items():
        np.testing.assert_array_equal(array, state[name])


# The controller


def test_a_controller_comes_back_bit_for_bit(tmp_path: Path) -> None:
    before = controller(deterministic=False, schedule="cosine")
    save_controller(before, tmp_path / "one.safetensors")
    after = load_controller(tmp_path / "one.safetensors")
    for name in (
        "name",
        "features",
        "knobs",
        "hidden",
        "deterministic",
        "schedule",
        "training",
        "evaluation",
    ):
        assert getattr(after, name) == getattr(before, name)
    assert after.licence == before.licence
    assert list(after.knobs) == list(before.knobs)
    assert set(after.weights) == set(before.weights)
    for name, array in before.weights.items():
        assert after.weights[name].dtype == np.float32
        assert after.weights[name].tobytes() == array.tobytes()
    save_controller(after, tmp_path / "two.safetensors")
    assert (tmp_path / "one.safetensors").read_bytes() == (
        tmp_path / "two.safetensors"
    ).read_bytes()


def test_a_bare_name_is_a_controller_that_ships(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file, "PRETRAINED", tmp_path)
    assert message_of(load_controller, "default") == "unknown controller 'default'; there are: none"
    save_controller(controller(), tmp_path / "small.safetensors")
    save_controller(controller(name="first"), tmp_path / "fast.safetensors")
    assert load_controller("small").name == "small"
    assert (
        message_of(load_controller, "default")
        == "unknown controller 'default'; there are: fast, small"
    )


def test_default_is_the_controller_for_the_optimizer() -> None:
    for optimizer in TUNABLE:
        expected = "muon" if optimizer == "muon" else "basic"
        assert load_controller("default", optimizer).name == expected
        assert load_controller("full", optimizer).name == "full"
        methods = (catalog.make(name) for name in ("controller", "controller@full"))
        found = [one.controllers[optimizer].name for one in methods if isinstance(one, Controlled)]
        assert found == [expected, "full"]


def test_act_chooses_as_the_policy_does() -> None:
    observation, mask = random_input(2)
    sure, drawing = controller(), controller(deterministic=False)
    key = jax.random.key(4)
    best = choose(sure.policy, observation, mask)
    assert sure.act(observation, mask).tolist() == best.tolist()
    assert sure.act(observation, mask, key).tolist() == best.tolist()
    actions = [drawing.act(observation, mask, jax.random.key(n)) for n in range(20)]
    expected = [choose(sure.policy, observation, mask, jax.random.key(n)) for n in range(20)]
    np.testing.assert_array_equal(actions, expected)
    assert len({tuple(action) for action in actions}) > 1


def no_momentum(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.concatenate([mask[:6], [False] * 3])


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda c, o, m: c.act(o[:2], m), "the observation of controller small has shape (3,), "
         "got (2,)"),
        (lambda c, o, m: c.act(o, m[None]), "the mask of controller small has shape (9,), "
         "got (1, 9)"),
        (lambda c, o, m: c.act(o * [1, np.nan, 1], m), "the feature 'loss_ratio' is not finite: "
         "nan"),
        (lambda c, o, m: c.act(o, no_momentum(m)), "the mask allows no level of the knob "
         "'momentum'"),
        (lambda c, o, m: replace(c, deterministic=False).act(o, m), "controller small draws its "
         "actions: it needs a key"),
    ],
)  # fmt: skip
def test_act_refuses_input_that_makes_no_sense(act: Callable[..., Any], message: str) -> None:
    assert message_of(act, controller(), *random_input(0)) == message


def broken_weights(name: str, array: NDArray[Any]) -> dict[str, Any]:
    return {"weights": random_weights(0) | {name: array}}


BAD_PARTS: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "the header's name is wrong: String should have at least 1 character"),
    ({"hidden": (8, 0)}, "the header's hidden.1 is wrong: Input should be greater than 0"),
    (
        {"features": (*FEATURES, ("progress", 2))},
        "the features hold 'progress' twice",
    ),
    (
        {"knobs": KNOBS | {"growth": ("none", "none")}},
        "the levels of the knob 'growth' hold 'none' twice",
    ),
    ({"hidden": (8, 6)}, "the tensor 'layers.1.kernel' must have shape (8, 6), got (8, 5)"),
    (
        {"knobs": {"growth": ("none", "wider")}},
        "the tensor 'logits.kernel' must have shape (5, 2), got (5, 9)",
    ),
    (
        {"features": FEATURES[:2]},
        "the tensor 'layers.0.kernel' must have shape (2, 8), got (3, 8)",
    ),
    (
        broken_weights("layers.0.bias", np.zeros(8)),
        "the tensor 'layers.0.bias' must be float32, got float64",
    ),
    (
        broken_weights("logits.bias", np.full(9, np.inf, np.float32)),
        "the tensor 'logits.bias' holds values that are not finite",
    ),
    (
        broken_weights("layers.2.bias", np.zeros(5, np.float32)),
        "the tensor 'layers.2.bias' is not part of the policy",
    ),
    (
        {"weights": {n: a for n, a in random_weights(0).items() if n != "layers.1.bias"}},
        "the tensor 'layers.1.bias' is missing",
    ),
]


@pytest.mark.parametrize(("changes", "message"), BAD_PARTS)
def test_parts_that_do_not_fit_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    assert message_of(controller, **changes) == message
    # The same in a file, which this program did not write.
    if "knobs" in changes:
        levels = changes["knobs"].items()
        changes = changes | {"knobs": [{"name": name, "levels": some} for name, some in levels]}
    path = tmp_path / "bad.safetensors"
    header = header_of(tmp_path) | {n: v for n, v in changes.items() if n != "weights"}
    write_arrays(path, changes.get("weights", random_weights(0)), {"controller": header})
    assert message_of(load_controller, path) == f"controller {path}: {message}"


def header_of(folder: Path) -> dict[str, Any]:
    """The header of a sound file."""
    save_controller(controller(), folder / "good.safetensors")
    header: dict[str, Any] = read_arrays(folder / "good.safetensors")[1]["controller"]
    return header


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda header: header | {"format_version": 7},
            "controller FILE has format version 7; this rlagent reads: 1",
        ),
        (
            lambda header: {n: v for n, v in header.items() if n != "format_version"},
            "controller FILE has format version None; this rlagent reads: 1",
        ),
        (
            lambda header: {n: v for n, v in header.items() if n != "licence"},
            "controller FILE: the header's licence is wrong: Field required",
        ),
        (
            lambda header: header | {"script": "print(1)"},
            "controller FILE: the header's script is wrong: Extra inputs are not permitted",
        ),
        (
            lambda header: header | {"knobs": header["knobs"][:1] * 2},
            "controller FILE: the knobs hold 'learning_rate' twice",
        ),
        (
            lambda header: header | {"features": [["progress", "new"]]},
            "controller FILE: the header's features.0.1 is wrong: Input should be a valid integer, "
            "unable to parse string as an integer",
        ),
        (lambda _: 5, "FILE is not a controller file: it has no controller header"),
    ],
)
def test_a_bad_header_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    path = tmp_path / "bad.safetensors"
    write_arrays(path, random_weights(0), {"controller": change(header_of(tmp_path))})
    assert message_of(load_controller, path) == message.replace("FILE", str(path))


def test_only_json_can_be_said_of_the_training(tmp_path: Path) -> None:
    assert message_of(controller, training={"config": object()}) == (
        "the header's training.config is wrong: input was not a valid JSON value"
    )
    path = tmp_path / "c.safetensors"
    with pytest.raises(ValueError, match=f"^cannot write {path} as JSON: Out of range float"):
        save_controller(controller(evaluation={"regret": float("nan")}), path)
    assert not path.exists()


def test_a_controller_is_saved_under_its_suffix_only(tmp_path: Path) -> None:
    assert message_of(save_controller, controller(), tmp_path / "c.zip") == (
        f"the name of a controller file ends in .safetensors, got {tmp_path}/c.zip"
    )


class Exploit:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.marker),)


def test_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    marker, path = tmp_path / "marker", tmp_path / "evil.safetensors"
    content = pickle.dumps(Exploit(marker))
    path.write_bytes(content)
    assert (
        message_of(load_controller, path) == f"{path} is not a safetensors file, or it is damaged"
    )
    # And as a tensor of a file that is sound else.
    tensors: dict[str, ArrayLike] = {"evil": np.frombuffer(content, np.uint8), **random_weights(0)}
    write_arrays(path, tensors, {"controller": header_of(tmp_path)})
    assert (
        message_of(load_controller, path)
        == f"controller {path}: the tensor 'evil' is not part of the policy"
    )
    assert not marker.exists()
    pickle.loads(content)
    assert marker.exists()  # or the test would prove nothing


# A controller in an environment


def test_a_controller_finds_its_features_and_knobs() -> None:
    features, knobs = environment()
    binding = bind(controller(), features, knobs)
    assert binding.feature_indices.tolist() == [4, 3, 1]
    observation = np.arange(5, dtype=np.float32)
    assert binding.own_observation(observation).tolist() == [4, 3, 1]
    # dropout 0-2, momentum 3-5, learning rate 6-10, growth 11-13
    own = [10, 8, 7, 6, 12, 13, 3, 4, 5]
    assert binding.own_mask(np.arange(14)).tolist() == own
    # Rate x 0.1, wider, momentum + 0.5; dropout is held.
    action = np.array([0, 1, 2])
    assert binding.full_action(action).tolist() == [1, 2, 4, 2]
    assert binding.full_action(action).dtype == np.int32
    held = bind(replace(controller(), **smaller()), features, knobs)
    assert held.full_action(np.array([1])).tolist() == [1, 1, 1, 2]


def smaller() -> dict[str, Any]:
    """The parts of a controller that moves the growth only."""
    shapes = policy.weight_shapes(1, (2,), ())
    weights = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    return {
        "features": (("progress", 1),),
        "knobs": {"growth": ("none", "wider")},
        "hidden": (),
        "weights": weights,
    }


@given(action=st.tuples(st.integers(0, 3), st.integers(0, 1), st.integers(0, 2)))
@settings(max_examples=24, deadline=None)
def test_an_action_means_the_same_levels_in_the_environment(action: tuple[int, ...]) -> None:
    features, knobs = environment()
    binding = bind(controller(), features, knobs)
    full = binding.full_action(np.array(action))
    for (name, knob), level in zip(knobs.items(), full, strict=True):
        expected = knob.levels[knob.hold]
        if name in KNOBS:
            expected = KNOBS[name][action[list(KNOBS).index(name)]]
        assert knob.levels[level] == expected


def test_a_binding_works_inside_jit() -> None:
    binding = bind(controller(), *environment())
    net = controller().policy

    @jax.jit
    def decide(observation: jax.Array, mask: jax.Array) -> jax.Array:
        own = binding.own_observation(observation), binding.own_mask(mask)
        return binding.full_action(policy.choose(net, *own))

    observation = np.linspace(-1, 1, 5, dtype=np.float32)
    mask = np.ones(14, bool)
    own = controller().act(binding.own_observation(observation), binding.own_mask(mask))
    action = decide(jnp.asarray(observation), jnp.asarray(mask))
    assert action.dtype == jnp.int32
    assert action.tolist() == binding.full_action(own).tolist()


def without_knob(name: str) -> dict[str, Knob]:
    return {n: knob for n, knob in environment()[1].items() if n != name}


@pytest.mark.parametrize(
    ("features", "knobs", "message"),
    [
        (
            environment()[0][:4],
            environment()[1],
            "controller small reads the feature 'progress', which is not there",
        ),
        (
            (environment()[0][0], environment()[0][4]),
            environment()[1],
            "controller small reads version 2 of the feature 'loss_ratio'; there is: 1",
        ),
        (
            environment()[0],
            without_knob("growth"),
            "controller small moves the knob 'growth', which is not there",
        ),
        (
            environment()[0],
            environment()[1] | {"momentum": Knob("momentum", (-0.5, 0.0), 1)},
            "controller small uses the level 0.5 of the knob 'momentum'; there are: -0.5, 0.0",
        ),
        (
            environment()[0],
            environment()[1] | {"growth": Knob("growth", ("hold", "none", "wider"), 0)},
            "controller small cannot hold the knob 'growth': it lacks the level 'hold'",
        ),
    ],
)
def test_an_environment_that_lacks_something_is_refused(
    features: tuple[Feature, ...], knobs: dict[str, Knob], message: str
) -> None:
    for check in (check_compatible, bind):
        assert message_of(check, controller(), features, knobs) == message


# Storage


def test_arrays_and_metadata_come_back_bit_for_bit(tmp_path: Path) -> None:
    arrays: dict[str, ArrayLike] = {
        "special": np.array([np.nan, -0.0, np.inf, 1e-45], np.float32),
        "scalar": np.float64(0.1),
        "empty": np.zeros((0, 3), np.int64),
        "strided": np.arange(12, dtype=np.uint8).reshape(3, 4).T[::2],
        "flags": np.array([True, False]),
        "device": jnp.arange(3, dtype=jnp.bfloat16),
    }
    metadata = {"text": "Größe ☃", "list": [1, 0.1, None, {"a": True}]}
    write_arrays(tmp_path / "a", arrays, metadata)
    found, found_metadata = read_arrays(tmp_path / "a")
    assert found_metadata == metadata
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        expected = np.asarray(array)
        assert found[name].dtype == expected.dtype
        assert found[name].shape == expected.shape
        assert found[name].tobytes() == expected.tobytes()
    write_arrays(tmp_path / "b", dict(reversed(arrays.items())), metadata)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_json_is_written_whole(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": [1, 0.1], "a": "ü"})
    assert json.loads((tmp_path / "a.json").read_text()) == {"b": [1, 0.1], "a": "ü"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("function", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt()])
def test_an_interrupted_writer_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, error: BaseException
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(*_: object) -> None:
        assert path.read_bytes() == b"old"
        raise error

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(type(error)):
        write_atomically(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


def test_the_file_is_on_disk_before_its_name_and_the_name_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    sync, rename = os.fsync, os.replace

    def logged_sync(descriptor: int) -> None:
        calls.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        sync(descriptor)

    def logged_rename(source: Path, target: Path) -> None:
        assert source.parent == target.parent
        assert source.read_bytes() == b"new"
        calls.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", logged_sync)
    monkeypatch.setattr(os, "replace", logged_rename)
    write_atomically(tmp_path / "file", b"new")
    assert calls == ["file", "rename", "folder"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "far" / "file")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "far" / "file").read_bytes() == b"new"


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            lambda folder: write_atomically(folder / "no" / "file", b""),
            "cannot write FOLDER/no/file: there is no folder FOLDER/no",
        ),
        (lambda folder: write_atomically(folder, b""), "cannot write FOLDER: it is a folder"),
        (
            lambda folder: write_json(folder / "a", {"set": {1}}),
            "cannot write FOLDER/a as JSON: Object of type set is not JSON serializable",
        ),
        (
            lambda folder: write_arrays(folder / "a", {"a": np.array([None])}, {}),
            "cannot write FOLDER/a: safetensors files hold numbers only",
        ),
    ],
)
def test_what_cannot_be_written_is_refused(
    tmp_path: Path, write: Callable[[Path], None], message: str
) -> None:
    assert message_of(write, tmp_path) == message.replace("FOLDER", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def small_floats() -> bytes:
    """A file of 8-bit floats, which NumPy lacks."""
    header = {"a": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"ab"


SOUND = save(random_weights(0), {"rlagent": "{}"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "FILE is empty"),
        (b"PK\x03\x04 a zip", "FILE is not a safetensors file, or it is damaged"),
        (b"\xff" * 64, "FILE is not a safetensors file, or it is damaged"),
        (SOUND[:-1], "FILE is not a safetensors file, or it is damaged"),
        (SOUND[:100], "FILE is not a safetensors file, or it is damaged"),
        (SOUND + b"a", "FILE is not a safetensors file, or it is damaged"),
        (small_floats(), "FILE is not a safetensors file, or it is damaged"),
        (save({}, {"rlagent": "{"}), "FILE is damaged: its metadata are not JSON"),
        (save({}, {"rlagent": "[" * 50_000}), "FILE is damaged: its metadata are not JSON"),
        (save({}, {"rlagent": "[]"}), "FILE is damaged: its metadata are not a JSON object"),
        (save({}, {"format": "pt"}), "FILE is not a controller file: it has no controller header"),
        (SOUND, "FILE is not a controller file: it has no controller header"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    assert message_of(load_controller, path) == message.replace("FILE", str(path))


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path, message in (
        (tmp_path / "no.safetensors", f"there is no file {tmp_path}/no.safetensors"),
        (tmp_path, f"{tmp_path} is a folder, not a file"),
    ):
        for read in (load_controller, read_arrays):
            assert message_of(read, path) == message
