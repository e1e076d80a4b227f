"""Writes a workload made of a log: the workload file, its trace beside it, and its prompts where texts are kept."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

from rooftune.errors import InputError
from rooftune.files import write_text
from rooftune.workloads.load import as_workload
from rooftune.workloads.logs.entries import LoggedRequest
from rooftune.workloads.logs.making import MadeWorkload


@dataclass(frozen=True)
class WrittenFiles:
    """The files of a workload."""

    workload: Path
    trace: Path | None
    prompts: Path | None

    def paths(self) -> list[Path]:
        """All of them."""
        return [p for p in (self.workload, self.trace, self.prompts) if p is not None]


def write_workload(made: MadeWorkload, folder: Path, *, replace: bool = False) -> WrittenFiles:
    """Write the files of a workload into a folder.

    Raises:
        InputError: a file exists and must not be replaced, or the workload's name is not one.
    """
    spec = as_workload(made.content, made.name)
    traced = spec.arrivals.process == "trace"
    files = WrittenFiles(
        folder / f"{made.name}.yaml",
        folder / f"{made.name}.trace.jsonl" if traced else None,
        folder / f"{made.name}.prompts.jsonl" if made.texts else None,
    )
    there = [path for path in files.paths() if path.exists()]
    if there and not replace:
        raise InputError(f"{there[0]} exists; give another --name, or --force to replace it.")
    folder.mkdir(parents=True, exist_ok=True)
    if files.trace is not None:
        _write_lines(files.trace, (trace_row(made, r) for r in made.requests))
    if files.prompts is not None:
        _write_lines(files.prompts, (prompt_row(r) for r in made.requests if r.text or r.messages))
    write_text(files.workload, _yaml(made))
    return files


def trace_row(made: MadeWorkload, request: LoggedRequest) -> dict[str, object]:
    """One request of the trace: when it arrived, how long it was, and what it begins with."""
    row: dict[str, object] = {"arrival_s": round(request.at or 0.0, 6)} if made.timed else {}
    row |= {"prompt_tokens": request.prompt_tokens, "output_tokens": request.output_tokens}
    if request.prefix >= 0:
        row |= {"prefix_id": request.prefix, "prefix_tokens": request.prefix_tokens}
    elif made.shared:
        row["hash_ids"] = list(request.blocks)
    return {**row, "adapter": request.adapter} if request.adapter else row


def prompt_row(request: LoggedRequest) -> dict[str, object]:
    """One prompt with its answer."""
    row: dict[str, object] = {"messages": list(request.messages)} if request.messages else {"prompt": request.text}
    known = {"answer": request.answer, "output_tokens": request.output_tokens, "max_tokens": request.max_tokens}
    return {**row, **{name: value for name, value in known.items() if value}}


def _write_lines(path: Path, rows: Iterable[dict[str, object]]) -> None:
    write_text(path, "".join(json.dumps(r, separators=(",", ":")) + "\n" for r in rows))


def _yaml(made: MadeWorkload) -> str:
    yaml = YAML()
    yaml.default_flow_style = False
    text = io.StringIO()
    yaml.dump(dict(made.content), text)
    notes = "".join(f"# - {note}.\n" for note in made.notes)
    head = "# Made by rooftune workload from-log.\n" + (f"# What is assumed or not known:\n{notes}" if notes else "")
    return head + text.getvalue()
