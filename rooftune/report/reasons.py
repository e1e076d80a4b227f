"""Why a change did or did not help, from the server's gauges, the client's times and the roofline; never from belief."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rooftune.report.contents import Contents
from rooftune.report.text import code, number, sentence
from rooftune.tuning.plan import Candidate

RUNNING = ("running", "running_mean", "mean_running")
WAITING = ("waiting", "waiting_mean", "mean_waiting")
KV_USAGE = ("kv_usage", "kv_usage_mean", "mean_kv_usage")
PREEMPTIONS = ("preemptions", "preemptions_total", "num_preemptions")
STEP_TOKENS = ("iteration_tokens", "iteration_tokens_mean", "tokens_per_step", "mean_iteration_tokens")
DRAFTED = ("spec_draft_tokens", "spec_draft_tokens_total")
ACCEPTED = ("spec_accepted_tokens", "spec_accepted_tokens_total")


def why(c: Contents, p: Candidate) -> str:
    """The hypothesis, and what the evidence says of it."""
    against = c.verdict(p.id).against or "baseline"
    said = evidence(c, p)
    parts = [sentence(p.hypothesis), "Evidence:", sentence(said) or "the server told nothing that explains it."]
    parts.append(sentence(outcome(c, p.id, against)))
    kernels = _kernels(c, p.id, against)
    if kernels:
        parts.append(sentence(f"the engine reports {kernels}"))
    roof = _roofline(c, p.id, against)
    if roof:
        parts.append(sentence(roof))
    if c.verdict(p.id).verdict == "no measurable difference":
        parts.append("What is left of a difference is too small to matter.")
    return " ".join(parts)


def evidence(c: Contents, p: Candidate) -> str:
    """One clause on what the change did inside the server; empty when nothing was recorded that tells."""
    against = c.verdict(p.id).against or "baseline"
    rules: list[Callable[[Contents, Candidate, str], str]] = [_batch, _speculation, _budget, _cache, _step]
    return next((text for rule in rules if (text := rule(c, p, against))), "")


def outcome(c: Contents, candidate: str, against: str) -> str:
    """What became of throughput, in words."""
    rate, before = c.value(candidate, "output_throughput"), c.value(against, "output_throughput")
    if not rate or not before:
        return ""
    if not any(t.overloaded for t in [*c.of(candidate), *c.of(against)]):
        return "both served the whole load, so throughput is the load's and times tell the difference"
    if 0.98 < rate / before < 1.02:
        return f"throughput stayed near {number(before)} tok/s"
    verb = "rose" if rate > before else "fell"
    return f"throughput {verb} from {number(before)} to {number(rate)} tok/s"


def _batch(c: Contents, p: Candidate, against: str) -> str:
    if "max_num_seqs" not in p.change:
        return ""
    ran, before = c.gauge(p.id, *RUNNING), c.gauge(against, *RUNNING)
    tpot, tpot_before = c.value(p.id, "median_tpot_ms"), c.value(against, "median_tpot_ms")
    if not (ran and before and tpot and tpot_before):
        return ""
    if before < p.change["max_num_seqs"] * 0.98 and ran > 0.9 * before:
        return f"the limit was not reached: {code(against)} ran {number(before)} sequences at a time on average"
    faster, fewer = tpot_before / tpot, before / ran
    pace = f"{times(faster)} faster" if faster >= 1.05 else "no faster" if faster > 0.95 else "more slowly"
    queue = c.gauge(p.id, *WAITING)
    behind = f" ({number(queue)} waited)" if queue and queue > 1 else ""
    return (
        f"the server ran {number(ran)} sequences at a time instead of {number(before)}{behind}; each got its tokens "
        f"{pace} ({number(tpot)} instead of {number(tpot_before)} ms), but {times(fewer)} fewer got any"
    )


def times(ratio: float) -> str:
    """A multiple with two digits: '6.7 times'."""
    return f"{ratio:.0f} times" if ratio >= 9.95 else f"{ratio:.1f} times"


def _speculation(c: Contents, p: Candidate, against: str) -> str:
    if not p.change.get("speculative_config"):
        return ""
    drafted, accepted = c.gauge(p.id, *DRAFTED), c.gauge(p.id, *ACCEPTED)
    if not drafted:
        return "the server reports no guessed tokens"
    share = 100 * (accepted or 0.0) / drafted
    return f"{number(share)} % of {drafted:,.0f} guessed tokens were right; each wrong one was computed in vain"


def _budget(c: Contents, p: Candidate, against: str) -> str:
    asked = p.change.get("max_num_batched_tokens")
    step = c.gauge(against, *STEP_TOKENS)
    trials = c.of(against)
    if not asked or step is None or not trials:
        return ""
    budget = trials[-1].effective.max_num_batched_tokens
    limit = f" of a budget of {budget:,}" if budget else ""
    most = min(asked, budget) if budget else asked
    verdict = "so the budget seldom was the limit" if step < most / 2 else "so the budget was the limit in many steps"
    return f"a step of {code(against)} computed {number(step)} tokens on average{limit}, {verdict}"


def _cache(c: Contents, p: Candidate, against: str) -> str:
    usage, preempted = c.gauge(against, *KV_USAGE), c.gauge(against, *PREEMPTIONS)
    if "kv_cache_dtype" not in p.change or usage is None:
        return ""
    told = f" and preempted {number(preempted)} times" if preempted is not None else ""
    full = usage > 0.9 or bool(preempted)
    limit = "so its size limited how many could run" if full else "so its size did not limit how many could run"
    size, before = _kv_tokens(c, p.id), _kv_tokens(c, against)
    grown = f"; it grew from {before:,} to {size:,} tokens" if size and before else ""
    return f"{code(against)} filled {number(100 * usage)} % of its KV cache on average{told}, {limit}{grown}"


def _kv_tokens(c: Contents, candidate: str) -> int | None:
    trials = c.of(candidate)
    return trials[-1].effective.kv_cache_tokens if trials else None


def _step(c: Contents, p: Candidate, against: str) -> str:
    """Changes of kernels, graphs and attention: what became of the time per token at the batch that ran."""
    tpot, before = c.value(p.id, "median_tpot_ms"), c.value(against, "median_tpot_ms")
    ran, ran_before = c.gauge(p.id, *RUNNING), c.gauge(against, *RUNNING)
    if not tpot or not before:
        return ""
    now = f" with {number(ran)} sequences running" if ran else ""
    then = f" with {number(ran_before)}" if ran_before else ""
    return f"a token of each stream took {number(tpot)} ms{now}, against {number(before)} ms{then} before"


def _kernels(c: Contents, candidate: str, against: str) -> str:
    """What the engine reports to run now, where it differs from before."""
    ours, theirs = c.of(candidate), c.of(against)
    if not ours or not theirs:
        return ""
    a, b = ours[-1].effective, theirs[-1].effective
    parts = []
    for name, words in (("linear_kernel", "linear kernel"), ("attention_backend", "attention")):
        new, old = getattr(a, name), getattr(b, name)
        if new and new != old:
            parts.append(f"{words} {new}" + (f" instead of {old}" if old else ""))
    if a.cuda_graphs and not b.cuda_graphs:
        parts.append("CUDA graphs on")
    return ", ".join(parts)


def _roofline(c: Contents, candidate: str, against: str) -> str:
    """What limits a decode step, before and after, with the share of the ceiling that it reaches."""
    ours, theirs = decode_point(c, candidate), decode_point(c, against)
    if ours is None or theirs is None:
        return ""
    now = f"{bound_words(ours['bound'])} ({100 * ours['share']:.0f} % of the ceiling)"
    then = f"{bound_words(theirs['bound'])} ({100 * theirs['share']:.0f} %)"
    if ours["bound"] == theirs["bound"] and abs(ours["share"] - theirs["share"]) < 0.03:
        return ""
    if ours["bound"] == theirs["bound"]:
        return f"by the roofline a decode step is limited by {now}, as it was before ({100 * theirs['share']:.0f} %)"
    return f"by the roofline a decode step is now limited by {now}, before by {then}"


def bound_words(bound: str) -> str:
    """A bound of the roofline in words."""
    words = {
        "weight bandwidth": "reading the weights",
        "KV bandwidth": "reading the KV cache",
        "compute": "arithmetic",
        "kernel": "the kernel itself",
        "overhead": "what neither ceiling explains",
    }
    return words.get(bound, "something unknown")


def decode_point(c: Contents, candidate: str) -> dict[str, Any] | None:
    """The last decode point of a candidate in roofline.json."""
    points = (c.roofline or {}).get("points", [])
    found = [p for p in points if p["candidate"] == candidate and p["stage"] == "decode"]
    return found[-1] if found else None
