"""What weights, KV cache type and speculation each gave: at which load, and what it did to the answers."""

from __future__ import annotations

from rooftune.formatting import NONE, change, quantity, rate
from rooftune.report.levers import Lever, LeverName
from rooftune.report.markup import change_words, joined, sentence
from rooftune.report.page.model import Section, section, table, text
from rooftune.report.run.answer_quality import why_not_judged
from rooftune.report.run.changes import another_kernel
from rooftune.report.run.merit import deciding_metric, level, merit
from rooftune.report.run.naming import Names
from rooftune.report.run_data import RunData
from rooftune.tuning.metrics import metric_name
from rooftune.tuning.plan import Verdict
from rooftune.vllm_rules.speculation import speculation
from rooftune.workloads.spec import CAPACITY

HEADING = "What each lever gave"
TITLES: dict[LeverName, str] = {
    "weights": "Weights",
    "kv_cache_dtype": "KV cache type",
    "speculation": "Speculative decoding",
}
IN_A_SENTENCE: dict[LeverName, str] = {
    "weights": "the weights",
    "kv_cache_dtype": "the KV cache type",
    "speculation": "speculation",
}
NOT_JUDGED = "not judged"


def levers(run: RunData, names: Names) -> Section | None:
    """One row for each lever that may change the answers; None where no configuration uses one."""
    metric = metric_name(run.plan.objective.metric)
    streams = sorted({found.streams for lever in run.levers for found in lever.gains})
    head = ["Lever", "Change", *(f"{n} in flight" for n in streams), f"Gain in {metric}", "Answers"]
    rows = []
    for lever in run.levers:
        gains = {found.streams: change(found.gain) for found in lever.gains}
        by_streams = [gains.get(n, NONE) for n in streams]
        rows.append(
            [TITLES[lever.name], _value(run, lever), *by_streams, _gain(run, names, lever), _answers(run, lever)]
        )
    notes = text(_loads(run, metric), *_reasons(run)) if rows else None
    return section(HEADING, table("Gain of each lever by load, and its answers", head, rows), notes, summary=True)


def _value(run: RunData, lever: Lever) -> str:
    """What the lever changes."""
    spec = speculation(run.config_of(lever.candidate)) if lever.name == "speculation" else None
    return f"{spec.method}, {quantity(spec.tokens, 'token')}" if spec is not None else change_words(lever.change)


def _gain(run: RunData, names: Names, lever: Lever) -> str:
    """The gain in what decides, and how it is known."""
    if lever.candidate != run.decision.incumbent:
        return _compared_with_the_recommended(run, lever.candidate)
    search = run.decision.search
    effect = next((k for k in search.knobs if k.knob == lever.name), None) if search is not None else None
    if effect is not None and effect.ratio is not None:
        return f"{effect.ratio.as_change}, {effect.source}"
    step = _step(run, lever)
    found = step.ratios.get(step.metric) if step is not None else None
    if step is None or found is None:
        return "not known apart from the other changes"
    others = [IN_A_SENTENCE[o.name] for o in run.levers if o.name != lever.name and _step(run, o) is step]
    together = f", together with {joined(others)}" if others else ""
    return f"{found.as_change} compared with {names.of(step.against or 'baseline')}, measured{together}"


def _compared_with_the_recommended(run: RunData, id: str) -> str:
    """How far a configuration is from the recommended one, by trials or by the predictions before them."""
    own, search = run.decision.incumbent, run.plan.search
    against = f"compared with the {'baseline' if own == 'baseline' else 'recommended'}"
    if run.of(id):
        ratio = _ratio(run, id, own)
        return f"not chosen: {change(ratio)} {against}" if ratio is not None else "not chosen"
    planned = [search.option(i) for i in (id, own)] if search is not None else []
    ours, best = ([o.predicted if o is not None else None for o in planned] or [None, None])[:2]
    return f"not measured; predicted {change(ours / best)} {against}" if ours and best else "not measured"


def _ratio(run: RunData, id: str, own: str) -> float | None:
    """What decides, in one configuration over another; None where it is not known of both."""
    metric = run.plan.objective.metric
    if metric == CAPACITY:
        ours, best = merit(run, id), merit(run, own)
        return ours / best if best > 0 else None
    values = [run.value(name, metric if run.by_capacity else deciding_metric(run)) for name in (id, own)]
    return values[0] / values[1] if values[0] and values[1] else None


def _step(run: RunData, lever: Lever) -> Verdict | None:
    """The last applied candidate of a ladder whose change has the lever."""
    applied = [v for v in run.decision.verdicts if v.verdict == "applied" and v.against]
    return next((v for v in reversed(applied) if lever.change.keys() & run.plan.candidate(v.candidate).change), None)


def _answers(run: RunData, lever: Lever) -> str:
    """What a check found: of the lever alone where there is one, else of the whole configuration."""
    alone = run.quality_of(run.config("baseline").with_change(lever.change))
    if another_kernel(lever.change, run.config("baseline")) and (alone is None or alone.verdict != "spoilt"):
        return "the same, by another kernel"
    found = alone or run.quality(lever.candidate)
    if found is None:
        return NOT_JUDGED
    words = found.verdict + (" (simulated)" if found.simulated else "")
    others = [IN_A_SENTENCE[o.name] for o in run.levers if o.candidate == lever.candidate and o.name != lever.name]
    return words if alone is not None or not others else f"{words}, together with {joined(others)}"


def _loads(run: RunData, metric: str) -> str:
    """What the columns compare, and which of them is closest to the load of the capacity."""
    own = run.decision.incumbent
    words = []
    if any(lever.gains for lever in run.levers):
        words.append(
            "Columns of requests in flight have the change in tokens per second from the same configuration without "
            "the lever, simulated."
        )
    steps, running = run.rate_steps(own), run.gauge(own, "running")
    if run.by_capacity and steps and running:
        words.append(
            f"The gain in {metric} belongs to the load near the capacity: the {_own_words(run)} ran "
            f"{quantity(round(running), 'request')} at once there, at {rate(steps[-1].rate_per_s, 'request', 3)}."
        )
    elif run.of(own) and level(run, own) != NONE:
        words.append(f"The gain in {metric_name(deciding_metric(run))} belongs to the load of the workload.")
    return " ".join(words)


def _own_words(run: RunData) -> str:
    return "baseline" if run.decision.incumbent == "baseline" else "recommended configuration"


def _reasons(run: RunData) -> list[str]:
    """Why a lever has no gain by load, and why answers were not judged."""
    refused = dict.fromkeys(sentence(f"{TITLES[x.name]}: {x.refused}") for x in run.levers if x.refused)
    if all(_answers(run, lever) != NOT_JUDGED for lever in run.levers):
        return list(refused)
    collected = run.floor is not None and not run.floor.reason
    why = "no trial with the lever looked promising enough for a check" if collected else why_not_judged(run)
    return [*refused, sentence(f"{NOT_JUDGED}: {why}")]
