"""Lowers the limits of a running vLLM server, so that another configuration is measured without a restart.

The server runs ``in_engine/rooftune_scheduler.py``, which is vLLM's own scheduler with a control file. Only limits of
the scheduler change: batch, token budget, and the cut of long prompts. Buffers, CUDA graphs, compiled kernels and the
KV cache stay as the server made them for its own flags. A switched trial is therefore compared with other trials of the
search, and a level that is quoted comes from a server that was started with the real flags.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import time
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from rooftune.engines.http_client import warm_up_completion
from rooftune.engines.server import Limits, ServerInfo, Switched
from rooftune.errors import EngineError
from rooftune.files import write_json
from rooftune.runfolder import TrialFolder
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.versions import Releases, version

FOLDER = Path(__file__).with_name("in_engine")
SCHEDULER = "rooftune_scheduler.scheduler"
CONTROL_FILE = "ROOFTUNE_CONTROL_FILE"
FLAG = "scheduler_cls"
KNOBS = ("max_num_seqs", "max_num_batched_tokens", "long_prefill_token_threshold")
HAS_ADMISSION_LIMIT = Releases(since="0.32")
"""The limit of running requests is apart from the number of slots (v1/core/sched/scheduler.py, max_num_active_reqs)."""
BUSY_STEPS = 32
"""Of ``in_engine/rooftune_scheduler.py``: the most steps until a busy scheduler looks at the control file."""
TRIES = 5
"""Attempts to switch. The first may come before the blocks of the last request are free."""
PAUSE_S = 0.5
ANSWER_S = 10.0
"""Longest time from the answer of the request that makes the scheduler take a step to its line in the log."""
_SAYS = re.compile(r"rooftune scheduler: (\{.*\})")


Said = TypeVar("Said", bound=BaseModel)


class _Started(BaseModel):
    """What the scheduler prints when it starts."""

    model_config = ConfigDict(extra="ignore")
    switchable: bool
    limits: Limits | None = None


class _Answer(BaseModel):
    """What the scheduler prints when the control file has changed."""

    model_config = ConfigDict(extra="ignore")
    switched: str | None = None
    refused: str | None = None
    reason: str = ""
    limits: Limits | None = None
    prefix_cache_empty: bool = False


def with_scheduler(config: EngineConfig) -> EngineConfig:
    """The configuration with the scheduler whose limits can be lowered."""
    return config.with_change({FLAG: SCHEDULER})


def environment(folder: TrialFolder) -> dict[str, str]:
    """Variables by which the engine's interpreter finds the scheduler, and the scheduler its control file."""
    theirs = os.environ.get("PYTHONPATH")
    return {
        "PYTHONPATH": os.pathsep.join([str(FOLDER), *([theirs] if theirs else [])]),
        CONTROL_FILE: str(folder.control_json.absolute()),
    }


def started_limits(log_text: str) -> Limits | None:
    """The limits of a scheduler that can lower them; None for any other."""
    said = _said(log_text, _Started)
    return said[0].limits if said and said[0].switchable else None


def supported(config: EngineConfig, engine_version: str) -> bool:
    """Whether this version's scheduler can be given other limits, as far as rooftune knows before the start."""
    if not HAS_ADMISSION_LIMIT.has(version(engine_version)) or config.speculative_config is not None:
        return False
    return FLAG not in config.other_flags and config.other_flags.get("data_parallel_size") in (None, 1)


def lowered(bound: Limits, max_model_len: int | None, started: EngineConfig, wanted: EngineConfig) -> Limits | None:
    """The limits with which a running server is what ``wanted`` describes; None where it needs another server.

    Args:
        bound: the limits that the server started with.
        max_model_len: of the server.
        started: the configuration that the server was started with.
    """
    if _others(started) != _others(wanted):
        return None
    if any(_value(wanted, k) is None and _value(started, k) is not None for k in KNOBS):
        return None  # back to a default that the running server does not show
    seqs, tokens, threshold = (_value(wanted, k) for k in KNOBS)
    # Where a limit is left open, vLLM takes no more than the other one allows (engine/arg_utils.py, 0.32).
    if tokens is None:
        most = seqs * max_model_len if seqs and max_model_len else bound.max_num_batched_tokens
        tokens = min(bound.max_num_batched_tokens, most)
    if seqs is None:
        seqs = min(bound.max_num_seqs, tokens)
    limits = Limits(max_num_seqs=seqs, max_num_batched_tokens=tokens, long_prefill_token_threshold=threshold or 0)
    return limits if _within(limits, bound) else None


def stated_limits(config: EngineConfig) -> Limits | None:
    """The limits of a configuration that states batch and token budget; None for one that leaves either to vLLM."""
    seqs, tokens, threshold = (_value(config, k) for k in KNOBS)
    if seqs is None or tokens is None:
        return None
    return Limits(max_num_seqs=seqs, max_num_batched_tokens=tokens, long_prefill_token_threshold=threshold or 0)


async def switch(server: ServerInfo, folder: TrialFolder, limits: Limits, name: str) -> ServerInfo:
    """Give a running server other limits, and wait until its scheduler has them and its prefix cache is empty.

    Args:
        server: as it was started.
        folder: the folder of the trial that it was started for.
        name: what is measured now, such as ``seqs64/1``; the scheduler repeats it.

    Raises:
        EngineError: the scheduler did not take the limits; the server needs a restart.
    """
    assert server.switchable is not None
    began, begun_at = time.monotonic(), time.time()
    answer, log_from = _Answer(), folder.server_log.stat().st_size
    for attempt in range(TRIES):
        mark = f"{name} {attempt}"
        written = folder.server_log.stat().st_size
        write_json(folder.control_json, {"id": mark, **limits.model_dump()})
        # An idle engine takes no step; one that still ends a request looks at the file in one of this many.
        await warm_up_completion(server.url, server.model, timeout_s=60.0, tokens=BUSY_STEPS + 1)
        answer = await _answer(folder.server_log, written, mark)
        if answer.limits != limits or answer.prefix_cache_empty:
            break
        await asyncio.sleep(PAUSE_S)
    if answer.limits != limits or not answer.prefix_cache_empty:
        silent = "its prefix cache stayed in use" if answer.limits else "its scheduler did not answer"
        raise EngineError(
            f"the limits of the running server could not be changed: {answer.reason or silent}.", "switch"
        )
    effective = server.effective.model_copy(
        update={"max_num_seqs": limits.max_num_seqs, "max_num_batched_tokens": limits.max_num_batched_tokens}
    )
    return server.model_copy(
        update={
            "started_at": begun_at,
            "ready_after_s": round(time.monotonic() - began, 3),
            "effective": effective,
            "switched": Switched(
                server_of=f"{folder.candidate}/{folder.n}", started=server.switchable, limits=limits, log_from=log_from
            ),
        }
    )


def copy_log(server: ServerInfo, started: TrialFolder, trial: TrialFolder) -> None:
    """Write what a running server logged since it was switched into the log of the trial that it was switched for."""
    assert server.switched is not None
    with started.server_log.open("rb") as log:
        log.seek(server.switched.log_from)
        trial.server_log.write_bytes(log.read())


async def _answer(log: Path, written: int, mark: str) -> _Answer:
    """What the scheduler says to this change; empty if it says nothing."""
    until = time.monotonic() + ANSWER_S
    while time.monotonic() < until:
        with log.open("rb") as handle:
            handle.seek(written)
            text = handle.read().decode(errors="replace")
        for found in _said(text, _Answer):
            if mark in (found.switched, found.refused):
                return found
        await asyncio.sleep(0.05)
    return _Answer()


def _said(log_text: str, kind: type[Said]) -> list[Said]:
    """The lines of the scheduler in a log; one that is still being written is left out."""
    found = []
    for text in _SAYS.findall(log_text):
        with contextlib.suppress(ValidationError):
            found.append(kind.model_validate_json(text))
    return found


def _others(config: EngineConfig) -> str:
    """Everything but the limits, as a text that can be compared."""
    flags = {name: value for name, value in config.flags().items() if name not in KNOBS}
    return json.dumps([config.model, flags], sort_keys=True)


def _value(config: EngineConfig, knob: str) -> int | None:
    found = config.flags().get(knob)
    return found if isinstance(found, int) else None


def _within(limits: Limits, bound: Limits) -> bool:
    """Whether every limit is at most that of the start. A threshold of 0 is the highest."""
    threshold, highest = limits.long_prefill_token_threshold, bound.long_prefill_token_threshold
    return (
        1 <= limits.max_num_seqs <= bound.max_num_seqs
        and limits.max_num_seqs <= limits.max_num_batched_tokens <= bound.max_num_batched_tokens
        and (highest == 0 or 0 < threshold <= highest)
    )
