"""The command line: ``rooftune COMMAND``. Heavy imports wait until a command needs them."""

from __future__ import annotations

import asyncio
import os
import sys

import typer
from typer.core import TyperGroup

from flows.cli import calibrate, load, optimize, predict, results, service, terminal
from rooftune.errors import RooftuneError

INTERRUPTED = 130
Usage: type[Exception] = typer.BadParameter.__bases__[0]
Click: type[Exception] = Usage.__bases__[0]
"""Click's errors, of the copy of click that this typer brings or of click itself."""

EPILOG = """
Start with [bold]rooftune plan chat-medium[/bold] (what would be tried, nothing is run), then
[bold]rooftune optimize chat-medium[/bold] (about six minutes, no GPU needed).
Exit codes: 0 done, 1 ran and failed, 2 bad input. Every command takes --json.
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
    help="Find the vLLM configuration that serves a workload best on your hardware, and prove it by measurements.",
)


def _version(asked: bool) -> None:
    if asked:
        from rooftune import __version__

        typer.echo(f"rooftune {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Find the vLLM configuration that serves a workload best on your hardware, and prove it by measurements."""


for commands in (optimize, load, predict, calibrate, results, service):
    commands.register(app)


def main(words: list[str] | None = None) -> int:
    """Run one command; return its exit code."""
    code = run(words)
    if words is None:
        sys.exit(code)
    return code


def run(words: list[str] | None = None) -> int:
    """Run one command and turn every way it may end into an exit code and at most one sentence."""
    before = dict(os.environ)
    try:
        return _run(words)
    finally:  # what an option put into the environment is this command's alone
        os.environ.clear()
        os.environ.update(before)


def _run(words: list[str] | None) -> int:
    command = typer.main.get_command(app)
    try:
        ended = command.main(args=words, prog_name="rooftune", standalone_mode=False)
        return ended if isinstance(ended, int) else 0
    except (KeyboardInterrupt, typer.Abort, asyncio.CancelledError) as stopped:
        told = str(stopped) or str(stopped.__cause__ or "")
        terminal.fail(told or "interrupted; nothing is left running.")
        return INTERRUPTED
    except Usage as error:
        if not error.format_message():  # no command at all: the help has been shown
            return 2
        where = error.ctx.command_path if error.ctx else "rooftune"
        terminal.fail(f"{error.format_message()} See `{where} --help`.")
        return 2
    except Click as error:
        terminal.fail(error.format_message())
        return error.exit_code
    except typer.Exit as ended:
        return ended.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except RooftuneError as error:
        return _told(error)
    except Exception as error:
        return _unforeseen(error)


def _told(error: RooftuneError) -> int:
    """A failure that says what is wrong."""
    terminal.fail(str(error))
    if os.environ.get(terminal.DEBUG):
        raise error
    return error.exit_code


def _unforeseen(error: Exception) -> int:
    """A failure that nobody thought of: one sentence, the rest in the log."""
    if os.environ.get(terminal.DEBUG):
        raise error
    try:
        terminal.to_log(f"command failed: {sys.argv[1:]}", error)
        where = f"the traceback is in {terminal.log_file()}"
    except OSError:
        where = f"set {terminal.DEBUG}=1 to see the traceback"
    text = " ".join(str(error).split()) or "no message"
    terminal.fail(f"something unforeseen went wrong ({type(error).__name__}: {text[:300]}); {where}.")
    return 1


if __name__ == "__main__":
    main()
