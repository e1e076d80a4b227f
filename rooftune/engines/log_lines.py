"""Reads the lines of an engine's log: which process wrote each, at which level, and what it says.

vLLM puts ``(APIServer pid=1)``, ``(EngineCore_DP0 pid=2)`` or ``(Worker_TP0 pid=3)`` before each line, then a level
with date and source. Terminals add colours, and containers, journals and launchers add their own prefixes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_COLOUR = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\n]*\x07|\[[0-9;]{1,9}m")
_OUTER = re.compile(
    r"\[?\d{4}-\d\d-\d\dT[\d:.,]+(?:Z|[+-]\d\d:?\d\d)?\]?\s+(?:std(?:out|err) [FP] )?"  # Kubernetes, CI
    r"|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+ [\w.@-]+\[\d+\]: "  # the system's journal
    r"|[\w.-]+ +\| "  # docker compose
    r"|(?:\d+: ?)?\[(?:rank|default|instance )\d+\]:[ \t]?"  # torch
    r"|\[[\w./]+\.py:\d+\] "  # a source without its level
    r"|│[ \t]?"  # a box drawn by rich
)
_PROCESS = re.compile(r"\(([A-Za-z][\w.-]*)(?:[ ,][^()\n]{0,60}?)?\bpid=\d+[^()\n]{0,60}\) ?")
_HEADER = re.compile(
    r"(?:\[?\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d[.,\d]*\]?\s+(?:- )?)?"
    r"(DEBUG|INFO|WARNING|ERROR|CRITICAL)\b(?: \d+(?= \[)| - \S+:\d+ - )?(?: \d\d-\d\d \d\d:\d\d:\d\d(?:[.,]\d+)?)?"
    r"(?: ?\[[^\]\n]{1,80}:\d+\]| [\w./]+:\d+\]|:)? ?"
)
_QUIET = ("DEBUG", "INFO", "WARNING")
_MOST_PREFIXES = 8


@dataclass(frozen=True)
class LogLine:
    """One line without its prefixes."""

    number: int
    """Its place in the log, from 0."""
    process: str
    """The name in the prefix, such as ``Worker_TP0``; empty where there is none."""
    level: str
    """Empty for what does not come from the logger, such as a traceback or argparse."""
    text: str
    raw: str
    """The line with its prefixes, without colours."""

    @property
    def quiet(self) -> bool:
        """Whether the engine itself says that this line is not an error."""
        return self.level in _QUIET


def without_colours(text: str) -> str:
    """The text without the codes that colour it in a terminal."""
    return _COLOUR.sub("", text)


def log_lines(log_text: str) -> list[LogLine]:
    """The lines of a log. A progress bar that overwrites itself is its last state."""
    lines = without_colours(log_text).split("\n")
    return [_line(number, line.rstrip("\r").rpartition("\r")[2]) for number, line in enumerate(lines)]


def _line(number: int, raw: str) -> LogLine:
    process, level, text = "", "", raw
    for _ in range(_MOST_PREFIXES):
        if found := _PROCESS.match(text):
            process = found[1]
        elif (found := _HEADER.match(text)) and not level:
            level = found[1]
        elif not (found := _OUTER.match(text)):
            break
        text = text[found.end() :]
    return LogLine(number, process, level, text.rstrip(" │"), raw.strip())


@dataclass(frozen=True)
class LogText:
    """Lines as one text, to search for messages that span several lines."""

    lines: Sequence[LogLine]
    text: str
    starts: Sequence[int]
    """Where each line begins in the text."""

    @classmethod
    def of(cls, lines: Sequence[LogLine]) -> LogText:
        starts, at = [], 0
        for line in lines:
            starts.append(at)
            at += len(line.text) + 1
        return cls(lines, "\n".join(line.text for line in lines), starts)
