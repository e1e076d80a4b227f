"""Reads a file of prompts, whatever tool wrote it."""

from __future__ import annotations

from pathlib import Path

from rooftune.errors import InputError
from rooftune.workloads.texts.files import content_of, entries
from rooftune.workloads.texts.prompt_text import PromptText
from rooftune.workloads.texts.records import PromptFormat, read_record


def read_prompts(path: Path, format: PromptFormat = "auto") -> list[PromptText]:
    """All prompts of a file, in its order. Prompts that occur twice are read twice.

    Raises:
        InputError: the file is missing, empty or not UTF-8, or a line has no prompt; the message has the line.
    """
    return prompts_in(content_of(path), path, format)


def prompts_in(data: bytes, path: Path, format: PromptFormat) -> list[PromptText]:
    """All prompts in the content of a file.

    Raises:
        InputError: as ``read_prompts``.
    """
    plain = {"auto": None, "text": True}.get(format, False)
    found: list[PromptText] = []
    for entry in entries(data, path, plain=plain):
        try:
            found += read_record(entry.value, entry.line, format)
        except ValueError as error:
            raise InputError(f"{path}, {entry.unit} {entry.line}: {error}.") from None
    if not found:
        raise InputError(f"{path} has no prompt: none of its entries has a text from a user.")
    return found
