"""What a run shows of itself while it is on its way: on stderr, seldom enough to cost nothing."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rlagent.apply.ensembles.kinds import notes_on
from rlagent.apply.wording import (
    actions_in_words,
    number,
    settings_in_words,
    several_in_words,
    task_in_words,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

    from rlagent.apply.jobs import Job

REFRESHES_PER_SECOND = 4.0
PLAIN_SECONDS = 10.0  # between two lines where nothing can be drawn again


class LiveView:
    """A few lines that are drawn again and again; single lines where that cannot be done.

    So it is where stderr is no terminal, or one without a cursor to move (TERM=dumb).
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(file=sys.stderr)
        self._live: Live | None = None
        self._job: Job | None = None
        self._record: dict[str, Any] | None = None
        self._best: float | None = None
        self._shares: list[tuple[float, float]] = []  # (time, share of the budget), for the ETA
        self._started = time.monotonic()
        self._printed = -PLAIN_SECONDS

    def begin(self, job: Job) -> None:
        """Opens the view."""
        self._job = job
        for record in [] if job.checkpoint is None else job.checkpoint.history:
            self._note(record)
        about = [f"{job.task.name}: {task_in_words(job.task)}", *job.task.notes]
        about += notes_on(job.plan.several, job.task)
        if self._console.is_interactive:
            for line in about:
                self._print(line)
            self._live = Live(
                get_renderable=self._render,
                console=self._console,
                refresh_per_second=REFRESHES_PER_SECOND,
                transient=True,
            )
            self._live.start()
        else:
            for line in (f"{self._title()}, in {job.folder}", *about):
                self._print(line)

    def show(self, record: dict[str, Any]) -> None:
        """Takes in a decision; what is on the screen follows at its own pace."""
        self._note(record)
        self._shares.append((time.monotonic(), _share(record)))
        if self._live is None and time.monotonic() - self._printed > PLAIN_SECONDS:
            self._print(f"{_share(record):4.0%}  {self._losses().plain}  {self._pace()}")

    def end(self) -> None:
        """Closes the view; a second time does nothing."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _note(self, record: dict[str, Any]) -> None:
        self._record = record
        # Each network of several knows its own best only.
        if record["improved"] and (self._best is None or record["valid_loss"] < self._best):
            self._best = record["valid_loss"]

    def _print(self, line: str) -> None:
        self._printed = time.monotonic()
        # Not through the console: it would wrap the line.
        print(line, file=self._console.file, flush=True)

    def _title(self) -> str:
        assert self._job is not None
        request, task = self._job.request, self._job.task
        return (
            f"{task.name}, {request.method}{several_in_words(self._job.plan)}, seed {request.seed}"
        )

    def _render(self) -> RenderableType:
        assert self._job is not None
        plan, record = self._job.plan, self._record
        share = 0.0 if record is None else _share(record)
        made = 0 if record is None else record["decision"]
        bar = Table.grid(padding=(0, 2))
        bar.add_row(
            ProgressBar(total=1.0, completed=share, width=32),
            f"{share:4.0%}",
            f"decision {made} of {plan.decisions}",
            self._pace(),
        )
        head = Text(self._title(), style="bold")
        if record is None:
            return Group(head, bar, Text("compiling", style="dim"))
        lines = Table.grid(padding=(0, 2))
        lines.add_column(style="dim")
        lines.add_row("losses", self._losses())
        if "member" in record:
            lines.add_row("member", f"{record['member']} of {plan.members}")
        lines.add_row("network", record["rung"])
        lines.add_row("settings", settings_in_words(record))
        lines.add_row("last action", actions_in_words(record) or "hold")
        return Group(head, bar, lines)

    def _losses(self) -> Text:
        assert self._record is not None
        record = self._record
        parts = [
            f"train {number(record['train_loss'])}",
            f"valid {number(record['valid_loss'])}",
            f"best {number(self._best)}",
        ]
        if record.get("valid_accuracy") is not None:
            parts.append(f"accuracy {record['valid_accuracy']:.3f}")
        return Text("   ".join(parts))

    def _pace(self) -> str:
        """Time taken and, once two decisions are known, time left."""
        taken = f"{_clock(time.monotonic() - self._started)} elapsed"
        if len(self._shares) < 2:
            return taken
        # The first decision waits for the compiler: it says nothing about the others.
        (begun, share), (now, later) = self._shares[0], self._shares[-1]
        left = (now - begun) / max(later - share, 1e-9) * (1.0 - later)
        return f"{taken}, {_clock(left - (time.monotonic() - now))} left"


def _share(record: dict[str, Any]) -> float:
    """The share of the budget that is spent, that of all networks where there are several."""
    share: float = record.get("total_spent", record["spent"])
    return share


def _clock(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
