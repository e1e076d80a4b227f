"""How a search over the whole space found its answer: what each knob is worth, unchanged answers, and the fronts."""

from __future__ import annotations

from rooftune.engines.price import price_of, usd_per_hour
from rooftune.formatting import change_range, number, percent, quantity
from rooftune.report.markup import code, sentence, table
from rooftune.report.run_data import RunData
from rooftune.tuning.capacity_figures import interval_words
from rooftune.tuning.configuration import describe, difference
from rooftune.tuning.metrics import metric_name
from rooftune.tuning.plan import SearchSummary


def found_section(run: RunData) -> list[str]:
    """The whole section; nothing where the ladder was climbed."""
    search = run.decision.search
    if search is None:
        return []
    lines = ["## How it was found", "", _course(search), ""]
    lines += _knobs(run, search)
    lines += _phases(run, search)
    return [*lines, *_front(run, search)]


def unchanged_answers(run: RunData) -> list[str]:
    """The best configuration that leaves the answers as they are, where the recommended one changes them."""
    search, own = run.decision.search, run.decision.incumbent
    if search is None or not search.same_answers or not run.changes_answers(own):
        return []
    name = search.same_answers
    figures = run.capacity_if_measured(name)
    if figures is not None:
        how = f"capacity {interval_words(figures)}"
    elif search.same_answers_ratio is not None:
        how = (
            f"{metric_name(run.plan.objective.metric)} {search.same_answers_ratio.as_change} compared with the baseline"
        )
        how += ", predicted and not measured" if not search.same_answers_measured else ""
    else:
        how = "not measured"
    if name == "baseline":
        return [f"**With unchanged answers** nothing is better than the baseline ({how}).", ""]
    config = run.plan.candidate(name).config
    words = code(describe(difference(config, run.config("baseline"))))
    return [
        f"**With unchanged answers** the best is {code(name)}, which changes {words} from the baseline: {how}. It "
        "keeps the weights and the type of the KV cache.",
        "",
    ]


def _course(search: SearchSummary) -> str:
    words = f"The {search.method} search chose among {quantity(search.space, 'configuration')} that can start"
    words += f", of which {search.predicted:,} were predicted" if search.predicted else ""
    words += f" and {search.measured} measured. {_ending(search.reason)}"
    if search.chance_of_better is not None:
        words += (
            f" The chance that a configuration without a trial is clearly better is {percent(search.chance_of_better)}."
        )
    if search.confirmation:
        words += f" {sentence(f'Confirmation: {search.confirmation}')}"
    return words


def _ending(reason: str) -> str:
    if reason == "the budget ended":
        return "It ended with the budget."
    return f"It ended because {reason.rstrip('.')}."


def _knobs(run: RunData, search: SearchSummary) -> list[str]:
    if not search.knobs:
        return []
    rows = []
    for k in search.knobs:
        worth = change_range(k.ratio.estimate, k.ratio.low, k.ratio.high) if k.ratio is not None else ""
        how = k.source if k.ratio is not None else sentence(k.sentence)
        rows.append([code(k.knob), code(k.value), code(k.undone), worth or "–", how])
    head = ["Knob", "Recommended", "Instead of", f"Worth in {metric_name(run.plan.objective.metric)}", "How known"]
    note = (
        "Worth is the recommended configuration compared with itself without that knob, with a 95 % interval. Knobs "
        "act together, so the values do not add up."
    )
    return ["### What each knob is worth", "", *table(head, rows), "", note, ""]


def _phases(run: RunData, search: SearchSummary) -> list[str]:
    """The best configuration after each phase, as the ladder would have climbed."""
    if not search.phases:
        return []
    rows = []
    for p in search.phases:
        gain = p.ratio.as_change if p.option != "baseline" else "–"
        rows.append([p.phase, code(p.option), gain, "measured" if p.measured else "predicted, not measured"])
    head = ["Up to phase", "Best configuration", "Compared with the baseline", "How known"]
    return ["### The best after each phase", "", *table(head, rows), ""]


def _front(run: RunData, search: SearchSummary) -> list[str]:
    """Capacity against TPOT, and against price."""
    if not search.front:
        return []
    price = price_of(run.plan.target)
    rows, prices = [], set()
    for row in search.front:
        config = run.plan.candidate(row.option).config
        cost = usd_per_hour(price, config.flags())
        prices.add(cost)
        name = f"**{row.option}**" if row.option == run.decision.incumbent else row.option
        rows.append(
            [
                name,
                f"{number(row.capacity)}" + ("" if row.measured else " (predicted)"),
                f"{number(row.tpot_ms)} ms",
                "–" if cost is None else f"${cost:,.2f}",
                "change" if row.changes_outputs else "same",
            ]
        )
    head = ["Configuration", "Capacity (req/s)", "TPOT p50 at that rate", "Price per hour", "Answers"]
    note = (
        "No other configuration has both more capacity and a lower TPOT. Capacities are by the model, corrected by the "
        "trials; TPOT is predicted."
    )
    if len(prices) == 1 and None not in prices:
        note += (
            " All of them run on a server of the same price, so the configuration with the highest capacity also "
            "costs least per request."
        )
    return ["### Capacity against TPOT and cost", "", *table(head, rows), "", note, ""]
