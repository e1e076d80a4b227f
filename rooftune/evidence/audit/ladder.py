"""Checks of a ladder of rates on one running server: whether its steps are independent and long enough.

Pure functions of the steps; a capacity measurement shows their findings with its result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rooftune.evidence.audit.findings import failed, no_data, passed, warned
from rooftune.evidence.records.trial import Check
from rooftune.formatting import number, percent
from rooftune.workloads.seeds import prompt_seeds

NEAR = 0.7
"""Logarithm of the SLO ratio up to which a step shows the server's speed well enough to look for a drift."""
SPREAD = 0.022
"""Standard deviation of ln(speed) from step to step that is usual."""
DRIFT_SIGMAS = 2.6
SCATTER = 0.15
"""Standard deviation of ln(speed) above which the reference does not describe the server."""
BEYOND = 3.0
"""Requests beyond the share of the SLO from which its quantile means something."""
WINDOW_ANSWERS = 3.0
"""A window that is shorter than this many answers shows no queue."""
LAG_WARNS, LAG_FAILS = 0.1, 0.5
"""Send lag (p99) as a share of the shortest limit that counts from the schedule."""
LENGTHS = 0.05
"""Relative difference of the answers' lengths from the planned ones that is worth a warning."""
SET_REMEDY = "Use a server that honours ignore_eos, or set the workload's output_tokens to what it answers."
NATURAL_REMEDY = (
    "Set the workload's output_tokens to what the server answers, or give a file with recorded answers, so that the "
    "reference of the measurement has such lengths too."
)
CLEARLY = 3.0
"""Standard deviations by which a share of requests differs from the promised one when the SLO clearly holds or not."""
APART = 1.1
"""Ratio of a step's rate to an end of the interval beyond which a step can contradict it."""


@dataclass(frozen=True)
class LadderStep:
    """One step. Times in seconds of the workload's clock, except ``started_at``."""

    number: int
    """From 1; the first one only finds out roughly how fast the server is."""
    rate_per_s: float
    """Of a closed loop: users."""
    seed: int
    started_at: float
    idle: bool | None
    """Whether the server had no request before it; None = it does not say."""
    present: float | None
    settle_s: float
    window_s: float
    answer_s: float | None
    """Median time of an answer."""
    requests: int
    attainment: float
    log_speed: float | None
    log_ratio: float
    """Logarithm of the SLO ratio; 0 at the edge."""
    send_lag_p99_s: float
    answer_tokens: float | None
    planned_tokens: float | None
    cut_before: int = 0
    """Requests of the step before that had not ended."""


@dataclass(frozen=True)
class LadderContext:
    """What the steps belong to."""

    share: float
    limits_s: dict[str, float]
    """Limits of the SLO by name, seconds."""
    low_per_s: float | None
    high_per_s: float | None
    slowest: float
    fastest: float
    """Speeds between which the reference was fitted."""
    unit: str = "requests/s"
    """Of the loads."""
    natural: bool = False
    """Answers end by themselves, so their lengths are expected, not set."""


Steps = Sequence[LadderStep]


def settled(steps: Steps, _: LadderContext) -> Check:
    """Whether each step began on an idle server and loaded it long enough before its window."""
    name = "settled-start"
    busy = [s for s in steps if s.idle is False]
    if busy:
        first = busy[0]
        return failed(
            name,
            f"Step {first.number} began while the server had {first.present or 0:.0f} requests that were not its own.",
            "Measure while nobody else uses the server.",
            {"steps": len(busy), "present": first.present},
        )
    short = [s for s in steps if s.answer_s is not None and s.settle_s < s.answer_s / 2]
    if short:
        return warned(
            name,
            f"The load before the window of step {short[0].number} lasted {number(short[0].settle_s)} s, less than "
            "half an answer, so the batch may not have been full.",
            "Shorten the answers of the workload, or use a reference that is nearer to the server.",
        )
    unknown = [s for s in steps if s.idle is None]
    if any(s.cut_before for s in unknown):
        return warned(
            name,
            "The server does not report its requests, and a step began after one whose last requests had been cut.",
            "Let the server show its metrics at /metrics.",
        )
    if unknown:
        return passed(name, "All answers of a step had ended before the next began; the server reports no requests.")
    return passed(name, "The server was idle before every step.")


def fresh(steps: Steps, _: LadderContext) -> Check:
    """Whether two steps sent the same prompts."""
    name = "fresh-prompts"
    bases = [int(prompt_seeds(s.seed, 1)[0]) for s in steps]
    if len(set(bases)) < len(bases):
        return failed(
            name,
            "Two steps sent the same prompts, so a prefix cache may have answered for the server.",
            "Measure again with another seed.",
        )
    return passed(name, "Every step sent its own prompts.")


def drift(steps: Steps, _: LadderContext) -> Check:
    """Whether the server became faster or slower while it was measured."""
    name = "drift"
    known = [(s.started_at, s.log_speed) for s in steps if s.log_speed is not None and abs(s.log_ratio) <= NEAR]
    if len(known) < 3:
        return no_data(name, "Fewer than three steps were near the edge of the SLO, so a drift cannot be seen.")
    at, speed = (np.array(column) for column in zip(*known, strict=True))
    span = float(at.max() - at.min())
    if span <= 0:
        return no_data(name, "The steps have no times.")
    centred = (at - at.mean()) / span
    total = float((centred * (speed - speed.mean())).sum() / (centred**2).sum())
    rest = speed - speed.mean() - total * centred
    # Few steps show little of their scatter, so the usual one is a floor.
    spread = max(SPREAD, float(np.sqrt((rest**2).sum() / max(1, len(rest) - 2))))
    error = spread / math.sqrt(float((centred**2).sum()))
    figures = {"change": math.expm1(total), "error": error}
    if abs(total) > DRIFT_SIGMAS * error:
        word = "faster" if total > 0 else "slower"
        return warned(
            name,
            f"The server became {percent(abs(math.expm1(total)))} {word} from the first step to the last.",
            "Let it warm up, check clocks and other load, and measure again.",
            figures,
        )
    return passed(name, "The server's speed did not change from step to step by more than chance.", figures)


def windows(steps: Steps, context: LadderContext) -> Check:
    """Whether the windows hold enough requests for the share that the SLO names, and enough time for a queue."""
    name = "window-length"
    full = [s for s in steps if s.number > 1] or list(steps)
    fewest = min(full, key=lambda s: s.requests)
    beyond = fewest.requests * (1 - context.share)
    figures = {"requests": fewest.requests, "beyond_share": round(beyond, 2)}
    if context.share < 1 and beyond < BEYOND:
        return warned(
            name,
            f"Step {fewest.number} judged {fewest.requests:,} requests, of which only {number(beyond, 2)} may miss an "
            f"SLO for {percent(context.share, 3)}; its quantile is uncertain.",
            "Ask for a smaller share, or measure more requests.",
            figures,
        )
    brief = [s for s in full if s.answer_s is not None and s.window_s < WINDOW_ANSWERS * s.answer_s]
    if brief:
        return warned(
            name,
            f"The window of step {brief[0].number} is only {number(brief[0].window_s / (brief[0].answer_s or 1), 2)} "
            "times as long as an answer, so a queue that grows slowly does not show.",
            "Measure more requests in each step.",
            figures,
        )
    return passed(name, f"Each step judged at least {fewest.requests:,} requests.", figures)


def late_share(send_lag_p99_s: float, limits_s: Mapping[str, float]) -> float | None:
    """Send lag as a share of the shortest limit that counts from the schedule; None = there is none."""
    limits = [limit for key, limit in limits_s.items() if key != "tpot_ms"]
    return send_lag_p99_s / min(limits) if limits else None


def client(steps: Steps, context: LadderContext) -> Check:
    """Whether the client sent on time, compared with the limits that count from the schedule."""
    name = "send-lag"
    worst = max(steps, key=lambda s: s.send_lag_p99_s)
    figures = {"p99_ms": round(1000 * worst.send_lag_p99_s, 2)}
    sentence = f"99 % of the requests of step {worst.number} left at most {1000 * worst.send_lag_p99_s:.1f} ms late"
    share = late_share(worst.send_lag_p99_s, context.limits_s)
    if share is None:
        return passed(name, f"{sentence}; no limit counts from the schedule.", figures)
    sentence += f", {percent(share)} of the shortest limit."
    remedy = "Free cores for the client, use more client processes, or a smaller --time-scale of the simulated engine."
    if share > LAG_FAILS:
        return failed(name, sentence, remedy, figures)
    return warned(name, sentence, remedy, figures) if share > LAG_WARNS else passed(name, sentence, figures)


def lengths(steps: Steps, context: LadderContext) -> Check:
    """Whether answers had the lengths that the workload plans, which the reference assumes."""
    name = "answer-lengths"
    known = [(s.answer_tokens, s.planned_tokens) for s in steps if s.answer_tokens and s.planned_tokens]
    if not known:
        return no_data(name, "The server does not report the tokens of its answers.")
    ratio = sum(a for a, _ in known) / sum(p for _, p in known)
    figures = {"ratio": round(ratio, 4)}
    sentence = f"Answers had {percent(ratio, 3)} of the planned tokens."
    if abs(ratio - 1) > LENGTHS:
        return warned(
            name,
            f"{sentence} The capacity is that for the answers that the server gave.",
            NATURAL_REMEDY if context.natural else SET_REMEDY,
            figures,
        )
    return passed(name, sentence, figures)


def reference(steps: Steps, context: LadderContext) -> Check:
    """Whether the reference describes the server: a speed in range, and much the same one in all steps."""
    name = "reference-fits"
    known = [s for s in steps if s.log_speed is not None]
    speeds = np.array([s.log_speed for s in known], dtype=np.float64)
    if not len(speeds):
        return no_data(name, "No step gave a speed.")
    edge = 0.02
    if (speeds <= math.log(context.slowest) + edge).all() or (speeds >= math.log(context.fastest) - edge).all():
        word = "slower" if speeds[0] < 0 else "faster"
        return failed(
            name,
            f"The server is {word} than any speed of the reference that is looked at.",
            "Name its accelerator and model with --gpu and --model, or another pair of about its speed.",
        )
    near = np.array([s.log_speed for s in known if abs(s.log_ratio) <= NEAR], dtype=np.float64)
    if len(near) < 2:
        return no_data(name, "Fewer than two steps were near the edge of the SLO.")
    spread = float(near.std(ddof=1))
    figures = {"spread": round(spread, 4)}
    if spread > SCATTER:
        return warned(
            name,
            f"The steps give speeds that differ by {percent(spread)} (standard deviation), so the reference describes "
            "this server badly.",
            "Name its accelerator and model with --gpu and --model.",
            figures,
        )
    return passed(name, f"The steps give the same speed within {percent(spread)} (standard deviation).", figures)


def contradiction(steps: Steps, context: LadderContext) -> Check:
    """Whether single steps agree with the interval: the SLO holds well below it and breaks well above."""
    name = "steps-agree"
    if context.low_per_s is None or context.high_per_s is None or context.low_per_s <= 0:
        return no_data(name, "There is no interval.")
    for step in steps:
        error = math.sqrt(max(context.share * (1 - context.share), 1e-4) / step.requests)
        apart = (step.attainment - context.share) / error
        load = f"{number(step.rate_per_s)} {context.unit}"
        met = f"met the SLO for {percent(step.attainment, 3)} of its requests"
        if step.rate_per_s * APART < context.low_per_s and apart < -CLEARLY:
            sentence = f"Step {step.number} at {load}, well below the interval, {met}."
        elif step.rate_per_s > APART * context.high_per_s and apart > 0:
            sentence = f"Step {step.number} at {load}, well above the interval, {met}."
        else:
            continue
        return failed(name, sentence, "Look for a disturbance in that step, and measure again.")
    return passed(name, "No step contradicts the interval.")


CHECKS: tuple[Callable[[Steps, LadderContext], Check], ...] = (
    settled, fresh, windows, drift, client, lengths, reference, contradiction,
)  # fmt: skip


def audit_ladder(steps: Steps, context: LadderContext) -> list[Check]:
    """Every check of the ladder, in the order of the report."""
    return [check(steps, context) for check in CHECKS] if steps else []
