"""One section per phase: command, what was tried, what it did against baseline and incumbent, and why."""

from __future__ import annotations

from rooftune.engines.command_line import shown
from rooftune.report.contents import Contents
from rooftune.report.reasons import evidence, why
from rooftune.report.text import Notes, change, code, figure, joined, number, sentence, status, table
from rooftune.tuning.configuration import describe, difference
from rooftune.tuning.judge import WORDS, judge, percent
from rooftune.tuning.plan import Candidate, Interval, Verdict

PERFORMANCE = (
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
CLEAR = 0.02
"""A change smaller than this is neither improvement nor trade-off."""


def phase_section(c: Contents, phase: str, place: int) -> list[str]:
    """The whole section of a phase."""
    after = c.incumbent_after(phase)
    lines = [f"## Phase {place}: {phase}", "", "### Command", "", *_command(c, phase, after), ""]
    if phase == "baseline":
        return [*lines, *_baseline(c)]
    candidates = [p for p in c.plan.candidates if p.phase == phase]
    lines += ["### Optimizations", "", *optimizations(c, candidates, after), ""]
    lines += ["### Performance", "", *performance(c, phase, after), ""]
    tried = [p for p in candidates if c.of(p.id) and c.verdict(p.id).ratios]
    if tried:
        lines += ["### Improvements and trade-offs", "", *_both_sides(c, tried), ""]
        lines += ["### Why it did or did not help", "", *[f"- **{p.id}**: {why(c, p)}" for p in tried], ""]
    return lines


def _command(c: Contents, phase: str, after: str) -> list[str]:
    if c.plan.target.engine == "endpoint":
        return ["Someone else runs this server, so its command line is not known and nothing was changed."]
    config = c.config(after)
    lines = ["```bash", shown(config), "```"]
    before = c.incumbent_before(phase)
    if phase != "baseline":
        if after == before:
            lines += ["", f"Unchanged: no candidate of this phase took the place of {code(before)}."]
        else:
            words = describe(difference(config, c.config(before)))
            lines += ["", f"Changed against {code(before)}: {code(words)}."]
    return lines


def _baseline(c: Contents) -> list[str]:
    notes = Notes()
    rows = [[WORDS[m], figure(c, "baseline", m, notes)] for m in PERFORMANCE]
    rows = [[f"{w} ({_unit(m)})", v] for (w, v), m in zip(rows, PERFORMANCE, strict=True) if v != "–"]
    lines = ["### Performance", "", *table(["Metric", "Baseline"], rows, right=1), "", *notes.lines(), ""]
    return [*lines, "### Where it stands", "", *standing(c), ""]


def standing(c: Contents) -> list[str]:
    """What the engine resolved its flags to, and what the roofline says of the baseline."""
    lines = []
    trials = c.of("baseline")
    if trials:
        lines.append(f"- The engine reports: {effective_words(trials[-1].effective.model_dump(exclude_none=True))}.")
        for warning in trials[-1].effective.warnings[:3]:
            lines.append(f"- Its log warns: {code(warning)}")
    for stage in ("decode", "prefill"):
        found = bottleneck(c, "baseline", stage)
        if found:
            lines.append(f"- Roofline, {stage}: {sentence(found)}")
    return lines or ["- The baseline could not be measured."]


def effective_words(values: dict[str, object]) -> str:
    """The effective configuration in words, what it did not say left out."""
    switch = {"chunked_prefill": "chunked prefill", "prefix_caching": "prefix caching"}
    switch |= {"async_scheduling": "asynchronous scheduling", "cuda_graphs": "CUDA graphs"}
    parts = [f"{words} {'on' if values[k] else 'off'}" for k, words in switch.items() if k in values]
    for key, words in (("linear_kernel", "linear kernel"), ("attention_backend", "attention")):
        if values.get(key):
            parts.append(f"{words} {values[key]}")
    for key, words in (("max_num_seqs", "at most {} sequences"), ("max_num_batched_tokens", "{} tokens per step")):
        if values.get(key):
            parts.append(words.format(values[key]))
    tokens = values.get("kv_cache_tokens")
    if isinstance(tokens, int):
        parts.append(f"KV cache for {tokens:,} tokens")
    return ", ".join(parts) or "nothing of its settings"


def bottleneck(c: Contents, candidate: str, stage: str) -> str | None:
    """The roofline's sentence on a candidate's decode or prefill point."""
    found = [p for p in (c.roofline or {}).get("points", []) if p["candidate"] == candidate and p["stage"] == stage]
    return str(found[-1]["sentence"]) if found else None


def optimizations(c: Contents, candidates: list[Candidate], after: str) -> list[str]:
    """The optimisations table: every candidate of the phase, also those that could not be tried."""
    rows = []
    kept = c.config(after).flags()
    for p in candidates:
        verdict = c.verdict(p.id)
        here = verdict.verdict == "applied" and all(kept.get(k) == v for k, v in p.change.items())
        applied = "yes" if here else "on already" if verdict.verdict == "already on" else "no"
        traps = " ".join(f"Known trap: {g.reason}." for g in p.gates if g.verdict == "trap")
        name = f"{p.name} ({code(p.id)})"
        told = " ".join(x for x in (reason_words(c, p, verdict), traps) if x)
        rows.append([name, expected_words(p), applied, actual_words(verdict), status(verdict), told])
    lines = table(["Optimization", "Expected", "Applied", "Actual", "Status", "Reason"], rows)
    if any(p.expected and p.expected.source == "simulator" for p in candidates) and c.simulated:
        lines += [
            "",
            "Expected was predicted by the same simulator in virtual time, for the change on the baseline; Actual was "
            "measured over HTTP against the incumbent. That the two agree says nothing about a real GPU.",
        ]
    return lines


def reason_words(c: Contents, p: Candidate, v: Verdict) -> str:
    """Why it stands as it does: the gate's rule, or what the server showed while it ran."""
    if not v.ratios:
        return sentence(v.reason)
    found = v.ratios.get(v.metric)
    rest = v.reason
    if found is not None and rest.startswith(f"{WORDS.get(v.metric, v.metric)} {change(found)}"):
        rest = rest.removeprefix(f"{WORDS.get(v.metric, v.metric)} {change(found)}").strip()
    return " ".join(x for x in (sentence(rest), sentence(trials_words(v)), sentence(evidence(c, p))) if x)


def trials_words(v: Verdict) -> str:
    """How many trials the verdict rests on, and why there were no more."""
    ours, theirs = len(v.trials), len(v.against_trials)
    if not ours:
        return ""
    return f"{ours} trials against {theirs}" + (f"; stopped since {v.stopped_because}" if v.stopped_because else "")


def expected_words(p: Candidate) -> str:
    """What the plan expected, with its source."""
    if p.expected is None:
        return "–"
    e = p.expected
    if e.source == "simulator" and e.ratio is not None:
        return f"{WORDS.get(e.metric, e.metric)} {percent(e.ratio)} on the baseline (simulator)"
    return f"{e.sentence} ({e.source})"


def actual_words(v: Verdict) -> str:
    """The measured change of the metric that decided."""
    found = v.ratios.get(v.metric)
    return f"{WORDS.get(v.metric, v.metric)} {change(found)}" if found is not None else "not measured"


def performance(c: Contents, phase: str, after: str) -> list[str]:
    """Figures of the phase's configurations, with change against baseline and against the incumbent."""
    before = c.incumbent_before(phase)
    shown_ids = [p.id for p in c.plan.candidates if p.phase == phase and c.of(p.id) and c.verdict(p.id).ratios]
    if not shown_ids:
        return [f"No candidate of this phase was measured; {code(before)} stays as it was."]
    rows: list[list[str]] = []
    for name in shown_ids:
        rows += _performance_rows(c, name, name == after)
    head = ["Configuration", "Metric", "Value", "Against baseline", "Against incumbent", "Incumbent"]
    lines = [*table(head, rows, right=2), ""]
    text = "95 % intervals in brackets."
    if any(c.verdict(n).against != "baseline" for n in shown_ids):
        text += " Only the incumbent was measured side by side; between a trial and the baseline more time lies."
    return [*lines, " ".join([text, *withheld_words(c, shown_ids)])]


def withheld_words(c: Contents, names: list[str]) -> list[str]:
    """Which figures are withheld for all of these configurations, and why."""
    reasons: dict[str, list[str]] = {}
    for metric in SHOWN:
        reason = next((r for n in names if (r := c.withheld(n, metric))), None)
        if reason and all(c.value(n, metric) is None for n in names):
            reasons.setdefault(reason.rstrip("."), []).append(WORDS[metric])
    return [f"Withheld: {joined(metrics)} ({reason})." for reason, metrics in reasons.items()]


SHOWN = ("output_throughput", "request_goodput", "median_tpot_ms", "median_ttft_ms", "median_e2el_ms")


def _performance_rows(c: Contents, name: str, kept: bool) -> list[list[str]]:
    """One row for each metric that a configuration has."""
    verdict = c.verdict(name)
    to_base = verdict.ratios if verdict.against == "baseline" else against_baseline(c, name)
    rows: list[list[str]] = []
    for metric in SHOWN:
        value = c.value(name, metric)
        if value is None:
            continue
        first = (f"**{name}**" if kept else name) if not rows else ""
        words = f"{WORDS[metric]} ({_unit(metric)})"
        changes = [change(to_base.get(metric)), change(verdict.ratios.get(metric))]
        rows.append([first, words, number(value), *changes, verdict.against or ""])
    return rows


def against_baseline(c: Contents, name: str) -> dict[str, Interval]:
    """Ratios of a configuration to the baseline."""
    ours, base = c.of(name), c.of("baseline")
    if len(ours) < 2 or len(base) < 2:
        return {}
    return judge(ours, base, c.plan.objective, "baseline", 1).ratios


def sides(v: Verdict) -> tuple[list[str], list[str]]:
    """Metrics that became better and worse beyond doubt, in words; p99 only where it goes another way than the median."""
    better: list[str] = []
    worse: list[str] = []
    for metric, interval in v.ratios.items():
        middle = v.ratios.get(metric.replace("p99_", "median_"))
        same_way = metric.startswith("p99_") and middle is not None and (middle.estimate > 1) == (interval.estimate > 1)
        if metric in ("request_throughput", "median_itl_ms") or same_way:
            continue
        if abs(interval.estimate - 1) < CLEAR or interval.low <= 1 <= interval.high:
            continue
        gain = (interval.estimate > 1) != metric.endswith("_ms")
        (better if gain else worse).append(f"{WORDS.get(metric, metric)} {percent(interval.estimate)}")
    return better, worse


def _both_sides(c: Contents, tried: list[Candidate]) -> list[str]:
    rows = []
    for p in tried:
        better, worse = sides(c.verdict(p.id))
        rows.append([p.id, joined(better) or "none", joined(worse) or "none"])
    against = joined(sorted({c.verdict(p.id).against or "" for p in tried}))
    lines = table(["Configuration", "Better", "Worse"], rows)
    outputs = [p.id for p in tried if p.changes_output]
    if outputs:
        lines += ["", f"{joined(outputs)} may change the generated text: check its quality before use."]
    return [f"Against {against}; only what the intervals show beyond doubt.", "", *lines]


def _unit(metric: str) -> str:
    if metric.endswith("_ms"):
        return "ms"
    return "tok/s" if metric.endswith("token_throughput") or metric == "output_throughput" else "req/s"
