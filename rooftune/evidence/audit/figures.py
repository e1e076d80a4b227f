"""Checks of the figures that another tool reports: they must agree with each other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

from rooftune.evidence.audit.findings import failed, no_data, passed, warned
from rooftune.evidence.records.evidence import Evidence
from rooftune.evidence.records.trial import Check
from rooftune.formatting import number

RATE_WARN, RATE_FAIL = 0.03, 0.10
"""A count divided by the duration against the rate that is quoted."""
TPOT_WARN, TPOT_FAIL = 0.25, 0.50
"""TPOT from the means of TTFT, E2EL and tokens. A mean over requests weighs short answers more, so it may differ."""
ORDERED = ("median", "p90", "p95", "p99")
"""Quantiles that cannot fall."""


@dataclass(frozen=True)
class _Comparison:
    """A figure of the tool and what its other figures say it should be."""

    name: str
    quoted: float
    expected: float
    how: str
    warn: float
    fail: float

    @property
    def distance(self) -> float:
        """How far off, as a share of the larger."""
        return abs(self.quoted - self.expected) / max(abs(self.quoted), abs(self.expected), 1e-12)

    @property
    def sentence(self) -> str:
        return f"{self.name} is {number(self.quoted)}, but {self.how} gives {number(self.expected)}"


def consistent(e: Evidence) -> Check:
    """Rates, counts and latencies of a summary against each other."""
    name = "own-figures"
    compared = [*_rates(e), *_tpot(e.quoted)]
    falls = _falling(e.quoted)
    if not compared and falls is None:
        return no_data(name, "The file has too few figures to compare with each other.")
    figures = {c.name: {"quoted": c.quoted, "expected": round(c.expected, 4)} for c in compared if c.distance > c.warn}
    wrong = [c.sentence for c in compared if c.distance > c.fail] + ([falls] if falls else [])
    remedy = (
        "At least one of these figures is wrong; read how the tool defines it, and compute it from single requests."
    )
    if wrong:
        return failed(name, f"The tool's own figures contradict each other: {'; '.join(wrong)}.", remedy, figures)
    odd = [c.sentence for c in compared if c.distance > c.warn]
    if odd:
        return warned(name, f"Figures of the tool differ from each other: {'; '.join(odd)}.", remedy, figures)
    return passed(name, f"{len(compared) or 'All'} of the tool's own figures agree with each other.")


def _rates(e: Evidence) -> list[_Comparison]:
    """Totals over the duration against the rates, and the mean length times the request rate."""
    q, found = e.quoted, []
    seconds = _positive(q.get("duration"))
    pairs = {
        "request_throughput": ("completed",),
        "output_throughput": ("total_output_tokens",),
        "total_token_throughput": ("total_input_tokens", "total_output_tokens"),
    }
    for rate, totals in pairs.items():
        known = [_positive(q.get(t)) for t in totals]
        quoted = _positive(q.get(rate))
        if seconds and quoted and all(known):
            expected = sum(k or 0.0 for k in known) / seconds
            how = f"{' + '.join(totals)} / duration"
            found.append(_Comparison(rate, quoted, expected, how, RATE_WARN, RATE_FAIL))
    answered, length = _positive(q.get("request_throughput")), _positive(q.get("mean_output_tokens"))
    quoted = _positive(q.get("output_throughput"))
    if answered and length and quoted:
        how = "request_throughput x mean answer"
        found.append(_Comparison("output_throughput", quoted, answered * length, how, RATE_WARN, RATE_FAIL))
    return found


def _tpot(q: Mapping[str, float]) -> list[_Comparison]:
    """TPOT against (E2EL - TTFT) / (tokens - 1)."""
    tokens, ttft, whole = mean_answer_tokens(q), _positive(q.get("mean_ttft_ms")), _positive(q.get("mean_e2el_ms"))
    quoted = _positive(q.get("mean_tpot_ms"))
    if tokens is None or tokens < 2 or ttft is None or whole is None or quoted is None:
        return []
    expected = (whole - ttft) / (tokens - 1)
    how = f"(E2EL - TTFT) / (tokens - 1) = ({number(whole)} - {number(ttft)}) / {number(tokens - 1)}"
    return [_Comparison("mean_tpot_ms", quoted, expected, how, TPOT_WARN, TPOT_FAIL)]


def mean_answer_tokens(q: Mapping[str, float]) -> float | None:
    """Mean length of an answer, as quoted or from the totals."""
    quoted = _positive(q.get("mean_output_tokens"))
    total, done = _positive(q.get("total_output_tokens")), _positive(q.get("completed"))
    return quoted or (total / done if total and done else None)


def _falling(q: Mapping[str, float]) -> str | None:
    """A quantile that is smaller than a lower one, in words; empty when all rise; None when there are not two."""
    seen = False
    for base in ("ttft_ms", "tpot_ms", "itl_ms", "e2el_ms"):
        known = [(w, v) for w in ORDERED if (v := _positive(q.get(f"{w}_{base}"))) is not None]
        seen = seen or len(known) > 1
        for (low, a), (high, b) in itertools.pairwise(known):
            if b < a * (1 - 1e-9):
                return f"{high}_{base} is {number(b)}, below {low}_{base} of {number(a)}"
    return "" if seen else None


def _positive(value: float | None) -> float | None:
    return value if isinstance(value, (int, float)) and math.isfinite(value) and value > 0 else None
