"""What can be asked for on the command line? Each command imports what it needs, and no more."""

import argparse
import sys
from collections.abc import Callable, Sequence

from cxrvl import __version__
from cxrvl.commands.data import add_data_parser
from cxrvl.errors import CxrvlError, RankError
from cxrvl.files import no_room
from cxrvl.runs import stopping

OVERRIDE_HELP = "Hydra overrides, such as experiment=phantom/acm seed=1 model.groups=16"


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command; errors a user can mend are one message and exit code 2, Ctrl-C is 130, SIGTERM is 75."""
    try:
        stopping.install()
        _answer(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        raise stopping.farewell() from None
    except (SystemExit, Exception) as error:
        if stopping.is_consequence(error):
            raise stopping.farewell() from None
        raise


def _answer(arguments: list[str]) -> None:
    """Read the command line and run the command; turn what the user can mend into a message and an exit code."""
    parser = build_parser()
    if arguments and arguments[0] in ("train", "check", "prepare"):
        wants_help = {"-h", "--help"} & set(arguments)
        command, rest = arguments[0], ([] if wants_help else arguments[1:])
        options = parser.parse_args([command, "--help"]) if wants_help else argparse.Namespace(overrides=rest)
    else:
        options = parse(parser, arguments)
        command = options.command
    try:
        COMMANDS[command](options)
    except CxrvlError as error:
        if stopping.is_consequence(error):
            raise
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except RankError as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None
    except BrokenPipeError:
        raise SystemExit(141) from None
    except OSError as error:
        said = _said_plainly(error)
        if said is None:
            raise
        print(f"error: {said}", file=sys.stderr)
        raise SystemExit(2) from None


def _said_plainly(error: OSError) -> str | None:
    """Return one line on a full disk or a path that cannot be used; None for what is no such fault."""
    where = f" {error.filename}" if error.filename else ""
    if no_room(error) is not None:
        return f"no room to write{where} ({error.strerror}); make some and start again"
    if error.filename is None or error.strerror is None:
        return None
    return f"cannot use {error.filename} ({error.strerror}); name another path, or mend this one, and start again"


def parse(parser: argparse.ArgumentParser, arguments: list[str]) -> argparse.Namespace:
    """Parse a command whose last argument takes many words; they may also stand behind an option."""
    options, rest = parser.parse_known_args(arguments)
    many = next(
        (name for name in ("overrides", "inputs") if hasattr(options, name) and options.command != "matrix"), None
    )
    unknown = rest if many is None else [word for word in rest if word.startswith("-")]
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if many is not None:
        getattr(options, many).extend(rest)
    return options


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(prog="cxrvl", description="Chest-X-ray experiments: data, runs, tables.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, text in (
        ("train", "train a run, continue it, or do nothing when it is done; -m for a sweep, retry_failed=true"),
        ("check", "verify a config without building or training anything"),
        ("prepare", "decode a data set's images once into a memory-mapped store"),
    ):
        commands.add_parser(name, help=text).add_argument("overrides", nargs="*", help=OVERRIDE_HELP)
    split = commands.add_parser("split", help="write a data set's split, folds or label fractions as a versioned file")
    split.add_argument("overrides", nargs="+", metavar="data config", help="such as nih14, and overrides")
    split.add_argument(
        "--kind", choices=("official", "patient", "kfold", "fractions", "distl"), default="official",
        help="the source's own split, a new one by patient, k folds, nested label fractions, or DISTL's parts",
    )  # fmt: skip
    split.add_argument("--folds", type=int, help="number of folds (kfold: 5) or of unlabelled parts (distl: 3)")
    split.add_argument(
        "--fractions", type=float, nargs="+",
        help="shares of train, val, test (patient); label fractions (fractions); the labelled share (distl)",
    )  # fmt: skip
    split.add_argument("--seed", type=int, default=0, help="another seed, another draw (default 0)")
    split.add_argument("--out", required=True, help="CSV file to write")
    split.add_argument("--force", action="store_true", help="replace another split of that name")
    add_data_parser(commands)
    evaluate = commands.add_parser("evaluate", help="compute missing predictions of a finished run, and its metrics")
    evaluate.add_argument("--run", required=True, help="run id, or its first digits")
    evaluate.add_argument(
        "overrides", nargs="*", help="what differs from the run's config, such as evaluation=findings"
    )
    evaluate.add_argument("--runs", help="folder of the runs (default: as in the config)")
    predict = commands.add_parser("predict", help="score new PNG, JPEG or DICOM files with a finished run")
    predict.add_argument("--run", required=True, help="run id, or its first digits")
    predict.add_argument("inputs", nargs="+", help="files, folders, or a CSV with a column 'image'")
    predict.add_argument("--out", help="CSV file to write; the terminal without it")
    predict.add_argument("--maps", help="folder for one overlay PNG per file and label")
    predict.add_argument("--max-unreadable", type=int, default=0, help="unreadable files to leave out (default 0)")
    predict.add_argument("--runs", help="folder of the runs (default: as in the config)")
    encode = commands.add_parser("encode", help="embed the reports of a CSV or Parquet file with a finished text run")
    encode.add_argument("reports", help="CSV (also .gz) or Parquet file, one row per report")
    encode.add_argument("--run", required=True, help="run id, or its first digits")
    encode.add_argument("--out", required=True, help="Parquet file to write; a stopped call continues")
    encode.add_argument(
        "--columns", nargs="+", action="extend", metavar="SECTION=COLUMN",
        help="which column holds what: report=text study=accession (default: as in the run's data.source.columns, where "
        "the file has those columns, else columns named findings, impression, report, ...)",
    )  # fmt: skip
    encode.add_argument("--id", help="column that names the reports (default: the study's, or study or id)")
    encode.add_argument(
        "--precision", choices=("fp32", "bf16"), default="fp32", help="of the forward passes (default fp32)"
    )
    asked = encode.add_mutually_exclusive_group()
    asked.add_argument(
        "--instruction", metavar="TEXT",
        help="before every report, read and not pooled; \"\" for none (default: as the run read its own reports)",
    )  # fmt: skip
    asked.add_argument("--task", metavar="NAME", help="the same, by the name of a task that the run learnt with one")
    encode.add_argument("--skip-empty", action="store_true", help="leave out reports that say nothing")
    export = commands.add_parser("export", help="write a finished text run as a sentence-transformers folder")
    export.add_argument("--run", required=True, help="run id, or its first digits")
    export.add_argument("--out", required=True, help="folder to write")
    for command in (encode, export):
        command.add_argument("--dataset", help="whose reading of reports, where the run has several")
        command.add_argument("--runs", help="folder of the runs (default: as in the config)")
    table = commands.add_parser("table", help="compute what is missing of a table, and print it beside the paper's")
    table.add_argument("table", help="name of a folder under experiments/")
    table.add_argument("--line", help="one line of the table (default: all but those on request)")
    table.add_argument(
        "--jobs", type=int, help="jobs side by side on the CPU (default: cores / threads); with GPUs, one per GPU"
    )
    table.add_argument("--seeds", type=int, nargs="+", help="seeds instead of the table's own")
    table.add_argument("--collect-only", action="store_true", help="train nothing; show what is there")
    table.add_argument("overrides", nargs="*", help=OVERRIDE_HELP)
    matrix = commands.add_parser("matrix", help="evaluate runs on other data sets: trained on A, tested on B")
    matrix.add_argument(
        "run", nargs="+", help="run ids, or their first digits; runs that differ in their seed are one row"
    )
    matrix.add_argument(
        "--data", nargs="+", required=True,
        help="options of conf/data; with overrides in quotes: 'phantom_pairs data.source.reports=terse'",
    )  # fmt: skip
    matrix.add_argument("--evaluation", required=True, help="name of an evaluation, such as retrieval")
    matrix.add_argument("--metric", required=True, help="such as recall_at_5, auroc, report_f1")
    matrix.add_argument("--split", default="test", help="split that is scored (default test)")
    matrix.add_argument("--set", dest="overrides", nargs="+", default=[], help="such as evaluation=dual_images")
    matrix.add_argument("--out", help="CSV file to write")
    matrix.add_argument("--runs", help="folder of the runs (default: as in the config)")
    dashboard = commands.add_parser("dashboard", help="write the project's W&B workspace and report")
    dashboard.add_argument("--project", default="cxrvl", help="W&B project (default: cxrvl)")
    dashboard.add_argument("--entity", help="W&B user or team (default: WANDB_ENTITY, or the key's own)")
    dashboard.add_argument("--out", help="folder for the JSON files; nothing is sent to W&B")
    runs = commands.add_parser("runs", help="list, show, compare or remove runs")
    actions = runs.add_subparsers(dest="action", required=True, metavar="ls|show|rm|diff|tree|sync")
    for name, text in (("ls", "one line per run"), ("show", "status and metrics as JSON"), ("rm", "remove runs")):
        action = actions.add_parser(name, help=text)
        if name != "ls":
            action.add_argument("run", nargs="+", help="run ids, or their first digits")
        if name == "ls":
            action.add_argument(
                "--where", nargs="+", action="extend", default=[], metavar="condition",
                help='which runs, such as "experiment=phantom/* status=failed model.groups=16 findings.mean.auroc>0.8"',
            )  # fmt: skip
            action.add_argument("--json", action="store_true", help="status and metrics of every run as JSON")
        if name == "rm":
            action.add_argument("--yes", action="store_true", help="remove without asking")
        action.add_argument("--runs", help="folder of the runs (default: as in the config)")
    diff = actions.add_parser("diff", help="what differs between two runs: settings, environment, packages, data, code")
    diff.add_argument("run", nargs=2, help="run ids, or their first digits")
    diff.add_argument("--json", action="store_true", help="the differences as JSON")
    diff.add_argument("--runs", help="folder of the runs (default: as in the config)")
    tree = actions.add_parser("tree", help="which run started from which, and their states")
    tree.add_argument("run", nargs="?", help="run id, or its first digits (default: all chains)")
    tree.add_argument("--runs", help="folder of the runs (default: as in the config)")
    sync = actions.add_parser("sync", help="send runs to Weights & Biases from their plain files, each once")
    sync.add_argument("run", nargs="*", help="run ids, or their first digits (default: all)")
    sync.add_argument("--where", action="append", default=[], help='which runs, such as "experiment=phantom/*"')
    sync.add_argument("--project", help="W&B project (default: as the run's config says)")
    sync.add_argument("--entity", help="W&B user or team (default: as the run's config says)")
    sync.add_argument("--mode", choices=("online", "offline"), help="default: online where there is an API key")
    sync.add_argument("--runs", help="folder of the runs (default: as in the config)")
    return parser


def _train(options: argparse.Namespace) -> None:
    from cxrvl.commands.train import train

    train(options.overrides)


def _check(options: argparse.Namespace) -> None:
    from cxrvl.commands.check import check_config

    check_config(options.overrides)


def _prepare(options: argparse.Namespace) -> None:
    from cxrvl.commands.prepare import prepare_store

    prepare_store(options.overrides)


def _split(options: argparse.Namespace) -> None:
    from cxrvl.commands.split import split

    split(options)


def _data(options: argparse.Namespace) -> None:
    from cxrvl.commands.data import data

    data(options)


def _evaluate(options: argparse.Namespace) -> None:
    from cxrvl.commands.evaluate import evaluate

    evaluate(options.run, options.overrides, options.runs)


def _predict(options: argparse.Namespace) -> None:
    from cxrvl.commands.predict import predict

    predict(options)


def _encode(options: argparse.Namespace) -> None:
    from cxrvl.commands.encode import encode

    encode(options)


def _export(options: argparse.Namespace) -> None:
    from cxrvl.commands.encode import export

    export(options)


def _table(options: argparse.Namespace) -> None:
    from cxrvl.commands.table import table

    table(options)


def _matrix(options: argparse.Namespace) -> None:
    from cxrvl.commands.matrix import matrix

    matrix(options)


def _dashboard(options: argparse.Namespace) -> None:
    from cxrvl.commands.dashboard import dashboard

    dashboard(options)


def _runs(options: argparse.Namespace) -> None:
    if options.action == "sync":
        from cxrvl.commands.runs_sync import runs_sync

        runs_sync(options)
        return
    if options.action == "tree":
        from cxrvl.commands.runs_tree import runs_tree

        runs_tree(options)
        return
    from cxrvl.commands.runs import runs

    runs(options)


COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "train": _train,
    "check": _check,
    "prepare": _prepare,
    "split": _split,
    "data": _data,
    "evaluate": _evaluate,
    "predict": _predict,
    "encode": _encode,
    "export": _export,
    "table": _table,
    "matrix": _matrix,
    "dashboard": _dashboard,
    "runs": _runs,
}

if __name__ == "__main__":
    main()
