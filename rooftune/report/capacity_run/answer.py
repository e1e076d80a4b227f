"""The first screen: the question, the answer, what to deploy, how many servers, and what each configuration carries."""

from __future__ import annotations

from dataclasses import dataclass

from rooftune.capacity.replicas import needed
from rooftune.capacity.result import ReplicaRow, Replicas
from rooftune.capacity.sentences import NAMES
from rooftune.engines.command_line import shown
from rooftune.engines.price import GIVEN, price_of, usd_per_hour
from rooftune.formatting import NONE, change, multiple, number, percent, quantity, rate
from rooftune.report.found import unchanged_answers
from rooftune.report.markup import Footnotes, code, joined, sentence, status, table
from rooftune.report.method import doubts
from rooftune.report.run_data import RunData
from rooftune.report.summary import band_words, engine_words, incomplete, load_words, slo_words
from rooftune.tuning.capacity_figures import interval_words, per_million
from rooftune.tuning.configuration import describe, difference
from rooftune.tuning.decision import place_of
from rooftune.tuning.plan import CapacityFigures, Verdict
from rooftune.workloads.spec import CAPACITY

LIMITED_BY = {**NAMES, "queue": "queue", "errors": "errors"}


def opening(run: RunData) -> list[str]:
    """Title, question, answer, and what a simulated run means."""
    where = place_of(run.plan, run.trials)
    lines = [
        f"# {run.plan.workload} on {where}",
        "",
        "## Executive summary",
        "",
        f"**{run.decision.first_sentence}**",
        "",
    ]
    lines += [_question(run), ""]
    if run.simulated:
        lines += [
            "> **Simulated.** No GPU ran. Every number and figure in this report comes from rooftune's emulated "
            f"engine, measured over HTTP by the client that measures real servers. {band_words(run)}",
            "",
        ]
    return [*lines, *_missing(run), *deployment(run), *needed_servers(run), *carried(run)]


def _missing(run: RunData) -> list[str]:
    """What an incomplete run did not settle, and which of it carries, or may carry, more than the recommendation."""
    lines, own = incomplete(run), run.capacity(run.decision.incumbent)
    skipped = [v.candidate for v in run.decision.verdicts if v.verdict == "not run"]
    if not lines or own is None:
        return lines
    more = "Repeat it with a larger --budget before you deploy"
    if run.decision.search is not None:
        more = "Continue it with --resume and a larger --budget before you deploy"
        skipped = [v.candidate for v in run.decision.verdicts if v.verdict == "more trials needed"]
    better = {name: c for name in skipped if (c := run.capacity(name)) is not None and c.low > own.high}
    if better:
        best = max(better, key=lambda name: better[name].estimate)
        shown = quantity(len(run.of(best)), "trial")
        return [f"{lines[0]} **{more}: {code(best)} carried {interval_words(better[best])} in {shown}.**", ""]
    expected = {n: each for n in skipped if not run.of(n) and (each := run.plan.predicted.get(n, {}).get(CAPACITY))}
    base = run.plan.predicted.get(run.decision.incumbent, {}).get(CAPACITY)
    best = max(expected, key=lambda name: expected[name], default="")
    if base and expected.get(best, 0.0) > base:
        times = multiple(expected[best] / base)
        return [f"{lines[0]} **{more}: the simulator expects {times} the capacity from {code(best)}.**", ""]
    return lines


def _question(run: RunData) -> str:
    """What was asked, and how sure the answer is."""
    own = run.decision.incumbent
    target = run.plan.target
    engine = engine_words(run) if target.engine == "endpoint" else f"vLLM {target.engine_version}"
    parts = [f"Workload: {', '.join(load_words(run))}. SLO: {slo_words(run)}. Model: {target.model} on {engine}."]
    found = run.capacity(own)
    if found is not None and found.estimate > 0:
        judged = sum(s.requests for s in run.rate_steps(own))
        limit = f" {sentence(_limit_words(found))}" if found.limited_by else ""
        trials = len(run.of(own))
        fresh = "each on a fresh server" if trials > 1 else "so it does not show how much servers differ"
        parts.append(
            f"{limit} The figure for {code(own)} comes from {quantity(trials, 'trial')}, {fresh}, with "
            f"{quantity(judged, 'judged request')} in all. {doubts(run)}"
        )
    return " ".join(part.strip() for part in parts)


def _limit_words(found: CapacityFigures) -> str:
    if found.limited_by in NAMES:
        return f"{NAMES[found.limited_by]} is the first limit to break above that rate"
    return "above that rate requests fail" if found.limited_by == "errors" else "above that rate the queue grows"


def deployment(run: RunData) -> list[str]:
    """The command to copy, as a difference from the baseline, and what each step of it gave."""
    own = run.decision.incumbent
    lines = ["### What to deploy", ""]
    if run.plan.target.engine == "endpoint":
        return [
            *lines,
            "rooftune cannot change the flags of an endpoint. Run the model under `--engine vllm` to tune it.",
            "",
        ]
    found = run.capacity(own)
    if found is not None and found.estimate <= 0:
        lines += ["No configuration that was measured keeps the SLO, so none can be recommended for it.", ""]
    elif own == "baseline":
        lines += ["The baseline as it is (`start_vllm.sh`):", ""]
    else:
        words = describe(difference(run.config(own), run.config("baseline")))
        lines += [f"{code(own)} (`start_vllm.sh`), which changes {code(words)} from the baseline:", ""]
    lines += ["```bash", shown(run.config(own)), "```", ""]
    steps = [v for v in run.decision.verdicts if v.verdict == "applied" and v.against]
    if steps:
        lines += [f"{'; then '.join(_gave(v) for v in steps)}.", ""]
    outputs = run.output_changes(own)
    if outputs:
        names = joined([code(name) for name in outputs])
        lines += [f"{names} may change the generated text, so check its quality before use.", ""]
    return [*lines, *unchanged_answers(run)]


def _gave(verdict: Verdict) -> str:
    found = verdict.ratios.get(verdict.metric)
    gain = (
        f" gave {found.as_change} compared with {code(verdict.against or '')}" if found is not None else " was applied"
    )
    return f"{code(verdict.candidate)}{gain}"


@dataclass(frozen=True)
class _Count:
    """A number of servers, with its row of the simulation where there is one."""

    servers: int
    simulated: ReplicaRow | None


def needed_servers(run: RunData) -> list[str]:
    """Servers for the asked rate: one fewer, as many as needed, one more; head-room, price, and what breaks."""
    found, figures = run.decision.replicas, run.decision.capacity
    if found is None or figures is None:
        return []
    asked = found.asked_rate_per_s
    head = ["Servers", "Load of each (req/s)", "Head-room", "Requests within the SLO"]
    priced = run.decision.usd_per_hour is not None
    head += ["Price per hour", "Per 1M output tokens"] if priced else []
    rows = [_server_row(run, count, found, figures, priced) for count in _counts(found, figures)]
    lines = [f"### Servers for {rate(asked, 'request', 3)}", "", *table(head, rows), ""]
    note = [
        "Head-room is the capacity of that many servers over the asked rate, with its 95 % interval.",
        f"Keep one server at or below {rate(figures.low, 'request', 3)}, the lower end of its interval.",
    ]
    if found.at_low != found.at_estimate:
        note.insert(
            0, f"Take {found.at_low} to be safe: at the lower end of the interval, {found.at_estimate} are too few."
        )
    if any(row.simulated is not None for row in _counts(found, figures)):
        note.append("The share of the requests is simulated at the measured speed, with the load split evenly.")
    if run.decision.price_source and priced:
        source = run.decision.price_source
        note.append("Prices follow from --price." if source == GIVEN else f"Prices are list prices ({source}).")
    return [*lines, " ".join(note), ""]


def _counts(found: Replicas, figures: CapacityFigures) -> list[_Count]:
    rows = {row.replicas: row for row in found.rows}
    least = needed(found.asked_rate_per_s, figures.estimate)
    numbers = sorted({*rows, *(n for n in (least - 1, least, least + 1, found.at_low) if n >= 1)})
    return [_Count(n, rows.get(n)) for n in numbers]


def _server_row(run: RunData, count: _Count, found: Replicas, figures: CapacityFigures, priced: bool) -> list[str]:
    asked, n, row = found.asked_rate_per_s, count.servers, count.simulated
    middle, low, high = (n * each / asked for each in (figures.estimate, figures.low, figures.high))
    name = f"**{n}**" if n == found.at_estimate else str(n)
    spare = f"{change(middle)} ({change(low).removesuffix(' %')} to {change(high)})"
    cells = [name, number(asked / n), spare, _kept(run, row, figures)]
    if priced:
        each = run.decision.usd_per_hour or 0.0
        tokens = row.usd_per_million_output_tokens if row is not None else None
        cells += [f"${n * each:,.2f}", NONE if tokens is None else f"${tokens:,.2f}"]
    return cells


def _kept(run: RunData, row: ReplicaRow | None, figures: CapacityFigures) -> str:
    """Whether the SLO is kept, and what breaks."""
    if row is None:
        return "not simulated"
    if row.overloaded:
        return "**SLO broken**: the queue grows without end"
    share = percent(row.attainment, 3)
    if row.attainment < run.plan.objective.slo_share:
        first = f"; {NAMES[figures.limited_by]} breaks first" if figures.limited_by in NAMES else ""
        return f"**SLO broken**: {share}{first}"
    return f"kept: {share}"


def carried(run: RunData) -> list[str]:
    """The table of all measured configurations with their capacity."""
    notes, price = Footnotes(), price_of(run.plan.target)
    base = run.capacity("baseline")
    rows = []
    for candidate in run.measured:
        name, verdict = candidate.id, run.verdict(candidate.id)
        best = name == run.decision.incumbent
        found = run.capacity(name)
        words = "starting point" if name == "baseline" else status(verdict)
        words = "no verdict" if words == "not run" else words
        cost = per_million(found, usd_per_hour(price, run.config(name).flags())) if found is not None else None
        changes = describe(difference(run.config(name), run.config("baseline")))
        capacity = capacity_cell(run, name, notes)
        rows.append([
            candidate.phase,
            f"**{name}**" if best else name,
            code(changes) if name != "baseline" else NONE,
            f"**{capacity}**" if best and found is not None else capacity,
            NONE if name == "baseline" else _change(found, base),
            _limited(found),
            NONE if cost is None else f"${cost:,.2f}",
            str(len(run.of(name))),
            f"**recommended** ({words})" if best and name != "baseline" else words,
        ])  # fmt: skip
    head = ["Phase", "Configuration", "Changes from the baseline", "Capacity (req/s)", "Change", "Limited by"]
    head += ["Per 1M output tokens", "Trials", "Status"]
    legend = "Capacity is the rate that one server carries within the SLO, with its 95 % interval. "
    legend += "Change is from the baseline."
    if price is not None:
        legend += " The price is that of one server at its capacity."
    return ["### What each configuration carries", "", *table(head, rows), "", " ".join([legend, *notes.lines()]), ""]


def capacity_cell(run: RunData, candidate: str, notes: Footnotes) -> str:
    """'7.86 (7.6 to 8.12)'; 0 and an unknown capacity with the reason as a footnote."""
    found = run.capacity(candidate)
    if found is None:
        reason = run.withheld(candidate, CAPACITY)
        return f"not known {notes.mark(reason)})" if reason else "not known"
    if found.estimate <= 0:
        return f"0 {notes.mark(found.sentence)})" if found.sentence else "0"
    return f"{number(found.estimate)} ({number(found.low)} to {number(found.high)})"


def _limited(found: CapacityFigures | None) -> str:
    return LIMITED_BY.get(found.limited_by, NONE) if found is not None else NONE


def _change(found: CapacityFigures | None, base: CapacityFigures | None) -> str:
    if found is None or base is None or base.estimate <= 0:
        return NONE
    return change(found.estimate / base.estimate)
