"""Explains from its log why a server did not start or died, in one sentence with the way out. The rules are data."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from ruamel.yaml import YAML

from rooftune.errors import EngineError

_EXCEPTION = re.compile(r"^(?:\([^)]*\) )?(?:(?:ERROR|CRITICAL) [^\]]*\] )?((?:\w+\.)*\w*(?:Error|Exception)): (.+)$")
_VALUE_ERROR = re.compile(r"^\s*(?:Value|Assertion) error, (.+?)(?: \[type=\w+, input_value=|$)")
_CORE_DIED = re.compile(r"EngineDeadError|(?:Worker|Engine core) proc .{0,80}died unexpectedly")
CORE_DIED = (
    "one of its processes died without an error message; "
    "on Linux, the kernel kills processes when the host runs out of memory"
)
_MOST = 240
"""The most characters that are quoted from a log line."""


@dataclass(frozen=True)
class Rule:
    """One known failure."""

    id: str
    kind: str
    pattern: re.Pattern[str]
    reason: str
    remedy: str


def classify(log_text: str, exit_code: int | None) -> EngineError | None:
    """Explain the end of a server. With ``exit_code`` None the server still runs, and only a known reason is reported.

    Returns None for a server that ended normally or shows no failure. Otherwise the error has the failure class as
    ``kind`` and the log lines that show it as ``evidence``.
    """
    if exit_code == 0:
        return None
    for rule in rules():
        found = rule.pattern.search(log_text)
        if found:
            sentence = f"{_fill(rule.reason, found)}; {_fill(rule.remedy, found)}."
            return EngineError(f"the engine did not start: {sentence}", rule.kind, (_line_at(log_text, found.start()),))
    if exit_code is None:
        return None
    last = last_exception(log_text)
    if last:
        return EngineError(f"the engine ended with exit code {exit_code}: {last}; see server.log.", "died", (last,))
    return EngineError(
        f"the engine {_ended(exit_code)} and its log shows no reason; see the end of server.log.", "died"
    )


def death(log_text: str, exit_code: int) -> EngineError:
    """Explain the end of a server that was ready and died under load."""
    text = _after_ready(log_text)
    found = classify(text, exit_code if exit_code else 1)
    if found is None or found.kind in ("died", "port"):
        last = last_exception(text)
        shown = last or _line(_CORE_DIED, text)
        why = f": {last}" if last else f": {CORE_DIED}" if shown else ""
        evidence = (shown,) if shown else ()
        return EngineError(
            f"the engine {_ended(exit_code)} under load{why}; see the end of server.log.", "died", evidence
        )
    sentence = str(found).removeprefix("the engine did not start: ")
    return EngineError(f"the engine died under load: {sentence}", found.kind, found.evidence)


def last_exception(log_text: str) -> str | None:
    """The last exception line that is not a mere wrapper, shortened and without the log's prefixes."""
    wrapper = re.compile("|".join(_document()["wrappers"]))
    for line in reversed(log_text.splitlines()):
        found = _VALUE_ERROR.match(line) or _EXCEPTION.match(line)
        if found and not wrapper.search(line):
            text = ": ".join(found.groups())
            return text if len(text) <= _MOST else text[: _MOST - 1] + "…"
    return None


def log_warnings(log_text: str) -> list[str]:
    """The warnings of the log that matter to a reader, one sentence each."""
    sentences = []
    for row in _document()["warnings"]:
        found = re.search(row["regex"], log_text)
        if found:
            sentences.append(_fill(row["text"], found))
    return sentences


@cache
def rules() -> tuple[Rule, ...]:
    """The known failures in the order in which they are checked."""
    return tuple(
        Rule(r["id"], r["kind"], re.compile(r["regex"], re.MULTILINE), r["reason"], r["remedy"])
        for r in _document()["reasons"]
    )


@cache
def _document() -> dict[str, Any]:
    text = files("rooftune.engines").joinpath("data/failures.yaml").read_text(encoding="utf-8")
    document: dict[str, Any] = YAML(typ="safe").load(text)
    return document


def _fill(template: str, found: re.Match[str]) -> str:
    def group(name: re.Match[str]) -> str:
        text = " ".join((found[int(name[1])] or "?").split()).rstrip(".,;")
        if name[2]:
            with contextlib.suppress(ValueError, OverflowError):
                return str(int(float(text)))
        return text

    return re.sub(r"\{(\d)(:int)?\}", group, template)


def _line(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.search(text)
    return _line_at(text, found.start()) if found else None


def _line_at(text: str, position: int) -> str:
    start = text.rfind("\n", 0, position) + 1
    end = text.find("\n", position)
    line = text[start : end if end >= 0 else len(text)].strip()
    return line if len(line) <= 2 * _MOST else line[: 2 * _MOST - 1] + "…"


def _after_ready(text: str) -> str:
    return text.rpartition("Application startup complete.")[2]


def _ended(exit_code: int) -> str:
    if exit_code == 137:
        return "was killed (SIGKILL; on Linux, often because the host ran out of memory)"
    if exit_code > 128:
        return f"was ended by signal {exit_code - 128}"
    return f"ended with exit code {exit_code}"
