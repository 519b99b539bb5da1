"""Training a controller: MaskablePPO over procedural tasks, from a config to a controller file."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from sb3_contrib import MaskablePPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import VecEnv

from rlagent.controller.file import PRETRAINED, load_controller
from rlagent.ppo.beginning import begin_from
from rlagent.ppo.callbacks import Bar, Keeper
from rlagent.ppo.config import PPOConfig, TrainConfig, plain_values, read_config, train_config
from rlagent.ppo.policy import AsymmetricPolicy
from rlagent.ppo.vec_env import TuningVecEnv
from rlagent.ppo.workers import WorkerError
from rlagent.storage import write_json

SHIPPED_CONFIG = PRETRAINED / "basic.toml"


def train(
    config: Path | None,
    out: Path,
    *,
    resume: bool = False,
    decisions: int | None = None,
    seed: int | None = None,
    workers: int = 1,
    quiet: bool = False,
) -> dict[str, Any]:
    """Trains a controller, or goes on with one.

    Args:
        config: a TOML file; None for that of the controller `basic`. With `resume` the folder's
            own config holds.
        out: the folder of the training: config, checkpoint, logs, controller.
        resume: go on from the folder's last checkpoint, or begin if it has none yet.
        decisions: how many in all, in the place of what the config says.
        seed: in the place of what the config says.
        workers: processes that share the places; any number gives the same controller.
        quiet: without a progress bar.

    Returns:
        A summary: where the controller is, decisions, seconds of this call, last evaluation.

    Raises:
        ValueError: if the folder holds a training and `resume` is not set, or holds none and it
            is; or if a setting makes no sense.
        KeyboardInterrupt: after Ctrl-C, saying how to go on; the last checkpoint is whole.
    """
    begun = time.perf_counter()
    settings = _settings(config, out, resume, decisions, seed)
    torch.set_num_threads(1)  # the networks are small: more threads only wait for each other
    env = make_env(settings, workers)
    model = make_model(settings.ppo, env)
    keeper = Keeper(settings, env, out)
    resumed = resume and keeper.restore(model)
    if settings.begin_from and not resumed:
        begin_from(model, load_controller(settings.begin_from))
    _prepare(out, settings)  # only now: what makes no sense leaves no folder behind
    model.set_logger(configure(str(out / "tensorboard"), ["tensorboard"]))
    bar = Bar(settings.ppo.decisions)
    left = settings.ppo.decisions - (model.num_timesteps if resumed else 0)
    try:
        if left > 0:
            callbacks: list[BaseCallback] = [keeper] if quiet else [keeper, bar]
            with _gentle_interrupt(keeper):
                model.learn(left, callback=callbacks, reset_num_timesteps=not resumed)
        keeper.finish(model)
    except KeyboardInterrupt:
        told = _how_to_go_on(out, model.num_timesteps, keeper.kept)
        raise KeyboardInterrupt(f"interrupted {told}") from None
    except WorkerError as error:
        told = _how_to_go_on(out, model.num_timesteps, keeper.kept)
        raise ValueError(f"{error}, {told}") from error
    finally:
        env.close()
        bar.close()
        model.logger.close()
    return {
        "controller": str(keeper.controller_file),
        "decisions": model.num_timesteps,
        "seconds": round(time.perf_counter() - begun, 1),
        "evaluation": keeper.evaluations[-1] if keeper.evaluations else None,
    }


def make_env(config: TrainConfig, workers: int = 1) -> TuningVecEnv:
    """The environment of a training, in this process or in a number of workers."""
    ppo = config.ppo
    return TuningVecEnv(config.environment, ppo.places, ppo.seed, ppo.reward_rows, workers)


def make_model(config: PPOConfig, env: VecEnv) -> MaskablePPO:
    """MaskablePPO as it is, with the asymmetric policy.

    Args:
        config: its settings.
        env: observations as those of `TuningVecEnv`, a dict that begins with `observation`; the
            same actions and masks.
    """

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
    config: Path | None,
    out: Path,
    resume: bool,
    decisions: int | None,
    seed: int | None,
) -> TrainConfig:
    """The config of the folder, or that of the call."""
    kept = out / "config.json"
    if resume:
        if not kept.exists():
            raise ValueError(f"{out} holds no training to go on with")
        if config is not None:
            raise ValueError(f"--resume goes on with the config in {out}; give no other")
        settings = _read_kept(kept)
    else:
        if kept.exists():
            raise ValueError(f"{out} holds a training already; resume it or name another folder")
        settings = read_config(config or SHIPPED_CONFIG)
    if seed is not None and resume and seed != settings.ppo.seed:
        raise ValueError(f"the training in {out} has seed {settings.ppo.seed}, got {seed}")
    changes: dict[str, Any] = {"decisions": decisions, "seed": seed}
    chosen = {name: value for name, value in changes.items() if value is not None}
    return replace(settings, ppo=replace(settings.ppo, **chosen))


def _read_kept(path: Path) -> TrainConfig:
    try:
        values = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} is damaged: it holds no config")
    return train_config(values)


def _prepare(out: Path, settings: TrainConfig) -> None:
    """Makes the folder, with the config in it, and removes what a killed process left half."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "config.json", plain_values(settings))
        for leftover in out.glob(".*.tmp"):
            leftover.unlink()
    except OSError as error:
        raise ValueError(f"cannot write to {out}: {error.strerror}") from error


@contextmanager
def _gentle_interrupt(keeper: Keeper) -> Iterator[None]:
    """Ctrl-C ends the training after the decision that is being made; a second one at once.

    An exception wherever Ctrl-C finds the program could get lost: JAX calls back when Python
    collects garbage, and what is raised there is ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    previous = signal.getsignal(signal.SIGINT)

    def interrupt(number: int, frame: FrameType | None) -> None:
        keeper.interrupted = True
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _how_to_go_on(out: Path, decisions: int, kept: int | None) -> str:
    if kept is None:
        there = "there is no checkpoint yet"
    else:
        there = f"the checkpoint in {out} is of decision {kept:,}"
    return f"at decision {decisions:,}; {there}; go on with: rlagent train --resume --out {out}"
