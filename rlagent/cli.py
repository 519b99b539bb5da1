"""The command line: a thin caller of the Python interface, loading modules when they are needed."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import rlagent


class Parser(argparse.ArgumentParser):
    """Says in one sentence what is wrong with the arguments."""

    def error(self, message: str) -> NoReturn:
        """Raises ValueError, which `main` turns into the sentence and status 2."""
        raise ValueError(f"{message}; see {self.prog} --help")


def main(argv: list[str] | None = None) -> int:
    """Runs one command.

    Returns:
        The exit status: 0; 2 for input that makes no sense; 130 after Ctrl-C.
    """
    arguments = sys.argv[1:] if argv is None else argv
    try:
        if arguments == ["--version"]:  # before anything is loaded or built
            print(f"rlagent {rlagent.__version__}")
        else:
            args = parser().parse_args(arguments)
            args.run(args)
        sys.stdout.flush()
        return 0
    except BrokenPipeError:  # the reader, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, OSError) as error:
        print(f"rlagent: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print(f"rlagent: {str(interrupt) or 'interrupted'}", file=sys.stderr)
        return 130


def parser() -> Parser:
    """The commands and their options; what is not given is None, or not there."""
    top = Parser(prog="rlagent", description=rlagent.__doc__)
    top.add_argument("--version", action="version", version=f"rlagent {rlagent.__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    _add_tune(commands.add_parser("tune", help="train a network on data, in one run"))
    _add_predict(commands.add_parser("predict", help="apply a tuned network to a file"))
    tasks_parser = commands.add_parser("tasks", help="list the data sets that come along")
    tasks_parser.add_argument("--json", action="store_true", help="as JSON")
    tasks_parser.set_defaults(run=tasks)
    _add_train(commands.add_parser("train", help="train a controller; needs rlagent[train]"))
    return top


def _add_tune(add: argparse.ArgumentParser) -> None:
    add.description = "Trains a network on data in one run, and keeps what is best on validation."
    add.add_argument("x", nargs="?", metavar="TASK|FILE", help="see rlagent tasks; .csv or .npz")
    add.add_argument("--method", help="controller (default), cosine or constant")
    add.add_argument("--controller", metavar="NAME|FILE", help="the learned controller to use")
    add.add_argument("--learning-rate", type=float, metavar="RATE", help="at the start")
    add.add_argument("--weight-decay", type=float, metavar="RATE", help="at the start")
    add.add_argument("--rung", metavar="WxD", help="width x depth at the start (64x2)")
    add.add_argument("--updates", type=int, metavar="N", help="budget, in updates of that rung")
    add.add_argument("--minutes", type=float, metavar="M", help="budget in time, in its place")
    add.add_argument("--decisions", type=int, metavar="K", help="how often settings may change")
    add.add_argument("--batch-size", type=int, metavar="N", help="examples per update")
    add.add_argument("--valid", metavar="FILE", help="validate on this file")
    add.add_argument("--target", metavar="COLUMN", help="what to predict, of a .csv file")
    add.add_argument("--split-column", metavar="COLUMN", help="says train, valid or test")
    add.add_argument("--kind", help="classification or regression; found out if not given")
    add.add_argument("--score", metavar="NAME", help="accuracy, r2 or another; judges the end")
    add.add_argument("--seed", type=int, metavar="N", help="divides, draws weights and batches")
    add.add_argument("--out", metavar="DIR", help="new folder (runs/NAME-METHOD-N)")
    add.add_argument("--device", help="cpu, gpu or tpu; the best there is if not given")
    add.add_argument("--resume", metavar="DIR", help="go on with an interrupted run")
    add.add_argument("--json", action="store_true", help="print the summary as JSON, only that")
    add.add_argument("--quiet", action="store_true", help="no live view")
    add.set_defaults(run=tune)


def _add_predict(add: argparse.ArgumentParser) -> None:
    add.description = "Predicts for each row of a file, with the preprocessing of training."
    add.add_argument("folder", metavar="RUN", help="the folder of a run")
    add.add_argument("file", metavar="FILE", help=".csv or .npz, as the training data")
    add.add_argument("--out", metavar="FILE.csv", help="where to; standard output if not given")
    add.add_argument("--device", help="cpu, gpu or tpu; the best there is if not given")
    add.set_defaults(run=predict)


def _add_train(add: argparse.ArgumentParser) -> None:
    add.description = "Trains a controller by PPO, or goes on with one."
    add.add_argument("--config", type=Path, metavar="FILE.toml", help="the shipped one's if none")
    add.add_argument("--out", type=Path, required=True, metavar="DIR", help="its folder")
    add.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    add.add_argument("--decisions", type=int, metavar="N", help="how many, in all")
    add.add_argument("--seed", type=int, metavar="N")
    add.add_argument("--workers", type=int, default=1, metavar="N", help="processes (1)")
    add.add_argument("--device", help="cpu, gpu or tpu; the best there is if not given")
    add.set_defaults(run=train)


def tune(args: argparse.Namespace) -> None:
    """Tunes a network; prints the summary or a report."""
    shown = {"run", "json", "quiet"}
    options = {k: v for k, v in vars(args).items() if k not in shown and v is not None}
    if not {"x", "resume"} & options.keys():
        raise ValueError("name a task or a file, or --resume the folder of a run")
    from rlagent.apply.devices import use_compile_cache
    from rlagent.apply.report import report, says_finished
    from rlagent.apply.tuning import tune as run

    quiet = args.json or args.quiet
    if not quiet and "resume" in options and (sentence := says_finished(Path(args.resume))):
        print(sentence, file=sys.stderr)
    use_compile_cache()
    if quiet:
        result = run(**options)
    else:
        from rlagent.apply.live import LiveView

        result = run(**options, view=LiveView())
    print(json.dumps(result.summary, indent=2) if args.json else report(result))


def predict(args: argparse.Namespace) -> None:
    """Writes predictions as a .csv file."""
    from rlagent.apply.devices import use_compile_cache, use_device
    from rlagent.apply.report import predictions

    use_device(args.device)
    use_compile_cache()
    table = predictions(Path(args.folder), Path(args.file))
    if args.out is None:
        sys.stdout.write(table)
    else:
        from rlagent.storage import write_atomically

        write_atomically(args.out, table.encode())


def tasks(args: argparse.Namespace) -> None:
    """Lists the bundled tasks."""
    from rlagent_envs.tasks import describe_tasks

    described = describe_tasks()
    if args.json:
        print(json.dumps(described, indent=2))
        return
    from rlagent.apply.report import table

    print(table(described))


def train(args: argparse.Namespace) -> None:
    """Trains a controller."""
    from rlagent.apply.devices import use_compile_cache, use_device

    use_device(args.device)
    use_compile_cache()
    try:
        from rlagent.ppo.training import train as run
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("torch", "stable_baselines3", "sb3_contrib"):
            raise
        raise ValueError(
            f"training a controller needs {error.name}: pip install 'rlagent[train]'"
        ) from error
    done: dict[str, Any] = run(
        args.config,
        args.out,
        resume=args.resume,
        decisions=args.decisions,
        seed=args.seed,
        workers=args.workers,
    )
    print(json.dumps(done, indent=2))


if __name__ == "__main__":
    sys.exit(main())
