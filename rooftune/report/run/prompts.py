"""What was sent: the user's texts with the figures of both parts of their split, or what drawn prompts cannot show."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from rooftune.evidence.records.trial import TrialResult
from rooftune.formatting import NONE, change, number, quantity
from rooftune.report.markup import code, joined
from rooftune.report.page.model import Fact, Facts, Section, Table, section, table, text
from rooftune.report.run.merit import deciding_metric, heading
from rooftune.report.run.naming import Names
from rooftune.report.run_data import RunData
from rooftune.search.confirm import is_fresh
from rooftune.workloads.spec import Workload
from rooftune.workloads.texts.lengths import PromptLengths, TextLengths
from rooftune.workloads.texts.plan import MOST_OUTPUT
from rooftune.workloads.texts.prompt_text import part_of
from rooftune.workloads.texts.prompts_file import Prompts

HEADING = "Prompts"
ANSWER = "Mean answer (tokens)"
FIGURES = ("median_ttft_ms", "median_tpot_ms", "mean_output_tokens")
"""Metrics that are shown for each part besides the one that decides."""


def prompts(run: RunData, names: Names) -> Section | None:
    """The texts and what each part of them showed; without texts, which candidates cannot be judged."""
    workload = run.workload
    if workload is None:
        return None
    if workload.prompts is None:
        return section(HEADING, text(_unjudged(run, names)))
    return section(HEADING, _about(run, workload, workload.prompts), _parts(run, names), text(_reading(run)))


def _unjudged(run: RunData, names: Names) -> str:
    """Which candidates depend on texts that a workload of drawn prompts does not have."""
    speculative = [c.id for c in run.plan.candidates if c.config.speculative_config]
    changing = [c.id for c in run.measured if run.changes_answers(c.id) and c.id != "baseline"]
    sentences = ["The prompts were drawn at random, so they have lengths and no meaning."]
    listed = f" ({joined([names.of(c) for c in speculative[:5]])})" if speculative else ""
    sentences.append(f"This run cannot judge speculative decoding{listed}, whose acceptance depends on the text.")
    if changing:
        shown = joined([names.of(c) for c in changing[:5]])
        sentences.append(f"Nor can it judge what other weights or another KV type do to the answers ({shown}).")
    return " ".join([*sentences, "`--prompts FILE` sends your own prompts."])


def _about(run: RunData, workload: Workload, prompts: Prompts) -> Facts:
    """The file, its split, its lengths, and how answers are drawn and end."""
    found = _lengths(run)
    name = Path(prompts.file).name
    rows = [Fact("File", f"{code(name)} (sha256 {prompts.sha256})" if prompts.sha256 else code(name))]
    if found is not None:
        rows += [Fact("Split", _split(found)), Fact("Lengths", _length_words(found))]
    return Facts((*rows, Fact("Answers", _answers(run, workload)), Fact("Sampling", _sampling(workload))))


def _lengths(run: RunData) -> PromptLengths | None:
    path = run.folder.prompt_lengths
    return PromptLengths.read(path) if path.is_file() else None


def _split(found: PromptLengths) -> str:
    confirm = sum(part_of(key) == "confirm" for key in found.prompts)
    search = len(found.prompts) - confirm
    if not confirm or not search:
        return (
            f"{quantity(len(found.prompts), 'different prompt')}, too few to split: the confirmation sent the prompts "
            "of the search."
        )
    return f"{search:,} different prompts for the search, {confirm:,} that only a confirmation sends."


def _length_words(found: PromptLengths) -> str:
    """Lengths of the first requests in both parts, and who counted."""

    def words(part: str) -> str:
        of_part: list[TextLengths] = [v for key, v in found.prompts.items() if part_of(key) == part]
        sizes = [v.asked[0] for v in of_part]
        return f"{number(median(sizes))} tokens in the median and at most {max(sizes):,}" if sizes else "no prompts"

    return f"Search: {words('search')}; confirmation: {words('confirm')}; counted by {found.words}."


def _answers(run: RunData, workload: Workload) -> str:
    if not workload.natural_ends:
        return "Each has the recorded length."
    most = f"the file's max_tokens, else {MOST_OUTPUT:,}"
    if workload.max_tokens:
        most = f"max_tokens {workload.max_tokens:,}"
    if run.plan.target.simulated:
        return (
            "On a real server they end by themselves. The simulated engine has no model that ends them, so each had "
            f"the length that the file records, else the workload's output_tokens, else the limit ({most})."
        )
    return f"They ended by themselves, or at {most}."


def _sampling(workload: Workload) -> str:
    fields = workload.requests_sampling.model_dump(mode="json", exclude_none=True, exclude={"extra_body", "tools"})
    named = {k: v for k, v in fields.items() if isinstance(v, (int, float))} | workload.requests_sampling.extra_body
    words = [f"{k} {v}" for k, v in named.items() if isinstance(v, (int, float))]
    return f"{joined(words)}." if words else "Greedy, except where a prompt's own record says otherwise."


def _parts(run: RunData, names: Names) -> Table:
    """Baseline and recommended configuration on both parts."""
    metric = deciding_metric(run)
    shown = [metric, *(m for m in FIGURES if m != metric)]
    rows = []
    for id in run.compared:
        for part, trials in (("search", _of(run, id, confirm=False)), ("confirmation", _of(run, id, confirm=True))):
            if trials:
                rows.append([names.of(id), part, str(len(trials)), *(_value(trials, m) for m in shown)])
    heads = [ANSWER if m == "mean_output_tokens" else heading(m) for m in shown]
    return table("Figures of both parts of the prompts", ["Configuration", "Prompts", "Trials", *heads], rows)


def _of(run: RunData, id: str, *, confirm: bool) -> list[TrialResult]:
    first = run.workload.seed if run.workload is not None else 0
    return [t for t in run.of(id) if is_fresh(t.seed, first) == confirm]


def _median(trials: list[TrialResult], metric: str) -> float | None:
    values = [t.metrics[metric] for t in trials if metric in t.metrics]
    return median(values) if values else None


def _value(trials: list[TrialResult], metric: str) -> str:
    found = _median(trials, metric)
    return number(found) if found is not None else NONE


def _reading(run: RunData) -> str:
    """How the gain on prompts that the search never saw compares with that of the search."""
    own, metric = run.decision.incumbent, deciding_metric(run)
    if own == "baseline":
        return ""
    gains = {}
    for part, confirm in (("search", False), ("confirmation", True)):
        ours, base = (_median(_of(run, id, confirm=confirm), metric) for id in (own, "baseline"))
        if not ours or not base:
            return "The configuration has no confirmed figures on prompts that the search did not send."
        gains[part] = ours / base
    return (
        f"Compared with the baseline: {change(gains['search'])} on the prompts of the search, "
        f"{change(gains['confirmation'])} on prompts that the search never sent."
    )
