"""The page of the command line: every command with its help, arguments and options."""

from __future__ import annotations

import re
from typing import Protocol, runtime_checkable

import typer

from docpages.markdown import cell, code, head, table, text_of
from flows.cli.app import PANELS, command_line

INTRODUCTION = (
    "Written from the commands themselves: `rooftune COMMAND --help` shows the same.",
    "Every command takes `--json` and `--help`. Exit codes: 0 done, 1 the run or a check failed, 2 bad input, 3 not "
    "enough evidence (`gate`, and `audit` where the file has too little for any check), 130 interrupted. "
    "`ROOFTUNE_DEBUG=1` shows the traceback of an unexpected error.",
)
NOT_RUN = "<!-- not run: examples of the help; a test checks their options -->"


@runtime_checkable
class Parameter(Protocol):
    """What is used of typer's parameters, whose classes depend on its release."""

    name: str | None
    opts: list[str]
    secondary_opts: list[str]
    metavar: str | None
    envvar: str | list[str] | None
    help: str | None
    default: object
    required: bool
    param_type_name: str


@runtime_checkable
class Command(Protocol):
    """What is used of typer's commands."""

    help: str | None
    params: list[Parameter]


def commands() -> dict[str, Command]:
    """Every command by its words, in the order of the help; those of groups as ``workload show``."""
    group = typer.main.get_command(command_line())
    top: dict[str, Command] = getattr(group, "commands", {})
    found: dict[str, Command] = {}
    for name in (name for panel in PANELS.values() for name in panel):
        inside: dict[str, Command] = getattr(top[name], "commands", {})
        found |= {f"{name} {word}": command for word, command in inside.items()} or {name: top[name]}
    return found


def page() -> str:
    """The page as Markdown."""
    known = commands()
    lines = head("Command line", *INTRODUCTION)
    for panel, names in PANELS.items():
        lines += [f"- {panel}: {', '.join(_link(words) for words in known if words.split()[0] in names)}"]
    lines += [""]
    for name, command in known.items():
        lines += _command(name, command)
    return text_of(lines)


def _link(words: str) -> str:
    return f"[`{words}`](#rooftune-{words.replace(' ', '-')})"


def examples(command: Command) -> list[str]:
    """The command lines that the help shows, with their remarks as comments."""
    lines = [line.strip() for line in (command.help or "").splitlines()]
    return [re.sub(r"\s{2,}\((.*)\)$", r"  # \1", line) for line in lines if _is_example(line)]


def options(command: Command) -> set[str]:
    """Every spelling of the command's options."""
    return {spelling for p in command.params for spelling in (*p.opts, *p.secondary_opts) if spelling.startswith("-")}


def _is_example(line: str) -> bool:
    return re.match(r"([A-Z_]+=\S+ )?rooftune ", line) is not None


def _command(name: str, command: Command) -> list[str]:
    described = [p for p in command.params if p.name not in ("help", "as_json")]
    arguments = [p for p in described if p.param_type_name == "argument"]
    usage = " ".join(["rooftune", name, *(_argument(p) for p in arguments), "[OPTIONS]"])
    lines = [f"## rooftune {name}", "", *_paragraphs(command), NOT_RUN, "", "```bash"]
    lines += [f"# {usage}", *examples(command), "```", ""]
    if arguments:
        lines += table(["Argument", "Meaning"], [[code(_argument(p)), cell(p.help or "")] for p in arguments])
    given = [p for p in described if p not in arguments]
    if given:
        lines += table(["Option", "Default", "Meaning"], [_option(p) for p in given])
    return lines


def _paragraphs(command: Command) -> list[str]:
    """The help without its examples."""
    found = []
    for block in (command.help or "").split("\n\n"):
        lines = [line.strip() for line in block.splitlines()]
        if not any(_is_example(line) or line.startswith("[bold]Example") for line in lines):
            found += [" ".join(lines).replace("[bold]", "**").replace("[/bold]", "**"), ""]
    return found


def _argument(parameter: Parameter) -> str:
    shown = parameter.metavar or (parameter.name or "").upper()
    return shown if parameter.required or shown.startswith("[") else f"[{shown}]"


def _option(parameter: Parameter) -> list[str]:
    value = "" if _is_flag(parameter) else f" {parameter.metavar or 'VALUE'}"
    spelled = ", ".join(code(f"{spelling}{value}") for spelling in (*parameter.opts, *parameter.secondary_opts))
    meaning = cell(parameter.help or "")
    if parameter.envvar:
        meaning += f" Environment: {code(str(parameter.envvar))}."
    return [spelled, _default(parameter), meaning]


def _is_flag(parameter: Parameter) -> bool:
    return bool(getattr(parameter, "is_flag", False))


def _default(parameter: Parameter) -> str:
    if parameter.required:
        return "required"
    value = parameter.default
    if _is_flag(parameter) and parameter.secondary_opts:
        return code((parameter.opts if value else parameter.secondary_opts)[0])
    if value is None or value is False or callable(value) or value in ([], ()):
        return ""
    return code(str(value))
