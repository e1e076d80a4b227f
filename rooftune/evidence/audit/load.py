"""Checks that the offered load was delivered: lag, rate, connections, and ceilings of requests in flight."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np

from rooftune.evidence.audit.findings import failed, no_data, passed, warned
from rooftune.evidence.metrics import concurrency
from rooftune.evidence.records.evidence import Evidence
from rooftune.evidence.records.trial import Check
from rooftune.formatting import number
from rooftune.metrics.quantiles import quantile

LAG_MS = 20.0
"""A send lag (p99) that never matters."""
ANSWERED_SHARE = 0.75
"""Share of the asked rate that must have been answered, over a duration that includes the last answers."""
HELD_SHARE = 0.8
"""Mean requests in flight as a share of the cap, ramp-up and drain included, from which the cap was reached."""
MEASURED_SLACK, ESTIMATED_SLACK = 1.03, 1.15
"""Mean requests in flight over the cap from which a summary contradicts itself: with its own E2EL, and with one from
TTFT and TPOT, whose means over requests differ from those over tokens."""
IN_FLIGHT = "Requests in flight"
CLIENT_DEFAULTS = {
    100: "100 is the default connection limit of aiohttp and httpx",
    10: "10 is the default pool of urllib3 and requests",
    20: "20 is httpx's default of kept connections",
}


def send_lag(e: Evidence) -> Check:
    """How late requests left, against the figures that count from the schedule."""
    name = "send-lag"
    lags = _lags(e)
    if lags is None:
        return no_data(name, "The file does not say when a request was due, only when it was sent.")
    p99 = lags.p99_ms
    figures = {"p99_ms": round(p99, 3), "max_ms": round(lags.max_ms, 3)}
    if lags.p50_ms is not None:
        figures = {"p50_ms": round(lags.p50_ms, 3), **figures}
    if _closed(e) and e.concurrency is not None:
        return passed(
            name, f"Closed loop: a request is due when another ends; 99 % left at most {p99:.1f} ms later.", figures
        )
    quoted = e.quoted.get("p99_ttft_ms")
    sentence = f"99 % of the requests left at most {p99:.1f} ms after they were due."
    scale = e.load.time_scale if e.load is not None else 1.0
    if p99 <= LAG_MS * scale:
        return passed(name, sentence, figures)
    if not e.ours:
        ttft = quoted if quoted is not None else _ttft_from_send_ms(e)
        beside = f" (p99 of TTFT: {number(ttft)} ms)" if ttft is not None else ""
        explained = f"{sentence} The tool counts latencies from the send{beside}, so they do not include this wait."
        remedy = (
            "Remove what holds requests back in the client (its concurrency limit, too few "
            "processes), or quote times from the schedule."
        )
        return (failed if p99 > 0.1 * (ttft or 0.0) else warned)(name, explained, remedy, figures)
    if quoted is None:
        return passed(name, f"{sentence} No quoted metric counts from the schedule.", figures)
    share = p99 / quoted
    remedy = (
        "Use more client processes (--client-processes), or free cores for the client; times "
        "count from the schedule, so this lag is in them."
    )
    sentence += f" That is {100 * share:.0f} % of the p99 TTFT that was measured."
    if share > 0.5:
        return failed(name, sentence, remedy, figures)
    return warned(name, sentence, remedy, figures) if share > 0.1 else passed(name, sentence, figures)


@dataclass(frozen=True)
class _SendLags:
    p50_ms: float | None
    """None where a summary has only the mean."""
    p99_ms: float
    max_ms: float


def _ttft_from_send_ms(e: Evidence) -> float | None:
    """p99 of TTFT as a tool counts it that starts the clock when it sends."""
    if e.requests is None:
        return None
    times = (e.requests.first_token_s - e.requests.sent_s) * 1000
    times = times[np.isfinite(times)]
    return quantile(times, 0.99) if len(times) else None


def _lags(e: Evidence) -> _SendLags | None:
    """How late requests left; None if the source has only one of the two times."""
    if e.load is not None:
        return _SendLags(e.load.send_lag_p50_ms, e.load.send_lag_p99_ms, e.load.send_lag_max_ms)
    if e.requests is None:
        p99, most = e.quoted.get("send_lag_p99_ms"), e.quoted.get("send_lag_max_ms")
        return _SendLags(None, p99, most) if _finite(p99) and _finite(most) else None
    late = (e.requests.sent_s - e.requests.scheduled_s) * 1000
    late = late[np.isfinite(late)]
    if len(late) == 0 or not (late != 0).any():
        return None
    return _SendLags(quantile(late, 0.5), quantile(late, 0.99), float(late.max()))


def delivered(e: Evidence) -> Check:
    """Scheduled against sent, or asked rate against the rate of sends."""
    name = "load-delivered"
    if e.requests is None or len(e.requests) < 2:
        return _delivered_by_summary(e, name)
    r = e.requests
    sent = np.isfinite(r.sent_s)
    remedy = (
        "Raise the limits of the client (connections, file descriptors, processes) until the requested rate is sent."
    )
    if e.ours:
        share = float(sent.mean())
        figures = {"scheduled": len(r), "sent": int(sent.sum()), "accepted": int((r.http_status == 200).sum())}
        sentence = f"{figures['sent']:,} of {len(r):,} scheduled requests were sent."
        if e.concurrency is not None:
            return passed(name, f"{sentence} The closed loop kept {e.concurrency} in flight.", figures)
        if share < 0.95:
            return failed(name, sentence, remedy, figures)
        return warned(name, sentence, remedy, figures) if share < 0.999 else passed(name, sentence, figures)
    asked = e.quoted.get("request_rate")
    span = float(np.nanmax(r.sent_s) - np.nanmin(r.sent_s)) if sent.any() else 0.0
    rate = (int(sent.sum()) - 1) / span if span > 0 else math.inf
    if not isinstance(asked, (int, float)) or not math.isfinite(asked):
        known = "all at once" if asked is not None else "at a rate that the file does not have"
        return (
            passed(name, f"{int(sent.sum()):,} requests were sent {known}; sends span {span:.1f} s.")
            if asked is not None
            else no_data(
                name, f"The file does not have the requested rate; {int(sent.sum()):,} sends span {span:.1f} s."
            )
        )
    rates = {"asked_rate_per_s": asked, "sent_rate_per_s": round(rate, 3)}
    sentence = f"{number(asked)} requests per second were requested, {rate:.2f} were sent."
    slack = max(0.1, 3 / math.sqrt(len(r)))
    if rate < asked * (1 - slack):
        return failed(name, sentence, remedy, rates)
    return passed(name, sentence, rates)


def _delivered_by_summary(e: Evidence, name: str) -> Check:
    """Without single requests: the rate of answers against the rate that was asked."""
    asked, served = e.quoted.get("request_rate"), e.quoted.get("request_throughput")
    if _finite(asked) and _finite(sent := e.quoted.get("sent_rate")):
        figures = {"asked_rate_per_s": asked, "sent_rate_per_s": round(sent, 3)}
        sentence = f"{number(asked)} requests per second were requested, {sent:.2f} were sent."
        if sent < 0.9 * asked:
            return failed(name, sentence, "Raise the limits of the client until the requested rate is sent.", figures)
        return passed(name, sentence, figures)
    if not _finite(asked) or not _finite(served):
        return no_data(name, f"{e.no_requests}, so the rate that was sent is not known.")
    figures = {"asked_rate_per_s": asked, "request_throughput": round(served, 3)}
    sentence = f"{number(asked)} requests per second were requested, {served:.2f} were answered."
    if served < ANSWERED_SHARE * asked:
        return warned(
            name,
            f"{sentence} Either the server was overloaded or the client held requests back; this "
            "file does not say which.",
            "Save single requests (--save-detailed) and audit that file.",
            figures,
        )
    return passed(name, sentence, figures)


def _finite(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and math.isfinite(value)


def connections(e: Evidence) -> Check:
    """File descriptors and connections that ran out."""
    name = "connections"
    remedy = "Raise the limit (ulimit -n) or spread the load over more client processes."
    if e.load is not None and e.load.descriptors_limit and e.load.descriptors_peak is not None:
        limit, peak = e.load.descriptors_limit, e.load.descriptors_peak
        figures = {"descriptors_limit": limit, "descriptors_peak": peak, "connections_peak": e.load.connections_peak}
        sentence = f"The client used at most {peak:,} of {limit:,} file descriptors."
        if peak >= 0.97 * limit:
            return failed(name, sentence, remedy, figures)
        return warned(name, sentence, remedy, figures) if peak >= 0.85 * limit else passed(name, sentence, figures)
    if e.requests is not None:
        words = ("too many open files", "cannot connect", "connection refused", "emfile")
        hits = sum(any(w in str(x).lower() for w in words) for x in e.requests.error_class)
        if hits:
            return failed(name, f"{hits:,} requests could not get a connection.", remedy, {"refused_connections": hits})
    return no_data(name, "The file does not have the client's connections and file descriptors.")


def plateau(e: Evidence) -> Check:
    """Requests in flight that stay at one number which no limit of the server explains."""
    name = "in-flight-plateau"
    if e.requests is None or e.window is None or len(e.requests) < 10:
        return _plateau_by_summary(e, name)
    sent, answered = concurrency.in_flight(e.requests, e.window), concurrency.streams(e.requests, e.window)
    if e.concurrency is not None and max(sent.level, answered.level) <= e.concurrency and _closed(e):
        return passed(name, f"Closed loop: {e.concurrency} requests were kept in flight on purpose.", sent.figures())
    if sent.held and not _all_at_once(e) and not _rate_kept(e):
        return _held(e, name, sent.level, sent.figures(), IN_FLIGHT)
    if sent.level == e.concurrency and sent.near >= concurrency.NEAR_SHARE and delivered(e).status == "fail":
        return _held(e, name, sent.level, sent.figures(), IN_FLIGHT)
    if answered.held:
        return _held(e, name, answered.level, answered.figures(), "Streams (first to last token)")
    between = _between(e)
    if between is not None:
        return between
    return passed(
        name,
        f"Requests in flight varied freely, up to {max(sent.level, answered.level):,}; no "
        "limit held them at one number.",
        answered.figures(),
    )


def _plateau_by_summary(e: Evidence, name: str) -> Check:
    """Without single requests: requests in flight by Little's law (rate x time) against the client's cap."""
    cap, rate, asked = (e.quoted.get(k) for k in ("max_concurrency", "request_throughput", "request_rate"))
    spent = _mean_latency_s(e.quoted)
    if not _finite(cap) or not _finite(rate) or spent is None:
        return no_data(name, f"{e.no_requests}, so requests in flight cannot be counted.")
    mean = rate * spent
    figures = {"max_concurrency": cap, "mean_in_flight": round(mean, 2)}
    most = cap * (MEASURED_SLACK if _finite(e.quoted.get("mean_e2el_ms")) else ESTIMATED_SLACK)
    sentence = (
        f"Rate times latency gives {mean:.1f} requests in flight on average; the concurrency limit is {number(cap)}"
    )
    if mean > most:
        return failed(
            name,
            f"{sentence}: more than the limit allows, so the file contradicts itself.",
            "Rate, latency, answer length or limit is not what the file says; save single "
            "requests (--save-detailed) and audit those.",
            figures,
        )
    if not _finite(asked):
        return passed(name, f"{sentence}: a closed loop.", figures)
    if mean >= HELD_SHARE * cap and rate < asked:
        return failed(
            name,
            f"{sentence}: the limit held requests back, so the requested {number(asked)} per "
            "second never reached the server.",
            "Remove the limit (--max-concurrency, --concurrency), or raise it well above what the rate needs.",
            figures,
        )
    return passed(name, f"{sentence}: the limit was not reached.", figures)


def _mean_latency_s(figures: Mapping[str, object]) -> float | None:
    """Mean E2EL of a summary, from its own figure or from TTFT + (tokens - 1) x TPOT."""
    whole = figures.get("mean_e2el_ms")
    if _finite(whole):
        return whole / 1000
    ttft, tpot, tokens, done = (
        figures.get(k) for k in ("mean_ttft_ms", "mean_tpot_ms", "total_output_tokens", "completed")
    )
    if _finite(ttft) and _finite(tpot) and _finite(tokens) and _finite(done) and done > 0:
        return (ttft + max(tokens / done - 1, 0) * tpot) / 1000
    return None


def _closed(e: Evidence) -> bool:
    """Whether a fixed number in flight was asked for instead of a rate."""
    rate = e.quoted.get("request_rate")
    return e.ours or not isinstance(rate, (int, float)) or not math.isfinite(rate)


def _all_at_once(e: Evidence) -> bool:
    return not e.ours and e.quoted.get("request_rate") == math.inf


def _rate_kept(e: Evidence) -> bool:
    """The file names its rate and all requests were sent at it: a constant number is then a steady load."""
    return not e.ours and _finite(e.quoted.get("request_rate")) and delivered(e).status == "pass"


def _held(e: Evidence, name: str, level: int, figures: dict[str, float], what: str) -> Check:
    """A ceiling was found: explained by the server, possibly the server's, or not explained."""
    sentence = f"{what} stay at exactly {level:,} for {100 * figures['share_of_time_at_level']:.0f} % of the time"
    if figures["waiting_meanwhile"]:
        sentence += f" while {figures['waiting_meanwhile']:.0f} requests wait"
    explained = _explained(e, level)
    if explained:
        return passed(name, f"{sentence}, which the server explains: {explained}.", figures)
    remedy = (
        "Remove the client's connection limit (aiohttp: TCPConnector(limit=0); httpx: "
        "Limits(max_connections=None); vllm bench serve: no --max-concurrency), or a "
        "proxy's; the load offered was not the load delivered."
    )
    cap = e.quoted.get("max_concurrency")
    if cap == level:
        word = "--max-concurrency" if e.tool.startswith("vllm") else "its max_concurrency of"
        return failed(
            name,
            f"{sentence}: {word} {level} held the others back, so the requested rate never reached the server.",
            remedy,
            figures,
        )
    if level in CLIENT_DEFAULTS:
        return failed(
            name,
            f"{sentence}; {CLIENT_DEFAULTS[level]}, so the client most likely held the others back.",
            remedy,
            figures,
        )
    if what == IN_FLIGHT and figures["waiting_meanwhile"]:
        return failed(
            name, f"{sentence}: they were due and not sent, so the client itself held them back.", remedy, figures
        )
    unknown = not e.ticks
    if unknown and level & (level - 1) == 0 and level <= 1024:
        return warned(
            name,
            f"{sentence}. That may be the server's max_num_seqs, or a limit between client and "
            "server; this file does not say which.",
            "If max_num_seqs is another number, look for a connection limit in the client or a proxy.",
            figures,
        )
    return failed(name, f"{sentence}, and no known limit of the server explains it.", remedy, figures)


def _explained(e: Evidence, level: int) -> str:
    """The limit of the server that this level is, in words; empty when there is none."""
    limit = e.trial.effective.max_num_seqs if e.trial is not None else None
    if limit == level:
        return f"max_num_seqs is {limit}"
    server = e.samples_together("waiting", "running")
    if server is None:
        return ""
    waiting, running = server
    if np.mean(waiting >= 1) >= 0.5 and abs(running.max() - level) <= 1:
        return f"it runs at most {running.max():.0f} and holds {waiting.mean():.0f} in its own queue"
    return ""


def _between(e: Evidence) -> Check | None:
    """Running + waiting at the server stay constant while the client has many more in flight: a limit in between."""
    found = e.samples_together("running", "waiting", "client_in_flight")
    if found is None or len(found[0]) < 10:
        return None
    running, waiting, mine = found
    present = running + waiting
    level = float(present.max())
    still = float((present >= level - 1).mean())
    more = float(np.mean(mine - present))
    if level < 2 or still < 0.5 or more < max(3.0, 0.1 * level):
        return None
    figures = {"level": level, "share_of_time_at_level": round(still, 3), "client_has_more": round(more, 1)}
    return failed(
        "in-flight-plateau",
        f"The server has at most {level:.0f} requests for {100 * still:.0f} % of the time "
        f"while the client has {more:.0f} more in flight: something between them holds "
        "requests back.",
        "Look for a connection limit in a proxy or load balancer, or in the server's front end.",
        figures,
    )


ALL = (send_lag, delivered, connections, plateau)
