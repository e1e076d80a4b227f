"""Which flags the installed engine has, read from its own ``--help=all``."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache

from rooftune.errors import InputError

MODULE = "vllm.entrypoints.openai.api_server"
TIMEOUT_S = 300.0
NAME = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]*)")
OPTION = re.compile(r"^ {2}-")
"""A line of the list of options that names one; its description is indented further."""


def available_flags(help_text: str) -> frozenset[str]:
    """The flags of a help text, with underscores and without their ``--no-`` forms.

    Names in descriptions are not read, because they may be flags of another program. Empty for a text that is not a
    help text, which must not be taken as an engine without flags.

    >>> sorted(available_flags("usage: x [--seed S] [--eager | --no-eager]\\n\\noptions:\\n  --seed S  see --other"))
    ['eager', 'seed']
    """
    found = {name.replace("-", "_") for name in _names(help_text)}
    return frozenset(n for n in found if not (n.startswith("no_") and n[3:] in found))


@cache
def engine_flags(python: str) -> frozenset[str]:
    """The flags of the vLLM that an interpreter has; asked once, which takes 10 to 60 seconds.

    Raises:
        InputError: the interpreter has no vLLM, or its help could not be read.
    """
    command = [python, "-m", MODULE, "--help=all"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(
            f"{' '.join(command)} did not answer ({error}); name another one with --vllm-python."
        ) from None
    found = available_flags(done.stdout)
    if not found:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise InputError(f"{' '.join(command)} listed no flags ({last}); name another one with --vllm-python.")
    return found


def unknown_flags(change: Iterable[str], engine_flags: frozenset[str]) -> list[str]:
    """The flags of a change that the installed engine does not list; the model is named apart from the flags."""
    return [name for name in change if name != "model" and name not in engine_flags]


def _names(help_text: str) -> Iterator[str]:
    usage = False
    for line in help_text.splitlines():
        usage = line.startswith("usage:") or (usage and bool(line.strip()))
        if usage:
            yield from NAME.findall(line)
        elif OPTION.match(line):
            header = re.split(r" {2,}", line.strip(), maxsplit=1)[0]
            yield from NAME.findall(header)
