"""Reads a file of prompts, whatever tool wrote it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from rooftune.errors import InputError
from rooftune.workloads.texts.files import entries
from rooftune.workloads.texts.prompt_text import PromptText
from rooftune.workloads.texts.records import PromptFormat, read_record


def read_prompts(path: Path, format: PromptFormat = "auto") -> list[PromptText]:
    """All prompts of a file, in its order. Prompts that occur twice are read twice.

    Raises:
        InputError: the file is missing, empty or not UTF-8, or a line has no prompt; the message has the line.
    """
    plain = {"auto": None, "text": True}.get(format, False)
    found: list[PromptText] = []
    for entry in entries(path, plain=plain):
        try:
            found += read_record(entry.value, entry.line, format)
        except ValueError as error:
            raise InputError(f"{path}, {entry.unit} {entry.line}: {error}.") from None
    if not found:
        raise InputError(f"{path} has no prompt: no entry of it has a text that a user wrote.")
    return found


def file_hash(path: Path) -> str:
    """Hash of a file's content.

    Raises:
        InputError: it is missing or cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    except FileNotFoundError:
        raise InputError(
            f"the file of prompts {path} is missing; prompts.file is relative to the workload file."
        ) from None
    except OSError as error:
        raise InputError(f"the file of prompts {path} cannot be read ({error.strerror or error}).") from None
    return digest.hexdigest()[:16]
