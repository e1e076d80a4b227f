"""One section per phase: the command after it, what was tried, what each candidate changed, and why."""

from __future__ import annotations

from dataclasses import dataclass

from rooftune.engines.command_line import shown
from rooftune.engines.server import EffectiveConfig
from rooftune.formatting import NONE, change, number
from rooftune.report.explanation import evidence, why
from rooftune.report.markup import Footnotes, code, interval_change, joined, metric_cell, sentence, status, table
from rooftune.report.run_data import RunData
from rooftune.roofline.model import Stage
from rooftune.tuning.configuration import describe, difference
from rooftune.tuning.metrics import lower_is_better, metric_name, unit_of
from rooftune.tuning.plan import Candidate, Verdict
from rooftune.workloads.spec import ENERGY

BASELINE_METRICS = (
    "output_throughput",
    "request_throughput",
    "request_goodput",
    "median_tpot_ms",
    "p99_tpot_ms",
    "median_ttft_ms",
    "p99_ttft_ms",
    "median_e2el_ms",
    "p99_e2el_ms",
)
CANDIDATE_METRICS = (
    "output_throughput",
    "request_goodput",
    "median_tpot_ms",
    "median_ttft_ms",
    "median_e2el_ms",
    ENERGY,
)
SMALLEST_TRADE_OFF = 0.02
"""A change smaller than this is listed neither as an improvement nor as a trade-off."""
STAGES: tuple[Stage, ...] = ("decode", "prefill")


def phase_section(run: RunData, phase: str, place: int) -> list[str]:
    """The whole section of a phase."""
    after = run.incumbent_after(phase)
    lines = [f"## Phase {place}: {phase}", "", "### Command", "", *command_lines(run, phase, after), ""]
    if phase == "baseline":
        return [*lines, *_baseline(run)]
    candidates = [p for p in run.plan.candidates if p.phase == phase]
    lines += ["### Optimizations", "", *optimizations(run, candidates, after), ""]
    lines += ["### Performance", "", *performance(run, phase, after), ""]
    tried = [p for p in candidates if run.of(p.id) and run.verdict(p.id).ratios]
    if tried:
        lines += ["### Improvements and trade-offs", "", *_trade_offs(run, tried), ""]
        lines += ["### Why it did or did not help", "", *[f"- **{p.id}**: {why(run, p)}" for p in tried], ""]
    return lines


def command_lines(run: RunData, phase: str, after: str) -> list[str]:
    """The command after a phase, and what the phase changed."""
    if run.plan.target.engine == "endpoint":
        return ["rooftune did not start this server, so its command line is unknown and no flag was changed."]
    config = run.config(after)
    lines = ["```bash", shown(config), "```"]
    before = run.incumbent_before(phase)
    if phase != "baseline":
        if after == before:
            lines += ["", f"No candidate of this phase replaced {code(before)}, so the command is unchanged."]
        else:
            words = describe(difference(config, run.config(before)))
            lines += ["", f"Changed from {code(before)}: {code(words)}."]
    return lines


def _baseline(run: RunData) -> list[str]:
    notes = Footnotes()
    names = [*BASELINE_METRICS, *([ENERGY] if run.value("baseline", ENERGY) is not None else [])]
    rows = [[f"{metric_name(m)} ({unit_of(m)})", metric_cell(run, "baseline", m, notes)] for m in names]
    rows = [row for row in rows if row[1] != NONE]
    lines = ["### Performance", "", *table(["Metric", "Baseline"], rows, right=1), "", *notes.lines(), ""]
    return [*lines, "### Starting point", "", *starting_point(run), ""]


def starting_point(run: RunData) -> list[str]:
    """What the engine resolved its flags to, and what the roofline shows for the baseline."""
    lines = []
    if run.plan.context is not None:
        lines.append(f"- {sentence(run.plan.context.sentence)} Raise it where longer requests have to be served.")
    trials = run.of("baseline")
    if trials:
        lines.append(f"- The engine reports: {effective_words(trials[-1].effective)}.")
        for warning in trials[-1].effective.warnings[:3]:
            lines.append(f"- Its log warns: {code(warning)}")
    for stage in STAGES:
        point = run.roofline_point("baseline", stage)
        if point:
            lines.append(f"- Roofline, {stage}: {sentence(point.sentence)}")
    return lines or ["- The baseline could not be measured."]


def effective_words(effective: EffectiveConfig) -> str:
    """The effective configuration in words, without what the engine did not report."""
    switches = {
        "chunked prefill": effective.chunked_prefill,
        "prefix caching": effective.prefix_caching,
        "asynchronous scheduling": effective.async_scheduling,
        "CUDA graphs": effective.cuda_graphs,
    }
    parts = [f"{words} {'on' if value else 'off'}" for words, value in switches.items() if value is not None]
    if effective.linear_kernel:
        parts.append(f"linear kernel {effective.linear_kernel}")
    if effective.attention_backend:
        parts.append(f"attention backend {effective.attention_backend}")
    if effective.max_num_seqs:
        parts.append(f"at most {number(effective.max_num_seqs)} sequences at once")
    if effective.max_num_batched_tokens:
        parts.append(f"at most {number(effective.max_num_batched_tokens)} tokens per step")
    if effective.kv_cache_tokens is not None:
        parts.append(f"KV cache for {number(effective.kv_cache_tokens)} tokens")
    return ", ".join(parts) or "none of its settings"


def optimizations(run: RunData, candidates: list[Candidate], after: str) -> list[str]:
    """The table of every candidate of the phase, including those that could not be tried."""
    rows = []
    kept = run.config(after).flags()
    for p in candidates:
        verdict = run.verdict(p.id)
        here = verdict.verdict == "applied" and all(kept.get(k) == v for k, v in p.change.items())
        applied = "yes" if here else "already on" if verdict.verdict == "already on" else "no"
        traps = " ".join(f"Known trap: {sentence(g.reason)}" for g in p.gates if g.verdict == "trap")
        name = f"{p.name} ({code(p.id)})"
        reason = " ".join(x for x in (reason_words(run, p, verdict), traps) if x)
        rows.append([name, expected_words(p), applied, actual_words(verdict), status(verdict), reason])
    lines = table(["Optimization", "Expected", "Applied", "Actual", "Status", "Reason"], rows)
    if any(p.expected and p.expected.source == "simulator" for p in candidates) and run.simulated:
        lines += [
            "",
            "The simulator predicted Expected in virtual time, for the change applied to the baseline. The same "
            "simulator, measured over HTTP and compared with the incumbent, gave Actual. Agreement between the two "
            "says nothing about a real GPU.",
        ]
    return lines


def reason_words(run: RunData, p: Candidate, v: Verdict) -> str:
    """The reason for the verdict: the gate's rule, or what the server showed while the candidate ran."""
    if not v.ratios:
        return sentence(v.reason)
    found = v.ratios.get(v.metric)
    shown_already = f"{metric_name(v.metric)} {interval_change(found)} compared with {v.against}"
    rest = v.reason.replace(shown_already, "").strip("; ").replace("; ;", ";")
    return " ".join(x for x in (trials_words(v), sentence(rest), sentence(evidence(run, p))) if x)


def trials_words(v: Verdict) -> str:
    """What the candidate was compared with, over how many trials, and why the comparison stopped."""
    ours, theirs = len(v.trials), len(v.against_trials)
    if not ours:
        return ""
    trials = f"{ours} trials each" if ours == theirs else f"{ours} trials against {theirs}"
    stopped = f" The comparison stopped because {v.stopped_because}." if v.stopped_because else ""
    return f"Compared with {code(v.against or '')} over {trials}.{stopped}"


def expected_words(p: Candidate) -> str:
    """What the plan expected, with its source."""
    if p.expected is None:
        return NONE
    e = p.expected
    if e.source == "simulator" and e.ratio is not None:
        return f"{metric_name(e.metric)} {change(e.ratio)} on the baseline (simulator)"
    return f"{e.sentence} ({e.source})"


def actual_words(v: Verdict) -> str:
    """The measured change of the metric that decided."""
    found = v.ratios.get(v.metric)
    if found is not None:
        return f"{metric_name(v.metric)} {interval_change(found)}"
    return f"capacity {number(v.capacity.estimate)} requests/s" if v.capacity is not None else "not measured"


def performance(run: RunData, phase: str, after: str) -> list[str]:
    """Metrics of the phase's configurations, with their change from the baseline and from the incumbent."""
    before = run.incumbent_before(phase)
    names = [p.id for p in run.plan.candidates if p.phase == phase and run.of(p.id) and run.verdict(p.id).ratios]
    if not names:
        return [f"No candidate of this phase was measured, so {code(before)} remains the incumbent."]
    rows: list[list[str]] = []
    for name in names:
        rows += _performance_rows(run, name, name == after)
    head = ["Configuration", "Metric", "Value", "Change from baseline", "Change from incumbent", "Incumbent"]
    text = ["Brackets show 95 % intervals."]
    if any(run.verdict(name).against != "baseline" for name in names):
        text.append(
            "Only the incumbent was measured side by side with the candidates. More time passed since the baseline, so "
            "drift may be part of the change from it."
        )
    return [*table(head, rows, right=2), "", " ".join([*text, *withheld_words(run, names)])]


def withheld_words(run: RunData, names: list[str]) -> list[str]:
    """Which metrics are withheld for all of these configurations, and why."""
    reasons: dict[str, list[str]] = {}
    for metric in CANDIDATE_METRICS:
        reason = next((r for n in names if (r := run.withheld(n, metric))), None)
        if reason and all(run.value(n, metric) is None for n in names):
            reasons.setdefault(reason.rstrip("."), []).append(metric_name(metric))
    return [f"Withheld: {joined(metrics)} ({reason})." for reason, metrics in reasons.items()]


def _performance_rows(run: RunData, name: str, kept: bool) -> list[list[str]]:
    """One row per metric that a configuration has."""
    verdict = run.verdict(name)
    from_baseline = verdict.ratios if verdict.against == "baseline" else run.ratios(name, "baseline")
    rows: list[list[str]] = []
    for metric in CANDIDATE_METRICS:
        value = run.value(name, metric)
        if value is None:
            continue
        first = (f"**{name}**" if kept else name) if not rows else ""
        words = f"{metric_name(metric)} ({unit_of(metric)})"
        changes = [interval_change(ratios.get(metric)) for ratios in (from_baseline, verdict.ratios)]
        rows.append([first, words, number(value), *changes, verdict.against or ""])
    return rows


@dataclass(frozen=True)
class TradeOff:
    """Metrics whose interval excludes no change, in words."""

    better: list[str]
    worse: list[str]


def trade_off(v: Verdict) -> TradeOff:
    """What a candidate improved and what it cost. A p99 is listed only if it moves the other way than its median."""
    found = TradeOff([], [])
    for metric, interval in v.ratios.items():
        median = v.ratios.get(metric.replace("p99_", "median_"))
        repeats = metric.startswith("p99_") and median is not None and (median.estimate > 1) == (interval.estimate > 1)
        if metric in ("request_throughput", "median_itl_ms") or repeats:
            continue
        if abs(interval.estimate - 1) < SMALLEST_TRADE_OFF or interval.low <= 1 <= interval.high:
            continue
        better = (interval.estimate > 1) != lower_is_better(metric)
        (found.better if better else found.worse).append(f"{metric_name(metric)} {change(interval.estimate)}")
    return found


def _trade_offs(run: RunData, tried: list[Candidate]) -> list[str]:
    rows = []
    for p in tried:
        found = trade_off(run.verdict(p.id))
        rows.append([p.id, joined(found.better) or "none", joined(found.worse) or "none"])
    against = joined([code(name) for name in sorted({run.verdict(p.id).against or "" for p in tried})])
    lines = [f"Compared with {against}. Only changes whose interval excludes no change are listed.", ""]
    lines += table(["Configuration", "Better", "Worse"], rows)
    outputs = [code(p.id) for p in tried if p.changes_output]
    if outputs:
        lines += ["", f"{joined(outputs)} may change the generated text, so check its quality before use."]
    return lines
