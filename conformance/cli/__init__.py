"""The `conformance` command: arguments in, exit codes out."""

from __future__ import annotations

import argparse
import gc
import sys
from typing import TYPE_CHECKING, NoReturn

from conformance.cli.exits import Exit, UsageError
from conformance.cli.streams import complain, end_results
from conformance.convention import DEFAULT_PROFILE
from conformance.report.formats import FORMATS
from conformance.trainers.forms import defaults, usage
from conformance.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

# Start-up makes many objects and no garbage; the default of 700 looks for some 60 times.
_GARBAGE = 50_000
_TRAINER = f"""\
TRAINER:
{usage()}
--save-freq and --save-best-after are then the same in all scenarios; --max-epochs is the most that
any of them trains; --name is the run's name in file names, if it differs from the experiment.
"""
_EPILOG = """\
exit codes: 0 conforms (or incomplete without --strict), 1 a MUST rule failed, 2 wrong usage or
unreadable input, 3 incomplete under --strict, 4 the harness itself failed
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; results on stdout, all else on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    gc.set_threshold(_GARBAGE)
    try:
        options = _parser().parse_args(arguments)
        return int(options.run(options))
    except UsageError as error:
        complain(str(error))
        return Exit.USAGE
    except KeyboardInterrupt:
        complain("interrupted")
        return Exit.INTERRUPTED
    except Exception:  # noqa: BLE001 - a defect of the harness has an exit code of its own
        import traceback  # noqa: PLC0415 - a run that needs it is slow anyway

        for line in traceback.format_exc().splitlines():
            complain(line)
        complain("the harness itself failed (above)")
        return Exit.HARNESS


def entry_point() -> NoReturn:
    """What the installed script calls."""
    code = main()
    end_results()
    sys.exit(code)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see '{self.prog} --help'")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="conformance",
        description=__doc__ and "Proves that a trainer's checkpoints keep the convention.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"conformance {__version__}")
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", prog=parser.prog
    )
    _add_check(commands)
    _add_test(commands)
    _add_crash(commands)
    _add_bench(commands)
    _add_ls(commands)
    _add_diff(commands)
    _add_rules(commands)
    _add_fixtures(commands)
    return parser


if TYPE_CHECKING:
    _Commands = argparse._SubParsersAction[_Parser]  # noqa: SLF001 - the only name


def _add_check(commands: _Commands) -> None:
    check = commands.add_parser(
        "check", help="audit run folders, or a root that holds many, from their files alone"
    )
    check.add_argument(
        "paths", nargs="+", metavar="PATH", help="a run, a root of runs, or a checkpoint by itself"
    )
    add_audit_options(check)
    check.set_defaults(profile=None)  # then the project's own, where it has one
    check.add_argument(
        "--verbose", action="store_true", help="also list the rules that passed or did not apply"
    )
    check.add_argument(
        "--explain-files",
        action="store_true",
        help="also list each file with the session and epoch that explain it, in the formats "
        + ", ".join(kind.name for kind in FORMATS.values() if kind.explains),
    )
    check.add_argument(
        "--explanation",
        metavar="FILE",
        help="write that list to FILE as JSON; - is standard output",
    )

    def run(options: argparse.Namespace) -> int:
        from conformance.cli.check import check  # noqa: PLC0415 - only this command pays for it

        return check(options)

    check.set_defaults(run=run)


def _add_test(commands: _Commands) -> None:
    test = commands.add_parser(
        "test",
        help="drive a trainer through generated scenarios and audit what it writes",
        description="Drives a trainer through generated scenarios, judges what it writes, and"
        " shrinks each failure to the smallest scenario that shows it.",
        epilog=f"{_TRAINER}\n{_EPILOG}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    test.add_argument("trainer", metavar="TRAINER", help="what to drive; see below")
    add_audit_options(test)
    test.add_argument(
        "--max-examples",
        type=_positive,
        metavar="N",
        help=f"scenarios to play (default: {defaults(lambda form: form.max_examples)})",
    )
    test.add_argument(
        "--seed", type=_count, metavar="N", help="repeats the scenarios of an earlier run"
    )
    test.add_argument("--replay", metavar="FILE", help="play the scenario in this file alone")
    test.add_argument(
        "--save-failures",
        metavar="DIR",
        help="where failures are written to (default: .conformance/failures; of a replay: nowhere)",
    )
    test.add_argument(
        "--play",
        metavar="TEMPLATE",
        help="a command that plays the run {experiment} under {root}: judges RESUME-002",
    )
    test.add_argument(
        "--ranks",
        metavar="TEMPLATE",
        help="a command that trains with several ranks, as command: does: judges RANK-001",
    )
    test.add_argument(
        "--time-limit",
        type=_seconds,
        metavar="SECONDS",
        help="how long a session may take (default: 60)",
    )
    test.add_argument(
        "--verbose",
        action="store_true",
        help="also list the rules that passed or did not apply, and how often each was evaluated",
    )

    def run(options: argparse.Namespace) -> int:
        from conformance.cli.test import test  # noqa: PLC0415 - only this command pays for it

        return test(options)

    test.set_defaults(run=run)


def _add_crash(commands: _Commands) -> None:
    crash = commands.add_parser(
        "crash",
        help="kill a trainer and fail its writes at each call of a save, and audit what is left",
        description="Records the system calls of a trainer's saves (Linux, strace), then plays them"
        " again: killed at each call, with each call failing, with writes cut short. Judges"
        " INTEGRITY-002 and INTEGRITY-003, and replays what power cuts may leave.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    crash.add_argument("trainer", metavar="TRAINER", help="what to crash, as for `test`")
    crash.add_argument(
        "--profile",
        default=DEFAULT_PROFILE,
        metavar="NAME|FILE.toml",
        help="the dialect that it writes (default: %(default)s)",
    )
    crash.add_argument("--name", help="the name inside the files, where it is not the experiment's")
    crash.add_argument("--save-freq", type=_count, metavar="N", help="epochs between saves")
    crash.add_argument("--max-epochs", type=_positive, metavar="N", help="epochs of the session")
    crash.add_argument(
        "--max-points",
        type=_positive,
        metavar="N",
        help=f"faults to play (default: {defaults(lambda form: form.max_points)})",
    )
    crash.add_argument(
        "--random-kills",
        type=_positive,
        metavar="N",
        help="instead, kill N sessions at random instants; needs no strace, writes below TMPDIR",
    )
    crash.add_argument(
        "--time-limit",
        type=_seconds,
        metavar="SECONDS",
        help="how long a session may take (default: 60)",
    )
    crash.add_argument(
        "--durable", action="store_true", help="what a power cut may lose is a failure too"
    )
    crash.add_argument("--strict", action="store_true", help="exit 3 where evidence is missing")
    crash.add_argument(
        "--verbose", action="store_true", help="also list the calls that were survived"
    )
    add_output_options(crash)

    def run(options: argparse.Namespace) -> int:
        from conformance.cli.crash import crash  # noqa: PLC0415 - only this command pays for it

        return crash(options)

    crash.set_defaults(run=run)


def _add_bench(commands: _Commands) -> None:
    bench = commands.add_parser(
        "bench",
        help="time a trainer's saves beside torch.save and a raw write of the same bytes",
        description="Times real trainings from outside; of a python: trainer whose object has"
        " save(state, path), and may have wait() and before_update(), the saves alone as well,"
        " beside other ways to save.",
    )
    bench.add_argument("trainer", metavar="TRAINER", help="as for `conformance test`")
    bench.add_argument(
        "--sizes", metavar="SIZE,...", help="of the states to save (default: 64KB,5MB,100MB)"
    )
    bench.add_argument("--large", action="store_true", help="1 GB too")
    bench.add_argument(
        "--rounds", type=_positive, default=15, metavar="N", help="saves of each kind (default: 15)"
    )
    bench.add_argument(
        "--epochs", type=_positive, default=20, metavar="N", help="of a training (default: 20)"
    )
    bench.add_argument(
        "--sessions",
        type=_positive,
        default=3,
        metavar="N",
        help="trainings of a kind (default: 3)",
    )
    bench.add_argument("--saves-only", action="store_true", help="time no trainings")
    bench.add_argument(
        "--folder", default=".", metavar="DIR", help="whose disk is timed (default: %(default)s)"
    )
    bench.add_argument(
        "--max-ratio",
        type=_ratio,
        metavar="R",
        help="exit 1 if a save takes more than R times as long as the raw write",
    )
    bench.add_argument("--plot", metavar="FILE", help="draw the saves into an SVG file")
    bench.add_argument("--format", choices=("text", "json"), default="text")

    def run(options: argparse.Namespace) -> int:
        from conformance.cli.bench import bench  # noqa: PLC0415 - only this command pays for it

        return bench(options)

    bench.set_defaults(run=run)


def add_audit_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that `check` and `test` share."""
    parser.add_argument(
        "--profile",
        default=DEFAULT_PROFILE,
        metavar="NAME|FILE.toml|auto",
        help="the dialect to hold the runs against; auto chooses by what lies in each (default:"
        f" {DEFAULT_PROFILE}, or for check what conformance.toml says)",
    )
    parser.add_argument("--name", help="the run's name, where it is not the folder's")
    parser.add_argument("--save-freq", type=_count, metavar="N", help="epochs between saves")
    parser.add_argument("--max-epochs", type=_positive, metavar="N", help="epochs of the training")
    parser.add_argument(
        "--save-best-after", type=_count, metavar="N", help="the first epoch that may save a best"
    )
    parser.add_argument(
        "--model", metavar="MODULE:ATTR", help="a torch module, or what builds one, for LOAD-004"
    )
    parser.add_argument(
        "--select",
        type=_list,
        action="extend",
        metavar="RULE,...",
        help="judge these rules or groups",
    )
    parser.add_argument(
        "--ignore",
        type=_list,
        action="extend",
        default=[],
        metavar="RULE,...",
        help="leave these rules out",
    )
    parser.add_argument("--waivers", metavar="FILE", help="findings accepted for a while (TOML)")
    parser.add_argument("--strict", action="store_true", help="exit 3 where evidence is missing")
    add_output_options(parser)


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is written, and where to."""
    parser.add_argument(
        "--format",
        action=_Pair,
        dest="outputs",
        choices=tuple(FORMATS),
        help="what to write; repeatable, each with the --output that belongs to it",
    )
    parser.add_argument(
        "--output", action=_Pair, dest="outputs", metavar="FILE", help="where to write it to"
    )


class _Pair(argparse.Action):
    """Collects --format and --output in pairs, in either order: a list of [format, file]."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        del parser
        pairs: list[list[str | None]] = getattr(namespace, self.dest) or []
        slot = 0 if option_string == "--format" else 1
        value = str(values)
        if pairs and pairs[-1][slot] is None:
            pairs[-1][slot] = value
        else:
            pairs.append([value, None] if slot == 0 else [None, value])
        setattr(namespace, self.dest, pairs)


def _add_ls(commands: _Commands) -> None:
    ls = commands.add_parser("ls", help="list runs with their best and latest checkpoint")
    ls.add_argument("paths", nargs="+", metavar="PATH", help="a run, its nn/, or a root of runs")
    which = ls.add_mutually_exclusive_group()
    which.add_argument("--best", action="store_true", help="print the best checkpoint's path alone")
    which.add_argument("--latest", action="store_true", help="print the latest one's path alone")
    ls.add_argument("--profile", metavar="NAME|FILE.toml|auto")
    ls.add_argument("--name", help="the run's name, where it is not the folder's")
    ls.add_argument("--format", choices=("text", "json"), default="text")

    def run(options: argparse.Namespace) -> int:
        from conformance.cli.ls import ls  # noqa: PLC0415 - only this command pays for it

        return ls(options)

    ls.set_defaults(run=run)


def _add_diff(commands: _Commands) -> None:
    diff = commands.add_parser(
        "diff",
        help="compare two runs: what a consumer of RUN_A would trip over in RUN_B",
        epilog="exit codes: 0 the same for a consumer of RUN_A, 1 it trips over RUN_B, 2 wrong"
        " usage, unreadable input or nothing that could be compared, 4 the harness itself failed",
    )
    diff.add_argument("a", metavar="RUN_A", help="the run that consumers know")
    diff.add_argument("b", metavar="RUN_B", help="the run that takes its place")
    diff.add_argument(
        "--profile",
        default="auto",
        metavar="NAME|FILE.toml|auto",
        help="the dialect of both (default: %(default)s)",
    )
    diff.add_argument("--profile-b", metavar="NAME|FILE.toml|auto", help="the dialect of RUN_B")
    diff.add_argument("--name", help="the name inside the files, where it is not the folders'")
    diff.add_argument("--name-b", metavar="NAME", help="the name inside the files of RUN_B")
    diff.add_argument("--format", choices=("text", "json"), default="text")
    diff.add_argument("--output", metavar="FILE", help="where to write it to")

    def run(options: argparse.Namespace) -> int:
        from conformance.cli.diff import diff  # noqa: PLC0415 - only this command pays for it

        return diff(options)

    diff.set_defaults(run=run)


def _add_rules(commands: _Commands) -> None:
    rules = commands.add_parser("rules", help="list the rules")
    rules.add_argument("--format", choices=("text", "json", "markdown"), default="text")

    def run_rules(options: argparse.Namespace) -> int:
        from conformance.cli.rules import rules  # noqa: PLC0415 - only this command pays for it

        return rules(options)

    rules.set_defaults(run=run_rules)
    explain = commands.add_parser(
        "explain", help="one rule: text, source, evidence, an example, how to fix it"
    )
    explain.add_argument("rule", metavar="RULE", help="an id such as BEST-003")

    def run_explain(options: argparse.Namespace) -> int:
        from conformance.cli.rules import explain  # noqa: PLC0415 - only this command pays for it

        return explain(options)

    explain.set_defaults(run=run_explain)


def _add_fixtures(commands: _Commands) -> None:
    fixtures = commands.add_parser("fixtures", help="write the published test vectors")
    fixtures.add_argument("folder", metavar="DIR", help="an empty or new folder")

    def run(options: argparse.Namespace) -> int:
        from conformance.cli.fixtures import fixtures  # noqa: PLC0415 - only this command

        return fixtures(options)

    fixtures.set_defaults(run=run)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!a} is not a whole number of at least 0")
    return int(text)


def _positive(text: str) -> int:
    if _count(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!a} is not a whole number of at least 1")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!a} is not a number of seconds above 0")
    return seconds


def _ratio(text: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        ratio = 0.0
    if not 0 < ratio < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!a} is not a ratio above 0")
    return ratio


def _list(text: str) -> list[str]:
    return [part for part in text.split(",") if part.strip()]
