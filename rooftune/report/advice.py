"""Recommendation, when to use which configuration, the upgrade path and the learnings; each from evidence."""

from __future__ import annotations

from rooftune.engines.command_line import shown
from rooftune.evidence.comparison.compare import SMALLEST_EFFECT
from rooftune.report.contents import Contents
from rooftune.report.text import code, joined, number, plain_change, sentence, table
from rooftune.tuning.judge import WORDS, judge, span
from rooftune.tuning.objective import slo_broken
from rooftune.tuning.plan import Verdict
from rooftune.tuning.upgrade import UpgradeRow

GB = 1e9


def recommendation(c: Contents) -> list[str]:
    """The command to use, and how far it carries."""
    name = c.decision.incumbent
    config = c.config(name)
    lines = ["## Recommendation", ""]
    if c.plan.target.engine == "endpoint":
        lines += ["Nothing can be changed on this server from here; run it under `--engine vllm` to tune it.", ""]
    else:
        lines += [f"Use {code(name)} (`start_vllm.sh`):", "", "```bash", shown(config), "```", ""]
    served, asked = c.decision.served_rate_per_s, c.decision.asked_rate_per_s
    if c.decision.overloaded and served and asked:
        lines += [
            f"It serves about {served:.2g} requests/s of this workload. Offer it no more than that: above it the queue "
            f"only grows. For the {asked:g} requests/s that were asked, take about {_needed(asked, served)} such servers "
            "behind a load balancer, or other hardware (below)."
            + (
                " Whether they then keep the SLO was not measured; tune at the rate of one server to know."
                if c.plan.objective.slo
                else ""
            ),
            "",
        ]
    else:
        broken = slo_broken(c.plan.objective, c.of(name))
        if broken:
            lines += [f"It serves the asked rate but breaks the SLO: {broken}.", ""]
    if c.simulated:
        lines += ["This is a prediction of the simulator until it has been confirmed on the real GPU.", ""]
    return lines


def _needed(asked: float, served: float) -> int:
    return int(-(-asked // served))


def scenarios(c: Contents) -> list[str]:
    """When to use which configuration, each row with its evidence or "not measured"."""
    rows = [
        [
            "This workload",
            code(c.decision.incumbent),
            _evidence(c, c.decision.incumbent, "output_throughput", "median_tpot_ms"),
        ],
        _best(c, "Highest throughput", "output_throughput"),
        _best(c, "Steadiest, fastest stream of tokens once begun", "median_tpot_ms"),
        _best(c, "Shortest wait for the first token", "median_ttft_ms"),
        _best(c, "Shortest time to the last token", "median_e2el_ms"),
        *_other_loads(c),
    ]
    head = ["Scenario", "Configuration", "Evidence"]
    return ["## When to use which configuration", "", *table(head, rows), ""]


def _best(c: Contents, scenario: str, metric: str) -> list[str]:
    """The configuration with the best figure; the recommended one where none is better beyond doubt."""
    values = {p.id: v for p in c.measured if (v := c.value(p.id, metric)) is not None}
    if len(values) < 2:
        reason = c.withheld(c.decision.incumbent, metric) or "fewer than two configurations have this figure"
        return [scenario, "not measured", sentence(reason)]
    lower = metric.endswith("_ms")
    own = c.decision.incumbent
    if not lower and not any(t.overloaded for t in c.of(own)):
        return [scenario, "not measured", "The load did not saturate the server, so its throughput is the load's."]
    better = {k: v for k, v in values.items() if k == own or _beyond_doubt(c, k, own, metric)}
    name = min(better, key=lambda k: better[k] if lower else -better[k])
    saturated = any(t.overloaded for t in c.of(name))
    also = ["output_throughput"] if saturated and metric != "output_throughput" else []
    cost = ""
    rate, top = c.value(name, "output_throughput"), c.value(own, "output_throughput")
    if name != own and rate and top and saturated:
        cost = f" ({plain_change(rate / top)} against {code(own)})"
    return [scenario, code(name), _evidence(c, name, metric, *also) + cost]


def _beyond_doubt(c: Contents, name: str, other: str, metric: str) -> bool:
    """Whether a configuration's figure is better than another's: the interval says so, and by enough to matter."""
    ours, theirs = c.of(name), c.of(other)
    if len(ours) < 2 or len(theirs) < 2:
        return False
    found = judge(ours, theirs, c.plan.objective, other, 1).ratios.get(metric)
    if found is None:
        return False
    lower = metric.endswith("_ms")
    gain = 1 / found.estimate if lower else found.estimate
    return gain >= 1 + SMALLEST_EFFECT and (found.high < 1 if lower else found.low > 1)


def _evidence(c: Contents, name: str, *metrics: str) -> str:
    parts = []
    for m in metrics:
        value = c.value(name, m)
        if value is not None:
            parts.append(f"{WORDS[m]} {number(value)} {'ms' if m.endswith('_ms') else 'tok/s'}")
    return joined(parts) or "not measured"


def _other_loads(c: Contents) -> list[list[str]]:
    """Loads that this run says nothing about."""
    here = c.plan.workload
    loads = {
        "rag-medium": "Long prompts (retrieval)",
        "code-medium": "Long prompts and answers (code)",
        "chat-low": "Few requests at a time",
        "burst": "Bursts",
    }
    return [
        [words, "not measured", f"Run {code(f'rooftune optimize {name}')} with the same options."]
        for name, words in loads.items()
        if name != here
    ]


def upgrade(c: Contents) -> list[str]:
    """The hardware upgrade path."""
    lines = ["## Hardware upgrade path", ""]
    path = c.upgrade
    if path is None:
        return [*lines, "Not predicted: the simulator does not know this hardware or model.", ""]
    rows = []
    for r in path.rows:
        name = f"**{r.gpu}** (this run)" if r.current else r.gpu
        base = [
            name,
            f"{r.memory_bytes / 2**30:.0f} GiB",
            f"{r.bandwidth_bytes_per_s / GB:,.0f} GB/s",
            "yes" if r.fp8 else "no",
        ]
        price = f"${r.usd_per_hour:.2f}" if r.usd_per_hour else "–"
        if r.impossible:
            rows.append([*base, f"cannot run it: {r.impossible}", "–", "–", "–", "–", price, "–"])
            continue
        share = (
            f"{100 * r.slo_share:.0f} %"
            if r.slo_share is not None and not r.overloaded
            else "overloaded"
            if r.overloaded
            else "–"
        )
        cost = f"${r.usd_per_million_output_tokens:.2f}" if r.usd_per_million_output_tokens else "–"
        rows.append([
            *base, r.configuration, number(r.output_throughput), number(r.served_rate_per_s), plain_change(r.change) if not r.current else "–",
            share, price, cost,
        ])  # fmt: skip
    head = ["GPU", "Memory", "Bandwidth", "FP8", "Configuration", "Output tok/s", "Can serve (req/s)", "Change"]
    head += ["SLO met", "Price per hour", "Per 1M output tokens"]
    lines += [*table(head, rows, right=1), ""]
    band = (
        f" They are off by about {100 * path.error_band:.0f} % where they could be checked." if path.error_band else ""
    )
    lines += [
        f"Every row is predicted by the simulator for {path.workload} and {path.model}, also that of this run's GPU."
        f"{band} Output tok/s is at the asked load; can serve is the rate at which the server is full; change compares "
        "what can be served. The cost counts the price of the accelerator's machine at the asked load. 16-bit, FP8 and "
        "4-bit weights do not give the same text. Prices are on-demand list prices: "
        + "; ".join(f"{r.gpu}: {r.price_source}" for r in path.rows if r.price_source)
        + ".",
        "",
    ]
    return lines + _advice(c)


def _advice(c: Contents) -> list[str]:
    """The cheapest accelerator that serves the asked rate, if one does."""
    path = c.upgrade
    if path is None or not path.asked_rate_per_s:
        return []
    asked, share = path.asked_rate_per_s, c.plan.objective.slo_share
    able = [r for r in path.rows if not r.current and r.usd_per_hour and _serves(r, asked, share)]
    within = " within the SLO" if any(r.slo_share is not None for r in path.rows) else ""
    if not able:
        return [f"No single accelerator of this list is predicted to serve the asked rate{within}.", ""]
    best = min(able, key=lambda r: r.usd_per_hour or 0)
    return [
        f"The least expensive of them that is predicted to serve {asked:g} requests/s alone{within} is the "
        f"{best.gpu} at ${best.usd_per_hour:.2f} an hour.",
        "",
    ]


def _serves(row: UpgradeRow, asked_rate_per_s: float, slo_share: float) -> bool:
    """Whether the asked rate is served there, and as many requests meet the SLO as it wants. A queue that grows slowly is no overload by
    the test of a short window, so the rate at which the server is full counts too."""
    if row.overloaded is not False or (row.served_rate_per_s or 0.0) < asked_rate_per_s:
        return False
    return row.slo_share is None or row.slo_share >= slo_share


def learnings(c: Contents) -> list[str]:
    """What follows from the verdicts."""
    groups: dict[str, list[Verdict]] = {}
    for v in c.decision.verdicts:
        groups.setdefault(v.verdict, []).append(v)
    lines = ["## Learnings", ""]
    for v in groups.get("applied", []):
        if v.against:
            lines.append(f"- **{v.candidate} helped**: {sentence(_ratio_words(v))}")
    for v in groups.get("outdone", []):
        lines.append(f"- **{v.candidate} would help too**: {sentence(v.reason)}")
    for v in groups.get("no gain", []):
        lines.append(f"- **{v.candidate} costs**: {sentence(v.reason)}{_other_side(v)}")
    names = [v.candidate for v in groups.get("no measurable difference", [])]
    if names:
        lines.append(f"- **No difference could be measured** for {joined(names)}.")
    for v in groups.get("more trials needed", []):
        lines.append(f"- **{v.candidate} is not decided**: {sentence(v.reason)}")
    for v in groups.get("already on", []):
        lines.append(f"- **{v.candidate} was on already** and is no change: {sentence(v.reason)}")
    for v in groups.get("not supported", []):
        lines.append(f"- **{v.candidate} cannot be used here**: {sentence(v.reason)}")
    for v in [*groups.get("failed", []), *groups.get("not trusted", [])]:
        lines.append(f"- **{v.candidate} gives no answer** ({v.verdict}): {sentence(v.reason)}")
    return [*lines, *traps(c), *surprises(c), ""]


def traps(c: Contents) -> list[str]:
    """Whether a known trap snapped shut here."""
    lines = []
    for p in c.plan.candidates:
        v = c.verdict(p.id)
        found = v.ratios.get("output_throughput")
        if found is None or not any(g.verdict == "trap" for g in p.gates):
            continue
        if found.high < 1:
            said = f"is real here: throughput {span(found)} against {v.against}"
        elif found.low > 1:
            said = f"did not show here: throughput {span(found)} against {v.against}"
        else:
            said = f"cannot be seen here: throughput {span(found)} against {v.against}"
        lines.append(f"- **The known trap of {p.id}** {said}.")
    return lines


def _ratio_words(v: Verdict) -> str:
    found = v.ratios.get(v.metric)
    return f"{WORDS.get(v.metric, v.metric)} {span(found)} against {v.against}" if found else v.reason


def _other_side(v: Verdict) -> str:
    """What a rejected change would have improved."""
    from rooftune.report.phases import sides

    better, _ = sides(v)
    return f" In return: {joined(better)}." if better else ""


def surprises(c: Contents) -> list[str]:
    """Verdicts that contradict what the plan expected."""
    lines = []
    for v in c.decision.verdicts:
        p = c.plan.candidate(v.candidate)
        found = v.ratios.get(v.metric)
        if p.expected is None or p.expected.ratio is None or found is None or p.expected.metric != v.metric:
            continue
        if v.against != "baseline":
            continue
        low, high = p.expected.low or p.expected.ratio, p.expected.high or p.expected.ratio
        if found.high < low or found.low > high:
            lines.append(
                f"- **{v.candidate} is not as expected**: {plain_change(p.expected.ratio)} was predicted "
                f"({p.expected.source}), {span(found)} was measured."
            )
    return lines
