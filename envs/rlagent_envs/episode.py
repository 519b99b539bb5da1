"""An episode around a run: how it begins, its edits, its snapshot, and what is allowed next."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import jax
import numpy as np

from rlagent_envs import knobs
from rlagent_envs.books import Books, Entries, RungFacts, TaskFacts, fresh_memory, update_flops
from rlagent_envs.config import EnvConfig
from rlagent_envs.dynamics import Report, Run
from rlagent_envs.growth import grow, shrink
from rlagent_envs.models import FAMILIES, Rung, ShapeClass
from rlagent_envs.observation import GROUPS
from rlagent_envs.settings import DEFAULT, HIGH, LEVER_OF, LOW, PLAIN, Settings, levers_of
from rlagent_envs.tasks.task import Task
from rlagent_envs.training.adversarial import L2_BALL, ROBUST, Norm, norm_named
from rlagent_envs.training.augmentation import MIRRORING
from rlagent_envs.training.bank import Bank, baseline_loss, loss_ceiling
from rlagent_envs.training.loop import Live
from rlagent_envs.training.optimizer import ADAMW, optimizer_of
from rlagent_envs.training.regularization import no_norms
from rlagent_envs.training.schedules import SHAPES

EVALUATION_AIM = 0.07  # of the FLOPs at the base rung: growth makes evaluation dearer
ARCHITECTURE = ("growth", "shrink")  # knobs that move a run to another rung
MIN_UPDATES_AFTER_GROWTH = 8  # an edit has to leave budget for that many updates


@dataclass(frozen=True)
class Start:
    """What an episode begins with."""

    seed: int
    settings: Settings
    rung: Rung
    budget: float  # updates of the base rung
    decisions: int
    schedule: str = "constant"  # of SHAPES: what the learning rate does while it is held
    optimizer: str = ADAMW
    norm: Norm = "linf"  # of attacks
    robust_epsilon: float = 0.0  # validation rows are judged under attacks within it; 0: not
    base: Rung | None = None  # what the budget is counted in; `rung` where None
    absent: tuple[str, ...] = ()  # groups of features that are not there
    held: tuple[str, ...] = ()  # open knobs that may not be moved all the same
    divergence_penalty: float = 0.1

    def __post_init__(self) -> None:
        """Raises ValueError, naming the value, if the budget affords nothing."""
        if not self.budget >= 1:
            raise ValueError(f"the budget must be at least 1 update, got {self.budget:g}")
        if self.decisions < 1:
            raise ValueError(f"decisions must be at least 1, got {self.decisions}")
        if self.schedule not in SHAPES:
            raise ValueError(f"unknown schedule {self.schedule!r}; there are: {', '.join(SHAPES)}")
        norm_named(self.norm)
        if not 0.0 <= self.robust_epsilon <= HIGH.adversarial_epsilon:
            raise ValueError(
                f"robust_epsilon must be from 0 to {HIGH.adversarial_epsilon:g}, "
                f"got {self.robust_epsilon:g}"
            )


@dataclass(frozen=True)
class Episode:
    """A run, its best snapshot, and the rungs both are on; a new one after each decision."""

    shape: ShapeClass
    run: Run
    snapshot: Live
    snapshot_shape: ShapeClass
    open_mask: np.ndarray  # [levels], the levels that the open knobs have
    seed: int
    decisions: int  # made so far
    spent: float  # of the budget
    at_best: bool  # the live weights are the snapshot's

    @property
    def settings(self) -> Settings:
        """The settings in force, as Python floats within their bounds."""
        # A bound as float32 may lie outside of itself as Python has it.
        numbers = np.asarray(self.run.books.settings, float)
        return Settings(*np.clip(numbers, LOW, HIGH).tolist())


def log_uniform_of(generator: np.random.Generator, bounds: tuple[float, float]) -> float:
    """A number whose logarithm is uniform between those of the bounds."""
    return float(np.exp(generator.uniform(np.log(bounds[0]), np.log(bounds[1]))))


def draw(config: EnvConfig, seed: int) -> Start:
    """The start of an episode, drawn from the ranges of a config; the same for the same seed."""
    generator = np.random.default_rng([seed, 1])

    log_uniform = partial(log_uniform_of, generator)
    decisions = round(log_uniform(config.decisions))
    low, high = config.momentum
    settings = Settings(
        learning_rate=log_uniform(config.learning_rate),
        weight_decay=log_uniform(config.weight_decay),
        dropout=float(generator.uniform(*config.dropout)),
        label_smoothing=float(generator.uniform(*config.label_smoothing)),
        momentum=1.0 - log_uniform((1.0 - high, 1.0 - low)),
    )
    plain = generator.random() < config.plain_start
    if plain:
        settings = DEFAULT._replace(learning_rate=settings.learning_rate)
    # A generator of its own: what is not drawn here leaves the rest of an episode as it is.
    others = np.random.default_rng([seed, 5])
    robust = others.random() < config.robust_share
    robust_epsilon = log_uniform_of(others, config.robust_epsilon) if robust else 0.0
    if not plain:
        settings = settings._replace(
            **{name: float(others.uniform(low, high)) for name, low, high in config.starts}
        )
    rung = Rung(int(generator.choice(config.depths)), int(generator.choice(config.widths)))
    absent = tuple(group for group in GROUPS if generator.random() < config.group_dropout)
    edits = others.random() < config.architecture_share
    optimizer = config.optimizers[int(others.integers(len(config.optimizers)))]
    return Start(
        seed=seed,
        settings=settings,
        rung=rung,
        budget=decisions * log_uniform(config.updates_per_decision),
        decisions=decisions,
        schedule=config.schedule,
        optimizer=optimizer,
        robust_epsilon=robust_epsilon,
        absent=absent,
        held=() if edits else ARCHITECTURE,
        divergence_penalty=config.divergence_penalty,
    )


def suited(start: Start, task: Task) -> Start:
    """The start without what has no meaning for a task: levers, attacks, rungs of the MLP.

    Ranges of depths and widths are those of the MLP: a network of another family begins on the
    rung in the same place of its own ladder.
    """
    kept = {
        name: value if name in PLAIN or knobs.meaningful(name, task) else getattr(DEFAULT, name)
        for name, value in start.settings._asdict().items()
    }
    return replace(
        start,
        settings=Settings(**kept),
        rung=FAMILIES[task.family].counterpart(start.rung, FAMILIES["mlp"]),
        robust_epsilon=start.robust_epsilon if task.attackable else 0.0,
    )


def begin(
    task: Task, bank: Bank, start: Start, open_knobs: tuple[str, ...], slot: int = 0
) -> Episode:
    """The episode before its first decision, made of NumPy arrays.

    Args:
        task: the data set.
        bank: the bank that holds its data.
        start: settings, budget and seed.
        open_knobs: the knobs that the agent may move.
        slot: where in the bank the task is.

    Raises:
        ValueError: if the family lacks a rung, or a knob or the optimizer is unknown.
    """
    if not task.attackable and (start.robust_epsilon or start.settings.adversarial_epsilon):
        raise ValueError(f"{task.name} has no continuous inputs that an attack could move")
    for rung in (start.rung, start.base or start.rung):
        FAMILIES[task.family].check(rung)
    shape = ShapeClass(
        task.family,
        start.rung,
        task.kind,
        np.shape(bank.train_x)[2],
        np.shape(bank.classes)[1],
        task.batch_size,
        start.optimizer,
        _levers(task, start, open_knobs),
        task.input_shape,
        task.vocabularies,
        task.target_shape,
    )
    live = _fresh(task, start, shape)
    return Episode(
        shape=shape,
        run=Run(live, _first_books(task, start, shape, slot)),
        snapshot=live,
        snapshot_shape=shape,
        open_mask=_open_mask(open_knobs, task, start),
        seed=start.seed,
        decisions=0,
        spent=0.0,
        at_best=True,
    )


def _fresh(task: Task, start: Start, shape: ShapeClass) -> Live:
    """A network before its first update."""
    generator = np.random.default_rng([start.seed, 2])
    params, model_state = FAMILIES[shape.family].init(generator, shape, task.features)
    settings = Settings(*start.settings.pack())
    return Live(
        params,
        model_state,
        optimizer_of(start.optimizer).init(params, settings),
        norms=no_norms() if "clipping" in shape.levers else (),
        average=params if "averaging" in shape.levers else (),
    )


def _first_books(task: Task, start: Start, shape: ShapeClass, slot: int) -> Books:
    """The books of a run before its first decision."""
    settings = start.settings.pack()
    base = start.base or start.rung
    facts, base_facts = RungFacts.of(shape), RungFacts.of(replace(shape, rung=base))
    share = start.budget / start.decisions
    pieces = int(EVALUATION_AIM * share * base_facts.update_flops / base_facts.piece_flops)
    pieces = int(np.clip(pieces, 1, -(-len(task.valid.x) // task.batch_size)))
    judged = pieces * task.batch_size  # rows: with heavy tails they differ from all rows
    baseline = baseline_loss(task, judged)
    entries = Entries(
        key=np.random.SeedSequence([start.seed, 3]).generate_state(2, np.uint32),
        slot=slot,
        settings=settings,
        memory=fresh_memory(baseline),
        updates=0,
        decisions=0,
        divergences=0,
        budget=start.budget,
        spent=0.0,
        slice=share,
        base_flops=base_facts.update_flops,
        pieces=pieces,
        schedule=SHAPES[start.schedule].pack(),
        penalty=start.divergence_penalty,
        available=np.array([group not in start.absent for group in GROUPS], np.float32),
        task=TaskFacts(
            batch_size=task.batch_size,
            train_rows=len(task.train.x),
            regression=task.kind == "regression",
            baseline_loss=baseline,
            loss_ceiling=loss_ceiling(task, judged),
            robust_epsilon=start.robust_epsilon,
        ).pack(),
        rung=facts.pack(),
        safe_settings=settings,
        safe_rung=facts.pack(),
        safe_score=np.float32(np.inf),
    )
    return Books.of(entries)


def _levers(task: Task, start: Start, open_knobs: tuple[str, ...]) -> tuple[str, ...]:
    """What the programs of a run have to contain."""
    useful = tuple(name for name in open_knobs if knobs.meaningful(name, task))
    levers = levers_of(start.settings, useful)
    if task.mirrored:
        levers = (*levers, MIRRORING)
    if start.robust_epsilon:
        levers = (*levers, ROBUST)
    attacked = {"adversarial", ROBUST} & set(levers)
    return (*levers, L2_BALL) if start.norm == "l2" and attacked else levers


def _open_mask(open_knobs: tuple[str, ...], task: Task, start: Start) -> np.ndarray:
    """The open levels: an edit that could not be seen in the observation is closed too."""
    closed = {"architecture": ARCHITECTURE, "valid": ("restore",)}
    hidden = {*start.held, *(name for group in start.absent for name in closed.get(group, ()))}
    seen = [name for name in open_knobs if name not in hidden]
    return knobs.open_mask(seen, task)


def action_mask(episode: Episode) -> np.ndarray:
    """The flat mask `[levels]` of what may be chosen now: True where allowed."""
    mask = episode.open_mask.copy()
    family = FAMILIES[episode.shape.family]
    rung, settings = episode.shape.rung, episode.settings
    if episode.at_best:
        knobs.close(mask, knobs.RESTORE, knobs.BEST)
    # A return and a growth in one action: it grows from the snapshot's rung.
    returns = knobs.is_open(mask, knobs.RESTORE, knobs.BEST)
    starts = {rung, *([episode.snapshot_shape.rung] if returns else [])}
    for level, step in ((knobs.WIDER, family.wider), (knobs.DEEPER, family.deeper)):
        if not all(_affords(episode, step(one), settings) for one in starts):
            knobs.close(mask, knobs.GROWTH, level)
    # Behind ReLU a layer that does nothing is the identity, behind the others it is not.
    activations = [settings.activation]
    if returns:
        activations.append(float(Settings.unpack(episode.run.books.safe_settings).activation))
    if not family.residual and any(activations):
        knobs.close(mask, knobs.GROWTH, knobs.DEEPER)
    if family.narrower(rung) is None:
        knobs.close(mask, knobs.SHRINK, knobs.NARROWER)
    return mask


def _affords(episode: Episode, rung: Rung | None, settings: Settings) -> bool:
    """Whether there is such a rung, and the remaining budget still trains it for a while."""
    if rung is None:
        return False
    facts = RungFacts.of(replace(episode.shape, rung=rung))
    books = episode.run.books
    update = facts.update_flops
    if settings.adversarial_epsilon:  # JAX's operations one by one: too slow for every decision
        update = float(update_flops(facts, settings))
    needed = MIN_UPDATES_AFTER_GROWTH * update + int(books.pieces) * facts.piece_flops
    return float(books.budget) - episode.spent >= needed / float(books.base_flops)


def carried_out(episode: Episode, action: np.ndarray) -> np.ndarray:
    """The action as it is done: where a layer is put in that ReLU alone leaves idle, it stays ReLU.

    Masks forbid levels of one knob, whatever the others do, so that they cannot forbid this pair.

    Args:
        episode: before the decision.
        action: a level for each knob, `[knobs]`; it is not changed.
    """
    if FAMILIES[episode.shape.family].residual or action[knobs.GROWTH] != knobs.DEEPER:
        return action
    done = np.array(action)
    done[knobs.ACTIVATION] = knobs.HOLD[knobs.ACTIVATION]
    return done


def held(episode: Episode, action: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The action with hold in place of all that cannot be done now; see `knobs.held`.

    Args:
        episode: before the decision.
        action: a level for each knob, `[knobs]`, integers; it is not changed.

    Returns:
        What is carried out, int32, and the names of the knobs that were held.

    Raises:
        ValueError: if the action has another shape or type, or a level does not exist.
    """
    allowed, names = knobs.held(action, action_mask(episode))
    done = carried_out(episode, allowed)
    return done, names + ["activation"] * bool(np.any(done != allowed))


def edit(episode: Episode, action: np.ndarray) -> Episode:
    """The episode after the structural part of an action; the rest is for `dynamics.step`.

    Raises:
        ValueError: if the action is masked.
    """
    knobs.check_allowed(action, action_mask(episode))
    if action[knobs.RESTORE] == knobs.BEST:
        episode = _restored(episode, settings=False)
    # A return to a snapshot of another rung and an edit in one action start from the snapshot.
    family = FAMILIES[episode.shape.family]
    if action[knobs.SHRINK] == knobs.NARROWER:
        rung = family.narrower(episode.shape.rung)
        if rung is not None:
            episode = _moved(episode, rung, shrink(episode.shape, episode.run.live, rung))
    if action[knobs.GROWTH]:
        larger = family.wider if action[knobs.GROWTH] == knobs.WIDER else family.deeper
        rung = larger(episode.shape.rung)
        if rung is not None:
            generator = np.random.default_rng([episode.seed, 4, episode.decisions])
            live = grow(generator, episode.shape, episode.run.live, rung)
            episode = _moved(episode, rung, live)
    return episode


def _moved(episode: Episode, rung: Rung, live: Live) -> Episode:
    """The episode on another rung."""
    shape = replace(episode.shape, rung=rung)
    books = episode.run.books.changed(rung=RungFacts.of(shape).pack())
    return replace(episode, shape=shape, run=Run(live, books), at_best=False)


def settle(episode: Episode, run: Run, report: Report) -> Episode:
    """The episode after a step: the snapshot is renewed, or put back after a divergence."""
    episode = replace(
        episode,
        run=run,
        decisions=episode.decisions + 1,
        spent=float(report.spent),
        at_best=False,
    )
    if report.diverged:
        return _restored(episode, settings=True)
    if report.improved:
        return replace(episode, snapshot=run.live, snapshot_shape=episode.shape, at_best=True)
    return episode


def _restored(episode: Episode, *, settings: bool) -> Episode:
    """The run with the snapshot's weights, optimizer state and rung, with its settings or without.

    After a divergence the settings go back too: those in force have just wrecked the run. A return
    that was chosen keeps them: a learning rate that has been lowered stays low.
    """
    books = episode.run.books
    books = books.changed(rung=books.safe_rung)
    if settings:
        books = books.changed(settings=books.safe_settings)
    else:  # the activation belongs to the weights
        numbers = Settings(*np.asarray(books.settings))
        safe = Settings(*np.asarray(books.safe_settings))
        books = books.changed(settings=numbers._replace(activation=safe.activation).pack())
    return replace(
        episode,
        shape=episode.snapshot_shape,
        run=Run(episode.snapshot, books),
        at_best=True,
    )


def with_settings(episode: Episode, settings: Settings) -> Episode:
    """The episode with other settings, for those who do not go by the levels of the knobs.

    Raises:
        ValueError: naming the setting that is outside of its bounds.
    """
    settings.check()
    for name, value, now in zip(Settings._fields, settings, episode.settings, strict=True):
        if value != now and LEVER_OF[name] not in ("", *episode.shape.levers):
            raise ValueError(f"{name} cannot be moved in a run that began without it")
    books = episode.run.books.changed(settings=settings.pack())
    return replace(episode, run=Run(episode.run.live, books))


def flops_spent(episode: Episode) -> float:
    """Floating-point operations that the episode has been billed, evaluation included."""
    return episode.spent * float(episode.run.books.base_flops)


def on_device(episode: Episode) -> Episode:
    """The same with its arrays on JAX's default device."""
    run = jax.device_put(episode.run)
    return replace(episode, run=run, snapshot=jax.device_put(episode.snapshot))
