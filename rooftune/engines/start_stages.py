"""Where the seconds of a start go, and what its CUDA graphs take, read from an engine's log.

A stage ends with a line that vLLM prints when it is done. Its duration is the difference of two time stamps, which
have whole seconds, so short stages are 0 or 1 s.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import NamedTuple

from rooftune.vllm_rules.scheduling import Runner

_STAMP = re.compile(r"\b(?:INFO|WARNING|ERROR|DEBUG) (\d\d-\d\d \d\d:\d\d:\d\d)(?:[.,]\d+)? \[")
_ANY_YEAR = "2000-"
_RUNNER = re.compile(r"Using (V\d) Model Runner|using the (V\d) model runner instead")
_GRAPHS = re.compile(r"Graph capturing finished in (\d+) secs?, took (-?[\d.]+) GiB")
_GRAPHS_ESTIMATED = re.compile(r"Estimated CUDA graph memory: ([\d.]+) GiB")
_COMPILED = re.compile(r"torch\.compile took ([\d.]+) s in total")
_FROM_CACHE = "Directly load the compiled graph"
_SCHEDULED = re.compile(r"max_num_scheduled_tokens is set to (\d+)")


class Stage(NamedTuple):
    """A part of a start and the line that ends it."""

    name: str
    ends_with: str


STAGES = (
    Stage("configuration", "Resolved architecture:"),
    Stage("engine_process", "Initializing a V1 LLM engine"),
    Stage("model", "Model loading took"),
    Stage("compile_and_profile", "Available KV cache memory:"),
    Stage("graphs", "Graph capturing finished"),
    Stage("warm_up", "init engine (profile, create kv cache, warmup model) took"),
)
"""In the order in which vLLM prints them. "configuration" begins with the first stamped line; where a line is missing,
the next stage has its seconds too."""


def stage_seconds(log_text: str) -> dict[str, float]:
    """Seconds of each stage whose last line is in the log."""
    found: dict[str, float] = {}
    left, begun = list(STAGES), None
    for line in log_text.splitlines():
        stamp = _stamp(line)
        if stamp is None:
            continue
        begun = begun or stamp
        reached = next((i for i, stage in enumerate(left) if stage.ends_with in line), None)
        if reached is not None:
            found[left[reached].name] = max((stamp - begun).total_seconds(), 0.0)
            left, begun = left[reached + 1 :], stamp
            if not left:
                break
    return found


def start_facts(log_text: str) -> dict[str, object]:
    """What the log says of a start beyond the values of flags; keys that it does not have are missing."""
    graphs, estimated = _GRAPHS.search(log_text), _GRAPHS_ESTIMATED.search(log_text)
    scheduled = _SCHEDULED.search(log_text)
    compiled = [float(seconds) for seconds in _COMPILED.findall(log_text)]
    facts: dict[str, object | None] = {
        "model_runner": model_runner(log_text),
        "graphs_gib": float(graphs[2]) if graphs else None,
        "graphs_estimated_gib": float(estimated[1]) if estimated else None,
        "max_num_scheduled_tokens": int(scheduled[1]) if scheduled else None,
        "compile_s": round(sum(compiled), 2) if compiled else None,
        "compile_cached": _FROM_CACHE in log_text if compiled else None,
        "start_stages_s": stage_seconds(log_text) or None,
    }
    return {key: value for key, value in facts.items() if value is not None}


def model_runner(log_text: str) -> Runner | None:
    """The model runner that the engine names; None where it names none (before vLLM 0.23, and V1 without a reason)."""
    named = [name for pair in _RUNNER.findall(log_text) for name in pair if name]
    if not named:
        return None
    return "V2" if named[-1] == "V2" else "V1"


def _stamp(line: str) -> datetime | None:
    found = _STAMP.search(line)
    if found is None:
        return None
    try:
        return datetime.strptime(_ANY_YEAR + found[1], "%Y-%m-%d %H:%M:%S")
    except ValueError:
        return None
