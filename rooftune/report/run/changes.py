"""What a configuration changes: for a table, and which of it may change the answers."""

from __future__ import annotations

import json
from collections.abc import Mapping

from rooftune.formatting import NONE
from rooftune.report.markup import change_words, code, flag_code, joined
from rooftune.report.run_data import RunData
from rooftune.tuning.configuration import describe, difference
from rooftune.vllm_rules.config import EngineConfig, FlagValue


def changes(run: RunData, id: str, against: str = "baseline") -> str:
    """All that a configuration changes from another one, as command-line words."""
    if id == against:
        return NONE
    return change_words(difference(run.config_of(id), run.config_of(against))) or "nothing"


def meaning(run: RunData, id: str) -> str:
    """What a configuration is, for a place where its name alone says too little: the fewest changes that make it.

    They start from the baseline, or from the recommended configuration where that takes fewer. Empty where the plan
    does not know the configuration.
    """
    try:
        own = run.config_of(id)
    except KeyError:
        return ""
    found, start = difference(own, run.config_of("baseline")), ""
    if run.decision.incumbent not in ("baseline", id):
        ahead = difference(own, run.config_of(run.decision.incumbent))
        if len(ahead) < len(found):
            found, start = ahead, "the recommended configuration "
    added = joined([flag_code(describe({k: v})) for k, v in found.items() if v is not None])
    removed = joined([flag_code(describe({k: v})) for k, v in found.items() if v is None])
    if start and added:
        added = f"with {added}"
    return (start + ", ".join(part for part in (added, removed) if part)).strip()


def value_words(value: FlagValue | None) -> str:
    """The value of a flag in a cell."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, dict):
        return code(json.dumps(value))
    return code(str(value))


ANSWERING = ("model", "quantization", "kv_cache_dtype", "dtype")
"""Flags that change the generated text wherever a configuration that sets them is known to change it."""


def changes_of_answers(run: RunData, id: str) -> list[str]:
    """The changes of a configuration that may change the generated text, each as small as the plan has it."""
    changed = [run.plan.candidate(name).change.items() for name in run.output_changes(id)]
    small = [dict(c) for c in changed if not any(set(map(str, o)) < set(map(str, c)) for o in changed)]
    if run.changes_answers(id):
        base = run.config("baseline")
        found = {k: v for k, v in difference(run.config_of(id), base).items() if k in ANSWERING}
        apart = [{k: v} for k, v in found.items() if not any(k in c for c in small)]
        small = [*(c for c in apart if not another_kernel(c, base)), *small]
    return list(dict.fromkeys(change_words(c) for c in small))


def another_kernel(change: Mapping[str, FlagValue | None], baseline: EngineConfig) -> bool:
    """Whether a change only selects another kernel for the same quantised weights: `awq_marlin` instead of `awq`."""
    ours, theirs = change.get("quantization"), baseline.quantization
    if set(change) != {"quantization"} or not isinstance(ours, str) or theirs is None:
        return False
    return ours.partition("_")[0] == theirs.partition("_")[0]
