"""Runs from the first decision to the last: who decides, what is recorded, when it is saved."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rlagent.apply import run_folder
from rlagent.apply.model import Model, model_of
from rlagent.apply.model_file import pack_model, unpack_model
from rlagent.apply.request import Plan
from rlagent.apply.run_folder import Checkpoint
from rlagent.controller.deciding import Decide
from rlagent.history import Record, record_of
from rlagent_envs import batch, saving
from rlagent_envs import episode as episodes
from rlagent_envs.episode import Episode, flops_spent
from rlagent_envs.settings import Settings
from rlagent_envs.tasks.task import Task
from rlagent_envs.training.bank import Bank
from rlagent_envs.training.feed import Feed, bank_of

CHECKPOINT_SECONDS = 3.0  # between two checkpoints, at least
CHECKPOINT_SHARE = 0.02  # of the time, at most, goes into writing them


@dataclass(frozen=True)
class Member:
    """What one network is trained on, and by whom; a run has one, an ensemble several."""

    plan: Plan
    task: Task
    data: Bank | Feed
    decide: Decide
    slot: int = 0  # of a bank
    number: int | None = None  # from 1 up; None where there is one network
    snapshots: int = 0  # how many of its weights are kept on the way


class Kept(NamedTuple):
    """The best weights of a stretch of a run."""

    stretch: int
    valid_loss: float  # as the run has measured it
    model: Model


class Standing(NamedTuple):
    """One network between two decisions."""

    episode: Episode
    observation: np.ndarray  # [features], what the next decision is made from
    ended: bool = False  # the budget is spent, or the patience
    kept: tuple[Kept, ...] = ()
    waited: int = 0  # decisions since the best weights


class Moment(NamedTuple):
    """A run between two decisions."""

    networks: tuple[Standing, ...]  # those that have begun
    history: list[Record]

    @property
    def decisions(self) -> int:
        """Decisions made, for all networks together."""
        return sum(one.episode.decisions for one in self.networks)

    @property
    def updates(self) -> int:
        """Updates made."""
        return sum(int(one.episode.run.books.updates) for one in self.networks)

    @property
    def flops(self) -> float:
        """Floating-point operations billed."""
        return sum(flops_spent(one.episode) for one in self.networks)

    @property
    def divergences(self) -> int:
        """How often a network went back to its best weights, because it had diverged."""
        return sum(int(one.episode.run.books.divergences) for one in self.networks)


@dataclass
class Driven:
    """A run on its way."""

    now: Moment  # replaced as a whole: wherever Ctrl-C hits, the run is between two decisions
    seconds: float = 0.0  # that earlier processes gave to it
    started: float = field(default_factory=time.monotonic)

    def elapsed(self) -> float:
        """Seconds of wall time that the run has taken, in all processes."""
        return self.seconds + time.monotonic() - self.started


def enter(driven: Driven, members: Sequence[Member]) -> None:
    """Begins the networks that have not begun yet."""
    there = driven.now.networks
    fresh = tuple(_begun(member) for member in members[len(there) :])
    driven.now = driven.now._replace(networks=there + fresh)


def _begun(member: Member) -> Standing:
    plan = member.plan
    bank = bank_of(member.data)
    episode = episodes.begin(member.task, bank, plan.start(), plan.knobs, member.slot)
    return Standing(episode, batch.observe(episode))


def take_up(members: Sequence[Member], checkpoint: Checkpoint) -> Driven:
    """A run as a checkpoint has it; ValueError if that does not fit its members."""
    facts = checkpoint.facts
    try:
        networks = tuple(
            _unpacked(member, checkpoint.arrays, own, f"{number}/" if number else "")
            for number, (member, own) in enumerate(
                zip(members, [facts, *facts.get("others", [])], strict=False)
            )
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"the checkpoint is damaged: it lacks {error}") from error
    return Driven(Moment(networks, checkpoint.history), checkpoint.seconds)


def checkpoint_of(driven: Driven) -> Checkpoint:
    """Everything that it takes to go on."""
    arrays: dict[str, np.ndarray] = {}
    facts = []
    for number, standing in enumerate(driven.now.networks):
        own, told = _packed(standing)
        arrays |= {(f"{number}/{name}" if number else name): one for name, one in own.items()}
        facts.append(told)
    others = {"others": facts[1:]} if len(facts) > 1 else {}
    return Checkpoint(arrays, facts[0] | others, driven.now.history, driven.elapsed())


def _packed(standing: Standing) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    arrays, facts = saving.pack(standing.episode)
    arrays["observation"] = standing.observation
    facts |= {"ended": standing.ended, "waited": standing.waited}
    if standing.kept:
        facts["kept"] = []
        for kept in standing.kept:
            header, weights = pack_model(kept.model)
            told = {"stretch": kept.stretch, "valid_loss": kept.valid_loss, "model": header}
            facts["kept"].append(told)
            arrays |= {f"kept/{kept.stretch}/{name}": one for name, one in weights.items()}
    return arrays, facts


def _unpacked(
    member: Member, arrays: dict[str, np.ndarray], facts: dict[str, Any], prefix: str
) -> Standing:
    plan = member.plan
    own = {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
    kept = []
    for told in facts.get("kept", []):
        place = f"kept/{told['stretch']}/"
        weights = {n.removeprefix(place): a for n, a in own.items() if n.startswith(place)}
        model = unpack_model(told["model"], weights)
        kept.append(Kept(int(told["stretch"]), float(told["valid_loss"]), model))
    episode = saving.unpack(
        member.task, bank_of(member.data), plan.start(), plan.knobs, own, facts, member.slot
    )
    ended, waited = bool(facts["ended"]), int(facts["waited"])
    return Standing(episode, own["observation"], ended, tuple(kept), waited)


def drive(
    driven: Driven,
    members: Sequence[Member],
    plan: Plan,
    folder: Path,
    tell: Callable[[Record], None],
) -> bool:
    """Makes decisions until the budgets are spent, one for each network at a time.

    When a checkpoint is written depends on the clock; what the run does never depends on it,
    except for the deadline of a run that has one.

    Args:
        driven: the run; it is changed, always from one whole round of decisions to the next.
        members: of which the networks that have begun are.
        plan: of the whole run.
        folder: where checkpoints go.
        tell: is told of each decision.

    Returns:
        Whether the budgets were spent; False if the deadline came first.
    """
    saved, wait = time.monotonic(), CHECKPOINT_SECONDS
    while not _over(driven):
        for record in _one_round(driven, members, plan):
            tell(record)
        if _over(driven):
            break
        if plan.deadline is not None and driven.elapsed() > plan.deadline:
            return False
        if time.monotonic() - saved > wait:
            begun = time.monotonic()
            run_folder.write_checkpoint(folder, checkpoint_of(driven))
            saved = time.monotonic()
            wait = max(CHECKPOINT_SECONDS, (saved - begun) / CHECKPOINT_SHARE)
    return True


def _over(driven: Driven) -> bool:
    return all(one.ended for one in driven.now.networks)


def _one_round(driven: Driven, members: Sequence[Member], plan: Plan) -> list[Record]:
    """A decision for each network that has not ended, all in one batch; what there is to tell."""
    networks, history = list(driven.now.networks), list(driven.now.history)
    there = [number for number, one in enumerate(networks) if not one.ended]
    before = [networks[number].episode for number in there]
    chosen = [
        members[number].decide(
            networks[number].observation, episodes.action_mask(episode), episode.decisions
        )
        for number, episode in zip(there, before, strict=True)
    ]
    stepped = batch.step(
        [members[number].data for number in there],
        before,
        np.stack([action for action, _ in chosen]),
        batch.default_mode(),
    )
    told = []
    for number, episode, (action, chances), one in zip(there, before, chosen, stepped, strict=True):
        record = record_of(episode, action, one, chances)
        waited = 0 if record["improved"] else networks[number].waited + 1
        patient = plan.patience is None or waited < plan.patience
        networks[number] = Standing(
            one.episode,
            one.observation,
            bool(one.report.terminated) or not patient,
            _kept(members[number], networks[number].kept, record, one.episode),
            waited,
        )
        if members[number].number is not None:
            moment = Moment(tuple(networks), history)
            record |= _place(members[number], moment, plan.members)
        history.append(record)
        told.append(record)
    driven.now = Moment(tuple(networks), history)
    return told


def _place(member: Member, moment: Moment, members: int) -> Record:
    """What the line of a network says of the run as a whole."""
    there = [one.episode for one in moment.networks]
    spent = sum(one.spent / float(one.run.books.budget) for one in there)
    return {
        "member": member.number,
        "total_updates": moment.updates,
        "total_spent": spent / members,
    }


def _kept(
    member: Member, kept: tuple[Kept, ...], record: Record, episode: Episode
) -> tuple[Kept, ...]:
    """The snapshots after a decision: the best weights of each stretch, in their order.

    The first stretch is the first half of the budget and its share of the second, which the others
    divide evenly: what comes early is rarely of use, but all stretches together are the whole run,
    so that the best weights of all are among the snapshots.
    """
    if not member.snapshots or record["diverged"]:
        return kept
    late = (record["spent"] - 0.5) * 2.0 * member.snapshots
    stretch = int(np.clip(np.ceil(late - 1e-6), 1, member.snapshots)) - 1
    loss = record["valid_loss"]
    if any(one.stretch == stretch and one.valid_loss <= loss for one in kept):
        return kept
    activation = episode.settings.activation
    model = model_of(member.task, episode.shape, episode.run.live, activation)
    others = [one for one in kept if one.stretch != stretch]
    return tuple(sorted([*others, Kept(stretch, loss, model)], key=lambda one: one.stretch))


def best_model(task: Task, episode: Episode) -> Model:
    """The network with the lowest validation loss so far; before there was one, the first."""
    activation = float(Settings.unpack(episode.run.books.safe_settings).activation)
    return model_of(task, episode.snapshot_shape, episode.snapshot, activation)
