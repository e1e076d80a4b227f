"""Why a change helped or did not: the server's gauges, the client's times and the roofline, before and after it."""

from __future__ import annotations

from collections.abc import Callable

from rooftune.formatting import multiple, number, percent, quantity
from rooftune.report.markup import code, joined, sentence
from rooftune.report.page.model import Section, bullets, section, text
from rooftune.report.run.naming import COMPOSED, Names
from rooftune.report.run.speculation import acceptance_of
from rooftune.report.run_data import RunData
from rooftune.roofline.model import Bound, Point
from rooftune.tuning.plan import Candidate

SAME_CEILING_SHARE = 0.03
"""Shares of the ceiling that differ by less than this are not worth a sentence."""


def reasons_section(run: RunData, names: Names) -> Section | None:
    """One entry per explanation. Of configurations that a search made, only the best of each phase have one."""
    found: dict[str, list[str]] = {}
    search = run.decision.search
    bests = {run.decision.incumbent, *(p.option for p in (search.phases if search is not None else []))}
    for p in run.measured:
        if p.id != "baseline" and (p.id in bests or COMPOSED not in p.id):
            found.setdefault(names.shorten(why(run, p)), []).append(_titled(names, p.id))
    note = ""
    if run.by_capacity:
        note = "Each configuration ran near its own capacity, so figures before and after belong to different rates."
    items = [f"{joined(ids)}: {words}" for words, ids in found.items() if words]
    return section("Why each change helped or did not", text(note), bullets(items), folded=True) if items else None


def why(run: RunData, p: Candidate) -> str:
    """The hypothesis, and what the evidence shows about it; empty where nothing recorded explains the result."""
    against = run.verdict(p.id).against or "baseline"
    found = evidence(run, p)
    kernels, limit = _kernels(run, p.id, against), _roofline(run, p.id, against)
    shown = [sentence(found), sentence(f"the engine reports {kernels}" if kernels else ""), sentence(limit)]
    hypothesis = "" if COMPOSED in p.id else sentence(p.hypothesis)
    if not any(shown):
        shown = ["The server's metrics do not explain the result."] if hypothesis else []
    return " ".join(part for part in (hypothesis, *shown) if part)


def evidence(run: RunData, p: Candidate) -> str:
    """One clause on what the change did inside the server; empty when no recorded metric shows it."""
    against = run.verdict(p.id).against or "baseline"
    rules: list[Callable[[RunData, Candidate, str], str]] = [_batch, _speculation, _budget, _cache, _step]
    if COMPOSED in p.id:  # several knobs at once: no gauge belongs to one of them
        rules = [_step]
    return next((text for rule in rules if (text := rule(run, p, against))), "")


def _batch(run: RunData, p: Candidate, against: str) -> str:
    limit = run.config(p.id).max_num_seqs
    if limit is None or "max_num_seqs" not in p.change:
        return ""
    ran, before = run.gauge(p.id, "running"), run.gauge(against, "running")
    tpot, tpot_before = run.value(p.id, "median_tpot_ms"), run.value(against, "median_tpot_ms")
    if not (ran and before and tpot and tpot_before):
        return ""
    if before < 0.98 * limit and ran > 0.9 * before:
        return f"the limit was never reached, because {code(against)} ran {quantity(before, 'sequence')} on average"
    faster = tpot_before / tpot
    pace = f"{multiple(faster)} as fast" if faster >= 1.05 else "no faster" if faster > 0.95 else "more slowly"
    queue = run.gauge(p.id, "waiting")
    waiting = f" ({quantity(queue, 'request')} waited)" if queue and queue > 1 else ""
    return (
        f"the server ran {quantity(ran, 'sequence')} at once instead of {number(before)}{waiting}; each sequence got "
        f"its tokens {pace} ({number(tpot)} ms per token instead of {number(tpot_before)} ms), but only "
        f"{percent(ran / before)} as many ran at once"
    )


def _speculation(run: RunData, p: Candidate, against: str) -> str:
    if not p.change.get("speculative_config"):
        return ""
    found = acceptance_of(run.of(p.id))
    if found is None:
        return "the server drafted no tokens"
    return (
        f"{percent(found.token_share, 3)} of {quantity(found.drafted, 'drafted token')} were accepted, so a decode "
        f"step gave {number(found.tokens_per_step)} tokens; the work on each rejected token was wasted"
    )


def _budget(run: RunData, p: Candidate, against: str) -> str:
    asked = run.config(p.id).max_num_batched_tokens if "max_num_batched_tokens" in p.change else None
    step = run.gauge(against, "iteration_tokens")
    trials = run.of(against)
    if not asked or step is None or not trials:
        return ""
    budget = trials[-1].effective.max_num_batched_tokens
    limit = f" out of a budget of {budget:,}" if budget else ""
    most = min(asked, budget) if budget else asked
    effect = "rarely limited a step" if step < most / 2 else "often limited a step"
    return f"{code(against)} computed {quantity(step, 'token')} per step on average{limit}, so the budget {effect}"


def _cache(run: RunData, p: Candidate, against: str) -> str:
    usage, preempted = run.gauge(against, "kv_usage"), run.gauge(against, "preemptions")
    if "kv_cache_dtype" not in p.change or usage is None:
        return ""
    preemptions = f" and preempted requests {number(preempted)} times" if preempted is not None else ""
    limited = "limited" if usage > 0.9 or preempted else "did not limit"
    size, before = _kv_tokens(run, p.id), _kv_tokens(run, against)
    grown = f"; the cache grew from {before:,} to {size:,} tokens" if size and before else ""
    return (
        f"{code(against)} used {percent(usage, 3)} of its KV cache on average{preemptions}, so the size of the cache "
        f"{limited} how many sequences could run{grown}"
    )


def _kv_tokens(run: RunData, candidate: str) -> int | None:
    trials = run.of(candidate)
    return trials[-1].effective.kv_cache_tokens if trials else None


def _step(run: RunData, p: Candidate, against: str) -> str:
    """Changes of kernels, graphs and attention: time per token at the batch size that ran."""
    tpot, before = run.value(p.id, "median_tpot_ms"), run.value(against, "median_tpot_ms")
    ran, ran_before = run.gauge(p.id, "running"), run.gauge(against, "running")
    if not tpot or not before:
        return ""
    now = f" with {quantity(ran, 'sequence')} running" if ran else ""
    then = f" with {number(ran_before)} running" if ran_before else ""
    return f"each stream got one token every {number(tpot)} ms{now}, compared with {number(before)} ms{then} before"


def _kernels(run: RunData, candidate: str, against: str) -> str:
    """What the engine reports now that differs from before."""
    ours, theirs = run.of(candidate), run.of(against)
    if not ours or not theirs:
        return ""
    a, b = ours[-1].effective, theirs[-1].effective
    parts = []
    for words, new, old in (
        ("the linear kernel", a.linear_kernel, b.linear_kernel),
        ("attention backend", a.attention_backend, b.attention_backend),
    ):
        if new and new != old:
            parts.append(f"{words} {new}" + (f" instead of {old}" if old else ""))
    if a.cuda_graphs and not b.cuda_graphs:
        parts.append("CUDA graphs on")
    return joined(parts)


def _roofline(run: RunData, candidate: str, against: str) -> str:
    """What limits a decode step, before and after, with the share of the ceiling that it reaches."""
    now, before = run.roofline_point(candidate, "decode"), run.roofline_point(against, "decode")
    if now is None or before is None:
        return ""
    if now.bound != before.bound:
        return (
            f"by the roofline, {bound_words(now.bound)} now limits a decode step ({_share(now)} of the ceiling); "
            f"before, {bound_words(before.bound)} did ({_share(before)})"
        )
    if abs(now.share - before.share) < SAME_CEILING_SHARE:
        return ""
    return (
        f"by the roofline, {bound_words(now.bound)} limits a decode step as before, now at {_share(now)} of the "
        f"ceiling instead of {_share(before)}"
    )


def _share(point: Point) -> str:
    return percent(point.share)


def bound_words(bound: Bound) -> str:
    """A bound of the roofline as the subject of a sentence."""
    words: dict[Bound, str] = {
        "weight bandwidth": "reading the weights",
        "KV bandwidth": "reading the KV cache",
        "compute": "arithmetic",
        "kernel": "the kernel itself",
        "overhead": "overhead that neither ceiling explains",
        "unknown": "an unknown cause",
    }
    return words[bound]


def _titled(names: Names, id: str) -> str:
    words = names.meanings.get(id, "")
    return f"**{names.plain(id)}**" + (f" ({words})" if words else "")
