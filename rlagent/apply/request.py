"""What is asked of a run, checked; what a run will do; and the defaults between the two."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rlagent.apply.ensembles import kinds
from rlagent_envs.config import SCHEDULES, TUNABLE
from rlagent_envs.tasks.options import Options, check_number, check_truth, check_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rlagent_envs.episode import Start
    from rlagent_envs.models import Rung
    from rlagent_envs.settings import Settings
    from rlagent_envs.tasks.task import Task
    from rlagent_envs.training.adversarial import Norm

LEAST_UPDATES_PER_DECISION = 8  # of the base rung, where the number of decisions is ours to choose
EPOCHS = 40
FEWEST_UPDATES, MOST_UPDATES = 400, 6000
QUANTILE_DELTA = 0.01  # of the Huber loss, where a quantile is asked for
CONTROLLER_LEARNING_RATE = 1e-3  # where a controller starts; it goes on from there


@dataclass(frozen=True, kw_only=True)
class Request(Options):
    """The options of a run and of its data, as they were given; None stands for a default."""

    method: str = "controller"
    controller: str | None = None  # a name or a path
    hold: tuple[str, ...] = ()  # knobs that the controller leaves alone
    learning_rate: float | None = None
    weight_decay: float | None = None
    settings: dict[str, float | str] | None = None  # of all others at the start, by name
    optimizer: str | None = None
    norm: str | None = None  # of attacks: linf or l2
    robust_epsilon: float | None = None  # judge under attacks within it, too
    report_epsilon: float | None = None  # tell at the end what attacks within it do
    patience: int | None = None  # decisions without improvement after which the run ends
    rung: str | None = None  # width x depth at the start
    updates: int | None = None  # of the base rung
    minutes: float | None = None  # in the place of updates
    decisions: int | None = None
    score: str | None = None
    device: str | None = None
    ensemble: str | None = None  # of kinds.KINDS
    members: int | None = None
    budget_per_member: bool = False  # each member has the whole budget
    folds: int | None = None  # cross-validation

    def __post_init__(self) -> None:
        """Raises ValueError, naming the option and its value, if one makes no sense by itself."""
        super().__post_init__()
        self._check_method()
        if self.group is not None and self.folds is not None:
            raise ValueError("folds cannot keep the rows of a group together: give group or folds")
        if self.split_time is not None and self.folds is not None:
            raise ValueError(
                "folds would validate on rows older than those trained on: give split_time or folds"
            )
        if self.updates is not None and self.minutes is not None:
            raise ValueError("give updates or minutes, not both")
        if self.robust_epsilon is not None and self.report_epsilon is not None:
            raise ValueError("give robust_epsilon, which also reports, or report_epsilon, not both")
        for name in ("updates", "decisions", "patience"):
            check_whole(name, getattr(self, name))
        rates = ("learning_rate", "weight_decay")
        for name in (*rates, "minutes", "robust_epsilon", "report_epsilon"):
            check_number(name, getattr(self, name))
        check_truth("budget_per_member", self.budget_per_member)
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise ValueError(f"minutes must be more than 0, got {self.minutes:g}")
        if self.decisions is not None and self.updates is not None:
            _check_decisions(self.decisions, self.updates)
        kinds.check_request(self)

    def _check_method(self) -> None:
        methods = ("controller", *SCHEDULES)
        if self.method not in methods:
            raise ValueError(f"unknown method {self.method!r}; there are: {', '.join(methods)}")
        for name in ("controller", "hold"):
            if getattr(self, name) and self.method != "controller":
                raise ValueError(f"{name} is for the method controller, not for {self.method}")


@dataclass(frozen=True)
class Plan:
    """What a run will do: nothing in it is left to a default, a clock or a library."""

    updates: int  # the budget, of the base rung; of each network, where there are several
    decisions: int  # the same
    depth: int  # of the base rung
    width: int
    settings: dict[str, float]  # at the start, all of them
    optimizer: str
    norm: Norm  # of attacks
    patience: int | None  # decisions without improvement after which the run ends
    schedule: str  # what the learning rate does while it is held
    knobs: tuple[str, ...]  # that the controller may move
    score: str
    seed: int
    deadline: float | None  # seconds after which the run ends early
    robust_epsilon: float = 0.0  # of attacks that validation rows are judged under; 0: none
    report_epsilon: float = 0.0  # of attacks at the end only; 0: none
    several: str | None = None  # what several networks are for: one of kinds.KINDS, or folds
    members: int = 1  # of an ensemble, or folds

    def start(self) -> Start:
        """What the episode begins with."""
        from rlagent_envs.episode import Start
        from rlagent_envs.models import Rung
        from rlagent_envs.settings import Settings

        return Start(
            seed=self.seed,
            settings=Settings(**self.settings),
            rung=Rung(self.depth, self.width),
            budget=float(self.updates),
            decisions=self.decisions,
            schedule=self.schedule,
            optimizer=self.optimizer,
            norm=self.norm,
            robust_epsilon=self.robust_epsilon,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` makes the same plan of them."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Plan:
        """What `to_json` gave; ValueError for anything else."""
        try:
            return cls(**stored | {"knobs": tuple(stored["knobs"])})
        except (TypeError, KeyError) as error:
            raise ValueError(f"the plan of the run cannot be read: {error}") from None


def default_updates(train_rows: int, batch_size: int) -> int:
    """The budget of a run for which none was asked: 40 passes over the data, 400 to 6000 updates.

    Small sets get more passes, because an update of theirs costs next to nothing; large ones get
    fewer, because they need fewer.
    """
    passes = EPOCHS * math.ceil(train_rows / batch_size)
    return min(max(passes, FEWEST_UPDATES), MOST_UPDATES)


def default_decisions(updates: int) -> int:
    """About 1.25 times the square root of the updates: 20 for 250, 40 for 1000, 79 for 4000.

    Longer runs get more decisions and longer slices, as the tasks had that controllers learn on.
    At most 100, and fewer where a slice would have less than 8 updates of the base rung.
    """
    return max(1, min(round(1.25 * math.sqrt(updates)), 100, updates // LEAST_UPDATES_PER_DECISION))


def make_plan(
    request: Request, task: Task, knobs: tuple[str, ...], schedule: str | None = None
) -> Plan:
    """The plan of a request, but for the budget of one that asks for minutes; see `with_budget`.

    Args:
        request: what was asked for.
        task: the data.
        knobs: those that the controller has learned to move; none for the other methods.
        schedule: the one that the controller has learned with; None for the other methods.

    Raises:
        ValueError: naming the option and its value, if one does not suit the task.
    """
    from rlagent.apply.scores import check_score, score_shape
    from rlagent_envs.models import FAMILIES
    from rlagent_envs.training.adversarial import NORMS, norm_named

    family = FAMILIES[task.family]
    rung = family.default if request.rung is None else parse_rung(request.rung)
    family.check(rung)
    optimizer = chosen_optimizer(request, task)
    rate = request.learning_rate
    if rate is None:
        rate = start_rate(request.method, optimizer)
    settings = _settings(request.settings or {}, task)._replace(learning_rate=float(rate))
    if request.weight_decay is not None:
        settings = settings._replace(weight_decay=float(request.weight_decay))
    settings.check()
    norm = norm_named(request.norm or NORMS[0])
    opened = _open(knobs, request.hold)
    _check_attacks(request, settings, opened, task)
    whole = request.updates or default_updates(len(task.train.x), task.batch_size)
    updates = kinds.updates_of_each(request, whole)
    if request.decisions is not None and request.minutes is None:
        _check_decisions(request.decisions, updates)
    decisions = request.decisions or default_decisions(updates)
    kinds.check_task(request, task, decisions)
    several, members = kinds.several(request)
    return Plan(
        updates=int(updates),
        decisions=decisions,
        depth=rung.depth,
        width=rung.width,
        settings=settings._asdict(),
        optimizer=optimizer,
        norm=norm,
        patience=request.patience,
        schedule=schedule or request.method,
        knobs=opened,
        score=check_score(request.score, task.kind, task.form, score_shape(task)),
        seed=int(request.seed),
        deadline=None if request.minutes is None else 60.0 * request.minutes,
        robust_epsilon=_attack_epsilon("robust_epsilon", request, task),
        report_epsilon=_attack_epsilon("report_epsilon", request, task),
        several=several,
        members=members,
    )


def parse_settings(texts: Sequence[str]) -> dict[str, float | str]:
    """The settings of texts such as `mixup=0.2`; ValueError for other texts."""
    found: dict[str, float | str] = {}
    for text in texts:
        name, sign, value = (part.strip() for part in text.partition("="))
        if not (name and sign and value):
            raise ValueError(f"set takes NAME=VALUE, for instance mixup=0.2, got {text!r}")
        if name in found:
            raise ValueError(f"set names {name} twice")
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = value
    return found


def _check_attacks(
    request: Request, settings: Settings, opened: tuple[str, ...], task: Task
) -> None:
    """Raises ValueError for options of attacks that there are not, and for attacks on nothing."""
    from rlagent_envs.knobs import meaningful
    from rlagent_envs.settings import ATTACKS, DEFAULT

    epsilon = "adversarial_epsilon"
    by_knob = epsilon in opened and meaningful(epsilon, task)
    trained = settings.adversarial_epsilon > 0 or by_knob
    judged = request.robust_epsilon or request.report_epsilon
    if request.norm is not None and not (trained or judged):
        raise ValueError(f"norm {request.norm} has no meaning for a run without attacks")
    for name in ATTACKS:  # epsilon is at its default where nothing is learned from attacks
        value = getattr(settings, name)
        if not trained and value != getattr(DEFAULT, name):
            raise ValueError(
                f"{name} {value:g} has no meaning for a run that does not learn from attacks: set "
                f"adversarial_epsilon, too"
            )
    if settings.adversarial_share == 0 and "adversarial_share" not in opened:
        raise ValueError(
            "adversarial_share 0 attacks no example: set a larger one, or do not attack"
        )
    if request.robust_epsilon:
        kinds.check_attacked(request, "robust_epsilon has")
    if trained:
        by_setting = settings.adversarial_epsilon > 0
        told = f"{epsilon} has" if by_setting else f"the knob {epsilon} must be held: it has"
        kinds.check_attacked(request, told)


def _settings(given: dict[str, float | str], task: Task) -> Settings:
    """The settings at the start, those that are not given at their defaults."""
    from rlagent_envs.knobs import meaningful
    from rlagent_envs.models.activations import ACTIVATIONS
    from rlagent_envs.settings import DEFAULT, Settings

    own = ("learning_rate", "weight_decay")  # options of their own
    names = [name for name in Settings._fields if name not in own]
    chosen: dict[str, float] = {}
    for name, value in given.items():
        if name in own:
            raise ValueError(f"{name} has an option of its own: --{name.replace('_', '-')}")
        if name not in names:
            raise ValueError(f"unknown setting {name!r}; there are: {', '.join(names)}")
        if not meaningful(name, task):
            what = _without_meaning(name, task)
            raise ValueError(f"{name} has no meaning for {what}")
        if name == "activation":
            if value not in ACTIVATIONS:
                raise ValueError(
                    f"unknown activation {value!r}; there are: {', '.join(ACTIVATIONS)}"
                )
            value = ACTIVATIONS.index(value)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ValueError(f"{name} must be a number, got {value!r}")
        chosen[name] = float(value)
    if "quantile" in chosen:
        # With squares, as by default, the loss would aim at an expectile.
        chosen.setdefault("huber_delta", QUANTILE_DELTA)
    return DEFAULT._replace(**chosen)


def _without_meaning(name: str, task: Task) -> str:
    from rlagent_envs.settings import ATTACKS

    if name == "cutmix":
        return "images with masks or boxes" if task.form == "image" else "inputs that are no images"
    if name == "augmentation" and task.is_forecast:
        return "forecasts"
    if name == "class_balance" and task.kind == "classification":
        return "boxes"
    if name in ("mixup", "augmentation"):
        return f"inputs of the form {task.form}"
    if name == "stochastic_depth":
        return f"the family {task.family}"
    if name not in ATTACKS or task.attackable:
        return task.kind
    return f"{task.name}, which has no continuous inputs that an attack could move"


def start_rate(method: str, optimizer: str) -> float:
    """The learning rate at the start of a run for which none was asked.

    A method has a rate of its own for AdamW only; another optimizer begins at the one that its
    paper advises, whatever the method.
    """
    from rlagent.baselines.frozen import learning_rate
    from rlagent_envs.training.optimizer import ADVISED_RATES

    if optimizer in ADVISED_RATES:
        return ADVISED_RATES[optimizer]
    return CONTROLLER_LEARNING_RATE if method == "controller" else learning_rate(method)


def _open(knobs: tuple[str, ...], hold: tuple[str, ...]) -> tuple[str, ...]:
    """The controller's knobs without those that are held."""
    for name in hold:
        if name not in knobs:
            raise ValueError(f"the controller has no knob {name!r}; it has: {', '.join(knobs)}")
        if hold.count(name) > 1:
            raise ValueError(f"hold names the knob {name!r} twice")
    return tuple(name for name in knobs if name not in hold)


def chosen_optimizer(request: Request, task: Task) -> str:
    """The optimizer that was asked for, or that of the task's family; ValueError if unknown."""
    from rlagent_envs.models import FAMILIES

    name = request.optimizer or FAMILIES[task.family].optimizer
    if name not in TUNABLE:
        raise ValueError(f"unknown optimizer {name!r}; there are: {', '.join(TUNABLE)}")
    return name


def _attack_epsilon(name: str, request: Request, task: Task) -> float:
    """The option of this name, 0 where it was not given."""
    from rlagent_envs.settings import HIGH

    epsilon: float | None = getattr(request, name)
    if epsilon is None:
        return 0.0
    if not 0.0 < epsilon <= HIGH.adversarial_epsilon:
        raise ValueError(
            f"{name} must be more than 0 and at most {HIGH.adversarial_epsilon:g}, got {epsilon:g}"
        )
    if not task.attackable:
        raise ValueError(
            f"{name} has no meaning for {task.name}, which has no continuous inputs that "
            f"an attack could move"
        )
    return float(epsilon)


def with_budget(plan: Plan, request: Request, updates: int) -> Plan:
    """The plan with a budget that was found by calibration.

    Raises:
        ValueError: if there is no update for each of the decisions or members asked for.
    """
    from dataclasses import replace

    updates = kinds.updates_in_time(request, updates)
    decisions = request.decisions or default_decisions(updates)
    if decisions > updates:
        raise ValueError(
            f"decisions must be at most {updates}, the updates for which there is time, "
            f"got {decisions}"
        )
    kinds.check_members(request, decisions)
    return replace(plan, updates=updates, decisions=decisions)


def parse_rung(text: str) -> Rung:
    """The rung of `64x2`, width x depth; ValueError for anything else."""
    from rlagent_envs.models import Rung

    match = re.fullmatch(r"(\d+)x(\d+)", str(text))
    if match is None:
        raise ValueError(f"rung must be WIDTHxDEPTH, for instance 64x2, got {text!r}")
    return Rung(depth=int(match[2]), width=int(match[1]))


def _check_decisions(decisions: int, updates: int) -> None:
    if decisions > updates:
        raise ValueError(
            f"decisions must be at most the number of updates, {updates}, got {decisions}"
        )
