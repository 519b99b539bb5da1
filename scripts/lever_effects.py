"""What each lever does to the score on test data: off, at a fixed value, moved by the controller.

The fixed values are those of text books and of the papers that brought the levers; nothing was
chosen by what it does here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from rlagent.experiments.statistics import aggregates, comparisons
from rlagent.experiments.statistics.bootstrap import Interval
from rlagent_envs import knobs
from rlagent_envs.config import BASIC_KNOBS
from rlagent_envs.models import FAMILIES
from rlagent_envs.tasks.task import Task
from rlagent_envs.training.optimizer import ADAMW
from scripts.lever_runs import Arm, Bench, each, short


@dataclass(frozen=True)
class Lever:
    """A lever, its fixed value, and the knobs by which a controller moves it."""

    name: str
    opened: tuple[str, ...] = ()
    fixed: Mapping[str, float] = field(default_factory=dict)
    off: Mapping[str, float] = field(default_factory=dict)
    optimizer: str = ADAMW

    @property
    def value(self) -> str:
        """The fixed value in words."""
        if self.optimizer != ADAMW:
            return ", ".join(f"{name} {value:g}" for name, value in self.fixed.items())
        return ", ".join(f"{value:g}" for name, value in self.fixed.items())

    def suits(self, task: Task) -> bool:
        """Whether it means anything for a task."""
        names = {*self.fixed, *self.opened}
        if any(name.startswith("adversarial") for name in names) and not task.attackable:
            return False
        return all(knobs.meaningful(name, task) for name in names)


ATTACK = ("adversarial_epsilon", "adversarial_share", "adversarial_steps", "adversarial_step")
LEVERS = (
    Lever("weight decay", ("weight_decay",), {"weight_decay": 1e-2}, {"weight_decay": 1e-6}),
    Lever("dropout", ("dropout",), {"dropout": 0.2}),
    Lever("label smoothing", ("label_smoothing",), {"label_smoothing": 0.1}),
    Lever("focal loss", ("focal_gamma",), {"focal_gamma": 2.0}),
    Lever("class balance", ("class_balance",), {"class_balance": 0.5}),
    Lever("Huber loss", ("huber_delta",), {"huber_delta": 1.0}),
    Lever("L2 penalty", ("l2",), {"l2": 1e-4}),
    Lever("L1 penalty", ("l1",), {"l1": 1e-5}),
    Lever("clipping", ("clip_quantile",), {"clip_quantile": 0.5}),
    Lever("averaging", ("average_decay",), {"average_decay": 0.99}),
    Lever("augmentation", ("augmentation",), {"augmentation": 0.3}),
    Lever("mixup", ("mixup",), {"mixup": 0.2}),
    Lever("cutmix", ("cutmix",), {"cutmix": 1.0}),
    Lever("FGSM", ATTACK, {"adversarial_epsilon": 0.1}),
    Lever("PGD-3", (), {"adversarial_epsilon": 0.1, "adversarial_steps": 3.0}),
    Lever(
        "TRADES",
        (*ATTACK, "trades"),
        {"adversarial_epsilon": 0.1, "adversarial_steps": 3.0, "trades": 1.0},
    ),
    Lever("GELU", ("activation",), {"activation": 1.0}),
    Lever("SiLU", (), {"activation": 2.0}),
    Lever("tanh", (), {"activation": 3.0}),
    Lever("growth", ("growth",)),
    Lever("SGD", fixed={"learning_rate": 0.1}, optimizer="sgd"),
    Lever("Lion", fixed={"learning_rate": 3e-4, "weight_decay": 1e-3}, optimizer="lion"),
    Lever("Muon", fixed={"learning_rate": 0.02, "momentum": 0.95}, optimizer="muon"),
)
# What means something else, or something at all, by networks that are no perceptrons.
FAMILY_LEVERS = (
    Lever("augmentation", ("augmentation",), {"augmentation": 0.3}),
    Lever("mixup", ("mixup",), {"mixup": 0.2}),
    Lever("stochastic depth", ("stochastic_depth",), {"stochastic_depth": 0.2}),
)


@dataclass(frozen=True)
class Arms:
    """What is compared for one lever."""

    off: Arm
    fixed: Arm | None
    choice: Arm | None
    cosine_off: Arm
    cosine_fixed: Arm | None


def arms_of(lever: Lever, learned: tuple[str, ...], fingerprint: str, plain: str) -> Arms:
    """The arms of a lever under a controller that has learned some knobs.

    Args:
        lever: the lever.
        learned: the knobs.
        fingerprint: of the controller.
        plain: the optimizer where the lever is none.
    """
    optimizer = plain if lever.optimizer == ADAMW else lever.optimizer
    basic = tuple(name for name in learned if name in BASIC_KNOBS and name not in lever.opened)
    off, fixed = tuple(lever.off.items()), tuple(lever.fixed.items())
    knows = lever.opened and set(lever.opened) <= set(learned)
    opened = tuple(name for name in learned if name in (*basic, *lever.opened))
    return Arms(
        off=Arm(fingerprint, basic, off, plain),
        fixed=Arm(fingerprint, basic, fixed, optimizer) if fixed else None,
        # From the default on, which is off but for weight decay.
        choice=Arm(fingerprint, opened, optimizer=plain) if knows else None,
        cosine_off=Arm(settings=off, optimizer=plain),
        cosine_fixed=Arm(settings=fixed, optimizer=optimizer) if fixed else None,
    )


def everything(learned: tuple[str, ...], fingerprint: str, plain: str) -> tuple[Arm, Arm]:
    """Two arms: the basic knobs, and all that the controller has learned."""
    basic = tuple(name for name in learned if name in BASIC_KNOBS)
    return Arm(fingerprint, basic, optimizer=plain), Arm(fingerprint, learned, optimizer=plain)


def optimizer_of(task: Task) -> str:
    """The one that a task's networks have where none is named."""
    return FAMILIES[task.family].optimizer


def measure(
    bench: Bench,
    fingerprint: str | None,
    names: Sequence[str],
    levers: Sequence[Lever] = LEVERS,
) -> None:
    """Computes what is missing: under the controller of a fingerprint, or under a cosine."""
    learned = tuple(bench.controller.knobs)
    for name in names:
        task, _ = bench.task(name)
        for lever in (one for one in levers if one.suits(task)):
            arms = arms_of(lever, learned, fingerprint or "", optimizer_of(task))
            wanted = [arms.off, arms.fixed, arms.choice]
            if fingerprint is None:
                wanted = [arms.cosine_off, arms.cosine_fixed]
            bench.measure(name, [arm for arm in wanted if arm is not None])
        if fingerprint is not None and levers is LEVERS:
            bench.measure(name, everything(learned, fingerprint, optimizer_of(task)))
        print(f"{short(name)}: levers", flush=True)


@dataclass(frozen=True)
class Effect:
    """A paired difference of test scores."""

    lever: str
    task: str
    column: str  # fixed, choice or cosine
    difference: Interval
    unused: bool  # each run is the one without the lever

    @property
    def told(self) -> str:
        """As it stands in a table."""
        if self.unused:
            return "not used"
        value, low, high = self.difference
        mark = {"better": " **better**", "worse": " worse"}.get(
            comparisons.verdict(self.difference) or "", ""
        )
        return f"{value:+.3f} ({low:+.3f} to {high:+.3f}){mark}"


def _effect(
    bench: Bench, lever: str, name: str, column: str, arm: Arm | None, off: Arm
) -> Effect | None:
    if arm is None:
        return None
    difference = bench.paired(name, arm, off, "score")
    if len(difference) < 2:
        return None
    found = aggregates.interquartile(difference[None])
    return Effect(lever, short(name), column, found, not difference.any())


def _middle(bench: Bench, name: str, arm: Arm | None, what: str, digits: int) -> str:
    found = [] if arm is None else bench.results(name, arm)
    if not found:
        return "-"
    return f"{aggregates.interquartile_mean(np.array(list(each(found, what)))):.{digits}f}"


def tables(
    bench: Bench, fingerprint: str, names: Sequence[str], levers: Sequence[Lever] = LEVERS
) -> str:
    """A table for each data set, and what they say of each lever."""
    learned = tuple(bench.controller.knobs)
    lines: list[str] = []
    effects: list[Effect] = []
    for name in names:
        task, _ = bench.task(name)
        plain = optimizer_of(task)
        metric = "R²" if task.kind == "regression" else "accuracy"
        rows = len(task.train.x)
        numbers = [
            len(bench.results(name, arm))
            for arm in (everything(learned, fingerprint, plain)[0], Arm(optimizer=plain))
        ]
        if not any(numbers):
            continue
        lines += [
            f"### {short(name)}",
            "",
            f"{task.kind.capitalize()}, {rows:,} rows to train on, {task.features:,} features; "
            f"{numbers[0]} seeds with the controller, {numbers[1]} under a cosine.",
            "",
            "| lever | fixed value | score when off | fixed | controller's choice "
            f"| fixed, under a cosine | {metric}: off | fixed | choice |",
            "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        for lever in (one for one in levers if one.suits(task)):
            arms = arms_of(lever, learned, fingerprint, plain)
            found = [
                _effect(bench, lever.name, name, column, arm, off)
                for column, arm, off in (
                    ("fixed", arms.fixed, arms.off),
                    ("choice", arms.choice, arms.off),
                    ("cosine", arms.cosine_fixed, arms.cosine_off),
                )
            ]
            effects += [one for one in found if one is not None]
            if not any(found):
                continue
            told = " | ".join("-" if one is None else one.told for one in found)
            score = _middle(bench, name, arms.off, "score", 3)
            metrics = " | ".join(
                _middle(bench, name, arm, "metric", 4)
                for arm in (arms.off, arms.fixed, arms.choice)
            )
            lines.append(f"| {lever.name} | {lever.value or '-'} | {score} | {told} | {metrics} |")
        if levers is LEVERS:
            lines += _everything_row(bench, name, fingerprint, effects)
        lines.append("")
    return "\n".join([*_verdicts(effects), "", *lines]) + "\n"


def _everything_row(
    bench: Bench, name: str, fingerprint: str, effects: list[Effect]
) -> Iterator[str]:
    basic, whole = everything(tuple(bench.controller.knobs), fingerprint, ADAMW)
    if basic == whole:
        return
    effect = _effect(bench, "all at once", name, "choice", whole, basic)
    if effect is None:
        return
    effects.append(effect)
    score = _middle(bench, name, basic, "score", 3)
    before, after = (_middle(bench, name, arm, "metric", 4) for arm in (basic, whole))
    yield f"| all at once | - | {score} | - | {effect.told} | - | {before} | - | {after} |"


def _verdicts(effects: list[Effect]) -> Iterator[str]:
    """For each lever on which data sets it helps, hurts, or makes no difference that was shown."""
    yield (
        "| lever | fixed: better | worse | no difference shown | controller's choice "
        "| under a cosine: better | worse | no difference shown |"
    )
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for lever in dict.fromkeys(one.lever for one in effects):
        own = [one for one in effects if one.lever == lever]
        fixed, cosine = (
            " | ".join(
                ", ".join(
                    one.task
                    for one in own
                    if one.column == column and comparisons.verdict(one.difference) == verdict
                )
                or "-"
                for verdict in ("better", "worse", "equal")
            )
            for column in ("fixed", "cosine")
        )
        yield f"| {lever} | {fixed} | {_choices(own)} | {cosine} |"


def _choices(effects: list[Effect]) -> str:
    """What came of the controller's choice: the data sets where it made a difference by name."""
    chosen = [one for one in effects if one.column == "choice"]
    told = [
        f"{verdict} on {', '.join(named)}"
        for verdict in ("better", "worse")
        if (named := [one.task for one in chosen if comparisons.verdict(one.difference) == verdict])
    ]
    unused = sum(one.unused for one in chosen)
    rest = sum(comparisons.verdict(one.difference) == "equal" for one in chosen) - unused
    told += [f"equal on {rest}"] if rest else []
    told += [f"not used on {unused}"] if unused else []
    return "; ".join(told) or "-"
