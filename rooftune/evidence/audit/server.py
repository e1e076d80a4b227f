"""Checks of the server: its own metrics explain what the client saw, and nothing disturbed it."""

from __future__ import annotations

import re

import numpy as np

from rooftune.evidence.audit.findings import failed, no_data, passed, warned
from rooftune.evidence.metrics.request_metrics import gaps
from rooftune.evidence.records.evidence import Evidence
from rooftune.evidence.records.trial import Check
from rooftune.formatting import number
from rooftune.loadgen.texts_sent import TextsSent
from rooftune.metrics.queues import inside
from rooftune.metrics.window import Window
from rooftune.workloads.blocks import BLOCK_TOKENS

TEXT_HITS_WARN, TEXT_HITS_FAIL = 0.10, 0.30
"""Share of the prompt tokens found in the prefix cache beyond what real texts have in common."""
LITTLE_WARN, LITTLE_FAIL, LITTLE_COUNT = 0.10, 0.25, 3.0
"""Relative tolerance of Little's law, and requests that are always allowed (sampling once per second)."""
HEAT = {
    0x08: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}
KV_FULL = 0.9
"""Usage of the KV cache from which the scheduler may not admit another request."""
POWER_CAP = 0x04
"""NVML clocks event reasons (nvml.h, nvmlClocksEventReasons)."""
STOPPED = re.compile(r"\[shutdown\] API server: shutdown triggered")
"""vLLM 0.32 says so when we stop it; what follows, an EngineDeadError now and then, is the end of its processes."""
DEADLY = re.compile(r"EngineDeadError|CUDA error|out of memory|OutOfMemoryError|Segmentation fault|NCCL error")
ERROR = re.compile(r"^(?:\(\w+[^)]*\) )?ERROR |Traceback \(most recent call last\)", re.MULTILINE)

CLOCK_LATE_S = 0.005
"""Lateness of the simulated engine's steps at p99, in real seconds, that a trial in real time bears."""
CLOCK_LATE_MOST_S = 0.05
"""The same at ten times the clock and above."""


def little(e: Evidence) -> Check:
    """Requests in the server by its gauges against those that the client has open: L = arrival rate x time, by area."""
    name = "littles-law"
    running, waiting, at = (e.ticks.get(n) for n in ("running", "waiting", "t_s"))
    if e.requests is None or e.window is None or running is None or waiting is None or at is None:
        return no_data(name, "There are no samples of the server's running and waiting requests.")
    known = (at >= e.window.start_s) & (at <= e.window.end_s) & np.isfinite(running) & np.isfinite(waiting)
    if known.sum() < 5:
        return no_data(name, "There are too few samples of the server's running and waiting requests.")
    held = running[known] + waiting[known]
    mine = inside(np.fmax(e.requests.sent_s, e.requests.scheduled_s), e.requests.left_s, at[known])
    server, client = float(held.mean()), float(mine.mean())
    gap = abs(server - client)
    share = gap / max(server, client, 1e-9)
    figures = {"server_mean": round(server, 2), "client_mean": round(client, 2), "difference": round(share, 4)}
    sentence = f"The server held {server:.1f} requests on average, the client had {client:.1f} open"
    if gap <= LITTLE_COUNT or share <= LITTLE_WARN:
        return passed(name, f"{sentence}: they agree.", figures)
    reason = "other clients use the same server" if server > client else "something between them holds requests back"
    remedy = "Make sure that no other client uses the server and that no proxy or connection limit is in between."
    if share > LITTLE_FAIL:
        return failed(name, f"{sentence}: {reason}.", remedy, figures)
    return warned(name, f"{sentence}: {reason}.", remedy, figures)


def queue(e: Evidence) -> Check:
    """What requests at the server wait for: its limit of sequences, its KV cache, or a burst of prompts."""
    name = "queue-explained"
    running, waiting, usage = (e.samples(n) for n in ("running", "waiting", "kv_usage"))
    if running is None or waiting is None or len(waiting) < 5:
        return no_data(name, "There are too few samples of the server's running and waiting requests.")
    figures = {"running_mean": round(float(running.mean()), 2), "waiting_mean": round(float(waiting.mean()), 2)}
    if usage is not None:
        figures["kv_usage_max"] = round(float(usage.max()), 3)
    if float(np.mean(waiting >= 1)) < 0.5:
        return passed(
            name,
            f"The server had {number(figures['running_mean'])} requests running on average and almost none waiting.",
            figures,
        )
    limit = e.trial.effective.max_num_seqs if e.trial is not None else None
    sentence = f"{number(figures['waiting_mean'])} requests waited at the server on average"
    if limit is not None and float(running.max()) >= 0.95 * limit:
        return passed(name, f"{sentence}: it runs at most max_num_seqs = {limit}.", figures)
    if usage is not None and float(np.quantile(usage, 0.9)) >= KV_FULL:
        return passed(name, f"{sentence}: its KV cache is full ({100 * float(usage.max()):.0f} %).", figures)
    if limit is None or usage is None or len(running) != len(waiting):
        return no_data(name, f"{sentence}, and the server does not report its limits.")
    return warned(
        name,
        f"{sentence} although it runs {running.max():.0f} of at most {limit} and its KV cache "
        f"is at {100 * float(usage.max()):.0f} %: prefill is slower than the arrivals, or "
        "something else holds requests back.",
        "Look at max_num_batched_tokens, at the time that prefill takes, and at other clients of the server.",
        figures,
    )


def overload(e: Evidence) -> Check:
    """Overload is a finding: named, measured, and figures without meaning withheld."""
    name = "overload"
    if e.trial is None:
        return _foreign_overload(e, name)
    t = e.trial
    asked = f"{t.asked_rate_per_s:.2f} requests per second" if t.asked_rate_per_s is not None else "the closed loop"
    figures = {
        "asked_rate_per_s": t.asked_rate_per_s,
        "served_rate_per_s": t.served_rate_per_s,
        "queue_growth_per_s": t.server.get("queue_growth_per_s"),
        "slo_breaks_after_s": t.server.get("slo_breaks_after_s"),
    }
    if not t.overloaded:
        return passed(name, f"The server kept up with {asked}.", figures)
    served = f"{t.served_rate_per_s:.2f}" if t.served_rate_per_s is not None else "fewer"
    broken = t.server.get("slo_breaks_after_s")
    when = f"; the SLO broke after {broken:.0f} s" if broken is not None else ""
    return passed(
        name,
        f"Finding: {asked} were requested, the saturated server serves {served}, and the "
        f"queue grew by {figures['queue_growth_per_s']:.2f} requests per second{when}. "
        "Metrics that grow with the length of the load are withheld.",
        figures,
    )


def _foreign_overload(e: Evidence, name: str) -> Check:
    """Another tool's run: does time to first token grow with the time of sending?"""
    if e.requests is None or len(e.requests) < 20:
        return no_data(name, f"{e.no_requests}, so a growing queue cannot be seen.")
    r = e.requests
    wait = r.first_token_s - r.scheduled_s
    known = np.isfinite(wait)
    unanswered = float((~known).mean())
    if known.sum() < 10:
        return no_data(name, "Too few requests have a time to their first token.")
    order = np.argsort(r.scheduled_s[known])
    third = max(len(order) // 3, 1)
    first, last = float(np.median(wait[known][order[:third]])), float(np.median(wait[known][order[-third:]]))
    figures = {
        "ttft_first_third_s": round(first, 3),
        "ttft_last_third_s": round(last, 3),
        "without_first_token": round(unanswered, 4),
    }
    if unanswered > 0.1 or (last > 3 * first and last - first > 1.0):
        sentence = (
            f"The median time to first token went from {first:.2f} s (first third) to {last:.2f} "
            f"s (last third), {100 * unanswered:.0f} % never got one. The queue grew, so these "
            "times depend on how long the load lasted."
        )
        return warned(
            name,
            sentence,
            "Quote the saturated throughput, and measure latencies at a rate that the server can serve.",
            figures,
        )
    return passed(name, f"The time to first token did not grow ({first:.2f} s, then {last:.2f} s).", figures)


def preemptions(e: Evidence) -> Check:
    """Sequences that were preempted from the KV cache and computed again."""
    name = "preemptions"
    value = e.trial.server.get("preemptions") if e.trial else None
    if value is None:
        return no_data(name, "The server's count of preemptions was not recorded.")
    done = e.trial.metrics.get("completed", 0.0) if e.trial else 0.0
    figures = {"preemptions": value, "completed": done}
    if value <= 0:
        return passed(name, "No sequence was preempted in the window.", figures)
    sentence = f"{value:,.0f} sequences were preempted in the window ({done:,.0f} answers ended)."
    if value > 0.1 * max(done, 1.0):
        return warned(
            name,
            sentence,
            "The KV cache is too small for this many sequences: lower max_num_seqs, or give the cache more memory.",
            figures,
        )
    return passed(name, sentence, figures)


def prefix_hits(e: Evidence) -> Check:
    """Prefix-cache hits that the workload does not ask for."""
    name = "prefix-hits"
    share = e.trial.server.get("prefix_hit_share") if e.trial else None
    if share is None:
        return no_data(name, "The server's prefix-cache counters were not recorded.")
    figures = {"hit_share": round(share, 4)}
    w = e.workload
    asked = w is not None and bool(
        w.shared_prefix or w.conversations or any(p.shared_prefix for p in w.parts) or w.arrivals.process == "trace"
    )
    sentence = f"{100 * share:.1f} % of the prompt tokens were found in the prefix cache"
    texts = e.load.texts if e.load is not None else None
    if texts is not None:
        return _text_hits(share, texts, sentence, figures, _whole_blocks(e))
    if asked:
        return passed(name, f"{sentence}; the workload shares prefixes{_whole_blocks(e)}.", figures)
    remedy = (
        "The prompts repeat something (a template, or a seed used twice on a warm server): "
        "restart the server or use another seed."
    )
    if share > 0.10:
        return failed(name, f"{sentence}, but the workload shares no prefix.", remedy, figures)
    return (
        warned(name, f"{sentence}, but the workload shares no prefix.", remedy, figures)
        if share > 0.03
        else passed(name, f"{sentence}.", figures)
    )


def _whole_blocks(e: Evidence) -> str:
    """What to know where the server's blocks are longer than those by which shared beginnings are counted."""
    block = e.trial.effective.block_size if e.trial else None
    if block is None or block <= BLOCK_TOKENS:
        return ""
    return f"; this server caches whole blocks of {block} tokens, so a shorter beginning never hits"


def _text_hits(share: float, texts: TextsSent, sentence: str, figures: dict[str, float], blocks: str) -> Check:
    """Hits on real texts, compared with what the texts themselves have in common.

    Args:
        blocks: a clause about the server's blocks; empty where there is nothing to say.
    """
    name = "prefix-hits"
    figures |= {"shared_share": round(texts.shared_share, 4)}
    words = f"{sentence}; {100 * texts.shared_share:.1f} % of all prompt tokens repeat the beginning of earlier prompts"
    more = share - texts.shared_share
    if more <= TEXT_HITS_WARN:
        return passed(name, f"{words}{blocks if more < 0 else ''}.", figures)
    remedy = (
        "The server had these prompts before, or does not know cache_salt: restart it, give more prompts than the load "
        "needs, or use another seed."
    )
    judged = failed if more > TEXT_HITS_FAIL else warned
    return judged(name, f"{words}.", remedy, figures)


def throttling(e: Evidence) -> Check:
    """The card slowed itself down for heat or power."""
    name = "throttling"
    reasons = e.samples("gpu_throttle_reasons")
    if reasons is None:
        return no_data(name, "No GPU was sampled, so heat and power limits are not known.")
    bits = reasons.astype(np.int64)
    hot = {word: float(((bits & mask) != 0).mean()) for mask, word in HEAT.items()}
    figures = {
        **{k.replace(" ", "_"): round(v, 3) for k, v in hot.items()},
        "power_cap": round(float(((bits & POWER_CAP) != 0).mean()), 3),
    }
    worst = max(hot, key=lambda k: hot[k])
    remedy = "Cool the card or lower its power limit and measure again; compare only trials with equal clocks."
    if hot[worst] > 0.05:
        return warned(name, f"The card reported {worst} for {100 * hot[worst]:.0f} % of the window.", remedy, figures)
    if figures["power_cap"] > 0.5:
        return warned(
            name,
            f"The card ran at its power limit for {100 * figures['power_cap']:.0f} % of the "
            "window, so its clocks follow its temperature.",
            remedy,
            figures,
        )
    return passed(name, "The card was not throttled for heat or power.", figures)


def drift(e: Evidence) -> Check:
    """The server became slower or faster while it was measured."""
    name = "drift"
    if e.requests is None or e.window is None:
        return no_data(name, f"{e.no_requests}, so gaps between tokens cannot be compared over time.")
    third = (e.window.end_s - e.window.start_s) / 3
    first = gaps(e.requests, Window(start_s=e.window.start_s, end_s=e.window.start_s + third))
    last = gaps(e.requests, Window(start_s=e.window.end_s - third, end_s=e.window.end_s))
    if len(first) < 100 or len(last) < 100:
        return no_data(name, "There are too few gaps between tokens to see drift.")
    change = float(last.mean() / first.mean() - 1) if first.mean() > 0 else 0.0
    clocks = e.samples("gpu_sm_clock_mhz")
    figures = {"gap_change": round(change, 4)}
    sentence = (
        f"The mean gap between chunks changed by {100 * change:+.1f} % from the first to the last third of the window"
    )
    if clocks is not None and len(clocks) >= 6:
        n = len(clocks) // 3
        fall = float(clocks[-n:].mean() / clocks[:n].mean() - 1)
        figures["clock_change"] = round(fall, 4)
        sentence += f", the SM clock by {100 * fall:+.1f} %"
    if abs(change) > 0.15:
        return warned(
            name,
            f"{sentence}.",
            "Warm up longer; compare only trials in balanced order, which cancels a steady drift.",
            figures,
        )
    return passed(name, f"{sentence}.", figures)


def restarts(e: Evidence) -> Check:
    """The server was unreachable or restarted."""
    name = "restarts"
    up, counter, at = (e.ticks.get(n) for n in ("up", "generation_tokens_total", "t_s"))
    if up is None or at is None or len(at) == 0:
        return no_data(name, "The server was not sampled.")
    if not (up > 0).any():
        return no_data(name, "The server has no /metrics page.")
    missed = float((up < 1).mean())
    known = counter[np.isfinite(counter)] if counter is not None else np.empty(0)
    fell = int((np.diff(known) < 0).sum()) if len(known) > 1 else 0
    figures = {"samples_without_answer": round(missed, 4), "counter_resets": fell}
    if fell:
        return failed(
            name,
            f"The server's counters were reset {fell} times: it restarted under load.",
            "Read the server's log for the reason.",
            figures,
        )
    if missed > 0.2:
        return warned(
            name,
            f"The server did not answer {100 * missed:.0f} % of the samples.",
            "It was too busy or unreachable; its gauges are incomplete.",
            figures,
        )
    return passed(name, "The server ran without a restart and answered its samples.", figures)


def log(e: Evidence) -> Check:
    """Errors in the server's log."""
    name = "server-log"
    if e.log is None:
        return no_data(name, "The log of the server is missing.")
    text = STOPPED.split(e.log)[0]
    deadly, errors = DEADLY.search(text), len(ERROR.findall(text))
    figures = {"error_lines": errors}
    if deadly:
        return failed(
            name,
            f"The server's log says {deadly.group(0)!r}.",
            "Read server.log; the configuration does not run safely.",
            figures,
        )
    if errors:
        return warned(name, f"The server's log has {errors:,} error lines.", "Read server.log.", figures)
    return passed(name, "The server's log has no errors.", figures)


def simulated_clock(e: Evidence) -> Check:
    """The simulated engine kept to its clock. Lateness is in real seconds.

    With a faster clock a step takes a few milliseconds, so the host's time slices show. Lateness does not add up, so
    rates hold, and more lateness is allowed.
    """
    name = "simulated-clock"
    if e.trial is None or not e.trial.simulated:
        return no_data(name, "The engine is not simulated.")
    behind = e.trial.server.get("behind_s")
    if behind is None:
        return no_data(name, "The simulated engine did not report how late its clock was.")
    limit = min(CLOCK_LATE_S * e.trial.time_scale, CLOCK_LATE_MOST_S)
    figures = {"behind_p99_s": round(behind, 4), "limit_s": limit}
    sentence = f"The simulated engine was at most {1000 * behind:.0f} ms late in 99 % of its steps"
    remedy = "Lower the time scale or free cores: the machine is too slow to run the simulated engine at this speed."
    if behind > limit:
        return failed(name, f"{sentence}, and {1000 * limit:.0f} ms are allowed.", remedy, figures)
    return (
        warned(name, f"{sentence}.", remedy, figures) if behind > limit / 2 else passed(name, f"{sentence}.", figures)
    )


def switched(e: Evidence) -> Check:
    """A server that was not started for the trial kept the limits that its scheduler acknowledged."""
    name = "switched-limits"
    found = e.trial.switched if e.trial is not None else None
    if e.trial is None or found is None:
        return no_data(name, "The server was started for this trial.")
    limits = found.limits.model_dump()
    figures = {f"limit_{knob}": value for knob, value in limits.items()}
    wrong = [knob for knob, value in limits.items() if e.trial.flags.get(knob) not in (None, value)]
    remedy = "Measure it again; a server that ignores its limits is restarted for every trial."
    if wrong:
        words = ", ".join(f"{knob} {limits[knob]} in place of {e.trial.flags[knob]}" for knob in wrong)
        return failed(name, f"The running server was given {words}.", remedy, figures)
    running = e.samples("running")
    if running is None or len(running) == 0:
        return no_data(name, "There are no samples of the server's running requests.")
    figures["running_max"] = float(running.max())
    sentence = f"The server of {found.server_of} ran at most {number(figures['running_max'])} requests at once"
    if figures["running_max"] > found.limits.max_num_seqs:
        return failed(name, f"{sentence}, and its limit is {found.limits.max_num_seqs}.", remedy, figures)
    return passed(name, f"{sentence}, and its limit was set to {found.limits.max_num_seqs}.", figures)


ALL = (overload, little, queue, preemptions, prefix_hits, throttling, drift, restarts, log, switched, simulated_clock)
