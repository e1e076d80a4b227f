"""The answer of a capacity measurement in words."""

from __future__ import annotations

from rooftune.capacity.result import CapacityResult, LoneRequests, ReplicaRow
from rooftune.capacity.units import amount, bare
from rooftune.evidence.records.trial import Check
from rooftune.formatting import number, percent, quantity, rate
from rooftune.simulator.reasoning import ASSUMPTION

INTERVAL = "95 % interval"
"""Name of the interval. How often it covers the truth has not been measured."""
LIMITS = {
    "ttft_ms": "TTFT limits it",
    "answer_ttft_ms": "the answer TTFT limits it",
    "tpot_ms": "TPOT limits it",
    "e2el_ms": "E2EL limits it",
    "queue": "beyond it the queue grows",
    "errors": "beyond it requests fail or are refused",
}
NAMES = {"ttft_ms": "TTFT", "answer_ttft_ms": "answer TTFT", "tpot_ms": "TPOT", "e2el_ms": "E2EL"}


def slo_text(result: CapacityResult) -> str:
    """The SLO: 'TTFT ≤ 500 ms, TPOT ≤ 50 ms for 99 % of the requests'."""
    slo = result.workload.slo
    limits = ", ".join(f"{NAMES[name]} ≤ {number(limit)} ms" for name, limit in slo.limits_ms().items())
    return f"{limits} for {percent(slo.share, 3)} of the requests"


def headline(result: CapacityResult) -> str:
    """The capacity in one sentence."""
    simulated = " (simulated)" if result.simulated else ""
    name = result.workload.name
    if result.rate_per_s is None:
        return f"The capacity of {name} is not known: {result.ended}."
    if result.rate_per_s <= 0 and result.lone is not None:
        return f"{name}: the server cannot keep the SLO; {lone_text(result.lone)}{simulated}."
    limit = LIMITS.get(result.limited_by, "")
    if result.level is None:
        low, high = bare(result.low or 0, result.per), amount(result.high or 0, result.per)
        return f"{name}: the capacity is between {low} and {high}; {limit}{simulated}."
    interval = f"{INTERVAL} {bare(result.low or 0, result.per)} to {bare(result.high or 0, result.per)}"
    carries = f"one server carries {amount(result.capacity or 0, result.per)} within the SLO"
    return f"{name}: {carries} ({interval}; {limit}){simulated}."


def lone_text(lone: LoneRequests) -> str:
    """What one request at a time sees."""
    name = NAMES[lone.limit]
    if lone.median_ratio is not None and lone.median_ratio > 1:
        return (
            f"one request at a time breaks its {name} limit, with {number(lone.median_ratio, 2)} "
            "times the limit at the median"
        )
    missed = percent(1 - lone.attainment)
    ratio = f", by up to {number(lone.ratio, 2)} times the limit" if lone.ratio is not None else ""
    return f"{missed} of {quantity(lone.requests, 'request')} sent one at a time break the {name} limit{ratio}"


def replica_lines(result: CapacityResult) -> list[str]:
    """How many servers the asked rate needs, and what happens with one fewer and one more."""
    found = result.replicas
    if found is None:
        return []
    needed = quantity(found.at_estimate, "server")
    asked = f"The asked rate of {rate(found.asked_rate_per_s, 'request', 3)} needs"
    if found.asked_users is not None:
        asked = f"{quantity(found.asked_users, 'user')} {'need' if found.asked_users > 1 else 'needs'}"
    lines = [f"{asked} {needed}{_at_low(found.at_estimate, found.at_low)}."]
    lines += [_row(row) for row in found.rows]
    if result.usd_per_million_output_tokens is not None:
        cost = number(result.usd_per_million_output_tokens)
        lines.append(
            f"At its capacity a server costs USD {cost} per million output tokens "
            f"(USD {number(result.usd_per_hour)} per hour, {result.price_source})."
        )
    return lines


def _at_low(estimate: int, low: int) -> str:
    return "" if estimate == low else f", or {low} to be safe (lower end of the interval)"


def _row(row: ReplicaRow) -> str:
    load = rate(row.rate_per_s, "request", 3)
    if row.users is not None:
        load = f"{'up to ' if row.replicas > 1 else ''}{quantity(row.users, 'user')}"
    each = f"{quantity(row.replicas, 'server')}: {load}{' each' if row.replicas > 1 else ''}"
    if row.overloaded:
        what = "more than a server can serve, so the queue grows without end"
    else:
        what = f"{percent(row.attainment, 3)} of the requests within the SLO (simulated)"
    cost = ""
    if row.usd_per_hour is not None:
        cost = f"; USD {number(row.usd_per_hour)} per hour"
        if row.usd_per_million_output_tokens is not None:
            cost += f", USD {number(row.usd_per_million_output_tokens)} per million output tokens"
    return f"{each}: {what}{cost}."


def method_lines(result: CapacityResult) -> list[str]:
    """How the answer was found, and what is to be known about it."""
    steps = quantity(len(result.steps), "step")
    lines = [f"SLO: {slo_text(result)}."]
    if result.steps:
        lines.append(
            f"Measured in {steps}, {number(result.load_s)} s of load; it ended because {result.ended}."
        )  # fmt: skip
    if result.requests_per_arrival > 1.0:
        each = number(result.requests_per_arrival)
        lines.append(
            f"Rates count the arrivals of the process; with bursts and later turns, each brings {each} requests."
        )
    if result.per == "users":
        lines.append(users_text(result))
    predicted, expected = "", result.predicted_users if result.per == "users" else result.predicted_per_s
    if expected and result.capacity:
        predicted = f"; it predicted {amount(expected, result.per)}"
    lines.append(f"Reference: {result.reference.words}{predicted}.")
    if result.workload.slo.answer_ttft_ms is not None:
        lines.append(ASSUMPTION)
    lines += [f"{'Do not trust this' if c.status == 'fail' else 'Note'}: {c.sentence}" for c in _notable(result)]
    return lines


def users_text(result: CapacityResult) -> str:
    """How the users behave, and what they send at the capacity."""
    talks, pause = result.workload.conversations, getattr(result.workload.arrivals, "think_s", 0.0)
    if talks is not None:
        words = f"Each user holds one conversation after another and pauses {number(talks.think_s)} s before a turn"
    elif pause:
        words = f"Each user waits for the answer and pauses {number(pause)} s before the next request"
    else:
        words = "Each user sends the next request as soon as the answer is complete"
    if (talks is not None and talks.think_s) or pause:
        words += " (mean)"
    if result.users and result.rate_per_s:
        words += f"; {quantity(result.users, 'user')} send {rate(result.rate_per_s, 'request', 3)}"
    return f"{words}."


def _notable(result: CapacityResult) -> list[Check]:
    return [c for c in result.checks if c.status in ("fail", "warn")]
