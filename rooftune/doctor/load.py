"""What the metrics of a server show: queue, KV cache, preemptions, prefix cache, speculation."""

from __future__ import annotations

from dataclasses import dataclass

from rooftune.doctor.diagnosis import DoctorFinding
from rooftune.doctor.watch import Watched
from rooftune.engines.server import EffectiveConfig
from rooftune.formatting import number, percent, quantity

# Limits from which a finding is a problem. They are rules of thumb; the command of a finding measures its change.
FULL = 0.90
"""Share of the KV cache in use."""
AT_LIMIT = 0.95
"""Running requests as a share of max_num_seqs."""
QUEUED = 0.5
"""Share of the samples with waiting requests."""
QUEUE_SHARE = 0.5
"""Share of the time to the first token that is spent in the queue."""
PREEMPTED = 0.01
"""Preemptions per finished request."""
FEW_HITS = 0.05
"""Share of the prompt tokens that the prefix cache had."""
ACCEPTED = 0.4
"""Share of the drafted tokens that were accepted."""


@dataclass(frozen=True)
class Watch:
    """A watched server with its configuration."""

    seen: Watched
    effective: EffectiveConfig


def load_findings(watch: Watch) -> list[DoctorFinding]:
    """All findings from the metrics."""
    return [*_queue(watch), _kv(watch), _preemptions(watch), _prefix(watch), *_first_token(watch), *_speculation(watch)]


def _queue(watch: Watch) -> list[DoctorFinding]:
    seen, limit = watch.seen, watch.effective.max_num_seqs
    running, waiting, kv = (seen.mean(name) for name in ("running", "waiting", "kv_usage"))
    if running is None or waiting is None:
        return [DoctorFinding(id="queue", severity="not known", sentence="The server reports no queue.", evidence="")]
    share = seen.share("waiting", 0)
    words = (
        f"{number(running)} running and {number(waiting)} waiting on average, waiting in {percent(share)} of samples"
    )
    if share < QUEUED:
        return [
            DoctorFinding(id="queue", severity="fine", sentence="Requests rarely wait for a place.", evidence=words)
        ]
    if limit and running >= AT_LIMIT * limit and (kv or 0.0) < FULL:
        return [
            DoctorFinding(
                id="queue",
                severity="problem",
                sentence=f"Requests wait because max_num_seqs={limit} is reached, and the KV cache has room.",
                evidence=f"{words}; KV cache {percent(kv or 0.0)} full",
                knob="max_num_seqs",
                flags=[f"max_num_seqs={2 * limit}"],
            )
        ]
    if (kv or 0.0) >= FULL:
        return [
            _full("queue", "Requests wait because the KV cache is full.", f"{words}; KV cache {percent(kv or 0)} full")
        ]
    return [_behind(watch, words)]


def _behind(watch: Watch, words: str) -> DoctorFinding:
    """Requests wait although batch and cache have room: prefill cannot keep up."""
    budget = watch.effective.max_num_batched_tokens
    return DoctorFinding(
        id="queue",
        severity="problem",
        sentence="Requests wait although batch and KV cache have room, so prefill does not keep up.",
        evidence=words + (f"; max_num_batched_tokens={budget}" if budget else ""),
        knob="max_num_batched_tokens",
        flags=[f"max_num_batched_tokens={2 * budget}"] if budget else [],
    )


def _kv(watch: Watch) -> DoctorFinding:
    mean, most = watch.seen.mean("kv_usage"), watch.seen.most("kv_usage")
    if mean is None or most is None:
        return DoctorFinding(
            id="kv", severity="not known", sentence="The server reports no KV cache usage.", evidence=""
        )
    words = f"{percent(mean)} full on average, {percent(most)} at most"
    if watch.effective.kv_cache_tokens:
        words += f", of {watch.effective.kv_cache_tokens:,} tokens"
    if most >= FULL:
        return _full("kv", "The KV cache is close to full.", words)
    return DoctorFinding(id="kv", severity="fine", sentence="The KV cache has room.", evidence=words)


def _full(id: str, sentence: str, evidence: str) -> DoctorFinding:
    return DoctorFinding(
        id=id, severity="problem", sentence=sentence, evidence=evidence, knob="kv_cache_dtype",
        flags=["kv_cache_dtype=fp8"],
    )  # fmt: skip


def _preemptions(watch: Watch) -> DoctorFinding:
    seen = watch.seen
    total = seen.total("preemptions_total")
    if total is None:
        sentence = "The server reports no preemptions."
        return DoctorFinding(id="preemptions", severity="not known", sentence=sentence, evidence="")
    now, done = seen.grown("preemptions_total"), seen.total("request_success_total") or 0.0
    words = (
        f"{quantity(total, 'preemption')} since the start for {quantity(done, 'finished request')}, {number(now)} now"
    )
    if now or (done and total / done >= PREEMPTED):
        limit = watch.effective.max_num_seqs
        return DoctorFinding(
            id="preemptions",
            severity="problem",
            sentence="Requests are preempted and computed again, because the KV cache cannot hold the batch.",
            evidence=words,
            knob="max_num_seqs",
            flags=[f"max_num_seqs={max(1, limit // 2)}"] if limit else [],
        )
    sentence = "Requests are hardly ever preempted." if total else "No request was preempted."
    return DoctorFinding(id="preemptions", severity="fine", sentence=sentence, evidence=words)


def _prefix(watch: Watch) -> DoctorFinding:
    seen = watch.seen
    if watch.effective.prefix_caching is False:
        return DoctorFinding(
            id="prefix-cache",
            severity="advice",
            sentence="The prefix cache is off, so prompts with a common beginning are computed again.",
            evidence="the server reports enable_prefix_caching=False",
            knob="prefix_caching",
            flags=["enable_prefix_caching=true"],
        )
    queries, hits = seen.total("prefix_queries_total"), seen.total("prefix_hits_total")
    if not queries or hits is None:
        sentence = "No prompt has asked the prefix cache yet."
        return DoctorFinding(id="prefix-cache", severity="not known", sentence=sentence, evidence="no queries so far")
    words = f"{percent(hits / queries)} of {number(queries)} prompt tokens since the start came from it"
    if seen.grown("prefix_queries_total"):
        words += f", {percent(seen.grown('prefix_hits_total') / seen.grown('prefix_queries_total'))} now"
    found = hits / queries >= FEW_HITS
    sentence = "The prefix cache is on and has hits." if found else "The prefix cache is on, but prompts share little."
    return DoctorFinding(id="prefix-cache", severity="fine", sentence=sentence, evidence=words)


def _first_token(watch: Watch) -> list[DoctorFinding]:
    """How much of the time to the first token is spent in the queue; nothing without finished requests."""
    seen = watch.seen
    now = bool(seen.grown("ttft_count"))
    figures = {
        name: seen.grown(name) if now else (seen.total(name) or 0.0)
        for name in ("ttft_sum_s", "ttft_count", "queue_sum_s", "queue_count")
    }
    if not figures["ttft_count"] or not figures["queue_count"] or not figures["ttft_sum_s"]:
        return []
    ttft, queue = figures["ttft_sum_s"] / figures["ttft_count"], figures["queue_sum_s"] / figures["queue_count"]
    share, when = queue / ttft, "now" if now else "since the start"
    words = f"mean TTFT {number(ttft)} s, of which {number(queue)} s in the queue ({when})"
    if share >= QUEUE_SHARE:
        sentence = f"Most of the time to the first token ({percent(min(share, 1.0))}) is spent in the queue."
        return [DoctorFinding(id="ttft", severity="problem", sentence=sentence, evidence=words, knob="replicas")]
    return [DoctorFinding(id="ttft", severity="fine", sentence="The queue is a small part of TTFT.", evidence=words)]


def _speculation(watch: Watch) -> list[DoctorFinding]:
    drafts, accepted = (watch.seen.total(f"spec_{name}_tokens_total") for name in ("draft", "accepted"))
    if not drafts or accepted is None:
        return []
    share = accepted / drafts
    words = f"{percent(share)} of {number(drafts)} drafted tokens were accepted"
    if share >= ACCEPTED:
        sentence = "Speculative decoding is accepted often."
        return [DoctorFinding(id="speculation", severity="fine", sentence=sentence, evidence=words)]
    sentence = "Few drafted tokens are accepted, so speculation may cost more than it saves."
    return [DoctorFinding(id="speculation", severity="problem", sentence=sentence, evidence=words, knob="speculation")]
