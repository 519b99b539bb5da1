"""A training checkpoint: all that the next rollout depends on, in one file, without pickle."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib import MaskablePPO

from rlagent.ppo.vec_env import TuningVecEnv
from rlagent.storage import read_arrays, write_arrays

FORMAT_VERSION = 3


def save_checkpoint(model: MaskablePPO, env: TuningVecEnv, path: Path, extra: Any) -> None:
    """Writes the state at the start of a rollout; atomically, so an older one is never lost.

    Args:
        model: between two rollouts.
        env: its environment.
        path: ends in `.safetensors`.
        extra: plain values to keep beside it.
    """
    arrays = {f"policy/{name}": value.numpy() for name, value in model.policy.state_dict().items()}
    arrays |= _optimizer_arrays(model.policy.optimizer)
    arrays["random/torch"] = torch.get_rng_state().numpy()
    _, words, *numpy_state = np.random.get_state()
    arrays["random/numpy"] = np.asarray(words)
    if not isinstance(model._last_obs, dict) or model._last_episode_starts is None:
        raise ValueError("a checkpoint can be taken once training has begun, not before")
    for name, value in model._last_obs.items():
        arrays[f"last/{name}"] = np.asarray(value)
    arrays["last/episode_starts"] = np.asarray(model._last_episode_starts)
    of_env, places = env.save()
    arrays |= {f"env/{name}": value for name, value in of_env.items()}
    metadata = {
        "format_version": FORMAT_VERSION,
        "decisions": model.num_timesteps,
        "policy_updates": model._n_updates,
        "numpy_state": [int(numpy_state[0]), int(numpy_state[1]), float(numpy_state[2])],
        "recent_episodes": list(model.ep_info_buffer or ()),
        "places": places,
        "extra": extra,
    }
    write_arrays(path, arrays, metadata)


def load_checkpoint(model: MaskablePPO, env: TuningVecEnv, path: Path) -> Any:
    """Puts the state of a checkpoint into a fresh model and environment of the same config.

    Returns:
        The plain values that were kept beside it.

    Raises:
        ValueError: if the file is not a checkpoint, or one of another format or config.
    """
    arrays, metadata = read_arrays(path)
    if metadata.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"checkpoint {path} has format version {metadata.get('format_version')}; "
            f"this rlagent reads: {FORMAT_VERSION}"
        )
    places = len(metadata.get("places", []))
    if places != env.num_envs:
        raise ValueError(f"checkpoint {path} has {places} places; the config has {env.num_envs}")
    try:
        _restore(model, env, arrays, metadata)
        return metadata["extra"]
    except KeyError as error:
        raise ValueError(f"checkpoint {path} is damaged: it lacks {error}") from error
    except (ValueError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0].rstrip(":")
        raise ValueError(f"checkpoint {path} does not fit its config: {reason}") from error


def _restore(
    model: MaskablePPO, env: TuningVecEnv, arrays: dict[str, Any], metadata: dict[str, Any]
) -> None:
    state = model.policy.state_dict()
    for name, own in state.items():
        shape = arrays[f"policy/{name}"].shape
        if shape != tuple(own.shape):
            raise ValueError(f"{name} is {list(shape)}, not {list(own.shape)}")
    model.policy.load_state_dict({name: _tensor(arrays[f"policy/{name}"]) for name in state})
    _load_optimizer(model.policy.optimizer, arrays)
    torch.set_rng_state(_tensor(arrays["random/torch"]))
    position, has_gauss, cached = metadata["numpy_state"]
    np.random.set_state(("MT19937", arrays["random/numpy"], position, has_gauss, cached))
    prefix = "env/"
    of_env = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
    env.load(of_env, metadata["places"])
    names = env.observation_space.spaces if isinstance(env.observation_space, spaces.Dict) else ()
    model._last_obs = {name: arrays[f"last/{name}"].copy() for name in names}
    model._last_episode_starts = arrays["last/episode_starts"].copy()
    model.num_timesteps = metadata["decisions"]
    model._n_updates = metadata["policy_updates"]
    model.ep_info_buffer = deque(metadata["recent_episodes"], maxlen=model._stats_window_size)
    model.ep_success_buffer = deque(maxlen=model._stats_window_size)


def _tensor(array: np.ndarray) -> torch.Tensor:
    """A copy of its own: what is read from a file may not be writable."""
    return torch.from_numpy(array.copy())


def _optimizer_arrays(optimizer: torch.optim.Optimizer) -> dict[str, np.ndarray]:
    """Adam's moments and step counts; there are none before its first step."""
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer/{number}/{name}": value.numpy()
        for number, entries in state.items()
        for name, value in entries.items()
    }


def _load_optimizer(optimizer: torch.optim.Optimizer, arrays: dict[str, np.ndarray]) -> None:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in arrays.items():
        if name.startswith("optimizer/"):
            _, number, entry = name.split("/")
            state.setdefault(int(number), {})[entry] = _tensor(value)
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )
