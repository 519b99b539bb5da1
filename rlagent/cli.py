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
        The exit status: 0; 1 if a part of an experiment has failed; 2 for input that makes no
        sense; 130 after Ctrl-C.
    """
    arguments = sys.argv[1:] if argv is None else argv
    try:
        if arguments == ["--version"]:  # before anything is loaded or built
            print(f"rlagent {rlagent.__version__}")
        else:
            args = parser().parse_args(arguments)
            status: int = args.run(args) or 0
            sys.stdout.flush()
            return status
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
    _add_score(commands.add_parser("score", help="judge a tuned network by a file with targets"))
    tasks_parser = commands.add_parser("tasks", help="list the data sets that come along")
    tasks_parser.add_argument("--json", action="store_true", help="as JSON")
    tasks_parser.set_defaults(run=tasks)
    _add_train(commands.add_parser("train", help="train a controller; needs rlagent[train]"))
    _add_bench(commands.add_parser("bench", help="compare methods over tasks and seeds"))
    _add_runs(commands.add_parser("runs", help="list, show, delete or export stored results"))
    _add_report(commands.add_parser("report", help="a page of a store or of a run"))
    return top


def _add_tune(add: argparse.ArgumentParser) -> None:
    add.usage = "%(prog)s TASK|FILE|FOLDER [OPTION …]"
    add.description = "Trains a network on data in one run, and keeps what is best on validation."
    add.add_argument(
        "x", nargs="?", metavar="TASK|FILE|FOLDER", help="see rlagent tasks and docs/tasks.md"
    )
    _add_data(add.add_argument_group("the data"))
    _add_network(add.add_argument_group("the network, and its settings at the start"))
    tuning = add.add_argument_group("who tunes it")
    tuning.add_argument("--method", help="controller (default), or a schedule: cosine, …")
    tuning.add_argument("--controller", metavar="NAME|FILE", help="by the optimizer if not given")
    tuning.add_argument("--hold", action="append", metavar="KNOB", help="one it leaves as it is")
    tuning.add_argument("--decisions", type=int, metavar="K", help="how often settings may change")
    budget = add.add_argument_group("the budget")
    budget.add_argument("--updates", type=int, metavar="N", help="of the network at the start")
    budget.add_argument("--minutes", type=float, metavar="M", help="in the place of updates")
    budget.add_argument("--patience", type=int, metavar="K", help="end after K useless decisions")
    several = add.add_argument_group("several networks")
    several.add_argument("--ensemble", metavar="KIND", help="snapshot, bagging, boosting or seeds")
    several.add_argument("--members", type=int, metavar="K", help="of the ensemble (5)")
    several.add_argument(
        "--budget-per-member",
        action="store_true",
        default=None,
        help="the whole budget for each, not a share",
    )
    several.add_argument("--folds", type=int, metavar="K", help="cross-validate over K folds")
    _add_run(add.add_argument_group("the run"))
    add.set_defaults(run=tune)


def _add_data(add: argparse._ArgumentGroup) -> None:
    add.add_argument("--target", metavar="COLUMN", help="what to predict, of a table")
    add.add_argument("--valid", metavar="FILE|FOLDER", help="validate on this one")
    add.add_argument("--test", metavar="FILE|FOLDER", help="judge by this one at the end")
    add.add_argument("--split-column", metavar="COLUMN", help="says train, valid or test")
    add.add_argument("--group", metavar="COLUMN", help="whose rows stay together in a part")
    add.add_argument("--split-time", metavar="COLUMN", help="oldest rows train, newest test")
    add.add_argument("--drop", metavar="COLUMN[,COLUMN]", help="of a table: leave them out")
    add.add_argument("--kind", help="regression, detection or another; found out if not given")
    add.add_argument("--form", help="of arrays: image or sequence; by their shape if not given")
    add.add_argument("--image-size", metavar="N|HxW", help="pixels that images are resized to")
    add.add_argument(
        "--mirrored",
        action="store_true",
        default=None,
        help="mirror images have the same target: learn and predict by both",
    )
    add.add_argument(
        "--skip-bad", action="store_true", default=None, help="leave out files that are damaged"
    )
    add.add_argument(
        "--streamed",
        action=argparse.BooleanOptionalAction,
        help="read rows to train on when they are needed (if all would take over 2 GiB)",
    )
    add.add_argument("--time", metavar="COLUMN", help="forecast: orders the rows of a table")
    add.add_argument("--horizon", type=int, metavar="N", help="rows ahead of a forecast (1)")
    add.add_argument("--window", type=int, metavar="N", help="past rows of a forecast (32)")
    add.add_argument("--user", metavar="COLUMN", help="of users, where rows are ratings")
    add.add_argument("--item", metavar="COLUMN", help="of items, the same")
    add.add_argument("--vocabulary", type=int, metavar="N", help="of texts: most tokens (8000)")
    add.add_argument("--batch-size", type=int, metavar="N", help="examples per update")


def _add_network(add: argparse._ArgumentGroup) -> None:
    add.add_argument("--family", metavar="NAME", help="of networks; by the data if not given")
    add.add_argument("--rung", metavar="WxD", help="width x depth (64x2, 16x1)")
    add.add_argument("--optimizer", metavar="NAME", help="adamw, sgd, lion or muon")
    add.add_argument("--learning-rate", type=float, metavar="RATE", help="by the optimizer if none")
    add.add_argument("--weight-decay", type=float, metavar="RATE", help="(1e-4)")
    add.add_argument("--set", action="append", metavar="NAME=VALUE", help="mixup=0.2 and others")
    add.add_argument("--robust-epsilon", type=float, metavar="E", help="judge under attack, too")
    add.add_argument("--report-epsilon", type=float, metavar="E", help="tell attacked scores")
    add.add_argument("--norm", metavar="NAME", help="of attacks: linf (default) or l2")


def _add_run(add: argparse._ArgumentGroup) -> None:
    add.add_argument("--score", metavar="NAME", help="accuracy, r2 or another; judges the end")
    add.add_argument("--seed", type=int, metavar="N", help="divides, draws weights and batches")
    add.add_argument("--out", metavar="DIR", help="new folder (runs/NAME-METHOD-N)")
    add.add_argument("--resume", metavar="DIR", help="go on with an interrupted run")
    add.add_argument("--device", help="cpu, gpu or tpu; the best there is if not given")
    add.add_argument("--log", action="append", metavar="NAME", help="tensorboard, mlflow or wandb")
    add.add_argument("--json", action="store_true", help="print the summary as JSON, only that")
    add.add_argument("--quiet", action="store_true", help="no live view")


def _add_predict(add: argparse.ArgumentParser) -> None:
    add.description = "Predicts for each row of a file, with the preprocessing of training."
    add.add_argument("folder", metavar="RUN", help="the folder of a run")
    add.add_argument("file", metavar="FILE|FOLDER", help="of the form of the training data")
    add.add_argument(
        "--out", metavar="FILE", help=".csv, .parquet or another; standard output if not given"
    )
    add.add_argument("--characters", type=int, metavar="N", help="of text: how many follow (200)")
    add.add_argument("--temperature", type=float, metavar="T", help="of text: 0 is certain (0.8)")
    add.add_argument("--seed", type=int, metavar="N", help="of text: draws the characters (0)")
    add.add_argument("--skip-bad", action="store_true", help="leave out files that are damaged")
    add.add_argument("--device", help="cpu, gpu or tpu; the best there is if not given")
    add.set_defaults(run=predict)


def _add_score(add: argparse.ArgumentParser) -> None:
    add.description = "Tells how good a network is on data of which the targets are known."
    add.add_argument("folder", metavar="RUN", help="the folder of a run")
    add.add_argument("file", metavar="FILE|FOLDER", help="of the form of the training data")
    add.add_argument("--target", metavar="COLUMN", help="of a table: that of the run if not given")
    add.add_argument("--score", metavar="NAME", help="accuracy, r2 or another; that of the run")
    add.add_argument("--skip-bad", action="store_true", help="leave out files that are damaged")
    add.add_argument("--device", help="cpu, gpu or tpu; the best there is if not given")
    add.add_argument("--json", action="store_true", help="print it as JSON, only that")
    add.set_defaults(run=score)


def _add_train(add: argparse.ArgumentParser) -> None:
    add.description = "Trains a controller by PPO, or goes on with one."
    add.add_argument("--config", type=Path, metavar="FILE.toml", help="that of basic if none")
    add.add_argument("--out", type=Path, required=True, metavar="DIR", help="its folder")
    add.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    add.add_argument("--decisions", type=int, metavar="N", help="how many, in all")
    add.add_argument("--seed", type=int, metavar="N")
    add.add_argument("--workers", type=int, default=1, metavar="N", help="processes (1)")
    add.add_argument("--device", help="cpu, gpu or tpu; the best there is if not given")
    add.set_defaults(run=train)


def _add_bench(add: argparse.ArgumentParser) -> None:
    add.description = "Runs methods x tasks x seeds, goes on where it was, and compares them."
    add.add_argument("experiment", nargs="?", type=Path, metavar="FILE.toml", help="the options")
    add.add_argument("--tasks", type=_texts, metavar="A,B", help="names, files, FILE.csv:COLUMN")
    add.add_argument("--suite", dest="suites", type=_texts, metavar="NAME", help="see --list")
    add.add_argument("--suite-dir", metavar="DIR", help="where the files of suites are (data)")
    add.add_argument("--data-dir", metavar="DIR", help="every data file of a folder is a task")
    add.add_argument("--target", metavar="COLUMN", help="of tables that name none")
    add.add_argument("--methods", type=_texts, metavar="A,B:K", help="see --list")
    add.add_argument("--seeds", type=int, metavar="N", help="runs of each method and task (3)")
    add.add_argument("--updates", type=_numbers, metavar="N,M", help="budgets of a run (1000)")
    add.add_argument("--store", metavar="FILE", help="results (runs/bench.sqlite)")
    add.add_argument("--workers", type=int, metavar="N", help="processes (1)")
    add.add_argument("--device", help="cpu, gpu or tpu; the best there is if not given")
    add.add_argument("--list", action="store_true", help="list methods and suites")
    add.add_argument("--json", action="store_true", help="print the scoreboard as JSON, only that")
    add.add_argument("--quiet", action="store_true", help="no progress")
    add.set_defaults(run=bench)


def _add_runs(add: argparse.ArgumentParser) -> None:
    add.description = "What is in a store of results."
    actions = add.add_subparsers(required=True, metavar="ACTION")
    for name, meaning in (
        ("list", "a line for each run"),
        ("show", "all of one run"),
        ("delete", "remove runs for good"),
        ("export", "write runs as .csv, .json or .parquet"),
    ):
        action = actions.add_parser(name, help=meaning, description=meaning)
        action.add_argument("--store", default="runs/bench.sqlite", metavar="FILE")
        action.set_defaults(run=runs, action=name)
        if name == "show":
            action.add_argument("key", help="of the run, or its beginning")
            continue
        for option in ("tasks", "methods"):
            action.add_argument(f"--{option}", type=_texts, metavar="A,B", help="only these")
        for option in ("seeds", "updates"):
            action.add_argument(f"--{option}", type=_numbers, metavar="N,M", help="only these")
        action.add_argument("--status", help="finished or failed")
        if name == "delete":
            action.add_argument("keys", nargs="*", help="of runs, or their beginnings")
            action.add_argument(
                "--superseded", action="store_true", help="only those of cells with a newer run"
            )
            action.add_argument("--yes", action="store_true", help="do not ask")
        if name == "export":
            action.add_argument(
                "--out", required=True, metavar="FILE", help=".csv, .json, .parquet"
            )
            action.add_argument("--what", default="runs", help="runs, trials, curves or decisions")


def _add_report(add: argparse.ArgumentParser) -> None:
    add.description = (
        "Writes one page that needs no network: of a store, or of the folder of a run."
    )
    add.add_argument("source", type=Path, metavar="STORE|RUN", help="a store, or a run's folder")
    add.add_argument("--out", type=Path, default=Path("report.html"), metavar="FILE.html")
    add.add_argument("--figures", type=Path, metavar="DIR", help="each figure as PNG and SVG too")
    add.add_argument("--markdown", type=Path, metavar="FILE.md", help="the tables, as Markdown")
    add.add_argument("--against", metavar="METHOD", help="compare with this one, not the reference")
    add.set_defaults(run=report)


def _texts(text: str) -> tuple[str, ...]:
    """What stands between commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _numbers(text: str) -> tuple[int, ...]:
    """Whole numbers between commas."""
    try:
        return tuple(int(part) for part in _texts(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be whole numbers, got {text!r}") from None


def tune(args: argparse.Namespace) -> None:
    """Tunes a network; prints the summary or a report."""
    shown = {"run", "json", "quiet"}
    options = {k: v for k, v in vars(args).items() if k not in shown and v is not None}
    if "drop" in options:
        options["drop"] = [name.strip() for name in options["drop"].split(",")]
    if "set" in options:
        from rlagent.apply.request import parse_settings

        options["settings"] = parse_settings(options.pop("set"))
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
    """Writes predictions to a file, or as .csv or text to standard output."""
    from rlagent.apply.dense import predict_dense
    from rlagent.apply.devices import use_compile_cache, use_device
    from rlagent.apply.predicting import predictions, written

    folder, file = Path(args.folder), Path(args.file)
    out = None if args.out is None else Path(args.out)
    names = ("characters", "temperature", "seed")
    options = {name: value for name in names if (value := getattr(args, name)) is not None}
    use_device(args.device)
    use_compile_cache()
    made = predict_dense(folder, file, out, skip_bad=args.skip_bad, **options)
    if made is not None:
        sys.stdout.write(made)
        return
    content = written(out)
    table = predictions(folder, file, skip_bad=args.skip_bad)
    for note in table.notes:
        print(note, file=sys.stderr)
    if out is None:
        sys.stdout.write(content(table).decode())
    else:
        from rlagent.storage import write_atomically

        write_atomically(out, content(table))


def score(args: argparse.Namespace) -> None:
    """Prints how good a network is on data with targets."""
    from rlagent.apply.devices import use_compile_cache, use_device
    from rlagent.apply.report import scored
    from rlagent.apply.scoring import score_file

    use_device(args.device)
    use_compile_cache()
    folder, file = Path(args.folder), Path(args.file)
    told = score_file(folder, file, target=args.target, name=args.score, skip_bad=args.skip_bad)
    print(json.dumps(told, indent=2) if args.json else scored(told))


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


def bench(args: argparse.Namespace) -> int:
    """Runs an experiment, and prints its tables."""
    from rlagent.apply.devices import use_compile_cache, use_device
    from rlagent.experiments.bench import bench as run
    from rlagent.experiments.bench import listing
    from rlagent.experiments.experiment import Asked, read_experiment

    if args.list:
        print(listing())
        return 0
    shown = {"run", "experiment", "json", "quiet", "device", "list"}
    given = {k: v for k, v in vars(args).items() if k not in shown and v is not None}
    asked = Asked(**({} if args.experiment is None else read_experiment(args.experiment)) | given)
    use_device(args.device)
    use_compile_cache()
    return run(asked, as_json=args.json, quiet=args.quiet)


def runs(args: argparse.Namespace) -> None:
    """Lists, shows, deletes or exports runs of a store."""
    from rlagent.experiments.browse import browse

    browse(args.action, vars(args))


def report(args: argparse.Namespace) -> None:
    """Writes the page of a store or of a run."""
    from rlagent.experiments.report import write_report

    write_report(args.source, args.out, args.figures, against=args.against)
    if args.markdown is not None:
        from rlagent.experiments.browse import write_tables

        write_tables(args.source, args.markdown, against=args.against)
    print(args.out)


if __name__ == "__main__":
    sys.exit(main())
