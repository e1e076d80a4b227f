"""Why a change did or did not help, from the server's gauges, the client's times and the roofline; never from belief."""

from __future__ import annotations

from rooftune.report.contents import Contents
from rooftune.report.text import number, sentence
from rooftune.tuning.plan import Candidate, Verdict

RUNNING = ("running", "running_mean", "mean_running")
WAITING = ("waiting", "waiting_mean", "mean_waiting")
KV_USAGE = ("kv_usage", "kv_usage_mean", "mean_kv_usage")
PREEMPTIONS = ("preemptions", "preemptions_total", "num_preemptions")
STEP_TOKENS = ("iteration_tokens", "iteration_tokens_mean", "tokens_per_step", "mean_iteration_tokens")
DRAFTED = ("spec_draft_tokens", "spec_draft_tokens_total")
ACCEPTED = ("spec_accepted_tokens", "spec_accepted_tokens_total")


def why(c: Contents, p: Candidate) -> str:
    """Hypothesis and what the evidence says of it."""
    v = c.verdict(p.id)
    against = v.against or "baseline"
    rules = [_batch, _speculation, _budget, _cache, _step]
    said = next((text for rule in rules if (text := rule(c, p, v, against))), "")
    if v.verdict == "no measurable difference":
        said = f"{said} What remains is smaller than what these trials can tell."
    return f"{sentence(p.hypothesis)} Evidence: {sentence(said) or 'the server told nothing that explains it.'}"


def _batch(c: Contents, p: Candidate, v: Verdict, against: str) -> str:
    if "max_num_seqs" not in p.change:
        return ""
    ran, before = c.gauge(p.id, *RUNNING), c.gauge(against, *RUNNING)
    tpot, tpot_before = c.value(p.id, "median_tpot_ms"), c.value(against, "median_tpot_ms")
    if not (ran and before and tpot and tpot_before):
        return ""
    if ran > 0.95 * before and before < p.change["max_num_seqs"] * 0.98:
        return f"the limit was not reached: {against} ran {number(before)} sequences at a time"
    faster, fewer = tpot_before / tpot, before / ran
    pace = f"{number(faster)} times faster" if faster >= 1.02 else "no faster" if faster > 0.98 else "slower"
    outcome = _outcome(c, p, against)
    queue = c.gauge(p.id, *WAITING)
    behind = f", while {number(queue)} waited" if queue and queue > 1 else ""
    return (
        f"the server ran {number(ran)} sequences at a time instead of {number(before)}{behind}. Each got its tokens "
        f"{pace} ({number(tpot)} instead of {number(tpot_before)} ms), but {number(fewer)} times fewer got any; {outcome}"
    )


def _outcome(c: Contents, p: Candidate, against: str) -> str:
    rate, before = c.value(p.id, "output_throughput"), c.value(against, "output_throughput")
    if not rate or not before:
        return "throughput is not known"
    verb = "rose" if rate > 1.005 * before else "fell" if rate < 0.995 * before else "stayed"
    return f"together throughput {verb} from {number(before)} to {number(rate)} tok/s"


def _speculation(c: Contents, p: Candidate, v: Verdict, against: str) -> str:
    if not p.change.get("speculative_config"):
        return ""
    drafted, accepted = c.gauge(p.id, *DRAFTED), c.gauge(p.id, *ACCEPTED)
    outcome = _outcome(c, p, against)
    if not drafted:
        return f"the server reports no guessed tokens; {outcome}"
    share = 100 * (accepted or 0.0) / drafted
    return f"{number(share)} % of {number(drafted)} guessed tokens were right; every wrong one was computed in vain; {outcome}"


def _budget(c: Contents, p: Candidate, v: Verdict, against: str) -> str:
    asked = p.change.get("max_num_batched_tokens")
    if not asked:
        return ""
    step = c.gauge(against, *STEP_TOKENS)
    trials = c.of(against)
    budget = trials[-1].effective.max_num_batched_tokens if trials else None
    outcome = _outcome(c, p, against)
    if step is None:
        return outcome
    limit = f" of a budget of {budget:,}" if budget else ""
    most = min(asked, budget) if budget else asked
    verdict = "so the budget seldom was the limit" if step < most / 2 else "so the budget was the limit in many steps"
    return f"a step of {against} computed {number(step)} tokens on average{limit}, {verdict}; {outcome}"


def _cache(c: Contents, p: Candidate, v: Verdict, against: str) -> str:
    if "kv_cache_dtype" not in p.change:
        return ""
    usage, preempted = c.gauge(against, *KV_USAGE), c.gauge(against, *PREEMPTIONS)
    outcome = _outcome(c, p, against)
    if usage is None:
        return outcome
    told = f" and {number(preempted)} preemptions" if preempted is not None else ""
    full = usage > 0.9 or bool(preempted)
    limit = "so its size limited how many could run" if full else "so its size did not limit what could run"
    size, before = _kv_tokens(c, p.id), _kv_tokens(c, against)
    grown = f" It grew from {before:,} to {size:,} tokens." if size and before else ""
    return (
        f"{against} used {number(100 * usage)} % of its KV cache on average{told}, {limit}.{grown} {sentence(outcome)}"
    )


def _kv_tokens(c: Contents, candidate: str) -> int | None:
    trials = c.of(candidate)
    return trials[-1].effective.kv_cache_tokens if trials else None


def _step(c: Contents, p: Candidate, v: Verdict, against: str) -> str:
    """Changes of kernels, graphs and attention: what became of the time per token at the batch that ran."""
    tpot, before = c.value(p.id, "median_tpot_ms"), c.value(against, "median_tpot_ms")
    ran, ran_before = c.gauge(p.id, *RUNNING), c.gauge(against, *RUNNING)
    outcome = _outcome(c, p, against)
    if not tpot or not before:
        return outcome
    batch = f" with {number(ran_before)} sequences running" if ran_before else ""
    now = f" with {number(ran)}" if ran else ""
    text = f"a token took {number(before)} ms{batch}, and {number(tpot)} ms{now} after the change; {outcome}"
    kernels = _kernels(c, p.id, against)
    return f"{text}. {kernels}" if kernels else text


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
    return f"The engine reports: {', '.join(parts)}." if parts else ""
