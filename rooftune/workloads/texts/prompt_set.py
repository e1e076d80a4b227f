"""The prompts that a workload sends, with their lengths: read once, and again when a file changes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from rooftune.errors import InputError
from rooftune.workloads.texts.files import content_of
from rooftune.workloads.texts.lengths import PromptLengths, estimated
from rooftune.workloads.texts.prompt_text import PromptText, Split, split_prompts
from rooftune.workloads.texts.prompts_file import Prompts
from rooftune.workloads.texts.read import prompts_in
from rooftune.workloads.texts.records import PromptFormat

KEPT = 4
"""Files of prompts, and of lengths, that are kept in memory: the workload is drawn hundreds of times."""


@dataclass(frozen=True, eq=False)
class PromptFile:
    """A file of prompts as it was read. Its identity is a key of ``_estimated``, so that it is not read again."""

    prompts: tuple[PromptText, ...]
    sha256: str
    split: Split

    @property
    def chat(self) -> bool:
        """Whether it has messages, which only the chat API takes."""
        return any(p.messages is not None for p in self.prompts)


@dataclass(frozen=True)
class PromptSet:
    """The prompts of one part, and the lengths of all."""

    prompts: tuple[PromptText, ...]
    lengths: PromptLengths


def prompt_file(prompts: Prompts) -> PromptFile:
    """The whole file.

    Raises:
        InputError: it is missing, cannot be read, or is not the file with which the run began.
    """
    path = Path(prompts.file)
    try:
        stat = path.stat()
        state = (stat.st_mtime_ns, stat.st_size)
    except OSError:
        state = (0, 0)  # reading it reports why
    found = _read(path, prompts.format, state)
    if prompts.sha256 is not None and prompts.sha256 != found.sha256:
        raise InputError(
            f"{path} has changed since the run began (its hash was {prompts.sha256} and is {found.sha256}); restore "
            "it, or begin a new run."
        )
    return found


def with_file(prompts: Prompts, path: Path) -> Prompts:
    """The prompts of the file at this path, with the hash of its content.

    Raises:
        InputError: it is missing or cannot be read.
    """
    named = prompts.model_copy(update={"file": str(path), "sha256": None})
    return named.model_copy(update={"sha256": prompt_file(named).sha256})


@lru_cache(maxsize=KEPT)
def _read(path: Path, format: PromptFormat, state: tuple[int, int]) -> PromptFile:
    data = content_of(path)
    found = tuple(prompts_in(data, path, format))
    return PromptFile(found, hashlib.sha256(data).hexdigest()[:16], split_prompts(found))


def prompt_set(prompts: Prompts, *, chat: bool) -> PromptSet:
    """The prompts of the part that is sent.

    Args:
        prompts: of the workload.
        chat: they are sent as messages.

    Raises:
        InputError: see ``prompt_file``.
        RooftuneError: the file of lengths is missing or broken.
    """
    file = prompt_file(prompts)
    parts = {"all": file.prompts, "search": file.split.search, "confirm": file.split.confirm}
    return PromptSet(parts[prompts.part], _lengths(prompts, file, chat))


def _lengths(prompts: Prompts, file: PromptFile, chat: bool) -> PromptLengths:
    if prompts.lengths is not None:
        found = _read_lengths(Path(prompts.lengths))
        if found.sha256 == file.sha256 and found.chat == chat:
            return found
    return _estimated(file, chat)


@lru_cache(maxsize=KEPT)
def _read_lengths(path: Path) -> PromptLengths:
    return PromptLengths.read(path)


@lru_cache(maxsize=KEPT)
def _estimated(file: PromptFile, chat: bool) -> PromptLengths:
    return estimated(file.prompts, chat=chat, sha256=file.sha256)
