"""The command line: its commands, how it ends, and with which exit code.

With --json an error stands on stdout as JSON too, beside the words on stderr.

Exit codes: 0 done; 1 the work started and could not be finished; 2 a wrong command, config or input; 124 a wait
(`neurogrid k8s wait`) whose time was over; 130 stopped by the person.
"""

import errno
import json
import signal
import sys
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

import neurogrid
from neurogrid.cli import show
from neurogrid.cli.bench import bench_app
from neurogrid.cli.clean import clean
from neurogrid.cli.commands import audit, etl, evaluate, report, run, sample, teach, train
from neurogrid.cli.compare import compare
from neurogrid.cli.config_commands import config_app
from neurogrid.cli.evidence import evidence
from neurogrid.cli.forecast import export, forecast, personalise
from neurogrid.cli.k8s import k8s_app
from neurogrid.cli.listing import runs
from neurogrid.cli.optout import optout_app
from neurogrid.cli.readings import fetch, synth
from neurogrid.cli.source_commands import source_app
from neurogrid.cli.telemetry import exporter
from neurogrid.cli.watch import watch
from neurogrid.errors import NeuroGridError, RunError, UsageError

STOPPED = 130
EXTRAS = {"kubernetes": "k8s", "urllib3": "k8s", "onnx": "export", "onnxscript": "export"}
"""The extra that brings a package, where that is not all of the product."""

app = typer.Typer(
    name="neurogrid",
    help="Federated load forecasting for smart meters on Apache Spark.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(config_app, name="config")
app.add_typer(bench_app, name="bench")
app.add_typer(k8s_app, name="k8s")
app.add_typer(source_app, name="source")
app.add_typer(optout_app, name="optout")
STEPS = (run, etl, sample, teach, train, evaluate, personalise, forecast, export, report, audit, evidence)
for command in (*STEPS, synth, fetch, runs, compare, clean, watch, exporter):
    app.command()(command)


_ADVICE = {
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "make room there, or ask for a larger quota",
    errno.EACCES: "give yourself access there",
    errno.EPERM: "give yourself access there",
    errno.EROFS: "name a place that may be written",
    errno.EISDIR: "a folder lies where a file should be: move it away",
    errno.ENOTDIR: "a file lies where a folder should be: move it away",
    errno.EEXIST: "a file lies where a folder should be: move it away",
    errno.EMFILE: "allow more open files (ulimit -n)",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def main() -> None:
    """Runs the command line; every error a person can make ends in words and an exit code, never in a traceback."""
    signal.signal(signal.SIGTERM, _end)
    try:
        app()
    except NeuroGridError as problem:
        _fail(problem)
    except ModuleNotFoundError as problem:
        if (problem.name or "neurogrid").startswith("neurogrid"):
            raise
        _fail(_not_installed(str(problem.name)))
    except OSError as problem:  # a full disk, a folder that may not be written: whatever the command was about to do
        where = f"{problem.filename}: " if problem.filename else ""
        _fail(
            RunError(
                "a file or folder could not be read or written",
                found=f"{where}{problem.strerror or problem}",
                fix=f"{_ADVICE.get(problem.errno or 0, 'make room or access there')}, then give the command again",
            )
        )
    except KeyboardInterrupt:
        show.say("neurogrid: stopped")
        sys.exit(STOPPED)
    except SystemExit as end:  # typer turns Ctrl-C inside a command into this
        if end.code == STOPPED:
            show.say("neurogrid: stopped")
        if isinstance(end.__context__, TyperException):
            _print_error(UsageError(end.__context__.format_message()))
        raise


def _not_installed(module: str) -> UsageError:
    """`pip install neurogrid` alone brings the config and --help; federations, clusters and exports take extras."""
    extra = EXTRAS.get(module.partition(".")[0], "all")
    return UsageError(
        f"this command needs the Python package {module}, which is not installed here",
        fix=f"pip install 'neurogrid[{extra}]', or, in a clone of the repository, make setup",
    )


def _end(*_: object) -> None:
    """A supervisor ends a run with SIGTERM: leaves as cleanly as after Ctrl-C."""
    # A shell that puts a command in the background has it ignore Ctrl-C.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.raise_signal(signal.SIGINT)


def _fail(problem: NeuroGridError) -> NoReturn:
    show.error(problem)
    _print_error(problem)
    sys.exit(problem.exit_code)


def _print_error(problem: NeuroGridError) -> None:
    """Prints the error for machines where `--json` asks for it, also where the rest of the line is wrong."""
    if "--json" in sys.argv[1:]:
        words = {"what": problem.what, "found": problem.found, "fix": problem.fix, "exit_code": problem.exit_code}
        print(json.dumps({"error": words}, indent=2, sort_keys=True))


def _version(value: bool) -> None:
    if value:
        print(f"neurogrid {neurogrid.__version__}")
        raise typer.Exit


@app.callback()
def top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Federated load forecasting for smart meters on Apache Spark."""
