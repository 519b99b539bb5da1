"""Baselines: known optima, equal budgets, libraries as by hand, no test data before the end."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import jax
import numpy as np
import optuna
import pytest

from rlagent.apply.request import start_rate
from rlagent.baselines import catalog, population, ray_population, search
from rlagent.baselines.frozen import frozen
from rlagent.baselines.method import Outcome, Problem, Training, best_of, run_together
from rlagent.baselines.reference import REFERENCE_LEARNING_RATE, reference_start
from rlagent.baselines.runs import as_test, judge_on_test, play, score_on_test
from rlagent.baselines.single import Greedy, Plateau
from rlagent.baselines.transferred import configurations, greedy_order
from rlagent_envs.books import Books
from rlagent_envs.models import FAMILIES, Rung, ShapeClass
from rlagent_envs.models.ladder import Family
from rlagent_envs.models.mlp import Dense
from rlagent_envs.settings import HIGH, LOW
from rlagent_envs.tasks import Task, from_arrays
from rlagent_envs.tasks.task import Split
from rlagent_envs.training.bank import Bank, baseline_loss, make_bank

UPDATES, DECISIONS = 800, 16
NOISE = 0.3


@cache
def blobs() -> Task:
    generator = np.random.default_rng(0)
    y = generator.integers(3, size=600)
    x = generator.standard_normal((600, 8)) + 1.5 * np.eye(3, 8)[y]
    return from_arrays(x, y, batch_size=32)


@cache
def bank() -> Bank:
    return jax.device_put(make_bank(blobs(), padded=False))


# --- a quadratic, whose optimum is known


def linear_init(
    generator: np.random.Generator, shape: ShapeClass, features: int
) -> tuple[Dense, tuple[()]]:
    return Dense(np.zeros((shape.features, 1), np.float32), np.zeros(1, np.float32)), ()


def linear_apply(
    shape: ShapeClass,
    params: Dense,
    model_state: Any,
    x: jax.Array,
    dropout: jax.Array,
    start: jax.Array | None,
    activation: jax.Array | None = None,
    stochastic_depth: jax.Array | None = None,
) -> tuple[jax.Array, Any]:
    return x @ params.kernel + params.bias[None, :], model_state


LINEAR = Family(
    name="linear",
    depths=(1, 2, 3, 4),
    widths=(32, 64, 128, 256),
    default=Rung(1, 32),
    init=linear_init,
    apply=linear_apply,
    flops=lambda shape: (2.0 * shape.features, 4.0 * shape.features),
    widen=lambda generator, params, width: (params, params),
    deepen=lambda params: (params, params),
    narrow=lambda params, width: lambda tree: tree,
)


@pytest.fixture
def quadratic(monkeypatch: pytest.MonkeyPatch) -> tuple[Problem, float]:
    """Linear regression by a linear model, and the loss of the least squares solution."""
    monkeypatch.setitem(FAMILIES, "linear", LINEAR)
    generator = np.random.default_rng(3)
    x = generator.standard_normal((600, 6)).astype(np.float32)
    y = x @ np.array([0.5, -0.4, 0.3, 0.0, -0.2, 0.1]) + NOISE * generator.standard_normal(600)
    y = y.astype(np.float32)
    train, valid, test = (Split(x[i:j], y[i:j]) for i, j in ((0, 400), (400, 500), (500, 600)))
    task = Task("quadratic", "regression", train, valid, test, 1, 32, family="linear")
    solution, *_ = np.linalg.lstsq(np.c_[x[:400], np.ones(400)], y[:400])
    best = float(np.mean((np.c_[x[400:500], np.ones(100)] @ solution - y[400:500]) ** 2))
    loaded = jax.device_put(make_bank(task, padded=False))
    return Problem(task, loaded, 0, UPDATES, DECISIONS), best


def run(name: str, problem: Problem) -> Outcome:
    (outcome,) = run_together([(catalog.make(name), catalog.budgeted(name, problem))])
    return outcome


def asked(name: str) -> str:
    """As little of a search as says something."""
    populations = dict.fromkeys(catalog.POPULATIONS, 4)
    counts = populations | {"transferred": 4, "grid": 12, "cma-es": 8, "median": 8, "halving": 8}
    searches = frozen()["searches"]
    return f"{name}:{counts.get(name, 6)}" if name in {*searches, *counts} else name


# Ray Tune takes seconds to import, and PB2 a second for each choice.
NAMES = [
    pytest.param(name, marks=pytest.mark.slow) if name in ray_population.SCHEDULERS else name
    for name in catalog.method_names()
]


@pytest.mark.parametrize("name", NAMES)
def test_a_method_solves_a_quadratic_within_its_budget(
    name: str, quadratic: tuple[Problem, float]
) -> None:
    if name in ray_population.SCHEDULERS:
        pytest.importorskip("ray")
    problem, best = quadratic
    outcome = run(asked(name), problem)
    loss = (np.exp(best_of(outcome).score) - 0.05) * baseline_loss(problem.task)
    start = baseline_loss(problem.task)
    # From the seed of a controller a rate may be drawn at which it has to begin from afar.
    assert best - 0.05 * start < loss < best + (0.3 if name == "controller-drawn" else 0.1) * start
    check_budget(outcome, problem, catalog.parse(asked(name)).times)
    assert outcome.curve[-1].score == best_of(outcome).score
    assert [p.score for p in outcome.curve] == sorted(
        (p.score for p in outcome.curve), reverse=True
    )
    assert outcome.curve[-1].flops == pytest.approx(sum(one.flops for one in outcome.trained))


def check_budget(outcome: Outcome, problem: Problem, times: float) -> None:
    """Counts the operations anew, from updates and evaluated rows, by a formula of its own."""
    features, batch = problem.task.features, problem.task.batch_size
    counted = 0.0
    for one in outcome.trained:
        rows = int(one.episode.run.books.pieces) * batch * len(one.reports)
        updates = sum(int(report.updates) for report in one.reports)
        counted += 4 * features * batch * updates + 2 * features * rows
    allowed = times * UPDATES * 4 * features * batch
    assert counted == pytest.approx(sum(one.flops for one in outcome.trained), rel=1e-4)
    assert 0.9 * allowed < counted <= allowed * (1 + 1e-4)


def test_a_search_trains_networks_of_all_sizes_at_equal_cost() -> None:
    problem = Problem(blobs(), bank(), 1, 400, 4)
    outcome = run("random:4", problem)
    assert len({one.start.rung for one in outcome.trained}) > 2
    for one in outcome.trained:
        width, depth = one.start.rung.width, one.start.rung.depth
        # Multiplications of an update, written out: thrice each layer, but twice the first.
        weights = 2 * 8 * width + 3 * (depth - 1) * width * width + 3 * width * 3
        base = 2 * 8 * 64 + 3 * 64 * 64 + 3 * 64 * 3
        made = sum(int(report.updates) for report in one.reports)
        evaluated = 8 * width + (depth - 1) * width * width + width * 3
        evaluated *= len(one.reports) * int(one.episode.run.books.pieces)
        assert made * weights + evaluated <= 400 * base * (1 + 1e-4)
        # What is left is less than an update with its evaluation.
        least = weights + evaluated / len(one.reports)
        assert made * weights + evaluated > 400 * base - 2 * least
        one.start.settings.check()


def test_what_has_only_diverged_is_behind_all_that_has_not(
    quadratic: tuple[Problem, float],
) -> None:
    """Else a search would learn to explode rather than to be slow."""
    problem, _ = quadratic
    (one,) = run("constant", problem).trained

    def with_score(value: float) -> Training:
        entries = one.episode.run.books.entries()
        books = Books.of(entries._replace(safe_score=np.float32(value)))
        run = one.episode.run.replace(books=books)
        return replace(one, episode=replace(one.episode, run=run))

    slow, gone = with_score(2.0), with_score(np.inf)
    assert one.score < slow.score == 2.0 < gone.score < np.inf
    assert best_of(Outcome([gone, slow], [])) is slow


def test_a_search_that_stops_trials_keeps_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large networks have longer slices, because of their evaluation.

    So trials are compared where they have spent the same, and none is begun without room for it.
    """
    problem = Problem(blobs(), bank(), 3, 100, 10)
    steps: list[list[int]] = []
    report = optuna.Trial.report

    def noted(trial: optuna.Trial, value: float, step: int) -> None:
        if len(steps) <= trial.number:
            steps.append([])
        steps[-1].append(step)
        report(trial, value, step)

    monkeypatch.setattr(optuna.Trial, "report", noted)
    outcome = run("halving:3", problem)
    assert Rung(4, 256) in {one.start.rung for one in outcome.trained}
    assert sum(one.flops for one in outcome.trained) <= 3 * problem.flops * (1 + 1e-4)
    spent = [[report.spent for report in one.reports] for one in outcome.trained]
    assert steps == [[max(1, round(share / 10)) for share in one] for one in spent]
    assert any(one[0] > 3 for one in steps)  # of a large network
    assert [1, 2, 3] in [one[:3] for one in steps]


# --- real libraries, as one would use them by hand


@pytest.mark.parametrize("name", ["random", "tpe", "gp", "cma-es", "median", "hyperband"])
def test_a_sampler_sees_the_same_values_in_the_same_order_as_by_hand(
    name: str, quadratic: tuple[Problem, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, _ = quadratic
    studies: list[optuna.Study] = []
    make_study: Callable[..., optuna.Study] = search.make_study

    def kept(*given: Any) -> optuna.Study:
        studies.append(make_study(*given))
        return studies[-1]

    monkeypatch.setattr(search, "make_study", kept)
    # More than the ten trials after which TPE and GP begin to look at what there was.
    outcome = run(f"{name}:12", replace(problem, updates=60, decisions=6))
    (study,) = studies
    by_hand = make_study(frozen()["searches"][name], problem.seed, 6)
    batch = frozen()["searches"][name]["batch"] or 12
    waiting = []
    for trained, made in zip(outcome.trained, study.trials, strict=False):
        trial = by_hand.ask(search.distributions())
        assert trial.params == made.params
        assert trial.params["learning_rate"] == trained.start.settings.learning_rate
        assert 2 ** trial.params["log2_width"] == trained.start.rung.width
        for step, report in enumerate(trained.reports, start=1):
            if name in ("median", "hyperband"):
                trial.report(report.best_score, step)
        waiting.append((trial, trained))
        if len(waiting) == min(batch, 12) or trained is outcome.trained[-1]:
            for old, of in waiting:
                if of.stopped:
                    by_hand.tell(old, state=optuna.trial.TrialState.PRUNED)
                else:
                    by_hand.tell(old, of.score)
            waiting = []
    values = [one.score for one in outcome.trained if not one.stopped]
    finished = [one.value for one in study.trials if one.state.name == "COMPLETE"]
    assert finished == values


def test_pruners_stop_bad_trials_and_so_try_more(quadratic: tuple[Problem, float]) -> None:
    problem, _ = quadratic
    plain = run("random:8", problem)
    for name in ("halving:8", "hyperband:8"):
        outcome = run(name, problem)
        assert len(outcome.trained) > len(plain.trained)
        assert any(one.stopped for one in outcome.trained)
        assert any(not one.stopped for one in outcome.trained)
        # Some pruners answer with NumPy's booleans, which a store and a pipe cannot take.
        assert {type(one.stopped) for one in outcome.trained} == {bool}


def test_a_grid_visits_each_of_its_points_once(quadratic: tuple[Problem, float]) -> None:
    problem, _ = quadratic
    outcome = run("grid:12", replace(problem, updates=20, decisions=2))
    visited = {(one.start.settings.learning_rate, one.start.schedule) for one in outcome.trained}
    grid = frozen()["grid"]
    assert visited == {(rate, s) for rate in grid["learning_rate"] for s in grid["schedule"]}
    with pytest.raises(ValueError, match=r"^the grid has 12 points, got 'grid:13'$"):
        catalog.make("grid:13")


# --- rules


def test_plateau_is_the_rule_of_optax_and_waits_for_its_patience() -> None:
    rule = Plateau(factor=0.5, patience=2, rtol=0.01)
    losses = [1.0, 0.9, 0.8, 0.8, 0.8, 0.8, 0.8]
    rate, rates = 1.0, []
    for loss in losses:
        rate = rule.after(rate, loss)
        rates.append(rate)
    assert rates[:4] == [1.0] * 4
    assert rates[-1] == pytest.approx(0.25)


def test_greedy_raises_the_rate_while_it_helps_and_lowers_it_when_it_does_not() -> None:
    rule = Greedy(factor=0.5, patience=1, threshold=0.01, lowest=0.3, highest=3.0)
    rate, rates = 1.0, []
    for loss in (5.0, 4.0, 3.0, 2.0, 1.0, 1.0, 1.0, 0.995, 1.0, 1.0):
        rate = rule.after(rate, loss)
        rates.append(rate)
    assert rates == [1.0, 2.0, 2.0, 3.0, 3.0, 3.0, 1.5, 1.5, 0.75, 0.75]
    rule = Greedy(factor=0.5, patience=0, threshold=0.01, lowest=0.3, highest=3.0)
    # Beyond a bound from the start on, a rate is not moved to it against the direction.
    assert [rule.after(9.0, 5.0), rule.after(0.1, 5.0)] == [9.0, 0.1]


def test_greedy_equals_a_plain_transcript_of_the_paper() -> None:
    generator = np.random.default_rng(4)
    losses = np.cumsum(generator.normal(-0.05, 0.2, 200)) + 20
    rule = Greedy(factor=0.8, patience=2, threshold=1e-3, lowest=1e-5, highest=0.1)
    own = rate = 0.01
    best, good, bad = float("inf"), 0, 0
    for loss in losses:
        own = rule.after(own, loss)
        improved = loss < best - 1e-3
        best = loss if improved else best
        good, bad = (good + 1, 0) if improved else (0, bad + 1)
        if good > 2:
            rate, good = min(rate / 0.8, 0.1), 0
        elif bad > 2:
            rate, bad = max(rate * 0.8, 1e-5), 0
        assert own == rate


def test_a_population_copies_its_best_and_explores() -> None:
    outcome = run("pbt:4", Problem(blobs(), bank(), 0, 120, 12))
    assert len(outcome.trained) == 4
    rates = [
        [record["settings"]["learning_rate"] for record in one.records] for one in outcome.trained
    ]
    assert any(len(set(of)) > 1 for of in rates)
    keys = {tuple(np.asarray(one.episode.run.books.key)) for one in outcome.trained}
    assert len(keys) == 4  # copies go on with batches of their own
    spent = {float(one.episode.run.books.spent) for one in outcome.trained}
    assert max(spent) - min(spent) < 1e-3 * 120


def test_records_of_a_population_tell_who_copied_whom(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, list[population.Copy]]] = []

    class Watched(population.Truncation):
        def copies(self, made: int, scores: Sequence[float]) -> list[population.Copy]:
            asked.append((made, super().copies(made, scores)))
            return asked[-1][1]

    monkeypatch.setattr(population, "Truncation", Watched)
    outcome = run("pbt:4", Problem(blobs(), bank(), 3, 60, 12))
    expected = {
        (made + 1, copy.worst): (copy.source, copy.chosen)
        for made, made_now in asked
        for copy in made_now
    }
    assert len(expected) >= 5
    assert outcome.told
    found = {}
    for number, one in enumerate(outcome.trained):
        assert [record["trial"] for record in one.records] == [number] * len(one.records)
        for record in one.records:
            if "copied" in record:
                found[record["decision"], number] = (record["copied"], record["settings"])
    assert {place: source for place, (source, _) in found.items()} == {
        place: source for place, (source, _) in expected.items()
    }
    for place, (_, settings) in found.items():
        chosen = dict(expected[place][1])
        chosen["momentum"] = 1.0 - chosen.pop("damping")
        assert {name: settings[name] for name in chosen} == pytest.approx(chosen, rel=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ray_population.SCHEDULERS)
def test_a_scheduler_of_ray_copies_the_best_and_can_be_repeated(name: str) -> None:
    pytest.importorskip("ray")
    drawn = [population.draw(np.random.default_rng([0, number])) for number in range(8)]
    seen = []
    for _ in range(2):
        random.seed(1)
        np.random.seed(1)
        process = random.getstate(), repr(np.random.get_state())
        explorer = ray_population.RayExplorer(name, 3, drawn, every=2)
        rounds = [explorer.copies(made, [float(n) for n in range(8)]) for made in range(1, 7)]
        assert process == (random.getstate(), repr(np.random.get_state()))
        assert [len(copies) for copies in rounds] == [0, 2, 0, 2, 0, 2]
        copies = [copy for of in rounds for copy in of]
        assert {copy.worst for copy in copies} == {6, 7}
        assert {copy.source for copy in copies} <= {0, 1}
        for copy in copies:
            settings = population.settings_of(copy.chosen)
            settings.check()
            bounds = population.space()["learning_rate"]
            assert name != "pb2" or bounds["low"] * 0.99 <= settings.learning_rate
            assert name != "pb2" or settings.learning_rate <= bounds["high"] * 1.01
        seen.append(copies)
    assert seen[0] == seen[1]


def test_without_ray_its_schedulers_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_population, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pb2 needs Ray Tune: pip install 'rlagent\[ray\]'"):
        catalog.make("pb2")


def test_the_transferred_list_is_greedy() -> None:
    scores = [[0.0, 9.0, 9.0], [5.0, 5.0, 5.0], [9.0, 0.0, 0.0], [4.0, 4.0, 9.0]]
    # Alone the third has the least mean; the first then lowers that of the best so far the most.
    assert greedy_order(scores, 2) == [2, 0]
    assert greedy_order(scores, 9) == [2, 0, 1, 3]
    for chosen in configurations():
        search.Configuration.of(chosen).settings.check()


# --- names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("magic", r"unknown method 'magic'; there are: reference, constant, .*controller-drawn"),
        ("", r"unknown method ''; there are: .*"),
        ("tpe:x", r"the number after the colon is the budget in single runs, above 0; got 'tpe:x'"),
        ("cosine:0", r"the number after the colon is .* got 'cosine:0'"),
        ("tpe@3", r"tpe takes no value after @, got 'tpe@3'"),
        ("tpe:1.5", r"tpe takes a whole number of runs, got 'tpe:1.5'"),
        ("cosine@2", r"cosine needs a learning rate from 1e-08 to 1 after @, got 'cosine@2'"),
        ("cosine@x", r"cosine needs a learning rate from 1e-08 to 1 after @, got 'cosine@x'"),
        ("reference@0.1", r"reference takes no learning rate .*"),
        ("transferred:999", r"the transferred list has \d+ configurations, got transferred:999"),
        ("controller@none.safetensors", r".*none.safetensors.*"),
    ],
)
def test_a_wrong_name_is_refused_in_one_sentence(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^{message}$"):
        catalog.make(text)


def test_names_carry_rates_and_budgets() -> None:
    assert catalog.make("cosine@0.01").describe()["learning_rate"] == 0.01
    problem = Problem(blobs(), bank(), 0, 100, 5)
    assert catalog.budgeted("cosine@0.01:4", problem).updates == 400
    assert catalog.budgeted("tpe:4", problem) is problem
    start = catalog.make("controller").describe()
    drawn = catalog.make("controller-drawn").describe()
    assert start["controller"] == drawn["controller"]
    assert (start["learning_rate"], drawn["learning_rate"]) == (1e-3, None)


def test_the_frozen_space_lies_within_the_bounds_of_the_environment() -> None:
    space = frozen()["space"]
    for name in ("learning_rate", "weight_decay", "dropout", "label_smoothing"):
        assert getattr(LOW, name) <= space[name]["low"] < space[name]["high"] <= getattr(HIGH, name)
    assert LOW.momentum <= 1 - space["damping"]["high"]
    assert 1 - space["damping"]["low"] <= HIGH.momentum
    family = FAMILIES["mlp"]
    assert tuple(space["width"]) == family.widths
    assert tuple(space["depth"]) == family.depths
    assert family.default == Rung(2, 64)  # which the text in the file says


# --- runs and their judgement


def test_a_problem_has_no_test_data() -> None:
    assert blobs().test is not None
    assert Problem(blobs(), bank(), 0, 10, 1).task.test is None


def test_learning_rates_for_adamw_become_those_of_another_optimizer() -> None:
    problem = Problem(blobs(), bank(), 0, 10, 1)
    assert (problem.advised_rate, problem.in_proportion(0.004)) == (None, 0.004)
    images = replace(problem, task=replace(blobs(), family="cnn"))
    assert (images.advised_rate, images.in_proportion(0.004)) == (0.02, 0.008)
    assert images.in_proportion(0.9) == HIGH.learning_rate


@pytest.mark.parametrize(
    ("name", "adamw", "muon"),
    [
        ("cosine", 0.01, 0.02),
        ("constant", 0.003, 0.02),
        ("plateau", 0.003, 0.02),
        ("controller", 0.001, 0.02),
        ("cosine@0.05", 0.05, 0.05),  # one that was asked for is for any optimizer
        ("momo", 0.003, 0.003),  # an optimizer of its own
    ],
)
def test_under_muon_all_methods_begin_with_one_rate(
    monkeypatch: pytest.MonkeyPatch, name: str, adamw: float, muon: float
) -> None:
    problem = Problem(blobs(), bank(), 0, 10, 1)
    begun = []
    for optimizer in ("adamw", "muon"):
        family = replace(FAMILIES["mlp"], optimizer=optimizer)
        monkeypatch.setitem(FAMILIES, "mlp", family)
        (move,) = next(catalog.make(name).steps(problem))
        begun.append(round(move.episode.settings.learning_rate, 6))
        if "@" not in name and name != "momo":
            assert start_rate(name, optimizer) == begun[-1]
    assert begun == [adamw, muon]


def test_runs_are_the_same_alone_and_together_and_learn_something() -> None:
    starts = [replace(reference_start(seed, 120, 6), rung=Rung(1, 32)) for seed in range(3)]
    together = play(blobs(), bank(), starts)
    alone = play(blobs(), bank(), starts[1:2])
    assert alone[0].reports == together[1].reports
    judged = judge_on_test(blobs(), [one.episode for one in together])
    assert max(score for score, _ in judged) < -0.3  # well below 0.05, of the best constant
    assert min(accuracy for _, accuracy in judged) > 0.6
    assert starts[0].settings.learning_rate == REFERENCE_LEARNING_RATE


def test_methods_are_the_same_alone_and_side_by_side() -> None:
    names = ["cosine", "random:2", "greedy"]
    problems = [Problem(blobs(), bank(), seed, 60, 4) for seed in range(3)]
    together = run_together([(catalog.make(n), p) for n, p in zip(names, problems, strict=True)])
    for name, problem, outcome in zip(names, problems, together, strict=True):
        assert run(name, problem).curve == outcome.curve


def test_a_test_score_is_that_of_the_selected_weights() -> None:
    (one,) = play(blobs(), bank(), [replace(reference_start(0, 60, 3), rung=Rung(1, 32))])
    task = as_test(blobs())
    hidden, last = jax.tree.map(np.asarray, one.episode.snapshot.params)
    outputs = np.maximum(task.valid.x @ hidden.kernel + hidden.bias, 0) @ last.kernel + last.bias
    log_p = outputs - np.log(np.exp(outputs).sum(axis=1, keepdims=True))
    loss = -log_p[np.arange(len(log_p)), task.valid.y].mean()
    expected = np.log(loss / baseline_loss(task) + 0.05)
    assert score_on_test(blobs(), one.episode) == pytest.approx(expected, rel=1e-4)


def test_a_test_score_of_a_regression_comes_with_r2(quadratic: tuple[Problem, float]) -> None:
    problem, _ = quadratic
    trained = best_of(run("cosine", problem))
    task = replace(problem.task, test=problem.task.valid)
    params = jax.tree.map(np.asarray, trained.episode.snapshot.params)
    outputs = (task.valid.x @ params.kernel + params.bias)[:, 0]
    rest = np.mean((outputs - task.valid.y) ** 2)
    (judged,) = judge_on_test(task, [trained.episode])
    assert judged[1] == pytest.approx(1 - rest / np.var(task.valid.y), rel=1e-4)


def test_a_task_without_test_data_is_not_judged() -> None:
    with pytest.raises(ValueError, match=r"^data has no test part$"):
        as_test(replace(blobs(), test=None))
