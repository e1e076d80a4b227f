"""The shape of a workload as lines of a terminal, and as values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rooftune.formatting import number, percent, quantity, rate

if TYPE_CHECKING:
    from rooftune.workloads.shape import ArrivalShape, Lengths, Sharing, WorkloadShape
    from rooftune.workloads.spec import Workload

INDENT = "  "


def shape_lines(spec: Workload, shape: WorkloadShape) -> list[str]:
    """The lines of ``rooftune workload show``."""
    warm = f" after {number(spec.warmup_s)} s of warm-up" if spec.warmup_s else ""
    lines = [spec.name + (f": {spec.description}" if spec.description else "")]
    lines += [f"Arrivals: {spec.arrivals.process}; measured for {number(spec.duration_s)} s{warm}."]
    lines += ["", *_lengths("Prompts", shape.prompt), "", *_lengths("Answers", shape.output), ""]
    lines += _arrivals(shape.arrivals) if shape.arrivals is not None else _closed(shape.users or 0)
    lines += ["", *_sharing(shape)]
    lines += [f"Note: {note}." for note in shape.notes]
    return lines


def _lengths(what: str, found: Lengths) -> list[str]:
    from rooftune.workloads.bars import axis, bars

    quantiles = ", ".join(f"{_level(q)} {number(found.quantiles[q], 3)}" for q in (0.5, 0.95, 0.99))
    head = f"{what}, tokens (log scale): mean {number(round(found.mean))}, {quantiles}"
    if found.least == found.most:
        return [f"{what}: always {quantity(found.most, 'token')}"]
    drawn = [INDENT + line for line in bars(found.counts.tolist())]
    return [head, *drawn, INDENT + axis(number(found.least), number(found.most), len(found.counts))]


def _level(q: float) -> str:
    return "median" if q == 0.5 else f"p{number(100 * q)}"


def _arrivals(found: ArrivalShape) -> list[str]:
    from rooftune.workloads.bars import axis, bars

    mean = f"{quantity(found.requests, 'arrival')}, {rate(found.rate_per_s, 'arrival')} on average"
    uneven = f"the gaps vary by {number(found.variation, 2)} times their mean (Poisson: 1)"
    drawn = [INDENT + line for line in bars(found.per_s.tolist())]
    return [
        f"Arrivals over time: {mean}, {number(found.most_per_s)} in the busiest second; {uneven}",
        *drawn,
        INDENT + axis("0 s", f"{number(found.span_s)} s", len(found.per_s)),
    ]


def _closed(users: int) -> list[str]:
    return [f"Arrivals: {quantity(users, 'user')}, each waiting for the answer; the server sets the rate"]


def _sharing(shape: WorkloadShape) -> list[str]:
    found = shape.sharing
    if not found.requests:
        return ["Shared prefixes: none; no prompt begins like an earlier one"]
    lines = [
        f"Shared prefixes: {quantity(found.requests, 'request')} with the prefix of an earlier one, "
        f"{percent(found.tokens_share)} of all prompt tokens"
    ]
    if found.conversations:
        lines.append(
            f"{INDENT}{quantity(found.conversations, 'conversation')} of {number(found.turns, 2)} turns on average"
        )
    return lines + [
        f"{INDENT}{quantity(b.requests, 'request')} begin with the same {number(b.tokens)} tokens"
        for b in found.beginnings
    ]


def shape_values(spec: Workload, shape: WorkloadShape) -> dict[str, object]:
    """The same as ``--json``."""
    arrivals, sharing = shape.arrivals, shape.sharing
    return {
        "name": spec.name,
        "description": spec.description,
        "prompt_tokens": _length_values(shape.prompt),
        "output_tokens": _length_values(shape.output),
        "arrivals": None if arrivals is None else {
            "process": spec.arrivals.process,
            "requests": arrivals.requests,
            "rate_per_s": arrivals.rate_per_s,
            "gap_variation": arrivals.variation,
            "most_per_s": arrivals.most_per_s,
            "edges_s": arrivals.edges_s.tolist(),
            "per_s": arrivals.per_s.tolist(),
        },
        "users": shape.users,
        "sharing": _sharing_values(sharing),
        "notes": [f"{note}." for note in shape.notes],
    }  # fmt: skip


def _length_values(found: Lengths) -> dict[str, object]:
    named = {"mean": found.mean, "min": found.least, "max": found.most}
    return {**named, **{f"p{number(100 * q)}": value for q, value in found.quantiles.items()}}


def _sharing_values(found: Sharing) -> dict[str, object]:
    return {
        "requests": found.requests,
        "tokens_share": found.tokens_share,
        "prefixes": [{"requests": b.requests, "tokens": b.tokens} for b in found.beginnings],
        "conversations": found.conversations,
        "turns": found.turns,
    }
