"""Accuracy under attack against the radius of the attack, of networks trained in four ways."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rlagent.apply.driver import best_model
from rlagent.apply.robustness import RESTARTS, STEPS, worst_case
from rlagent.experiments.statistics import aggregates
from rlagent_envs.config import BASIC_KNOBS
from rlagent_envs.episode import Episode
from rlagent_envs.tasks.task import Task
from rlagent_envs.training.adversarial import Norm
from scripts.lever_runs import Arm, Bench, short

TASKS = ("digits", "fashion_mnist.npz")
ROWS = 2000  # test rows that are attacked, at the most
SEEDS = 5  # at the most


class Ball(NamedTuple):
    """The attacks of a norm, in standard deviations of an input."""

    norm: Norm
    trained_at: float  # radius in training
    epsilons: tuple[float, ...]  # of the attacks afterwards

    @property
    def told(self) -> str:
        """What a result calls accuracy under these attacks."""
        return "robust" if self.norm == "linf" else f"robust_{self.norm}"

    @property
    def arms(self) -> dict[str, Arm]:
        """The ways to train."""
        fgsm = (("adversarial_epsilon", self.trained_at),)
        pgd = (*fgsm, ("adversarial_steps", 5.0))
        return {
            "plain": Arm(),
            "FGSM": Arm(settings=fgsm, norm=self.norm),
            "PGD-5": Arm(settings=pgd, norm=self.norm),
            "TRADES (PGD-5, weight 6)": Arm(settings=(*pgd, ("trades", 6.0)), norm=self.norm),
        }


BALLS = (
    Ball("linf", 0.2, (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)),
    Ball("l2", 1.0, (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)),
)
COLORS = ("#777777", "#e69f00", "#0072b2", "#009e73")


def judged_arms(bench: Bench, fingerprint: str) -> dict[str, Arm]:
    """Runs whose weights are selected, and whose decisions are made, by losses under attack."""
    (ball, *_), learned = BALLS, tuple(bench.controller.knobs)
    basic = tuple(name for name in learned if name in BASIC_KNOBS)
    name, at = f"`{bench.controller.name}`", ball.trained_at
    return {
        "a cosine": Arm(robust_epsilon=at),
        "a cosine, FGSM": replace(ball.arms["FGSM"], robust_epsilon=at),
        f"{name}, its basic knobs": Arm(fingerprint, basic, robust_epsilon=at),
        f"{name}, all knobs": Arm(fingerprint, learned, robust_epsilon=at),
    }


def _seeds(bench: Bench) -> int:
    return min(bench.seeds, SEEDS)


def measure(bench: Bench, fingerprint: str) -> None:
    """Computes what is missing."""
    for name in (one for one in TASKS if one in bench.tasks):
        for ball in BALLS:
            for words, arm in ball.arms.items():
                # What is trained plain is one arm, and attacked in every way.
                balls = BALLS if words == "plain" else (ball,)
                for one in balls:
                    bench.forget(name, arm, one.told, _seeds(bench))
                bench.measure(name, [arm], _seeds(bench), partial(judge, balls))
        arms = list(judged_arms(bench, fingerprint).values())
        bench.measure(name, arms, _seeds(bench), partial(judge, BALLS[:1]))
        print(f"{short(name)}: robustness", flush=True)


def judge(balls: Sequence[Ball], task: Task, episode: Episode) -> dict[str, Any]:
    """Accuracy under attack by radius, for each ball."""
    model = best_model(task, episode)
    test = task.test
    if test is None:
        raise ValueError(f"{task.name} has no test part")
    x, y = test.x[:ROWS], test.y[:ROWS]

    def right(epsilon: float, norm: Norm) -> float:
        return float(np.mean(np.argmax(worst_case(model, x, y, epsilon, norm).raw, axis=1) == y))

    return {
        ball.told: {f"{epsilon:g}": right(epsilon, ball.norm) for epsilon in ball.epsilons}
        for ball in balls
    }


def _curve(bench: Bench, name: str, ball: Ball, arm: Arm) -> np.ndarray:
    """Accuracies, `[seeds, epsilons]`."""
    found = [one for one in bench.results(name, arm, _seeds(bench)) if ball.told in one]
    curves = [[one[ball.told][f"{e:g}"] for e in ball.epsilons] for one in found]
    return np.array(curves).reshape(-1, len(ball.epsilons))


def table(bench: Bench, fingerprint: str) -> str:
    """Interquartile means by radius, and of the runs that are judged under attack."""
    lines = [
        f"PGD with {STEPS} steps and {RESTARTS} random beginnings, on up to {ROWS:,} test rows.",
        "",
    ]
    for ball in BALLS:
        radii = " | ".join(f"{e:g}" for e in ball.epsilons)
        lines += [
            f"Within {ball.norm}; the attacks in training have a radius of {ball.trained_at:g}.",
            "",
            f"| data set | trained | n | {radii} |",
            "| --- | --- | ---: |" + " ---: |" * len(ball.epsilons),
        ]
        for name in TASKS:
            for words, arm in ball.arms.items():
                curves = _curve(bench, name, ball, arm)
                if len(curves):
                    means = [aggregates.interquartile_mean(column) for column in curves.T]
                    told = " | ".join(f"{mean:.3f}" for mean in means)
                    lines.append(f"| {short(name)} | {words} | {len(curves)} | {told} |")
        lines.append("")
    return "\n".join([*lines, *_judged(bench, fingerprint)])


def _judged(bench: Bench, fingerprint: str) -> Iterator[str]:
    ball = BALLS[0]
    yield (
        f"With `--robust-epsilon {ball.trained_at:g}` ({ball.norm}): accuracy on inputs as they "
        "are and under attack within it, lowest to highest."
    )
    yield ""
    yield "| data set | run | n | as they are | under attack | |"
    yield "| --- | --- | ---: | ---: | ---: | --- |"
    places = [ball.epsilons.index(one) for one in (0.0, ball.trained_at)]
    for name in TASKS:
        for words, arm in judged_arms(bench, fingerprint).items():
            curves = _curve(bench, name, ball, arm)
            if len(curves):
                clean, robust = (curves[:, place] for place in places)
                means = [f"{aggregates.interquartile_mean(one):.3f}" for one in (clean, robust)]
                span = f"{robust.min():.3f} to {robust.max():.3f}"
                told = " | ".join((*means, span))
                yield f"| {short(name)} | {words} | {len(curves)} | {told} |"
    yield ""


def draw(bench: Bench) -> Figure:
    """A row for each ball, a panel for each data set, a line for each way to train.

    Bands reach from the lowest to the highest seed.
    """
    figure, rows = plt.subplots(
        len(BALLS), len(TASKS), figsize=(9, 7), sharey=True, layout="constrained"
    )
    for ball, panels in zip(BALLS, rows, strict=True):
        for panel, name in zip(panels, TASKS, strict=True):
            _panel(panel, bench, name, ball)
        panels[0].set_ylabel("accuracy under attack")
    if rows[0][0].get_legend_handles_labels()[0]:
        rows[0][0].legend(frameon=False, fontsize=8)
    return figure


def _panel(panel: Axes, bench: Bench, name: str, ball: Ball) -> None:
    for (words, arm), color in zip(ball.arms.items(), COLORS, strict=True):
        curves = _curve(bench, name, ball, arm)
        if not len(curves):
            continue
        means = [aggregates.interquartile_mean(column) for column in curves.T]
        panel.fill_between(ball.epsilons, curves.min(0), curves.max(0), color=color, alpha=0.15)
        panel.plot(ball.epsilons, means, color=color, marker="o", markersize=3, label=words)
    last = ball.epsilons[-1]
    panel.axvline(ball.trained_at, color="#bbbbbb", linewidth=0.8, linestyle="--")
    panel.text(ball.trained_at + 0.01 * last, 0.95, "in training", fontsize=8, color="#777777")
    panel.set_title(f"{short(name)}, {ball.norm}", loc="left")
    panel.set_xlabel("epsilon, standard deviations of an input")
    panel.set_xlim(0.0, last)
    panel.set_ylim(0.0, 1.0)
    panel.spines[["top", "right"]].set_visible(False)
