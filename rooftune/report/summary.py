"""Title block and executive summary: the answer first, then every measured configuration in one table."""

from __future__ import annotations

from rooftune.formatting import NONE, flops_per_s, gibibytes, gigabytes_per_s, number, percent, quantity, rate
from rooftune.report.markup import Footnotes, code, joined, metric_cell, status, table
from rooftune.report.run_data import RunData
from rooftune.tuning.configuration import describe, difference
from rooftune.tuning.decision import place_of
from rooftune.tuning.goal import THROUGHPUTS, UNSATURATED_METRIC
from rooftune.tuning.metrics import metric_name, unit_of
from rooftune.workloads.spec import COST, ENERGY, Closed, Fixed, Lengths, Lognormal, Normal, Uniform

COLUMNS = {
    "output_throughput": "Output throughput (tok/s)",
    "request_goodput": "Goodput (req/s)",
    "median_tpot_ms": "TPOT p50 (ms)",
    "median_ttft_ms": "TTFT p50 (ms)",
    "median_e2el_ms": "E2EL p50 (ms)",
}


def title(run: RunData) -> list[str]:
    """Title, what was tuned, and the banner of a simulated run."""
    where = place_of(run.plan, run.trials)
    lines = [f"# {run.plan.workload} on {where}", "", *subject(run), ""]
    if run.simulated:
        lines += [
            "> **Simulated.** No GPU ran. Every number below comes from rooftune's emulated engine, measured over "
            f"HTTP by the client that measures real servers. {band_words(run)}",
            "",
        ]
    return lines


def subject(run: RunData) -> list[str]:
    """The table of what was tuned."""
    target = run.plan.target
    rows = [
        ["Date", str(run.about.get("created", ""))[:10]],
        ["Run", str(run.about.get("run_id", run.folder.path.name))],
        ["Workload", workload_words(run)],
        ["Objective", objective_words(run)],
        ["Hardware", hardware_words(run)],
        ["Model", f"{target.model}" + (f" as {run.config('baseline').model}" if _hub(run) else "")],
        ["Engine", engine_words(run)],
    ]
    return table(["", ""], rows)


def band_words(run: RunData) -> str:
    """The error of the simulator, as far as it is known."""
    error = run.plan.predicted_error
    if run.plan.unmodelled:
        known = f"It does not model {', '.join(run.plan.unmodelled)}, so its error is unknown"
    elif error is None:
        known = "Its error for this hardware and model is unknown"
    else:
        known = f"On published measurements of similar cases its error is about {percent(error)}"
    return f"{known}; confirm the result on the real GPU before you rely on it."


def _hub(run: RunData) -> bool:
    return run.config("baseline").model != run.plan.target.model


def workload_words(run: RunData) -> str:
    """The load in words, with the workload's name and description."""
    description = run.workload.description.rstrip(".") if run.workload is not None else ""
    return "; ".join([run.plan.workload, *load_words(run), *([description] if description else [])])


def load_words(run: RunData) -> list[str]:
    """Rate or users, and mean lengths."""
    parts = []
    w, asked = run.workload, run.decision.asked_rate_per_s
    if w is not None and isinstance(w.arrivals, Closed):
        think = f" who think for {number(w.arrivals.think_s)} s" if w.arrivals.think_s else ""
        parts.append(f"closed loop, {quantity(w.arrivals.concurrency, 'user')}{think}")
    elif asked:
        parts.append(rate(asked, "request", 3) + (f" ({w.arrivals.process})" if w is not None else ""))
    prompt = _mean_length(w.prompt_tokens if w else None, run.value("baseline", "mean_input_tokens"))
    output = _mean_length(w.output_tokens if w else None, run.value("baseline", "mean_output_tokens"))
    if prompt and output:
        parts.append(f"about {number(prompt)} tokens in, {number(output)} out")
    return parts


def _mean_length(lengths: Lengths | None, measured: float | None) -> float | None:
    """Mean tokens of prompts or outputs: measured, else from the workload file; None where neither gives it."""
    if measured is not None:
        return measured
    if isinstance(lengths, Fixed):
        return lengths.value
    if isinstance(lengths, Uniform):
        return (lengths.low + lengths.high) / 2
    return lengths.mean if isinstance(lengths, (Normal, Lognormal)) else None


def objective_words(run: RunData) -> str:
    """What the run optimises, and the SLO."""
    o = run.plan.objective
    words = {"higher": "highest", "lower": "lowest"}[o.direction]
    text = f"{words} {code(o.metric)}"
    if run.decision.overloaded and o.metric != o.saturated_metric:
        text += f" ({code(o.saturated_metric)} decides, because the server is overloaded)"
    elif not run.decision.overloaded and o.metric in (*THROUGHPUTS, "request_goodput"):
        text += f" ({code(UNSATURATED_METRIC)} decides between configurations that serve the whole load within the SLO)"
    return text + (f"; SLO: {slo_words(run)}" if o.slo else "; no SLO")


def slo_words(run: RunData) -> str:
    """The limits and the share of the requests that must meet them."""
    o = run.plan.objective
    limits = ", ".join(f"{k.removesuffix('_ms').upper()} ≤ {number(v)} ms" for k, v in o.slo.items())
    return f"{limits} for {percent(o.slo_share, 4)} of the requests"


def hardware_words(run: RunData) -> str:
    """The accelerator and its main rates."""
    a = run.hardware.accelerator
    if not a.memory_bytes:
        return f"{a.name} (name it with --gpu)"
    count = f"{run.hardware.count} × " if run.hardware.count > 1 else ""
    name = f"CPU ({a.notes}, {a.multiprocessors} cores)" if a.kind == "cpu" else a.name
    flops = a.flops_per_s.get("fp16") or a.flops_per_s.get("fp32")
    kind = "FP16" if "fp16" in a.flops_per_s else "FP32"
    parts = [f"{count}{name}" + (" (simulated)" if run.simulated else "")]
    parts += [gibibytes(a.memory_bytes), gigabytes_per_s(a.bandwidth_bytes_per_s)]
    if flops:
        parts.append(f"{flops_per_s(flops)} {kind}")
    return ", ".join(parts)


def engine_words(run: RunData) -> str:
    """Engine and version."""
    target = run.plan.target
    if target.engine == "simulated":
        return f"simulated vLLM {target.engine_version}, clock × {number(target.time_scale)}"
    found = next((t.effective.engine_version for t in run.trials if t.effective.engine_version), None)
    if target.engine == "endpoint":
        return f"OpenAI-compatible endpoint {target.url}" + (f" (vLLM {found})" if found else "")
    return f"vLLM {found or target.engine_version}"


def executive(run: RunData) -> list[str]:
    """The answer, then the table of results."""
    lines = ["## Executive summary", "", f"**{run.decision.first_sentence}**", ""]
    return [*lines, *incomplete(run), *results(run)]


def incomplete(run: RunData) -> list[str]:
    """Which candidates did not run, and which have no verdict yet; nothing where all of them have one."""
    skipped = [v.candidate for v in run.decision.verdicts if v.verdict == "not run"]
    if run.decision.search is not None and not run.decision.complete:
        return [f"The run is incomplete: {run.decision.search.reason}{_confirmed(run)}.", ""]
    if run.decision.complete or not skipped:
        return []
    begun = [name for name in skipped if run.of(name)]
    parts = [
        f"{quantity(len(names), 'candidate')} {words} ({', '.join(names)})"
        for names, words in (
            ([name for name in skipped if name not in begun], "did not run"),
            (begun, "ran without a verdict"),
        )
        if names
    ]
    return [f"The run is incomplete: {joined(parts)}.", ""]


def _confirmed(run: RunData) -> str:
    """What a search that ended early has confirmed all the same."""
    confirmed = {v.candidate for v in run.decision.verdicts if v.verdict == "applied"} - {"baseline"}
    if run.decision.incumbent not in confirmed:
        return ", so nothing is confirmed"
    names = [code(v.candidate) for v in run.decision.verdicts if v.verdict == "more trials needed"]
    nearest = f" with {joined(names)}" if names else " with the best others"
    return f" before the comparison{nearest} was clear. The gain over the baseline is confirmed"


def _columns(run: RunData) -> dict[str, str]:
    """The metrics of the table; the cost or the energy of a token where it decides."""
    metric = run.plan.objective.metric
    own = {metric: f"{metric_name(metric).capitalize()} ({unit_of(metric)})"} if metric in (COST, ENERGY) else {}
    return {**own, **COLUMNS}


def results(run: RunData) -> list[str]:
    """The table of results: one row per measured configuration, with all that it changes from the baseline."""
    notes, columns = Footnotes(), _columns(run)
    rows = []
    for candidate in run.measured:
        verdict = run.verdict(candidate.id)
        last = candidate.id == run.decision.incumbent
        name = f"**{candidate.id}**" if last else candidate.id
        words = "starting point" if candidate.id == "baseline" else status(verdict)
        words = f"**recommended** ({words})" if last else words
        cells = [metric_cell(run, candidate.id, m, notes) for m in columns]
        cells = [f"**{x}**" if last and x[0].isdigit() else x for x in cells]
        changes = describe(difference(run.config(candidate.id), run.config("baseline")))
        changes = code(changes) if candidate.id != "baseline" else NONE
        rows.append([candidate.phase, name, changes, *cells, str(len(run.of(candidate.id))), words])
    head = ["Phase", "Configuration", "Changes from the baseline", *columns.values(), "Trials", "Status"]
    lines = ["### Results", "", *table(head, rows, right=3), ""]
    legend = "Medians over the trials of each configuration"
    legend += ", simulated." if run.simulated else "."
    if run.decision.overloaded:
        legend += " The server was overloaded, so throughput is its maximum."
    return [*lines, " ".join([legend, *notes.lines()]), ""]
