"""Whose time it is: the controller's in a tuned run, PPO's in the training of a controller."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rlagent.controller.deciding import decide_by
from rlagent.controller.file import PRETRAINED, Controller, load_controller
from rlagent.controller.policy import weight_shapes
from rlagent_envs import batch, dynamics, knobs, telemetry
from rlagent_envs import episode as episodes
from rlagent_envs.books import SIGNS
from rlagent_envs.dynamics import Run
from rlagent_envs.knobs import KNOBS
from rlagent_envs.models import ShapeClass
from rlagent_envs.observation import FEATURES
from rlagent_envs.settings import Settings
from rlagent_envs.training.bank import Bank
from rlagent_envs.training.evaluation import evaluate
from rlagent_envs.training.loop import Live, Slice, train
from scripts.figures import CompileCount, Figure, in_turns, milliseconds, ratio
from scripts.speed import LARGEST, Prepared, made_task

SHIPPED = PRETRAINED / "basic.safetensors"


def any_controller() -> Controller:
    """The controller that ships, or one of its size with random weights."""
    if SHIPPED.is_file():
        return load_controller(SHIPPED)
    generator, hidden = np.random.default_rng(0), (128, 128)
    shapes = weight_shapes(len(FEATURES), knobs.LEVELS, hidden)
    return Controller(
        name="random",
        features=tuple((one.name, one.version) for one in FEATURES),
        knobs={name: tuple(knob.levels) for name, knob in KNOBS.items()},
        hidden=hidden,
        weights={
            name: (0.05 * generator.standard_normal(shape)).astype(np.float32)
            for name, shape in shapes.items()
        },
        licence="Apache-2.0",
    )


@partial(jax.jit, static_argnums=0)
def _only_trained(
    shape: ShapeClass, bank: Bank, run: Run, updates: jax.Array
) -> tuple[Live, jax.Array, jax.Array]:
    """`dynamics.advance` without telemetry: what a loop without a controller does as well."""
    books = run.books
    zero = jnp.zeros((), jnp.float32)
    plan = Slice(books.key, books.updates, updates, zero, zero, zero)

    def nothing(*_: Any) -> jax.Array:
        return jnp.zeros(SIGNS, jnp.float32)

    settings = Settings.unpack(books.settings)
    live, _ = train(
        shape,
        bank,
        books.slot,
        run.live,
        settings,
        plan,
        nothing,
        telemetry.EVERY,
        SIGNS,
    )
    judged = evaluate(shape, bank, books.slot, live, books.pieces, settings.activation, zero)
    return live, judged.loss, judged.hits


def controller(rounds: int) -> Iterator[Figure]:
    """The share of a decision that is not training and evaluation, on a network of a million."""
    for updates in (20, 100):
        yield _controllers_share(Prepared.of(made_task(3072), LARGEST, 1, updates), updates, rounds)


def _controllers_share(prepared: Prepared, updates: int, rounds: int) -> Figure:
    (one,) = prepared.running
    number = jnp.int32(updates)
    decide = decide_by(any_controller(), 0)
    observation = np.zeros(len(FEATURES), np.float32)
    mode = batch.default_mode()

    def decision() -> Any:
        mask = episodes.action_mask(one)
        action, _ = decide(observation, mask, 0)
        # What it chose is not done: the slice has to stay of the same length and on the same rung.
        (stepped,) = batch.step([prepared.bank], [one], 0 * action[None] + knobs.HOLD, mode)
        return stepped.episode.run

    def telemetry_too() -> Any:
        return batch.advance_one(one.shape, prepared.bank, one.run, knobs.HOLD)

    def policy() -> Any:
        return decide(observation, episodes.action_mask(one), 0)[0]

    live, measured = telemetry_too()

    def books() -> Any:
        after, outcome = batch.account_one(one.run.books, measured, knobs.HOLD)
        report = dynamics.Report(*np.asarray(outcome.report).tolist())
        return np.array(outcome.observation), episodes.settle(one, Run(live, after), report).run

    def trained() -> Any:
        return jax.device_get(_only_trained(one.shape, prepared.bank, one.run, number)[1:])

    variants: dict[str, tuple[Callable[[], Any], int]] = {
        "decision": (decision, 1),
        "training and evaluation": (trained, 1),
        "the same with telemetry": (telemetry_too, 1),
        "policy": (policy, 1),
        "books and observation": (books, 1),
    }
    seconds = in_turns(variants, rounds)
    weights = sum(np.size(leaf) for leaf in jax.tree.leaves(one.run.live.params))
    return Figure(
        f"controller's share of a tuned run, {weights / 1e6:.2f} M weights, {updates} updates",
        100.0 * (1.0 - ratio(seconds, "training and evaluation", "decision")),
        rounds,
        "%",
        below=3.0,
        details=milliseconds(seconds, *seconds),
    )


@dataclass
class Watch:
    """Seconds within the environment."""

    stepping: float = 0.0
    masking: float = 0.0


def ppo(rollouts: int = 2, places: int = 64, rollout: int = 32) -> Iterator[Figure]:
    """PPO's own share of the training of a controller, compilation excluded."""
    _train(rollouts, places, rollout)  # the same seeds: it compiles all that the second one runs
    count = CompileCount()
    watch, whole = _train(rollouts, places, rollout)
    decisions = places * rollout * rollouts
    yield Figure(
        f"PPO's own time while training a controller, {places} places",
        100.0 * (1.0 - watch.stepping / whole),
        decisions,
        "%",
        below=25.0,
        details={
            "seconds": whole,
            "stepping s": watch.stepping,
            "masks s (counted as PPO's)": watch.masking,
            "decisions/s": decisions / whole,
            "programs compiled meanwhile": count.programs,
        },
    )


def _train(rollouts: int, places: int, rollout: int) -> tuple[Watch, float]:
    """A training of the shipped controller's config; the watch, and seconds of all."""
    import torch
    from stable_baselines3.common.callbacks import BaseCallback

    from rlagent.ppo.config import read_config
    from rlagent.ppo.training import make_model
    from rlagent.ppo.vec_env import TuningVecEnv

    watch = Watch()

    class Timed(TuningVecEnv):
        def step_wait(self) -> Any:
            begun = time.perf_counter()
            result = super().step_wait()
            watch.stepping += time.perf_counter() - begun
            return result

        def env_method(self, *args: Any, **options: Any) -> list[Any]:
            begun = time.perf_counter()
            result = super().env_method(*args, **options)
            watch.masking += time.perf_counter() - begun
            return result

    class Begun(BaseCallback):
        at = 0.0

        def _on_training_start(self) -> None:  # the first episodes have begun
            self.at = time.perf_counter()

        def _on_step(self) -> bool:
            return True

    settings = read_config(Path(PRETRAINED / "basic.toml"))
    size = min(settings.ppo.batch_size, places * rollout)
    options = replace(settings.ppo, places=places, rollout=rollout, batch_size=size)
    torch.set_num_threads(1)  # as rlagent.ppo.training does
    env = Timed(settings.environment, places, options.seed)
    model, begun = make_model(options, env), Begun()
    model.learn(rollouts * places * rollout, callback=begun)
    return watch, time.perf_counter() - begun.at
