"""A span as flows and tasks see it, recorded or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Value = str | bool | int | float | Sequence[str] | None
Attributes = Mapping[str, Value]


class Span:
    """What a block of work reports about itself. This one is recorded nowhere."""

    def set(self, attributes: Attributes) -> None:
        """Add attributes; None is left out."""

    def event(self, name: str, attributes: Attributes) -> None:
        """Add something that happened."""

    def fail(self, kind: str, sentence: str) -> None:
        """Mark the span as an error."""

    def end(self) -> None:
        """The work has ended. A span that is opened for a block ends with it."""
