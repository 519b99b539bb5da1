"""Training a controller: MaskablePPO over procedural tasks, from a config to a controller file."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from sb3_contrib import MaskablePPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure

from rlagent.ppo.callbacks import Bar, Keeper
from rlagent.ppo.config import PPOConfig, TrainConfig, plain_values, read_config, train_config
from rlagent.ppo.policy import AsymmetricPolicy
from rlagent.ppo.vec_env import TuningVecEnv
from rlagent.storage import write_json


def train(
    config: Path | None,
    out: Path,
    *,
    resume: bool = False,
    decisions: int | None = None,
    seed: int | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Trains a controller, or goes on with one.

    Args:
        config: a TOML file; None for the defaults. With `resume` the folder's own config holds.
        out: the folder of the training: config, checkpoint, logs, controller.
        resume: go on from the folder's last checkpoint, or begin if it has none yet.
        decisions: how many in all, in the place of what the config says.
        seed: in the place of what the config says.
        quiet: without a progress bar.

    Returns:
        A summary: where the controller is, decisions, seconds of this call, last evaluation.

    Raises:
        ValueError: if the folder holds a training and `resume` is not set, or holds none and it
            is; or if a setting makes no sense.
    """
    settings = _settings(config, out, resume, decisions, seed)
    torch.set_num_threads(1)  # the networks are small: more threads only wait for each other
    env = TuningVecEnv(settings.environment, settings.ppo.places, settings.ppo.seed)
    model = make_model(settings.ppo, env)
    model.set_logger(configure(str(out / "tensorboard"), ["tensorboard"]))
    keeper = Keeper(settings, env, out)
    resumed = resume and keeper.restore(model)
    begun = time.perf_counter()
    left = settings.ppo.decisions - (model.num_timesteps if resumed else 0)
    if left > 0:
        callbacks: list[BaseCallback] = [keeper]
        if not quiet:
            callbacks.append(Bar(settings.ppo.decisions))
        model.learn(left, callback=callbacks, reset_num_timesteps=not resumed)
    keeper.finish(model)
    return {
        "controller": str(keeper.controller_file),
        "decisions": model.num_timesteps,
        "seconds": round(time.perf_counter() - begun, 1),
        "evaluation": keeper.evaluations[-1] if keeper.evaluations else None,
    }


def make_model(config: PPOConfig, env: TuningVecEnv) -> MaskablePPO:
    """MaskablePPO as it is, with the asymmetric policy."""

    def learning_rate(remaining: float) -> float:
        return config.learning_rate * max(remaining, 0.1)

    return MaskablePPO(
        AsymmetricPolicy,
        env,
        learning_rate=learning_rate,
        n_steps=config.rollout,
        batch_size=config.batch_size,
        n_epochs=config.epochs,
        gamma=config.gamma,
        gae_lambda=config.gae_lambda,
        clip_range=config.clip,
        ent_coef=config.entropy,
        vf_coef=config.value_weight,
        policy_kwargs={"net_arch": list(config.hidden), "hold_bias": config.hold_bias},
        seed=config.seed,
        device="cpu",
    )


def _settings(
    config: Path | None, out: Path, resume: bool, decisions: int | None, seed: int | None
) -> TrainConfig:
    """The config of the folder, or that of the call, which is then written to the folder."""
    kept = out / "config.json"
    if resume:
        if not kept.exists():
            raise ValueError(f"{out} holds no training to go on with")
        if config is not None:
            raise ValueError(f"--resume goes on with the config in {out}; give no other")
        settings = train_config(json.loads(kept.read_text()))
    else:
        if kept.exists():
            raise ValueError(f"{out} holds a training already; resume it or name another folder")
        settings = read_config(config) if config else TrainConfig()
    if seed is not None and resume and seed != settings.ppo.seed:
        raise ValueError(f"the training in {out} has seed {settings.ppo.seed}, got {seed}")
    changes = {"decisions": decisions, "seed": seed}
    chosen = {name: value for name, value in changes.items() if value is not None}
    settings = replace(settings, ppo=replace(settings.ppo, **chosen))
    out.mkdir(parents=True, exist_ok=True)
    write_json(kept, plain_values(settings))
    return settings
