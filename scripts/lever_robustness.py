"""Accuracy under attack against the radius of the attack, of networks trained in four ways."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from rlagent.apply.driver import best_model
from rlagent.apply.robustness import RESTARTS, STEPS, worst_case
from rlagent.experiments.statistics import aggregates
from rlagent_envs.episode import Episode
from rlagent_envs.tasks.task import Task
from scripts.lever_runs import Arm, Bench, short

TASKS = ("digits", "fashion_mnist.npz")
TRAINED_AT = 0.2  # radius of the attacks in training
EPSILONS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)  # in standard deviations of an input
ROWS = 2000  # test rows that are attacked, at the most
SEEDS = 5  # at the most

PGD = (("adversarial_epsilon", TRAINED_AT), ("adversarial_steps", 5.0))
ARMS = {
    "plain": Arm(),
    "FGSM": Arm(settings=PGD[:1]),
    "PGD-5": Arm(settings=PGD),
    "TRADES (PGD-5, weight 6)": Arm(settings=(*PGD, ("trades", 6.0))),
}
COLORS = ("#777777", "#e69f00", "#0072b2", "#009e73")


def _seeds(bench: Bench) -> int:
    return min(bench.seeds, SEEDS)


def measure(bench: Bench) -> None:
    """Computes what is missing."""
    for name in (one for one in TASKS if one in bench.tasks):
        for arm in ARMS.values():
            _forget_unattacked(bench, name, arm)
            bench.measure(name, [arm], _seeds(bench), judge)
        print(f"{short(name)}: robustness", flush=True)


def _forget_unattacked(bench: Bench, name: str, arm: Arm) -> None:
    """Runs that were made for another table were not attacked."""
    for seed in range(_seeds(bench)):
        key = arm.key(name, seed, bench.updates)
        known = bench.store.get(key)
        if known is not None and "robust" not in known:
            bench.store.forget(key)


def judge(task: Task, episode: Episode) -> dict[str, Any]:
    """Accuracy under attack by radius."""
    model = best_model(task, episode)
    test = task.test
    if test is None:
        raise ValueError(f"{task.name} has no test part")
    x, y = test.x[:ROWS], test.y[:ROWS]
    guesses = {e: np.argmax(worst_case(model, x, y, e).raw, axis=1) for e in EPSILONS}
    return {"robust": {f"{e:g}": float(np.mean(guess == y)) for e, guess in guesses.items()}}


def _curve(bench: Bench, name: str, arm: Arm) -> np.ndarray:
    """Accuracies, `[seeds, epsilons]`."""
    found = [one for one in bench.results(name, arm, _seeds(bench)) if "robust" in one]
    curves = [[one["robust"][f"{e:g}"] for e in EPSILONS] for one in found]
    return np.array(curves).reshape(-1, len(EPSILONS))


def table(bench: Bench) -> str:
    """Interquartile means by radius."""
    lines = [
        f"PGD with {STEPS} steps and {RESTARTS} random beginnings, on up to {ROWS:,} test rows.",
        "",
        "| data set | trained | n | " + " | ".join(f"{e:g}" for e in EPSILONS) + " |",
        "| --- | --- | ---: |" + " ---: |" * len(EPSILONS),
    ]
    for name in TASKS:
        for words, arm in ARMS.items():
            curves = _curve(bench, name, arm)
            if len(curves):
                means = [aggregates.interquartile_mean(column) for column in curves.T]
                told = " | ".join(f"{mean:.3f}" for mean in means)
                lines.append(f"| {short(name)} | {words} | {len(curves)} | {told} |")
    return "\n".join(lines) + "\n"


def draw(bench: Bench) -> Figure:
    """A panel for each data set, a line for each way to train, a band from lowest to highest."""
    figure, panels = plt.subplots(
        1, len(TASKS), figsize=(9, 3.8), sharey=True, layout="constrained"
    )
    for panel, name in zip(panels, TASKS, strict=True):
        for (words, arm), color in zip(ARMS.items(), COLORS, strict=True):
            curves = _curve(bench, name, arm)
            if not len(curves):
                continue
            means = [aggregates.interquartile_mean(column) for column in curves.T]
            panel.fill_between(EPSILONS, curves.min(0), curves.max(0), color=color, alpha=0.15)
            panel.plot(EPSILONS, means, color=color, marker="o", markersize=3, label=words)
        panel.axvline(TRAINED_AT, color="#bbbbbb", linewidth=0.8, linestyle="--")
        panel.text(TRAINED_AT + 0.005, 0.02, "in training", fontsize=8, color="#777777")
        panel.set_title(short(name), loc="left")
        panel.set_xlabel("epsilon, standard deviations of an input")
        panel.set_xlim(0.0, EPSILONS[-1])
        panel.set_ylim(0.0, 1.0)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("accuracy under attack")
    if panels[0].get_legend_handles_labels()[0]:
        panels[0].legend(frameon=False, fontsize=8)
    return figure
