"""What a run was asked: the workload, the SLO, the objective, the place, in words."""

from __future__ import annotations

from rooftune.capacity.sentences import NAMES
from rooftune.formatting import flops_per_s, gibibytes, gigabytes_per_s, number, percent, quantity, rate
from rooftune.report.markup import joined
from rooftune.report.run.merit import deciding_metric
from rooftune.report.run_data import RunData
from rooftune.tuning.goal import THROUGHPUTS, UNSATURATED_METRIC
from rooftune.tuning.metrics import lower_is_better, metric_name
from rooftune.workloads.spec import CAPACITY, Closed, Fixed, Lengths, Lognormal, Normal, Uniform, Workload


def question(run: RunData) -> str:
    """What was to be found, for which load, model and SLO."""
    target = run.plan.target
    engine = engine_words(run) if target.engine == "endpoint" else f"vLLM {target.engine_version}"
    load = f"{run.plan.workload} ({', '.join(load_words(run))})" if load_words(run) else run.plan.workload
    if run.plan.objective.metric == CAPACITY:
        goal = "carries the most requests per second"
        within = f" within {slo_words(run)}"
    else:
        metric = run.plan.objective.metric
        goal = f"has the {'lowest' if lower_is_better(metric) else 'highest'} {metric_name(metric)}"
        within = f" within {slo_words(run)}" if run.plan.objective.slo else ""
    if target.engine == "endpoint":
        return f"How does {engine} serve {load} with {target.model}{within}?"
    return f"Which configuration of {engine} {goal} of {load} with {target.model}{within}?"


def load_words(run: RunData) -> list[str]:
    """Rate or users, and mean lengths."""
    parts = []
    w, asked = run.workload, run.decision.asked_rate_per_s
    if w is not None and isinstance(w.arrivals, Closed):
        think = f" who think for {number(w.arrivals.think_s)} s" if w.arrivals.think_s else ""
        parts.append(f"closed loop, {quantity(w.arrivals.concurrency, 'user')}{think}")
    elif asked:
        parts.append(rate(asked, "request", 3) + (f", {_process(w)} arrivals" if w is not None else ""))
    prompt = _mean_length(w.prompt_tokens if w else None, run.value("baseline", "mean_input_tokens"))
    output = _mean_length(w.output_tokens if w else None, run.value("baseline", "mean_output_tokens"))
    if prompt and output:
        parts.append(f"about {number(prompt)} tokens in, {number(output)} out")
    return parts


def _process(workload: Workload) -> str:
    """The name of the arrival process."""
    return workload.arrivals.process.replace("poisson", "Poisson")


def _mean_length(lengths: Lengths | None, measured: float | None) -> float | None:
    """Mean tokens of prompts or outputs: measured, else from the workload file; None where neither gives it."""
    if measured is not None:
        return measured
    if isinstance(lengths, Fixed):
        return lengths.value
    if isinstance(lengths, Uniform):
        return (lengths.low + lengths.high) / 2
    return lengths.mean if isinstance(lengths, (Normal, Lognormal)) else None


def slo_words(run: RunData) -> str:
    """The limits and the share of the requests that must meet them."""
    o = run.plan.objective
    limits = joined([f"{NAMES[k]} ≤ {number(v)} ms" for k, v in o.slo.items()])
    return f"{limits} for {percent(o.slo_share, 4)} of the requests"


def objective_words(run: RunData) -> str:
    """The metric that the run optimises, and the one that decided instead where the load does not allow that."""
    o, decision = run.plan.objective, run.decision
    words = f"{o.direction.replace('er', 'est')} {metric_name(o.metric)}"
    if decision.overloaded and o.metric != o.saturated_metric:
        words += f" ({metric_name(deciding_metric(run))} decided, because the server was overloaded)"
    elif not run.by_capacity and not decision.overloaded and o.metric in (*THROUGHPUTS, "request_goodput"):
        words += f" ({metric_name(UNSATURATED_METRIC)} decided, because the servers kept up with the load)"
    return words


def hardware_words(run: RunData) -> str:
    """The accelerator and its main rates."""
    a = run.hardware.accelerator
    if not a.memory_bytes:
        return f"{a.name} (name it with --gpu)"
    count = f"{run.hardware.count} × " if run.hardware.count > 1 else ""
    name = f"CPU ({a.notes}, {a.multiprocessors} cores)" if a.kind == "cpu" else a.name
    flops = a.flops_per_s.get("fp16") or a.flops_per_s.get("fp32")
    kind = "FP16" if "fp16" in a.flops_per_s else "FP32"
    parts = [f"{count}{name}", gibibytes(a.memory_bytes), gigabytes_per_s(a.bandwidth_bytes_per_s)]
    if flops:
        parts.append(f"{flops_per_s(flops)} {kind}")
    return ", ".join(parts)


def engine_words(run: RunData) -> str:
    """Engine and version."""
    target = run.plan.target
    if target.engine == "simulated":
        return f"simulated vLLM {target.engine_version}"
    found = next((t.effective.engine_version for t in run.trials if t.effective.engine_version), None)
    if target.engine == "endpoint":
        return f"the OpenAI-compatible endpoint {target.url}" + (f" (vLLM {found})" if found else "")
    return f"vLLM {found or target.engine_version}"


def simulated_words(run: RunData) -> str:
    """What it means that the run is simulated; empty where it is not."""
    if not run.simulated:
        return ""
    error = run.plan.predicted_error
    if run.plan.unmodelled:
        known = f"It does not model {', '.join(run.plan.unmodelled)}, so its error is unknown"
    elif error is None:
        known = "Its error for this hardware and model is unknown"
    else:
        known = f"On published measurements of similar cases its error is about {percent(error)}"
    return (
        "**Simulated.** No GPU ran. Every number and figure below comes from rooftune's emulated engine, measured over "
        f"HTTP by the client that measures real servers. {known}. Confirm the result on the real GPU before you rely "
        "on it."
    )
