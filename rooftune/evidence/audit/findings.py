"""Short ways to write down what a check found."""

from __future__ import annotations

from typing import Any

from rooftune.evidence.records.trial import Check


def passed(name: str, sentence: str, figures: dict[str, Any] | None = None) -> Check:
    """The check found what it should."""
    return Check(id=name, status="pass", sentence=sentence, figures=figures or {})


def warned(name: str, sentence: str, remedy: str, figures: dict[str, Any] | None = None) -> Check:
    """Something to know; the figures may still be believed."""
    return Check(id=name, status="warn", sentence=sentence, figures=figures or {}, remedy=remedy)


def failed(name: str, sentence: str, remedy: str, figures: dict[str, Any] | None = None) -> Check:
    """The figures may not be believed."""
    return Check(id=name, status="fail", sentence=sentence, figures=figures or {}, remedy=remedy)


def no_data(name: str, sentence: str) -> Check:
    """The source does not have what this check looks at."""
    return Check(id=name, status="no data", sentence=sentence)
