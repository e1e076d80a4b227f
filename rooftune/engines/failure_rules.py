"""The known failures of an engine, which are data: ``data/failures.yaml``."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, TypedDict

from ruamel.yaml import YAML

if TYPE_CHECKING:
    from typing_extensions import NotRequired


@dataclass(frozen=True)
class Rule:
    """One known failure."""

    id: str
    kind: str
    pattern: re.Pattern[str]
    reason: str
    remedy: str
    consequence: bool
    """Other failures cause it, so it is the reason only when the log has no other."""

    def sentence(self, found: re.Match[str]) -> str:
        """What happened and the way out, with what the log says filled in."""
        return f"{_filled(self.reason, found)}; {_filled(self.remedy, found)}."


@dataclass(frozen=True)
class WarningRule:
    """A line that matters although the server runs."""

    pattern: re.Pattern[str]
    text: str

    def sentence(self, found: re.Match[str]) -> str:
        """The warning with what the log says filled in."""
        return _filled(self.text, found)


@cache
def rules() -> tuple[Rule, ...]:
    """The known failures. Where several explain the same lines, the first is the best explanation."""
    return tuple(
        Rule(
            r["id"],
            r["kind"],
            re.compile(r["regex"], re.MULTILINE),
            r["reason"],
            r["remedy"],
            r.get("consequence", False),
        )
        for r in _document()["reasons"]
    )


@cache
def warning_rules() -> tuple[WarningRule, ...]:
    """The known warnings."""
    return tuple(WarningRule(re.compile(r["regex"]), r["text"]) for r in _document()["warnings"])


@cache
def wrappers() -> re.Pattern[str]:
    """Messages that only report that something else failed."""
    return re.compile("|".join(_document()["wrappers"]))


class _Entry(TypedDict):
    """An entry of ``reasons``."""

    id: str
    kind: str
    regex: str
    reason: str
    remedy: str
    consequence: NotRequired[bool]


class _Warning(TypedDict):
    regex: str
    text: str


class _Document(TypedDict):
    reasons: list[_Entry]
    wrappers: list[str]
    warnings: list[_Warning]


@cache
def _document() -> _Document:
    text = files("rooftune.engines").joinpath("data/failures.yaml").read_text(encoding="utf-8")
    document: _Document = YAML(typ="safe").load(text)
    return document


def _filled(template: str, found: re.Match[str]) -> str:
    """Replace {0}, {1} … by the whole match and its groups, and {1:int} by a whole number."""

    def group(name: re.Match[str]) -> str:
        text = " ".join((found[int(name[1])] or "?").split()).rstrip(".,;")
        if name[2]:
            with contextlib.suppress(ValueError, OverflowError):
                return str(int(float(text)))
        return text

    return re.sub(r"\{(\d)(:int)?\}", group, template)
