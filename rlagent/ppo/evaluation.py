"""How good a controller is while it trains: runs on bundled sets, against the reference."""

from __future__ import annotations

from functools import cache

import numpy as np
from sb3_contrib import MaskablePPO

from rlagent.baselines.reference import reference_start
from rlagent.baselines.runs import Act, play
from rlagent.ppo.config import EvaluationConfig
from rlagent.ppo.places import PRIVILEGED
from rlagent_envs import episode as episodes
from rlagent_envs.config import EnvConfig
from rlagent_envs.episode import Start
from rlagent_envs.pool import fixed_task


def evaluate(act: Act, config: EvaluationConfig, environment: EnvConfig) -> dict[str, float]:
    """The mean difference of the validation score to the reference's, per task and over all.

    Below 0 is better than the reference. Runs start from a random learning rate over four decades;
    validation data only, as everything that a decision in training may rest on.

    Args:
        act: chooses the actions.
        config: which runs.
        environment: what `act` has learned in: open knobs, schedule, and the first optimizer.
    """
    differences = {}
    for name in config.tasks:
        task, bank = fixed_task(name)
        finished = play(task, bank, _starts(config, environment), act, environment.knobs)
        scores = np.array([one.reports[-1].best_score for one in finished])
        differences[name] = float(np.mean(scores - _reference_scores(name, config)))
    return {**differences, "mean": float(np.mean(list(differences.values())))}


@cache
def _reference_scores(name: str, config: EvaluationConfig) -> np.ndarray:
    task, bank = fixed_task(name)
    starts = [
        reference_start(seed, config.updates, config.run_decisions) for seed in range(config.seeds)
    ]
    return np.array([one.reports[-1].best_score for one in play(task, bank, starts)])


def _starts(config: EvaluationConfig, environment: EnvConfig) -> list[Start]:
    """Random initial settings on the reference's rung, budget and number of decisions."""
    ranges = EnvConfig(
        schedule=environment.schedule,
        optimizers=environment.optimizers[:1],
        decisions=(config.run_decisions, config.run_decisions),
        updates_per_decision=(config.updates / config.run_decisions,) * 2,
        depths=(2,),
        widths=(64,),
    )
    return [episodes.draw(ranges, seed) for seed in range(config.seeds)]


def actor_of(model: MaskablePPO) -> Act:
    """The policy's most likely actions; what only the critic sees is left at zero."""

    def act(observations: np.ndarray, masks: np.ndarray) -> np.ndarray:
        parts = {
            "observation": observations,
            "privileged": np.zeros((len(observations), PRIVILEGED), np.float32),
        }
        actions, _ = model.predict(parts, deterministic=True, action_masks=masks)
        return np.asarray(actions)

    return act
