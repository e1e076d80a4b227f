"""``rooftune plan``: what would be tried, and why, without a server."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flows.cli import terminal
from flows.inputs import options
from flows.inputs.flat import flat_command
from flows.inputs.parameters import CandidateOptions, GoalOptions, TargetOptions, TextOptions

if TYPE_CHECKING:
    from rooftune.tuning.guided.search_plan import LeftOut, PlannedOption, SearchPlan
    from rooftune.tuning.plan import FrontRow, Plan
    from rooftune.vllm_rules.config import FlagValue

FRONT = 10
"""Configurations that the plan shows as the best by prediction."""


@flat_command
def plan(
    target: TargetOptions,
    added: CandidateOptions,
    goal: GoalOptions,
    texts: TextOptions,
    workload: options.TextWorkload = "",
    budget: options.Budget = None,
    as_json: options.Json = False,
) -> None:
    """Show what would be tried, and why. No server is started.

    [bold]Examples[/bold]

      rooftune plan chat-medium
      rooftune plan chat-medium --search ladder
      rooftune plan chat-medium --gpu L4 --model llama-3.1-8b --engine-version 0.32.0 --set max_num_seqs=64
    """
    from flows.inputs.durations import seconds
    from flows.inputs.targets import for_workload, resolve_target
    from flows.inputs.workloads import changed_workload
    from rooftune.engines.prompt_lengths import with_counted_lengths
    from rooftune.hardware.probe import probe
    from rooftune.tuning.drafts import drafts_of_prompts
    from rooftune.tuning.guided.build import with_search
    from rooftune.tuning.guided.explaining import Explained, capacity_front
    from rooftune.tuning.playbook import asked_playbook
    from rooftune.vllm_rules.capabilities import with_capabilities
    from rooftune.workloads.spec import CAPACITY
    from tasks.planning import candidates_of, listed_flags, planned_cost, room_of
    from tasks.run_files import facts_of
    from tasks.trial_time import BUDGET_S

    asked_s = seconds(budget) if budget else None
    spec = changed_workload(workload, goal=goal, prompts=texts.prompts)
    chosen = for_workload(asyncio.run(resolve_target(target)), spec)
    scratch = tempfile.TemporaryDirectory(prefix="rooftune-")
    lengths = Path(scratch.name) / "prompt_lengths.json"
    spec = with_counted_lengths(spec.with_part("search"), lengths, chosen.model, chosen.url, simulated=chosen.simulated)
    budget_s = asked_s or BUDGET_S[chosen.engine]
    hardware = probe(
        engine=chosen.engine,
        gpu=chosen.gpu,
        engine_version=chosen.engine_version,
        vllm_python=target.vllm_python,
        measure=False,
    )
    drafts = drafts_of_prompts(spec, chosen, facts_of(chosen), cuda=hardware.accelerator.kind == "cuda")
    chosen = drafts.in_target(chosen, spec)
    playbook = asked_playbook(added, chosen.engine_version)
    able = with_capabilities(hardware)
    with terminal.busy("Predicting the configurations of the space"):
        found = candidates_of(spec, chosen, able, playbook, added.search)
        cost = planned_cost(found, spec)
        found = with_search(found, spec, able, playbook, added.search, cost, lambda: listed_flags(chosen))
        room = room_of(found, spec, budget_s).words if found.search is not None and not as_json else ""
    if as_json:
        terminal.print_json(found.model_dump(mode="json"))
        return
    show_plan(found, room)
    if found.search is not None and found.search.predicts and found.objective.metric == CAPACITY:
        show_front(capacity_front(Explained(found, spec, able, [])))


def show_plan(found: Plan, room: str = "") -> None:
    """Print the plan as a table, with the baseline's command line.

    Args:
        room: what the budget suffices for.
    """
    target = found.target
    where = f"{target.gpu or 'this machine'}{' (simulated)' if target.simulated else ''}"
    print(f"Plan for {found.workload} on {where}, {target.model}, vLLM {target.engine_version}")
    if target.calibration is not None:
        print(f"predictions calibrated with {target.calibration.path} (sha256 {target.calibration.sha256[:12]})")
    print(f"objective: {found.objective.metric}, {found.objective.direction} is better")
    print(f"{room}\n" if room else "")
    print(f"baseline: {found.candidate('baseline').command}")
    for line in start_words(found):
        print(line)
    print()
    if found.unmodelled:
        print(f"not modelled by the predictions: {', '.join(found.unmodelled)}\n")
    rows = []
    for c in found.candidates:
        gate = next((g for g in c.gates if g.verdict not in ("open", "trap")), None)
        reason = gate.reason if gate else (c.expected.sentence if c.expected else c.hypothesis)
        state: str = gate.verdict if gate else "to measure" if found.search is None else "in the space"
        if c.id == "baseline" and found.refusal is not None:
            state, reason = (
                ("would not start" if found.blocked else "may not start"),
                f"see above ({found.refusal.rule})",
            )
        rows.append([c.phase, c.id, _change(c.change), state, reason])
    terminal.table(["Phase", "Candidate", "Change", "State", "Expected effect, or why not"], rows)
    if found.search is not None:
        show_search(found, found.search)


def show_search(found: Plan, search: SearchPlan) -> None:
    """Print the space: its size, what is left out, the best of it as predicted, and what is measured first."""
    from rooftune.formatting import change, number
    from rooftune.tuning.guided.progress import first_trials
    from tasks.planning import search_words

    print(f"\n{search_words(search)[:1].upper()}{search_words(search)[1:]}.")
    print(
        "The candidates above are the ladder that the report shows; the search takes any configuration of the space.\n"
    )
    terminal.table(["Left out", "Why"], [[_count(left), left.reason] for left in search.left_out])
    base = search.options[0].predicted
    best = sorted((o for o in search.options if o.predicted), key=lambda o: -(o.predicted or 0))[:FRONT]
    unchanged = max((o for o in search.options if o.predicted and not o.changes_outputs), key=_predicted, default=None)
    best += [unchanged] if unchanged is not None and unchanged not in best else []
    if best:
        rows = [
            [
                o.id,
                number(o.predicted or 0.0),
                change((o.predicted or 0.0) / base) if base else "",
                f"{number(o.tpot_ms)} ms" if o.tpot_ms is not None else "",
                _answers(o.changes_outputs),
            ]
            for o in best
        ]
        metric = found.objective.metric.replace("_", " ")
        print()
        terminal.table(["Best as predicted", metric, "Compared with baseline", "TPOT there", "Answers"], rows)
    print()
    for place, measure in enumerate(first_trials(found), start=1):
        print(f"trial {place}: {measure.option} ({measure.why})")


def show_front(rows: Sequence[FrontRow]) -> None:
    """Print the trade of capacity for TPOT, as predicted."""
    from rooftune.formatting import number

    cells = [[r.option, number(r.capacity), f"{number(r.tpot_ms)} ms", _answers(r.changes_outputs)] for r in rows]
    print("\nThe front as predicted: no other configuration has both more capacity and a lower TPOT.\n")
    terminal.table(["Configuration", "capacity", "TPOT there", "Answers"], cells)


def _answers(changes: bool) -> str:
    return "change" if changes else "same"


def _predicted(option: PlannedOption) -> float:
    return option.predicted or 0.0


def _count(left: LeftOut) -> str:
    return f"{left.count:,} {left.what}" if left.count > 1 else left.what


def start_words(found: Plan) -> list[str]:
    """Whether the baseline would start, its memory, and the context that rooftune set."""
    words = [f"{found.context.sentence}."] if found.context else []
    words += [f"{found.memory.sentence}."] if found.memory else []
    if found.refusal is not None:
        may = "would not start" if found.blocked else "may not start, by an estimate"
        words.append(
            f"The baseline {may}: {found.refusal.sentence} (rule {found.refusal.rule}: {found.refusal.source})"
        )
    return words


def _change(change: Mapping[str, FlagValue | None]) -> str:
    from rooftune.tuning.configuration import describe

    return describe(dict(change)) if change else "–"
