"""Counts the tokens of a workload's texts as the server of a target will."""

from __future__ import annotations

import shutil
from pathlib import Path

from rooftune.engines.target import Target
from rooftune.engines.urls import server_root
from rooftune.errors import InputError
from rooftune.models.catalogue import model_folder
from rooftune.workloads.spec import Workload
from rooftune.workloads.texts.encoders import Encoder, Estimate, FromServer, from_folder
from rooftune.workloads.texts.lengths import measure
from rooftune.workloads.texts.prompt_set import prompt_file


def encoder_for(model: str, url: str | None = None, *, simulated: bool = False) -> Encoder:
    """The tokenizer of a model, else the server's own, else an estimate.

    Args:
        model: its name, folder or hub id.
        url: a server that runs.
        simulated: the prompts go to the simulated engine, whose tokenizer is the estimate.
    """
    if simulated:
        return Estimate("the simulated engine's stand-in for a tokenizer, about four characters per token")
    folder = model_folder(model)
    found = from_folder(folder) if folder is not None else None
    if found is not None:
        return found
    if url:
        server = FromServer(server_root(url), model)
        try:
            server.text("a")
        except InputError:
            return Estimate()
        return server
    return Estimate()


def keep_prompts(workload: Workload, folder: Path) -> None:
    """Copy the file of prompts into a run folder where the workload keeps texts."""
    if workload.prompts is not None and workload.prompts.keep_texts:
        kept = folder / "prompts"
        kept.mkdir(exist_ok=True)
        shutil.copyfile(workload.prompts.file, kept / Path(workload.prompts.file).name)


def with_lengths(workload: Workload, encoder: Encoder, path: Path) -> Workload:
    """The workload with the lengths of its texts, which are written; itself where it has none.

    Raises:
        InputError: the file of prompts cannot be read, or the tokenizer fails.
    """
    if workload.prompts is None:
        return workload
    file = prompt_file(workload.prompts)
    measure(file.prompts, encoder, chat=workload.chat, sha256=file.sha256).write(path)
    return workload.with_part(workload.prompts.part, str(path))


def with_counted_lengths(
    workload: Workload, path: Path, model: str, url: str | None = None, *, simulated: bool = False
) -> Workload:
    """``with_lengths`` by the ``encoder_for`` a server. A workload without texts reads no tokenizer and asks no server.

    Raises:
        InputError: the file of prompts cannot be read, or the tokenizer fails.
    """
    if workload.prompts is None:
        return workload
    return with_lengths(workload, encoder_for(model, url, simulated=simulated), path)


def write_prompt_lengths(workload: Workload, target: Target, path: Path) -> None:
    """Write the lengths of a workload's texts as the server of a target counts them; nothing where it has none.

    Raises:
        InputError: the file of prompts cannot be read, or the tokenizer fails.
    """
    with_counted_lengths(workload, path, target.model, target.url, simulated=target.simulated)
