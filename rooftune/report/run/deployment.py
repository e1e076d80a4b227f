"""What to deploy: the difference from the baseline flag by flag, what each knob gave, one figure, and the command."""

from __future__ import annotations

from dataclasses import dataclass

from rooftune.engines.command_line import shown
from rooftune.formatting import NONE
from rooftune.knobs.entry import knobs
from rooftune.report.markup import code, sentence
from rooftune.report.page.model import Block, Code, Paragraph, Picture, Section, Table, section, table, text
from rooftune.report.run.answer import what_changes
from rooftune.report.run.changes import changes_of_answers, value_words
from rooftune.report.run.merit import capacity_cell, interval_from_baseline, merit, trials_compared
from rooftune.report.run.naming import Names
from rooftune.report.run_data import RunData
from rooftune.tuning.configuration import difference
from rooftune.tuning.metrics import metric_name
from rooftune.tuning.plan import KnobEffect
from rooftune.vllm_rules.config import FlagValue

WEIGHTS = ("model", "tokenizer", "quantization")
"""Flags that the knob ``weights`` sets."""
HEADING = "What to deploy"


def deployment(run: RunData, names: Names, figure: Picture | None) -> Section | None:
    """The recommended configuration and how to start it."""
    if run.plan.target.engine == "endpoint":
        advice = "rooftune cannot change the flags of an endpoint. Run the model with `--engine vllm` to tune it."
        return section(HEADING, Paragraph(advice), figure, summary=True)
    own = run.decision.incumbent
    if not run.of(own):
        return section(HEADING, Paragraph("Nothing was measured, so nothing is recommended."), summary=True)
    found = run.capacity(own) if run.by_capacity else None
    blocks: list[Block | None] = []
    if found is not None and found.estimate <= 0:
        blocks.append(Paragraph("No configuration that was measured keeps the SLO, so none is recommended for it."))
    blocks += [_difference(run, names), _answers(run, names), figure]
    blocks += [
        Paragraph("`start_vllm.sh` starts it:"),
        Code(shown(run.config(own)), "the start command"),
    ]
    return section(HEADING, *blocks, summary=True)


@dataclass(frozen=True)
class _Worth:
    """What one part of the change gave."""

    gain: str
    source: str


def _difference(run: RunData, names: Names) -> Table | Paragraph:
    """One row per flag that differs from the baseline."""
    own, base = run.config(run.decision.incumbent), run.config("baseline")
    changed = difference(own, base)
    if not changed:
        return Paragraph("The baseline configuration, unchanged.")
    before = {"model": base.model, **base.flags()}
    effects = {k.knob: k for k in (run.decision.search.knobs if run.decision.search is not None else [])}
    rows, shown_parts = [], set[str]()
    for flag in sorted(changed, key=lambda f: _order(run, f, effects)):
        part = _knob(flag) if effects else _step(run, flag)
        worth = _worth(run, names, effects, part) if part not in shown_parts else _Worth(NONE, "with the row above")
        shown_parts.add(part)
        was = _before(before.get(flag), effects.get(part))
        rows.append([code(f"--{flag.replace('_', '-')}"), was, value_words(changed[flag]), worth.gain, worth.source])
    if effects and len(shown_parts) > 1:
        rows += _all_together(run)
    metric = metric_name(run.plan.objective.metric)
    head = ["Flag", "Baseline", "Recommended", f"Gain in {metric}", "How known"]
    return table("What the recommended configuration changes from the baseline", head, rows)


def _all_together(run: RunData) -> list[list[str]]:
    """A row with the gain of the whole change, which trials confirmed; none where they did not."""
    verdict, found = run.verdict(run.decision.incumbent), interval_from_baseline(run, run.decision.incumbent)
    if found is None or verdict.verdict != "applied":
        return []
    return [["**All together**", "", "", found.as_change, f"confirmed over {trials_compared(verdict)}"]]


def _order(run: RunData, flag: str, effects: dict[str, KnobEffect]) -> tuple[int, bool, str]:
    """The knob with the largest worth first; without knobs, the first step; in each, the weights first."""
    places = list(effects) or [v.candidate for v in run.decision.verdicts]
    part = _knob(flag) if effects else _step(run, flag)
    return (places.index(part) if part in places else len(places), flag not in WEIGHTS, flag)


def _knob(flag: str) -> str:
    """The knob that sets a flag."""
    if flag in WEIGHTS:
        return "weights"
    return next((k.name for k in knobs() if flag in k.flags), flag)


def _step(run: RunData, flag: str) -> str:
    """The last applied candidate whose change has the flag."""
    applied = [v.candidate for v in run.decision.verdicts if v.verdict == "applied" and v.against]
    return next((name for name in reversed(applied) if flag in run.plan.candidate(name).change), "")


def _worth(run: RunData, names: Names, effects: dict[str, KnobEffect], part: str) -> _Worth:
    if effects:
        effect = effects.get(part)
        if effect is None:
            return _Worth(NONE, NONE)
        if effect.ratio is None:
            return _Worth(NONE, sentence(names.shorten(effect.sentence)))
        return _Worth(effect.ratio.as_change, effect.source)
    if not part:
        return _Worth(NONE, NONE)
    verdict = run.verdict(part)
    found = verdict.ratios.get(verdict.metric)
    if found is None:
        return _Worth(NONE, NONE)
    return _Worth(
        found.as_change, f"measured: {names.of(part)} compared with {names.of(verdict.against or 'baseline')}"
    )


def _before(value: FlagValue | None, effect: KnobEffect | None) -> str:
    """The baseline's value; the engine's default where the flag is not set."""
    if value is not None:
        return value_words(value)
    default = effect.undone if effect is not None and effect.undone not in ("baseline", "None") else ""
    return f"default ({default})" if default else "default"


def _answers(run: RunData, names: Names) -> Paragraph:
    """What was left out, what may change the generated text, and the best configuration that leaves it as it is."""
    own = run.decision.incumbent
    words = _judged(run, own) or what_changes(changes_of_answers(run, own))
    knobs_note, left_out = "", ""
    if run.decision.search is not None:
        left_out = sentence(names.explain(run.decision.search.left_out))
        knobs_note = _knobs_note(run.decision.search.knobs)
    return text(knobs_note, left_out, words, _same_answers(run, names) if words else "")


def _judged(run: RunData, own: str) -> str:
    """What a check of the recommended configuration's answers found; empty where none judged them."""
    found = run.quality(own)
    if found is None or found.verdict == "not judged":
        return ""
    label = "Simulated answers" if found.simulated else "Answers"
    return sentence(f"{label} compared with the baseline's: {found.verdict}; {found.reason}")


def _knobs_note(knobs: list[KnobEffect]) -> str:
    """What the gains of the single flags mean, and why they may be predicted although the whole gain is measured."""
    if not knobs:
        return ""
    words = (
        "The gain of a flag is that of the recommended configuration over itself without it, with a 95 % interval. "
        "Flags act together, so gains do not add up."
    )
    if any(k.ratio is not None and k.source == "predicted" for k in knobs):
        words += (
            " Where no trial ran with everything but that flag, the gain is predicted, from the model and all trials."
        )
    return words


def _same_answers(run: RunData, names: Names) -> str:
    """The best configuration with unchanged answers."""
    name = same_answers(run)
    if name is None or name == run.decision.incumbent:
        return ""
    if name == "baseline":
        return "Nothing that leaves the answers unchanged is better than the baseline."
    found = run.capacity_if_measured(name) if run.by_capacity else None
    search = run.decision.search
    if found is not None:
        how = f"{capacity_cell(found)} requests/s"
    elif search is not None and search.same_answers_ratio is not None:
        how = f"{search.same_answers_ratio.as_change} compared with the baseline"
        how += "" if search.same_answers_measured else " (predicted)"
    else:
        how = "not measured"
    return f"The best with unchanged answers is {names.explained(name)}: {how}."


def same_answers(run: RunData) -> str | None:
    """The best configuration that keeps the baseline's weights and type of KV cache; None where it is not known."""
    own, search = run.decision.incumbent, run.decision.search
    if not run.changes_answers(own):
        return own
    if search is not None:
        return search.same_answers or None
    kept = [p.id for p in run.measured if not run.output_changes(p.id)]
    return max(kept, key=lambda name: merit(run, name), default=None)
