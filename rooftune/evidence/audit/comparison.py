"""Checks of a comparison: only the compared configurations differ, and the order cancels drift."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from rooftune.evidence.audit.findings import failed, no_data, passed, warned
from rooftune.evidence.comparison.balanced_order import imbalance
from rooftune.evidence.records.trial import Check, TrialResult

UNBALANCED = 0.15
"""Distance of two sides' mean positions, as a share of the span, above which drift may look like a difference."""
COMPARED = (
    "dtype",
    "quantization",
    "linear_kernel",
    "attention_backend",
    "max_model_len",
    "max_num_seqs",
    "max_num_batched_tokens",
    "chunked_prefill",
    "prefix_caching",
    "async_scheduling",
    "enforce_eager",
    "cuda_graphs",
    "kv_cache_dtype",
    "speculative",
)


def audit_comparison(trials: Sequence[TrialResult], *, version_is_the_change: bool = False) -> list[Check]:
    """Checks over the measured trials of one run, or of the two sides of a comparison."""
    measured = [t for t in trials if t.status == "measured"]
    sides: dict[str, list[TrialResult]] = defaultdict(list)
    for t in measured:
        sides[t.candidate].append(t)
    if len(sides) < 2:
        names = ("same-workload", "same-model", "same-engine", "configurations-differ", "order-balanced")
        return [no_data(n, "Only one configuration was measured, so nothing is compared.") for n in names]
    return [
        _workload(measured, sides),
        _same("same-model", measured, ("model",), "model and tokenizer"),
        _engine(measured, version_is_the_change),
        _differ(sides),
        _order(sides),
    ]


def _same(name: str, trials: list[TrialResult], fields: tuple[str, ...], what: str) -> Check:
    found = {tuple(str(getattr(t, f)) for f in fields) for t in trials}
    figures = {what: sorted(" ".join(x) for x in found)}
    if len(found) > 1:
        return failed(
            name, f"The {what} differ: {', '.join(figures[what])}.", f"Compare runs of the same {what}.", figures
        )
    return passed(name, f"All trials have the same {what}.", figures)


def _workload(trials: list[TrialResult], sides: dict[str, list[TrialResult]]) -> Check:
    same = _same("same-workload", trials, ("workload", "workload_hash"), "workload")
    if same.status == "fail":
        return same
    seeds = {name: sorted({t.seed for t in ts}) for name, ts in sides.items()}
    everything = set.union(*(set(s) for s in seeds.values()))
    shared = set.intersection(*(set(s) for s in seeds.values()))
    if not shared:
        return warned(
            same.id,
            "The sides share no seed, so they answered different requests.",
            "Use the same seeds on all sides.",
            {"seeds": seeds},
        )
    return passed(
        same.id,
        f"All trials have the same workload; seeds {sorted(everything)}, of which every side drew {sorted(shared)}.",
        {"seeds": seeds},
    )


def _engine(trials: list[TrialResult], change: bool) -> Check:
    if change:
        return passed("same-engine", "The engine version is what is compared.")
    return _same("same-engine", trials, ("engine", "engine_version", "gpu"), "engine, version and GPU")


def _differ(sides: dict[str, list[TrialResult]]) -> Check:
    """Configurations with different names differ in what the engine reports that it runs."""
    name = "configurations-differ"
    said: dict[str, list[str]] = defaultdict(list)
    for candidate, ts in sides.items():
        said[json.dumps(_effective(ts[-1]), sort_keys=True, default=str)].append(candidate)
    twins = [sorted(names) for names in said.values() if len(names) > 1]
    if all(not _reports(ts[-1]) for ts in sides.values()):
        return no_data(name, "The engine did not report its effective configuration.")
    if twins:
        pairs = "; ".join(" and ".join(names) for names in twins)
        return warned(
            name,
            f"The engine reports the same configuration for {pairs}. A difference between them is noise (an A/A test).",
            "Read the effective configuration: the flag was already on, or had no effect.",
            {"same": twins},
        )
    return passed(name, f"All {len(sides)} configurations differ in what the engine reports.")


def _effective(t: TrialResult) -> dict[str, Any]:
    reported = {k: getattr(t.effective, k) for k in COMPARED if getattr(t.effective, k) is not None}
    silent = {
        k: v
        for k, v in t.flags.items()
        if k not in COMPARED and k not in ("enable_chunked_prefill", "enable_prefix_caching")
    }
    return {**reported, "flags": silent}


def _reports(t: TrialResult) -> bool:
    return any(getattr(t.effective, k) is not None for k in COMPARED)


def _order(sides: dict[str, list[TrialResult]]) -> Check:
    """Each configuration against the best placed other one: the incumbent that was run around it."""
    name = "order-balanced"
    places = {c: sorted(float(t.position) for t in ts) for c, ts in sides.items()}
    often = {c: p for c, p in places.items() if len(p) > 1}
    if not often:
        return warned(
            name,
            "Every configuration was measured once, so a difference cannot be distinguished from drift or chance.",
            "Run each at least twice, in alternation.",
        )
    worst, who = max((_distance(c, p, places), c) for c, p in often.items())
    figures = {"largest_imbalance": round(worst, 3), "configuration": who}
    if worst > UNBALANCED:
        return warned(
            name,
            f"The trials of {who} are not evenly spread among those they are compared with, so "
            "drift may look like a difference.",
            "Run in palindromes (A B B A).",
            figures,
        )
    return passed(
        name, "Trials are evenly spread among those they are compared with, so a steady drift cancels.", figures
    )


def _distance(who: str, mine: list[float], places: dict[str, list[float]]) -> float:
    """Smallest imbalance of a configuration against another, over stretches of as many trials of each.

    An incumbent serves several blocks, so only its trials around a block are compared with that block.
    """
    found = [0.5]
    for other, theirs in places.items():
        size = min(len(mine), len(theirs))
        if other != who and size:
            found += [imbalance(a, b) for a in _stretches(mine, size) for b in _stretches(theirs, size)]
    return min(found)


def _stretches(places: list[float], size: int) -> list[list[float]]:
    return [places[i : i + size] for i in range(len(places) - size + 1)]
