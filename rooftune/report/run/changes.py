"""What a configuration changes: for a table, and which of it may change the answers."""

from __future__ import annotations

import json

from rooftune.formatting import NONE
from rooftune.report.markup import change_words, code, flag_code, joined
from rooftune.report.run_data import RunData
from rooftune.tuning.configuration import describe, difference
from rooftune.vllm_rules.config import FlagValue


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


def changes_of_answers(run: RunData, id: str) -> list[str]:
    """The changes of a configuration that may change the generated text, each as small as the plan has it."""
    changed = [run.plan.candidate(name).change.items() for name in run.output_changes(id)]
    small = [c for c in changed if not any(set(map(str, o)) < set(map(str, c)) for o in changed)]
    return list(dict.fromkeys(change_words(dict(c)) for c in small))
