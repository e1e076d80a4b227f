"""Checks of clock and host: time that runs one way, and a client machine that is not the bottleneck."""

from __future__ import annotations

import numpy as np

from rooftune.evidence.audit.findings import failed, no_data, passed, warned
from rooftune.evidence.records.evidence import Evidence
from rooftune.evidence.records.trial import Check

CPU_WARN, CPU_FAIL = 0.80, 0.97
SWAP_BYTES = 64 * 2**20


def clock(e: Evidence) -> Check:
    """Send, first token, last token and end follow each other; nothing is before the start of the load."""
    name = "clock"
    if e.requests is None or len(e.requests) == 0:
        return no_data(name, f"{e.no_requests}, so the order of their times is not known.")
    r = e.requests
    pairs = ((r.scheduled_s, r.sent_s), (r.sent_s, r.first_token_s), (r.first_token_s, r.last_token_s))
    wrong = sum(int((after < before - 1e-3).sum()) for before, after in pairs)
    wrong += int((np.diff(r.token_s)[np.diff(r.token_owner) == 0] < -1e-3).sum()) if len(r.token_s) > 1 else 0
    figures = {"out_of_order": wrong}
    if wrong > 0.001 * len(r):
        return failed(
            name,
            f"{wrong:,} times are earlier than the event that causes them.",
            "Take all times from one monotonic clock on one machine.",
            figures,
        )
    return passed(name, "Send, first token, last token and end are in order for every request.", figures)


def client_cpu(e: Evidence) -> Check:
    """The busiest client process had time to spare."""
    name = "client-cpu"
    if e.load is None:
        return no_data(name, "The file does not say how busy the client was.")
    share = e.load.client_cpu_share
    figures = {"busiest_process": round(share, 3), "processes": e.load.processes}
    sentence = f"The busiest client process used {100 * share:.0f} % of a core."
    remedy = "Use more client processes (--client-processes) or a separate machine for the client."
    late = e.load.send_lag_p99_ms > 20 * e.load.time_scale
    if share > CPU_FAIL and late:
        return failed(name, f"{sentence} It also sent late: the client was the bottleneck.", remedy, figures)
    if share > CPU_WARN:
        return warned(name, sentence, remedy, figures)
    return passed(name, sentence, figures)


def event_loop(e: Evidence) -> Check:
    """The client's event loop answered quickly, so arrival times are true."""
    name = "event-loop"
    if e.load is None or e.load.loop_lag_p99_ms is None:
        return no_data(name, "The lag of the client's event loop was not recorded.")
    lag, tpot = e.load.loop_lag_p99_ms, e.quoted.get("median_tpot_ms")
    figures = {"loop_lag_p99_ms": round(lag, 3)}
    sentence = f"99 % of the turns of the event loop were at most {lag:.1f} ms late."
    if lag > max(10.0 * e.load.time_scale, 0.5 * (tpot or 0.0)):
        return warned(
            name, sentence, "Chunks may have late timestamps; use more client processes or free cores.", figures
        )
    return passed(name, sentence, figures)


def garbage(e: Evidence) -> Check:
    """No long pause of the client's garbage collector."""
    name = "garbage-collection"
    if e.load is None or e.load.gc_pause_max_ms is None:
        return no_data(name, "Pauses of the client's garbage collector were not recorded.")
    pause = e.load.gc_pause_max_ms
    figures = {"longest_ms": round(pause, 3)}
    sentence = f"The longest pause of the client's garbage collector was {pause:.1f} ms."
    if pause > 50 * e.load.time_scale:
        return warned(name, sentence, "Chunks that arrived during the pause have late timestamps.", figures)
    return passed(name, sentence, figures)


def swap(e: Evidence) -> Check:
    """The machine did not begin to swap."""
    values = e.samples("host_swap_bytes")
    if values is None:
        return no_data("swap", "The machine's swap was not recorded.")
    grown = float(values.max() - values[0])
    figures = {"grown_bytes": grown}
    if grown > SWAP_BYTES:
        return warned(
            "swap",
            f"Swap in use grew by {grown / 2**20:.0f} MiB during the window.",
            "Free memory; a server or client that swaps stalls unpredictably.",
            figures,
        )
    return passed("swap", "The machine did not swap more during the window.", figures)


def host_load(e: Evidence) -> Check:
    """The machine had time to spare."""
    values = e.samples("host_cpu_share")
    if values is None:
        return no_data("host-load", "The load of the client's machine was not recorded.")
    busy = float(values.mean())
    figures = {"mean_cpu_share": round(busy, 3), "share_of_time_full": round(float((values > 0.97).mean()), 3)}
    sentence = f"The client's machine was {100 * busy:.0f} % busy on average."
    if busy > 0.95:
        return warned("host-load", sentence, "Stop other work on this machine, or move the client to another.", figures)
    return passed("host-load", sentence, figures)


def shared_cores(e: Evidence) -> Check:
    """Whether client and server share cores that one of them needs."""
    name = "shared-cores"
    if e.trial is None or not e.trial.engine:
        return no_data(name, "The file does not say whether client and server ran on the same machine.")
    if e.trial.engine == "endpoint":
        return no_data(name, "The machine of the endpoint is not known.")
    busy = e.trial.server.get("host_cpu_share")
    computes = e.trial.engine == "vllm" and e.trial.gpu.lower() in ("cpu", "")
    if computes and (busy is None or busy > 0.7):
        return warned(
            name,
            "The server computes on the cores that the client uses, so each slows the other.",
            "Pin them to different cores (taskset), or move the client to another machine.",
            {"host_cpu_share": busy},
        )
    return passed(
        name, "Client and server share this machine, and neither was short of cores.", {"host_cpu_share": busy}
    )


ALL = (clock, client_cpu, event_loop, garbage, swap, host_load, shared_cores)
