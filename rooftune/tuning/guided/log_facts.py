"""What the engine's log and metrics report, as facts for the search: what is on already, overridden or recommended."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from rooftune.engines.server import EffectiveConfig
from rooftune.evidence.records.trial import TrialResult
from rooftune.tuning.gates import same_value, state_of
from rooftune.tuning.guided.search_plan import SearchPlan
from rooftune.vllm_rules.config import FlagValue

FREE = (
    "async_scheduling",
    "enable_chunked_prefill",
    "enable_prefix_caching",
    "max_num_seqs",
    "max_num_batched_tokens",
    "attention_backend",
)
"""Flags whose value an engine reports. What they come to depends on no flag outside of ``ENTANGLED``."""
ENTANGLED = {
    "attention_backend": {"kv_cache_dtype", "dtype", "model"},
    "async_scheduling": {"speculative_config", "performance_mode"},
    "max_num_seqs": {"performance_mode", "max_num_batched_tokens"},
    "max_num_batched_tokens": {"performance_mode", "enable_chunked_prefill", "max_num_seqs"},
}
"""Flag -> other flags that may change what it comes to."""


def reported_by_baseline(results: Sequence[TrialResult]) -> EffectiveConfig | None:
    """What the first server of the baseline reported; None before it ran."""
    ran = [r for r in results if r.candidate == "baseline" and r.status == "measured" and r.switched is None]
    return ran[0].effective if ran else None


def without_repeats(search: SearchPlan, results: Sequence[TrialResult]) -> SearchPlan:
    """The search without options that the engine would run as another one, by what the baseline's server reported.

    Options that have a trial stay.
    """
    effective = reported_by_baseline(results)
    if effective is None:
        return search
    tried = {r.candidate for r in results}
    plain = {_key(option.change): option.id for option in search.options}
    repeats = set()
    for option in search.options[1:]:
        rest = _without_what_is_on(option.change, effective)
        if len(rest) < len(option.change) and option.id not in tried and plain.get(_key(rest), option.id) != option.id:
            repeats.add(option.id)
    if not repeats:
        return search
    return search.model_copy(update={"options": [o for o in search.options if o.id not in repeats]})


def overridden(trial: TrialResult, change: Mapping[str, FlagValue | None]) -> list[str]:
    """Flags of a change that the engine did not follow, one clause each."""
    found = []
    for flag, asked in change.items():
        reported = getattr(trial.effective, _FIELDS.get(flag, flag), None)
        limit = flag.startswith("max_num") and trial.switched is not None  # the log is that of the server's own start
        if asked is None or reported is None or flag not in _COMPARED or limit or same_value(reported, asked):
            continue
        found.append(f"the engine reports {flag} {reported} where {asked} was asked for")
    return found


def recommended(search: SearchPlan, results: Sequence[TrialResult]) -> dict[str, str]:
    """Flags that the log of the baseline recommends, with the value, as far as the space has them."""
    effective = reported_by_baseline(results)
    if effective is None:
        return {}
    return {flag: value for flag, value in effective.recommended.items() if search.with_flags({flag: value})}


_FIELDS = {"enable_chunked_prefill": "chunked_prefill", "enable_prefix_caching": "prefix_caching"}
_COMPARED = {*FREE, "kv_cache_dtype"}


def _without_what_is_on(
    change: Mapping[str, FlagValue | None], effective: EffectiveConfig
) -> dict[str, FlagValue | None]:
    return {
        flag: value
        for flag, value in change.items()
        if flag not in FREE or ENTANGLED.get(flag, set()) & change.keys() or state_of(flag, value, effective) is None
    }


def _key(change: Mapping[str, FlagValue | None]) -> str:
    return json.dumps(dict(change), sort_keys=True, default=str)
