"""What was read from a log: one entry for each request, and what was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

LogFormat = Literal["vllm", "openai", "csv"]
TITLES: dict[LogFormat, str] = {
    "vllm": "log of a vLLM server",
    "openai": "log of requests in JSON",
    "csv": "table",
}
Message = Mapping[str, object]


@dataclass(slots=True)
class LoggedRequest:
    """One request of a log. None or empty = the log does not have it."""

    line: int
    at: float | None = None
    """When it arrived, seconds; from any origin until the log is put into order."""
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    max_tokens: int | None = None
    """The limit that the client set."""
    text: str = ""
    """The prompt as text, with all its messages."""
    token_ids: Sequence[int] = ()
    """The prompt as token ids."""
    messages: Sequence[Message] = ()
    answer: str = ""
    adapter: str = ""
    """LoRA adapter that was asked for."""
    adapter_path: str = ""
    """Where the server has it."""
    prefix: int = -1
    prefix_tokens: int = 0
    blocks: tuple[int, ...] = ()
    """Numbers of the prompt's blocks: equal numbers are equal text."""


@dataclass(frozen=True)
class Skip:
    """A line that gave no request."""

    line: int
    reason: str


@dataclass
class LogReading:
    """Everything that was read from one file."""

    format: LogFormat
    requests: list[LoggedRequest] = field(default_factory=list)
    skipped: list[Skip] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What was assumed, and what could not be known: one sentence each without its full stop."""
    fields: dict[str, str] = field(default_factory=dict)
    """Which of the file's fields was read as what."""

    def skip(self, line: int, reason: str) -> None:
        """Leave a line out."""
        self.skipped.append(Skip(line, reason))

    def reasons(self) -> list[SkippedFor]:
        """The reasons for which lines were left out, the most frequent first."""
        lines: dict[str, list[int]] = {}
        for skip in self.skipped:
            lines.setdefault(skip.reason, []).append(skip.line)
        return [SkippedFor(*item) for item in sorted(lines.items(), key=lambda item: -len(item[1]))]


@dataclass(frozen=True)
class SkippedFor:
    """The lines that were left out for one reason."""

    reason: str
    lines: Sequence[int]
