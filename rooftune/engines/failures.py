"""Explains from its log why a server did not start or died, in one sentence with the way out."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from rooftune.engines.failure_rules import Rule, rules, warning_rules, wrappers
from rooftune.engines.log_lines import LogLine, LogText, log_lines, without_colours
from rooftune.errors import EngineError
from rooftune.formatting import shortened

_EXCEPTION = re.compile(r"^((?:\w+\.)*\w*(?:Error|Exception)):\s+(\S.*)$")
_BARE_EXCEPTION = re.compile(r"^((?:\w+\.)*\w*(?:Error|Exception))$")
_VALUE_ERROR = re.compile(r"^\s*(?:Value|Assertion) error, (.+?)(?: \[type=\w+, input_value=|$)")
_CORE_DIED = re.compile(r"EngineDeadError|(?:Worker|Engine core) proc .{0,80}died unexpectedly")
_TRACEBACK = "Traceback (most recent call last)"
_RELATED = re.compile(
    r"During handling of the above exception|The above exception was the direct cause|Exception ignored in"
)
"""What is above a traceback that does not stand for itself."""
_MILESTONE = re.compile(
    r"non-default args|Initializing a V\d LLM engine|Starting to load model|Loading weights took|Model loading took"
    r"|KV cache size: |init engine \(|Resolved architecture|Using max model len|Graph capturing finished"
    r"|Starting vLLM API server|Application startup complete"
)
"""Lines that a process writes only when all before went well."""
CORE_DIED = (
    "one of its processes died without an error message; "
    "on Linux, the kernel kills processes when the host runs out of memory"
)
_MOST = 240
"""The most characters that are quoted from a log line."""
_NEAR = 12
"""Matches of one process within this many lines are about the same failure."""


@dataclass(frozen=True)
class _Cause:
    """A known failure at its place in the log."""

    rule: Rule
    order: int
    """Place of the rule among all rules."""
    found: re.Match[str]
    line: int


def classify(log_text: str, exit_code: int | None) -> EngineError | None:
    """Explain the end of a server. With ``exit_code`` None the server still runs, and only a known reason is reported.

    Returns None for a server that ended normally or shows no failure. Otherwise the error has the failure class as
    ``kind`` and the log lines that show it as ``evidence``.
    """
    if exit_code == 0:
        return None
    lines = log_lines(log_text)
    cause = _cause(lines)
    if cause is not None:
        sentence = cause.rule.sentence(cause.found)
        evidence = shortened(_errors(lines)[cause.line].raw, 2 * _MOST)
        return EngineError(f"the engine did not start: {sentence}", cause.rule.kind, (evidence,))
    if exit_code is None:
        return None
    last = _last_exception(lines)
    if last:
        return EngineError(f"the engine ended with exit code {exit_code}: {last}; see server.log.", "died", (last,))
    return EngineError(
        f"the engine {_ended(exit_code)} and its log shows no reason; see the end of server.log.", "died"
    )


def death(log_text: str, exit_code: int) -> EngineError:
    """Explain the end of a server that was ready and died under load."""
    text = log_text.rpartition("Application startup complete.")[2]
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
    """The last exception that is not a mere wrapper, shortened and without the log's prefixes."""
    return _last_exception(log_lines(log_text))


def log_warnings(log_text: str) -> list[str]:
    """The warnings of the log that matter to a reader, one sentence each."""
    text = without_colours(log_text)
    return [rule.sentence(found) for rule in warning_rules() if (found := rule.pattern.search(text))]


def _errors(lines: Sequence[LogLine]) -> list[LogLine]:
    """The lines that may have the reason; what the engine logs as a warning is none."""
    return [line for line in lines if not line.quiet]


def _cause(lines: Sequence[LogLine]) -> _Cause | None:
    """The last cause that the engine did not survive, by the rule that explains it best.

    The same failure often shows several times: in the worker, in the engine core, and in exceptions that were raised
    while it was handled. So all causes near the last one, and all of its class, are candidates. What other failures
    cause, such as a peer that closed its connection, is a candidate only if there is nothing else.
    """
    log = LogText.of(_errors(lines))
    last_alive = _last_milestones(lines)
    found = [c for c in _matches(log) if log.lines[c.line].number > last_alive.get(log.lines[c.line].process, -1)]
    caused = {(c.rule.kind, c.line) for c in found if c.rule.consequence}
    found = [c for c in found if (c.rule.kind, c.line) not in caused] or found
    if not found:
        return None
    last = max(found, key=lambda c: c.line)
    if _another_came_later(log.lines, last.line):
        return None
    process = log.lines[last.line].process
    near = [
        c
        for c in found
        if c.rule.kind == last.rule.kind or (last.line - c.line <= _NEAR and log.lines[c.line].process == process)
    ]
    return min(near, key=lambda c: (c.order, -c.line))


def _matches(log: LogText) -> list[_Cause]:
    """The first and the last match of each rule."""
    causes = []
    for order, rule in enumerate(rules()):
        found = list(rule.pattern.finditer(log.text))
        for match in {id(m): m for m in (found[:1] + found[-1:])}.values():
            causes.append(_Cause(rule, order, match, bisect_right(log.starts, match.start()) - 1))
    return causes


def _last_milestones(lines: Sequence[LogLine]) -> dict[str, int]:
    """For each process the number of the last line that shows that it went on."""
    last: dict[str, int] = {}
    for line in lines:
        if line.quiet and _MILESTONE.search(line.text):
            last[line.process] = line.number
            if "Initializing a V" in line.text:
                last["APIServer"] = line.number
    return last


def _another_came_later(lines: Sequence[LogLine], cause: int) -> bool:
    """Whether the same process raised an unrelated exception later, which no rule explains."""
    process, chained, separate = lines[cause].process, False, False
    for line in lines[cause + 1 :]:
        if line.process != process:
            continue
        if _RELATED.search(line.text):
            chained = True
        elif _TRACEBACK in line.text:
            separate, chained = separate or not chained, False
        elif separate and _EXCEPTION.match(line.text) and not wrappers().search(line.text):
            return True
    return False


def _last_exception(lines: Sequence[LogLine]) -> str | None:
    found = _errors(lines)
    for i in range(len(found) - 1, -1, -1):
        text = found[i].text
        exception = _VALUE_ERROR.match(text) or _EXCEPTION.match(text)
        if exception and not wrappers().search(text):
            said = ": ".join(exception.groups())
            return shortened(f"{said} {_detail(found[i + 1 :])}" if said.endswith(":") else said, _MOST)
        bare = _BARE_EXCEPTION.match(text)
        if bare and i and not wrappers().search(text):
            code = next((line.text.strip() for line in found[i - 1 :: -1] if line.text.strip(" ^~")), "")
            return shortened(f"{bare[1]} at {code}" if code else bare[1], _MOST)
    return None


def _detail(lines: Sequence[LogLine]) -> str:
    """What follows a message that ends with a colon: the first line that names an error, or the first of all."""
    texts = [line.text.strip() for line in lines[:60] if line.text.strip()]
    return next((t for t in texts if re.search(r"\b(?:fatal|error)\b", t, re.IGNORECASE)), texts[0] if texts else "")


def _line(pattern: re.Pattern[str], text: str) -> str | None:
    return next((shortened(line.raw, 2 * _MOST) for line in log_lines(text) if pattern.search(line.raw)), None)


def _ended(exit_code: int) -> str:
    if exit_code == 137:
        return "was killed (SIGKILL; on Linux, often because the host ran out of memory)"
    if exit_code == 135:
        return "was ended by signal 7 (SIGBUS; in a container, often because /dev/shm is full: --shm-size, --ipc=host)"
    if exit_code > 128:
        return f"was ended by signal {exit_code - 128}"
    return f"ended with exit code {exit_code}"
