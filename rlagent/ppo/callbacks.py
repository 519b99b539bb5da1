"""What happens beside PPO while it trains: checkpoints, evaluation, logs, a progress bar."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import sb3_contrib
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from sb3_contrib import MaskablePPO
from stable_baselines3.common.callbacks import BaseCallback

from rlagent import __version__
from rlagent.controller.file import Controller, save_controller
from rlagent.controller.policy import weights_from_sb3
from rlagent.ppo.checkpoint import load_checkpoint, save_checkpoint
from rlagent.ppo.config import TrainConfig, plain_values
from rlagent.ppo.evaluation import actor_of, evaluate
from rlagent.ppo.vec_env import TuningVecEnv
from rlagent.storage import write_atomically
from rlagent_envs.knobs import KNOBS, STARTS
from rlagent_envs.observation import FEATURES

LICENCE = "Apache-2.0"
PLAIN_SECONDS = 60.0  # between two lines where no bar can be drawn


class Keeper(BaseCallback):
    """Keeps what must outlast a kill, at the starts of rollouts, and evaluates there.

    Only there is the state of a training whole: within a rollout, SB3's buffer is a part of it.

    Args:
        config: of the training.
        env: its environment.
        folder: where all is written.
    """

    def __init__(self, config: TrainConfig, env: TuningVecEnv, folder: Path) -> None:
        super().__init__()
        self.config, self.env, self.folder = config, env, folder
        self.controller_file = folder / "controller.safetensors"
        self.checkpoint_file = folder / "checkpoint.safetensors"
        self.evaluations: list[dict[str, float]] = []
        self.rollouts: list[dict[str, float]] = []
        self.kept: int | None = None  # decisions at the last checkpoint
        self.interrupted = False  # set by Ctrl-C
        self._ended: list[dict[str, Any]] = []
        self._kept_at = time.monotonic()

    def restore(self, model: MaskablePPO) -> bool:
        """Puts the folder's checkpoint into a fresh model; False if it has none yet."""
        if not self.checkpoint_file.exists():
            return False
        logs = load_checkpoint(model, self.env, self.checkpoint_file)
        self.evaluations, self.rollouts = logs["evaluations"], logs["rollouts"]
        self.kept = model.num_timesteps
        return True

    def _on_step(self) -> bool:
        if self.interrupted:
            raise KeyboardInterrupt
        self._ended += [info for info in self.locals["infos"] if "episode" in info]
        return True

    def _on_rollout_end(self) -> None:
        if self._ended:
            means = {
                "return": _mean(info["episode"]["r"] for info in self._ended),
                "best_score": _mean(info["best_score"] for info in self._ended),
                "length": _mean(info["episode"]["l"] for info in self._ended),
                "divergences": _mean(info["divergences"] for info in self._ended),
            }
            for name, value in means.items():
                self.logger.record(f"episodes/{name}", value)
            self.rollouts.append(
                {"decisions": self.num_timesteps, "episodes": len(self._ended), **means}
            )
        self._ended = []

    def _on_rollout_start(self) -> None:
        # What is kept first is not lost to a kill in an evaluation, which is then made again.
        if time.monotonic() - self._kept_at >= 60.0 * self.config.checkpoint_minutes:
            self._keep(self._model())
        every = self.config.evaluation.every
        last = self.evaluations[-1]["decisions"] if self.evaluations else 0
        if self.num_timesteps // every > last // every:
            self._evaluate(self._model())

    def finish(self, model: MaskablePPO) -> None:
        """Evaluates and writes all at the end of a training."""
        if not self.evaluations or self.evaluations[-1]["decisions"] < model.num_timesteps:
            self._evaluate(model)
        self._keep(model)
        model.logger.dump(model.num_timesteps)  # what came after the last rollout

    def _evaluate(self, model: MaskablePPO) -> None:
        differences = evaluate(actor_of(model), self.config.evaluation, self.config.environment)
        self.evaluations.append({"decisions": model.num_timesteps, **differences})
        for name, value in differences.items():
            model.logger.record(f"evaluation/{name}", value)

    def _keep(self, model: MaskablePPO) -> None:
        logs = {"evaluations": self.evaluations, "rollouts": self.rollouts}
        save_checkpoint(model, self.env, self.checkpoint_file, logs)
        save_controller(self._controller(model), self.controller_file)
        for name, lines in logs.items():
            text = "".join(json.dumps(line) + "\n" for line in lines)
            write_atomically(self.folder / f"{name}.jsonl", text.encode())
        self.kept, self._kept_at = model.num_timesteps, time.monotonic()

    def _model(self) -> MaskablePPO:
        if not isinstance(self.model, MaskablePPO):
            raise TypeError(f"expected MaskablePPO, got {type(self.model).__name__}")
        return self.model

    def _controller(self, model: MaskablePPO) -> Controller:
        state = {name: value.numpy() for name, value in model.policy.state_dict().items()}
        weights = weights_from_sb3(state)
        open_knobs = self.config.environment.knobs
        # Only the knobs that were open: of the others the policy has learned nothing.
        learned = {name: number for number, name in enumerate(KNOBS) if name in open_knobs}
        columns = np.concatenate([np.arange(STARTS[n], STARTS[n + 1]) for n in learned.values()])
        for name in ("logits.kernel", "logits.bias"):
            weights[name] = np.ascontiguousarray(weights[name][..., columns])
        return Controller(
            name=self.config.name,
            features=tuple((feature.name, feature.version) for feature in FEATURES),
            knobs={name: KNOBS[name].levels for name in learned},
            hidden=self.config.ppo.hidden,
            weights=weights,
            licence=LICENCE,
            schedule=self.config.environment.schedule,
            training={
                "decisions": model.num_timesteps,
                "config": plain_values(self.config),
                "versions": {
                    "rlagent": __version__,
                    "jax": jax.__version__,
                    "torch": torch.__version__,
                    "sb3_contrib": sb3_contrib.__version__,
                },
            },
            evaluation=dict(self.evaluations[-1]) if self.evaluations else {},
        )


class Bar(BaseCallback):
    """A progress bar with the time left, on standard error; single lines where it cannot be drawn.

    Args:
        decisions: of the whole training.
        console: to draw on; standard error where None.
    """

    def __init__(self, decisions: int, console: Console | None = None) -> None:
        super().__init__()
        self.console = console or Console(stderr=True)
        self.bar = Progress(
            TextColumn("decisions"),
            BarColumn(),
            TextColumn("{task.percentage:.0f} %"),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
            TextColumn("return {task.fields[gain]:.3f}"),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=self.console,
            # Over several rollouts: between them the policy learns, and no decisions are made.
            speed_estimate_period=600.0,
            disable=not self.console.is_interactive,
        )
        self.decisions = decisions
        self.printed = time.monotonic()

    def _on_training_start(self) -> None:
        self.bar.start()
        self.task = self.bar.add_task(
            "training", total=self.decisions, completed=self.num_timesteps, gain=0.0
        )

    def _on_step(self) -> bool:
        self.bar.update(self.task, completed=self.num_timesteps, gain=self._gain())
        return True

    def _on_rollout_end(self) -> None:
        if time.monotonic() - self.printed >= PLAIN_SECONDS:
            self._print()

    def _on_training_end(self) -> None:
        self._print()

    def _print(self) -> None:
        """A line, where there is no bar."""
        if not self.bar.disable:
            return
        self.printed = time.monotonic()
        share, gain = self.num_timesteps / self.decisions, self._gain()
        made = f"{self.num_timesteps:,} of {self.decisions:,} decisions"
        line = f"{share:4.0%}  {made}  return {gain:.3f}"
        self.console.print(line, highlight=False, soft_wrap=True)

    def _gain(self) -> float:
        """Mean return of the last episodes; 0 before the first has ended."""
        recent = self.model.ep_info_buffer or ()
        return _mean(one["r"] for one in recent) if recent else 0.0

    def close(self) -> None:
        """Gives the terminal back, however the training ended."""
        if self.bar.live.is_started:
            self.bar.stop()


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
