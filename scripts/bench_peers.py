"""Measures speed and memory against DACBench, Optuna with a plain Flax loop, and Ray Tune.

    python scripts/bench_peers.py install
    python scripts/bench_peers.py run [dacbench] [optuna] [ray] [--markdown FILE] [--json FILE]

`install` makes a virtual environment for the peers (some gigabytes). Each side runs in a process of
its own there, all with the same Python and JAX; the sides take turns in an order that is drawn anew
for each round, and idle otherwise. A ratio is the median over rounds of the ratio within a round.
This file needs the standard library only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv-peers"
TORCH = "torch==2.13.0"
PARTS = ("dacbench", "optuna", "ray")
ROUNDS = {"dacbench": 15, "optuna": 5, "ray": 3}

# Ours and theirs: width, depth and batch of the search, and of DACBench's small data.
NETWORK = {"width": 64, "depth": 2}
BATCH = 64
PLACES = 16  # environments that are stepped together, where there are several

Answer = dict[str, Any]  # what a worker says of a round; see scripts/peers/side.py


@dataclass(frozen=True)
class Opponent:
    """One form of a peer."""

    name: str
    side: str  # a key of SIDES in scripts/peers/worker.py
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Comparison:
    """Our side against forms of a peer, which take turns."""

    part: str
    what: str
    ours: Opponent
    theirs: Sequence[Opponent]
    unit: str  # decisions or updates
    notes: Sequence[str]  # what is equal, and what is not
    at_least: float | None = None
    processes: int = (
        1  # of the peer: its rate counts as many times, as if they cost each other nothing
    )


@dataclass(frozen=True)
class Figure:
    """One ratio, beside what was asked for."""

    what: str
    unit: str  # of the rates, per second
    ours: float
    theirs: float
    ratio: float
    rounds: Sequence[float]  # the ratio within each
    at_least: float | None = None
    by_cpu: float | None = None  # the ratio by the CPU time of each side's process
    memory: tuple[float, float] | None = None  # peak of ours and of theirs, in bytes
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """Met, missed, or what stands where nothing was asked for."""
        if self.at_least is None:
            return "for information"
        return "met" if self.ratio >= self.at_least else "missed"


class Worker:
    """A side in a process of its own, warmed up by one round that does not count."""

    def __init__(self, opponent: Opponent, python: Path) -> None:
        self.name = opponent.name
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed in `close`)
        begun = time.perf_counter()
        self.process = subprocess.Popen(
            [str(python), "-m", "scripts.peers.worker", opponent.side],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        try:
            told = self._ask(dict(opponent.options))
            self.facts, self.versions = told["facts"], told["versions"]
            self.first = self.round()
        except BaseException:
            self.close()
            raise
        self.start = time.perf_counter() - begun  # seconds until the first round was done

    def round(self) -> Answer:
        """One timed repetition."""
        return self._ask("round")

    def memory(self) -> float:
        """Ends the side; the largest memory that it had, in bytes."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        told = self._answer()
        return float(told["bytes of all processes"] or told["bytes"])

    def close(self) -> None:
        """Ends the process if it still runs."""
        self.process.terminate()
        self.process.wait()
        self.errors.close()

    def _ask(self, request: Any) -> Answer:
        assert self.process.stdin is not None
        # If it has ended no answer will come either, and its last words are told there.
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(request), file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> Answer:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            words = self.errors.read().decode(errors="replace")[-2000:]
            raise RuntimeError(f"{self.name} ended without an answer; its last words:\n{words}")
        answer: Answer = json.loads(line)
        return answer


def decisions(data: Mapping[str, Path], seconds: float, cores: int) -> Iterator[Comparison]:
    """Decisions per second against DACBench, in its two modes, on little data and as much as MNIST.

    Args:
        data: the .npz file of each size.
        seconds: how long a side decides in a round.
        cores: how many threads torch may use; it is timed with one, too.
    """
    for size, mode, batch, updates in (
        ("small", "an epoch", BATCH, 20),
        ("small", "an update", BATCH, 1),
        ("full", "an epoch", 2 * BATCH, 375),
        ("full", "an update", 2 * BATCH, 1),
    ):
        shared = {"data": str(data[size]), "seconds": seconds, **NETWORK}
        theirs = shared | {"batch": batch, "epochs": mode == "an epoch"}
        rows = {"small": "1,280 rows", "full": "48,000 rows"}[size]
        one = Comparison(
            part="dacbench",
            what=f"DACBench SGD, {mode} a decision, {rows}",
            ours=Opponent("rlagent", "our decisions", shared | {"updates": updates, "places": 1}),
            theirs=[
                Opponent(f"{threads} torch threads", "dacbench", theirs | {"threads": threads})
                for threads in dict.fromkeys((1, cores))
            ],
            unit="decisions",
            notes=_DECISION_NOTES,
            at_least=10.0,
        )
        yield one
        many = dict(one.ours.options) | {"places": PLACES}
        yield replace(
            one,
            what=f"{one.what}, {PLACES} environments against {cores} processes",
            ours=replace(one.ours, options=many),
            theirs=[one.theirs[0]],
            processes=cores,
        )


_DECISION_NOTES = (
    "DACBench, equal: the network (784 inputs, 2 hidden layers of 64 with ReLU, 10 outputs),"
    " batch, AdamW, rows, the learning rate moved at each decision, and for `an epoch` (DACBench's"
    " default) the number of updates in a decision.",
    "DACBench, not equal: for `an update` a decision of rlagent makes as few updates as it can"
    " (evaluation is at most 14 % of a slice), more than DACBench's one: more work for rlagent."
    " DACBench evaluates a tenth of the validation rows, rlagent a share fixed by cost (how many is"
    " in the JSON). rlagent adds dropout (at rate 0), telemetry, a snapshot, and recovery from"
    " divergence. DACBench draws batches without replacement through a DataLoader, rlagent with"
    " replacement on the device.",
    f"{PLACES} environments: one `gymnasium.make_vec`, as a controller is trained. DACBench can"
    " only be run side by side in processes; the rate of one process with one thread is multiplied"
    " by the number of cores, as if they cost each other nothing. Memory is that of one.",
    "DACBench, in its favour: torchvision is replaced by tensors in memory (no decoding, no"
    " transforms); its resets and the evaluation on test data at the end of an episode are not"
    " timed; it is used bare, rlagent as `gymnasium.make` gives it, with Gymnasium's checks.",
)


def searches(part: str, task: str, trials: int, updates: int, cores: int) -> Comparison:
    """Updates per second of a random search, against a plain Flax loop under Optuna or Ray."""
    shared = {
        "task": task,
        "trials": trials,
        "updates": updates,
        "evaluations": min(20, updates),
        "batch": BATCH,
        "cores": cores,
        **NETWORK,
    }
    forms = {
        "the loop that people write": {"reads": True, "once": False},
        "silent": {"reads": False, "once": False},
        "compiled once": {"reads": True, "once": True},
        "compiled once, silent": {"reads": False, "once": True},
    }
    if part == "ray":  # a process for each trial compiles anew in any form
        forms = dict(list(forms.items())[:1])
    peer = {"optuna": "Optuna", "ray": "Ray Tune"}[part]
    return Comparison(
        part=part,
        what=f"{peer}, {trials} configurations of {updates} updates on {Path(task).stem}",
        ours=Opponent("rlagent", "our search", shared),
        theirs=[Opponent(name, part, shared | form) for name, form in forms.items()],
        unit="updates",
        notes=_SEARCH_NOTES,
        at_least=5.0 if part == "optuna" else None,
    )


_SEARCH_NOTES = (
    "Search, equal: the task's rows, batch, network (2 hidden layers of 64 with ReLU), AdamW,"
    " updates (to about 1 %), number of evaluations on validation rows; learning rate and weight"
    " decay are drawn log-uniformly from the same ranges.",
    "The loop that people write: a `TrainState` that holds the trial's `optax.adamw`, one jitted"
    " `train_step`, a Python loop over shuffled NumPy batches, `float(loss)` after each update."
    " The optimizer is part of what the step is compiled for, so that each trial compiles it anew."
    " `compiled once` is the same loop with `optax.inject_hyperparams`, whose settings are traced:"
    " all trials of a process share one program. `silent` never reads the loss of an update.",
    "Search, not equal: rlagent also draws dropout (at rate 0), takes telemetry and keeps the best"
    " weights; it evaluates a subset fixed by cost, the plain loop all validation rows (in both"
    " cases all of them on digits).",
    "`From process start` is one search with the imports, the loading of data and all compilation.",
    "Ray Tune starts a process of one CPU for each trial, as many at a time as there are cores,"
    " without its dashboard. The row without a remark is `Tuner.fit`, the start of these processes"
    " included; `with ray.init` adds Ray's own start; `loops alone` counts only what comes after"
    " the first update of each trial, as if imports and compilation cost nothing.",
    "Memory is the peak of the resident memory of a side's process; for Ray Tune the peak of the"
    " proportional set size of all its processes together, looked at every half second.",
)


_CPU_NOTE = (
    "By CPU time: the ratio of what a second of CPU time of each side's process brings. Other work"
    " on the machine does not lengthen it; threads that wait in a loop do."
)


def measure(comparison: Comparison, rounds: int, python: Path) -> list[Figure]:
    """Runs all sides in turns."""
    workers: list[Worker] = []
    try:
        for opponent in (comparison.ours, *comparison.theirs):
            _say(f"{comparison.what}: starting {opponent.name}")
            workers.append(Worker(opponent, python))
        answers: list[list[Answer]] = [[] for _ in workers]
        order, generator = list(range(len(workers))), random.Random(0)
        for number in range(rounds):
            generator.shuffle(order)
            for place in order:
                answers[place].append(workers[place].round())
            _say(f"{comparison.what}: round {number + 1} of {rounds}")
        memory = [worker.memory() for worker in workers]
    finally:
        for worker in workers:
            worker.close()
    figures: list[Figure] = []
    for place in range(1, len(workers)):
        told = (workers[0], answers[0]), (workers[place], answers[place])
        facts = {side: _facts(*one) for side, one in zip(("ours", "theirs"), told, strict=True)}
        pair = memory[0], memory[place]
        found = [*compare(comparison, workers[place].name, answers[0], answers[place])]
        if comparison.part == "optuna":
            found.append(_from_start(comparison, workers[0], workers[place]))
        figures += [replace(one, memory=pair, facts=facts) for one in found]
    return figures


def compare(
    comparison: Comparison, name: str, ours: Sequence[Answer], theirs: Sequence[Answer]
) -> Iterator[Figure]:
    """The ratios of one pair of sides, without memory and facts.

    Args:
        comparison: says what counts.
        name: of the peer's form.
        ours: the answers of our side, one for each round.
        theirs: those of the peer.
    """
    what = f"{comparison.what}: {name}"
    unit = comparison.unit
    own = rates(ours, unit, "seconds")
    other = [rate * comparison.processes for rate in rates(theirs, unit, "seconds")]
    figure = _figure(what, comparison.unit, own, other, comparison.at_least)
    yield replace(figure, by_cpu=None if comparison.part == "ray" else by_cpu(ours, theirs, unit))
    if comparison.unit == "decisions" and comparison.what.count("an update"):
        own, other = (rates(each, "updates", "seconds") for each in (ours, theirs))
        other = [rate * comparison.processes for rate in other]
        yield _figure(f"{what}, by updates", "updates", own, other)
    if comparison.part == "ray":
        whole = rates(theirs, comparison.unit, "seconds", "seconds of ray.init")
        yield _figure(f"{what}, with ray.init", comparison.unit, own, whole)
        alone = rates(theirs, comparison.unit, "seconds of the loops")
        yield _figure(f"{what}, loops alone", comparison.unit, own, alone)


def rates(answers: Sequence[Answer], unit: str, *seconds: str) -> list[float]:
    """Units per second in each round; the times of the names in `seconds` are added up."""
    return [
        each[unit] / sum((each | each["details"])[name] for name in seconds) for each in answers
    ]


def by_cpu(ours: Sequence[Answer], theirs: Sequence[Answer], unit: str) -> float:
    """The median ratio of units per second of CPU time, which other programs do not lengthen."""
    own, other = (rates(each, unit, "cpu seconds") for each in (ours, theirs))
    return statistics.median(one / their for one, their in zip(own, other, strict=True))


def table(figures: Sequence[Figure], notes: Sequence[str], machine: Mapping[str, Any]) -> str:
    """The figures in Markdown."""
    told = ", ".join(f"{name} {value}" for name, value in machine.items())
    lines = [
        f"Measured on: {told}.",
        "",
        "| against | per second | rlagent | peer | ratio | by CPU time | asked | | n "
        "| memory: rlagent | peer |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: |",
    ]
    for one in figures:
        asked = "" if one.at_least is None else f"at least {one.at_least:g}"
        memory = (
            [""] * 2 if one.memory is None else [f"{each / 2**20:.0f} MB" for each in one.memory]
        )
        cells = [
            one.what,
            one.unit,
            _short(one.ours),
            _short(one.theirs),
            f"{one.ratio:.3g}",
            "" if one.by_cpu is None else f"{one.by_cpu:.3g}",
            asked,
            one.verdict,
            str(len(one.rounds)),
            *memory,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(f"- {note}" for note in dict.fromkeys(notes))]) + "\n"


def machine(versions: Mapping[str, str]) -> dict[str, Any]:
    """What was measured on, and with what."""
    return {"device": f"CPU ({_processor()})", "cores": _cores(), **versions}


def install(folder: Path) -> None:
    """Makes the virtual environment of the peers."""
    venv.create(folder, with_pip=True)
    (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    pip = [str(_python(folder)), "-m", "pip", "install", "--quiet"]
    pinned = ["-c", str(ROOT / "constraints.txt")]
    # Alone and first: what else asks for torch is then content with a CPU build that is at hand.
    for arguments in (
        [TORCH],
        [*pinned, "-r", str(ROOT / "scripts" / "peers-requirements.txt")],
        [*pinned, "-e", str(ROOT)],
    ):
        _say(f"pip install {' '.join(arguments)}")
        subprocess.run([*pip, *arguments], check=True)


def run(arguments: argparse.Namespace) -> int:
    """Measures the parts asked for; 1 if a figure that was asked for is missed."""
    python = _python(arguments.venv)
    if not python.is_file():
        raise ValueError(f"there is no {python}: run `python {Path(__file__).name} install` first")
    figures: list[Figure] = []
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for comparison in _comparisons(arguments, _made_data(Path(folder), python)):
            rounds = arguments.rounds or ROUNDS[comparison.part]
            figures += measure(comparison, rounds, python)
            notes += comparison.notes
    versions: dict[str, str] = {}
    for one in figures:
        for side in one.facts.values():
            versions |= side["versions"]
    described = machine(versions)
    text = table(figures, [_CPU_NOTE, *notes], described)
    print(text)
    if arguments.markdown:
        arguments.markdown.write_text(text, encoding="utf-8")
    if arguments.json:
        told = [asdict(one) | {"verdict": one.verdict} for one in figures]
        whole = {"machine": described, "figures": told}
        arguments.json.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    return int(any(one.verdict == "missed" for one in figures))


def main() -> None:
    """Installs the peers, or measures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--venv", type=Path, default=VENV, help="of the peers (%(default)s)")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("install", help="make the virtual environment of the peers")
    measuring = commands.add_parser("run", help="measure")
    measuring.add_argument("parts", nargs="*", metavar="PART", help=f"of: {', '.join(PARTS)}")
    measuring.add_argument("--rounds", type=int, help=f"repetitions of each side ({ROUNDS})")
    measuring.add_argument("--seconds", type=float, default=1.0, help="of a round of decisions")
    measuring.add_argument("--task", default="digits", help="of the searches (%(default)s)")
    measuring.add_argument("--trials", type=int, default=32, help="configurations (%(default)s)")
    measuring.add_argument("--updates", type=int, default=1000, help="of each (%(default)s)")
    measuring.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there")
    measuring.add_argument("--json", type=Path, metavar="FILE", help="write all rounds there")
    arguments = parser.parse_args()
    if arguments.command == "install":
        install(arguments.venv)
        return
    if unknown := [part for part in arguments.parts if part not in PARTS]:
        parser.error(f"unknown part {unknown[0]!r}; there are: {', '.join(PARTS)}")
    sys.exit(run(arguments))


def _comparisons(arguments: argparse.Namespace, data: Mapping[str, Path]) -> Iterator[Comparison]:
    for part in arguments.parts or PARTS:
        if part == "dacbench":
            yield from decisions(data, arguments.seconds, _cores())
        else:
            yield searches(part, arguments.task, arguments.trials, arguments.updates, _cores())


def _made_data(folder: Path, python: Path) -> dict[str, Path]:
    """The data of the decisions, written by the peers' Python, which has NumPy."""
    program = (
        "import sys; from pathlib import Path; from scripts.peers import made_data\n"
        "for name, rows in made_data.SIZES.items():\n"
        "    made_data.write(Path(sys.argv[1]) / f'{name}.npz', rows)"
    )
    subprocess.run([str(python), "-c", program, str(folder)], cwd=ROOT, check=True)
    return {name: folder / f"{name}.npz" for name in ("small", "full")}


def _figure(
    what: str,
    unit: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    at_least: float | None = None,
) -> Figure:
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    return Figure(
        what,
        unit,
        statistics.median(ours),
        statistics.median(theirs),
        statistics.median(ratios),
        ratios,
        at_least,
    )


def _from_start(comparison: Comparison, ours: Worker, theirs: Worker) -> Figure:
    """One search each, from the start of the process: imports and all compilation included."""
    what = f"{comparison.what}: {theirs.name}, from process start"
    own, other = ([worker.first["updates"] / worker.start] for worker in (ours, theirs))
    return _figure(what, comparison.unit, own, other)


def _facts(worker: Worker, answers: Sequence[Answer]) -> dict[str, Any]:
    return {
        **worker.facts,
        "seconds to the end of the first round": worker.start,
        "versions": worker.versions,
        "rounds": list(answers),
    }


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
