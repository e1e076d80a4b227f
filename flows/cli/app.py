"""The command line: ``rooftune COMMAND``. Heavy imports wait until a command needs them."""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import typer
from typer.core import TyperGroup

from flows.cli import command_log, terminal
from rooftune.errors import RooftuneError

INTERRUPTED = 130
Usage: type[Exception] = typer.BadParameter.__bases__[0]
Click: type[Exception] = Usage.__bases__[0]
"""Click's errors: those of the copy of click that typer contains, or of click itself in older releases."""


@runtime_checkable
class ClickError(Protocol):
    """What is used of :data:`Click`, whose class depends on the release of typer."""

    exit_code: int

    def format_message(self) -> str:
        """The error in a sentence."""


EPILOG = """
Start with [bold]rooftune plan chat-medium[/bold] (shows what would be tried; nothing is started), then
[bold]rooftune optimize chat-medium[/bold] (about six minutes, no GPU needed).
Exit codes: 0 done, 1 ran and failed, 2 bad input, 3 not enough evidence (gate, audit). Every command takes --json.
"""


def _version(wanted: bool) -> None:
    if wanted:
        from rooftune import __version__

        typer.echo(f"rooftune {__version__}")
        raise typer.Exit


def root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Find the vLLM configuration that serves a workload best on your hardware, and prove it with measurements."""


PANELS = {
    "Measure and tune": {
        "probe": "probe",
        "plan": "plan",
        "optimize": "optimize",
        "capacity": "capacity",
        "load": "load",
        "workloads": "workload.listing",
        "workload": "workload.commands",
        "explain": "explain",
    },
    "Predict and simulate (no GPU needed)": {
        "predict": "predict",
        "steptime": "steptime",
        "simulate": "simulate",
        "calibrate": "calibrate",
    },
    "Check": {"gate": "checks.gate", "doctor": "checks.doctor"},
    "Read results": {
        "report": "results",
        "export": "export",
        "compare": "results",
        "history": "results",
        "audit": "audit",
    },
    "Prefect on this machine": {"up": "service", "down": "service"},
}
"""By panel of the help: the commands, and the module of ``flows.cli`` that has each."""
GROUPS = {"workload": {"from-log": "from_log", "show": "show"}}
"""Commands that are groups: the commands inside, and the function for each."""


def command_line(words: list[str] | None = None) -> typer.Typer:
    """The command line with all commands, or only with the one that ``words`` begins with.

    A command that is known is the only one to be imported, which shortens the start.
    """
    app = typer.Typer(
        name="rooftune",
        cls=TyperGroup,
        no_args_is_help=True,
        add_completion=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog=EPILOG,
        help="Find the vLLM configuration that serves a workload best on your hardware, and prove it with "
        "measurements.",
    )
    app.callback()(root)
    wanted = words[0] if words else ""
    known = any(wanted in commands for commands in PANELS.values())
    for panel, commands in PANELS.items():
        for name, module in commands.items():
            if name != wanted and known:
                continue
            if name in GROUPS:
                app.add_typer(_group(module, name), name=name, rich_help_panel=panel)
            else:
                app.command(rich_help_panel=panel)(_command(module, name))
    return app


def _group(module: str, name: str) -> typer.Typer:
    """A command with further commands inside."""
    help_text: str = _command(module, "HELP")  # type: ignore[assignment]
    group = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help=help_text)
    for word, function in GROUPS[name].items():
        group.command(word)(_command(module, function))
    return group


def _command(module: str, name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(importlib.import_module(f"flows.cli.{module}"), name)
    return found


def main(words: list[str] | None = None) -> int:
    """Run one command; return its exit code."""
    code = run(words)
    if words is None:
        sys.exit(code)
    return code


def run(words: list[str] | None = None) -> int:
    """Run one command, and turn every way it may end into an exit code and at most one sentence."""
    before = dict(os.environ)
    try:
        return _run(words)
    finally:  # settings that a command puts into the environment do not outlive it
        os.environ.clear()
        os.environ.update(before)


def _run(words: list[str] | None) -> int:
    try:
        app = command_line(sys.argv[1:] if words is None else words)
        code = typer.main.get_command(app).main(args=words, prog_name="rooftune", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort, asyncio.CancelledError) as stopped:
        terminal.fail(str(stopped) or str(stopped.__cause__ or "") or "interrupted; nothing is left running.")
        return INTERRUPTED
    except typer.Exit as exit_:
        return exit_.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except RooftuneError as error:
        return _explained(error)
    except Exception as error:
        return _usage(error) if isinstance(error, Click) else _unexpected(error)


def _usage(error: Exception) -> int:
    """A wrong command line: click's own sentence, and where the help is."""
    text = error.format_message() if isinstance(error, ClickError) else str(error)
    if isinstance(error, Usage):
        if text:  # without a command there is none: the help has been shown
            context = getattr(error, "ctx", None)
            terminal.fail(f"{text} See `{context.command_path if context else 'rooftune'} --help`.")
        return 2
    terminal.fail(text)
    return error.exit_code if isinstance(error, ClickError) else 1


def _explained(error: RooftuneError) -> int:
    """A failure that explains itself."""
    terminal.fail(str(error))
    if os.environ.get(terminal.DEBUG):
        raise error
    return error.exit_code


def _unexpected(error: Exception) -> int:
    """A failure that nobody expected: one sentence here, the traceback in the log."""
    if os.environ.get(terminal.DEBUG):
        raise error
    try:
        command_log.write_error(f"command failed: {sys.argv[1:]}", error)
        where = f"the traceback is in {command_log.log_file()}"
    except OSError:
        where = f"set {terminal.DEBUG}=1 to see the traceback"
    text = " ".join(str(error).split()) or "no message"
    terminal.fail(f"unexpected error ({type(error).__name__}: {text[:300]}); {where}.")
    return 1


if __name__ == "__main__":
    main()
