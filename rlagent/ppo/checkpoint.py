"""A training checkpoint: all that the next rollout depends on, in one file, without pickle."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sb3_contrib import MaskablePPO

from rlagent.ppo.vec_env import TuningVecEnv
from rlagent.storage import read_arrays, write_arrays

FORMAT_VERSION = 1


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
    arrays["env/returns"], arrays["env/lengths"] = env.returns, env.lengths
    places = []
    for number in range(env.num_envs):
        of_place, facts = env.pool.save(number)
        arrays |= {f"place{number}/{name}": value for name, value in of_place.items()}
        places.append(facts)
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
    if len(metadata["places"]) != env.num_envs:
        raise ValueError(
            f"checkpoint {path} has {len(metadata['places'])} places; the config has {env.num_envs}"
        )
    weights = {
        name: torch.from_numpy(arrays[f"policy/{name}"].copy())
        for name in model.policy.state_dict()
    }
    model.policy.load_state_dict(weights)
    _load_optimizer(model.policy.optimizer, arrays)
    torch.set_rng_state(torch.from_numpy(arrays["random/torch"].copy()))
    position, has_gauss, cached = metadata["numpy_state"]
    np.random.set_state(
        ("MT19937", arrays["random/numpy"], position, has_gauss, cached)
    )
    for number, facts in enumerate(metadata["places"]):
        prefix = f"place{number}/"
        of_place = {
            name.removeprefix(prefix): value
            for name, value in arrays.items()
            if name.startswith(prefix)
        }
        env.pool.load(number, of_place, facts)
    env.returns, env.lengths = arrays["env/returns"].copy(), arrays["env/lengths"].copy()
    model._last_obs = {name: arrays[f"last/{name}"].copy() for name in env.observation_space}  # type: ignore[attr-defined]
    model._last_episode_starts = arrays["last/episode_starts"].copy()
    model.num_timesteps = metadata["decisions"]
    model._n_updates = metadata["policy_updates"]
    model.ep_info_buffer = deque(metadata["recent_episodes"], maxlen=model._stats_window_size)
    model.ep_success_buffer = deque(maxlen=model._stats_window_size)
    return metadata["extra"]


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
            state.setdefault(int(number), {})[entry] = torch.from_numpy(value.copy())
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )
