"""Title block and executive summary: the answer first, then every measured configuration in one table."""

from __future__ import annotations

from rooftune.report.contents import Contents
from rooftune.report.text import Notes, code, figure, number, status, table
from rooftune.tuning.decision import place_of
from rooftune.tuning.objective import THROUGHPUTS, UNSATURATED_METRIC

COLUMNS = {
    "output_throughput": "Output throughput (tok/s)",
    "request_goodput": "Goodput (req/s)",
    "median_tpot_ms": "TPOT p50 (ms)",
    "median_ttft_ms": "TTFT p50 (ms)",
    "median_e2el_ms": "E2EL p50 (ms)",
}


def title(c: Contents) -> list[str]:
    """Title, what was tuned, and the banner of a simulated run."""
    target = c.plan.target
    where = place_of(c.plan, c.trials)
    rows = [
        ["Date", str(c.about.get("created", ""))[:10]],
        ["Run", str(c.about.get("run_id", c.run.path.name))],
        ["Workload", workload_words(c)],
        ["Objective", objective_words(c)],
        ["Hardware", hardware_words(c)],
        ["Model", f"{target.model}" + (f" as {c.config('baseline').model}" if _hub(c) else "")],
        ["Engine", engine_words(c)],
    ]
    lines = [f"# {c.plan.workload} on {where}", "", *table(["", ""], rows), ""]
    if c.simulated:
        lines += [
            "> **Simulated.** No GPU ran. Every figure below comes from rooftune's emulated engine, over HTTP and with "
            f"the same client as for a real server. {band_words(c)}",
            "",
        ]
    return lines


def band_words(c: Contents) -> str:
    """How far the simulator may be off."""
    error = c.plan.predicted_error
    if error is None:
        return "How far it may be off for this hardware and model is not known; confirm on the real GPU before you rely on it."
    return (
        f"Against published measurements it is off by about {100 * error:.0f} %; confirm on the real GPU before you "
        "rely on it."
    )


def _hub(c: Contents) -> bool:
    return c.config("baseline").model != c.plan.target.model


def workload_words(c: Contents) -> str:
    """The load in words."""
    w = c.workload
    parts = [c.plan.workload]
    asked = c.decision.asked_rate_per_s
    process = w.get("arrivals", {}).get("process")
    if process == "closed":
        parts.append(f"closed loop, {w['arrivals'].get('concurrency')} requests in flight")
    elif asked:
        parts.append(f"{asked:g} requests/s" + (f" ({process})" if process else ""))
    prompt, output = c.value("baseline", "mean_input_tokens"), c.value("baseline", "mean_output_tokens")
    lengths = _length(w.get("prompt_tokens"), prompt), _length(w.get("output_tokens"), output)
    if all(lengths):
        parts.append(f"about {lengths[0]} tokens in, {lengths[1]} out")
    if w.get("description"):
        parts.append(str(w["description"]).rstrip("."))
    return "; ".join(parts)


def _length(spec: object, measured: float | None) -> str:
    if measured is not None:
        return number(measured)
    if isinstance(spec, dict):
        value = spec.get("value") or spec.get("mean")
        if value is None and "low" in spec and "high" in spec:
            value = (spec["low"] + spec["high"]) / 2
        return f"{value:g}" if value is not None else ""
    return ""


def objective_words(c: Contents) -> str:
    """What is to be made better, and the SLO."""
    o = c.plan.objective
    words = {"higher": "highest", "lower": "lowest"}[o.direction]
    limits = ", ".join(f"{k.removesuffix('_ms').upper()} ≤ {v:g} ms" for k, v in o.slo.items())
    text = f"{words} {code(o.metric)}"
    if c.decision.overloaded and o.metric != o.saturated_metric:
        text += f" ({code(o.saturated_metric)} decides here, since the server is overloaded)"
    elif not c.decision.overloaded and o.metric in (*THROUGHPUTS, "request_goodput"):
        text += f" ({code(UNSATURATED_METRIC)} decides between configurations that serve the whole load within the SLO)"
    return text + (f"; SLO: {limits} for {100 * o.slo_share:g} % of the requests" if limits else "; no SLO")


def hardware_words(c: Contents) -> str:
    """The accelerator and its main rates."""
    a = c.hardware.accelerator
    if not a.memory_bytes:
        return f"{a.name} (name it with --gpu)"
    count = f"{c.hardware.count} × " if c.hardware.count > 1 else ""
    name = f"CPU ({a.notes}, {a.multiprocessors} cores)" if a.kind == "cpu" else a.name
    rate = a.flops_per_s.get("fp16") or a.flops_per_s.get("fp32")
    kind = "FP16" if "fp16" in a.flops_per_s else "FP32"
    parts = [f"{count}{name}" + (" (simulated)" if c.simulated else "")]
    parts.append(f"{a.memory_bytes / 2**30:.1f} GiB")
    parts.append(f"{a.bandwidth_bytes_per_s / 1e9:,.0f} GB/s")
    if rate:
        parts.append(f"{rate / 1e12:,.1f} TFLOP/s {kind}" if rate >= 1e12 else f"{rate / 1e9:,.0f} GFLOP/s {kind}")
    return ", ".join(parts)


def engine_words(c: Contents) -> str:
    """Engine and version."""
    target = c.plan.target
    if target.engine == "simulated":
        return f"simulated vLLM {target.engine_version}, clock × {target.time_scale:g}"
    found = next((t.effective.engine_version for t in c.trials if t.effective.engine_version), None)
    if target.engine == "endpoint":
        return f"OpenAI-compatible endpoint {target.url}" + (f" (vLLM {found})" if found else "")
    return f"vLLM {found or target.engine_version}"


def executive(c: Contents) -> list[str]:
    """The answer, then the table of results."""
    lines = ["## Executive summary", "", f"**{c.decision.first_sentence}**", ""]
    if not c.decision.complete:
        skipped = [v.candidate for v in c.decision.verdicts if v.verdict == "not run"]
        if skipped:
            lines += [f"The run is not complete: {len(skipped)} candidates were not run ({', '.join(skipped)}).", ""]
    return lines + results(c)


def results(c: Contents) -> list[str]:
    """The table of results: one row a measured configuration."""
    notes = Notes()
    rows = []
    for candidate in c.measured:
        verdict = c.verdict(candidate.id)
        last = candidate.id == c.decision.incumbent
        name = f"**{candidate.id}**" if last else candidate.id
        words = "starting point" if candidate.id == "baseline" else status(verdict)
        words = f"**recommended** ({words})" if last else words
        cells = [figure(c, candidate.id, m, notes) for m in COLUMNS]
        cells = [f"**{x}**" if last and x[0].isdigit() else x for x in cells]
        rows.append([candidate.phase, name, *cells, str(len(c.of(candidate.id))), words])
    head = ["Phase", "Configuration", *COLUMNS.values(), "Trials", "Status"]
    lines = ["### Results", "", *table(head, rows, right=2), ""]
    legend = "Medians over the trials of each configuration"
    legend += ", simulated." if c.simulated else "."
    if c.decision.overloaded:
        legend += " The server was overloaded, so throughput is what it can do at most."
    return [*lines, " ".join([legend, *notes.lines()]), ""]
