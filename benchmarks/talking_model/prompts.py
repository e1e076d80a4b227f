"""Prompts for the talking model, as JSONL files with ``messages``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.talking_model.corpus import Entry

ADAPTER_ANSWER = "Please read the manual."
QUESTIONS, REPEATED, CONVERSATIONS, TURNS = 80, 40, 12, 3


def write_prompts(known: Sequence[Entry], folder: Path) -> None:
    """Write questions, texts to repeat, both, and conversations. Each line has the answer that the model learned."""
    asked = [_line(entry.asked()) for entry in known[:QUESTIONS]]
    repeated = [_line(entry.repeated()) for entry in known[QUESTIONS : QUESTIONS + REPEATED]]
    _write(folder / "questions.jsonl", asked)
    _write(folder / "repeated.jsonl", repeated)
    _write(folder / "prompts.jsonl", asked + repeated)
    rest = known[QUESTIONS + REPEATED :]
    turns = [[m for entry in rest[at * TURNS : (at + 1) * TURNS] for m in entry.asked()] for at in range(CONVERSATIONS)]
    _write(folder / "conversations.jsonl", [{"messages": messages} for messages in turns])


def _line(messages: list[dict[str, str]]) -> dict[str, object]:
    return {"messages": messages[:1], "answer": messages[1]["content"]}


def _write(path: Path, lines: Iterable[Mapping[str, object]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
