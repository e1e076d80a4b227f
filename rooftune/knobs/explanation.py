"""A knob in words: its entry as Markdown, its values on some hardware, and docs/knobs.md.

``python -m rooftune.knobs.explanation >docs/knobs.md`` writes the page again.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field

from rooftune.formatting import number
from rooftune.hardware.named import accelerator
from rooftune.knobs.choices import choices
from rooftune.knobs.context import SpaceContext
from rooftune.knobs.entry import Expected, Knob, knobs, knowledge_base
from rooftune.models.catalogue import hub_id, model_facts
from rooftune.vllm_rules.config import EngineConfig
from rooftune.workloads.load import load_workload

REFERENCE_GPUS = ("T4", "L4", "A100-80", "H100")
REFERENCE_MODEL, REFERENCE_WORKLOAD, REFERENCE_VERSION = "llama-3.1-8b", "rag-medium", "0.32.0"
STATUS = {
    "searched": "searched",
    "advice": "advice only: rooftune never sets it",
    "derived": "follows from other knobs",
}

INTRODUCTION = (
    "# The configuration space",
    "",
    "Made from `rooftune/knobs/data/knobs.yaml` by `python -m rooftune.knobs.explanation`; edit the data, not this "
    "page. `rooftune explain KNOB` prints one section, and with `--gpu` the values that are tried there.",
    "",
    "A configuration leaves each knob as the baseline has it, or sets one of the values that a rule proposes for the "
    "GPU, model, engine version and workload at hand. The knobs of the first group below are combined with each other. "
    "Every other value is tried on each combination of weights, KV type and kernels, and around the best "
    "configuration found so far. Left out is what vLLM would refuse, and what the engine would run in the same way as "
    "another configuration.",
)


class ValuesHere(BaseModel):
    """What the search would try for one knob on some hardware."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    where: str
    values: list[str] = Field(description="in words, without leaving the knob as it is")
    dropped: list[str] = Field(default_factory=list, description="values that do not run there, each with the reason")


def context_of(
    gpu: str, model: str = REFERENCE_MODEL, workload: str = REFERENCE_WORKLOAD, engine_version: str = REFERENCE_VERSION
) -> SpaceContext:
    """The context of a real engine with its own defaults, by names.

    Raises:
        InputError: an unknown GPU, model or workload.
    """
    return SpaceContext(
        gpu=accelerator(gpu),
        engine_version=engine_version,
        workload=load_workload(workload),
        baseline=EngineConfig(model=hub_id(model_facts(model))),
        engine="vllm",
    )


def values_here(knob: Knob, context: SpaceContext) -> ValuesHere:
    """The values of a knob in a context, and those that were dropped."""
    offered, dropped = choices(context)
    settings = next((choice.settings for choice in offered if choice.knob.name == knob.name), ())
    where = f"{context.baseline.model} on {context.gpu.name}, vLLM {context.engine_version}, {context.workload.name}"
    return ValuesHere(
        where=where,
        values=[setting.words(knob.name) for setting in settings],
        dropped=[f"{d.what}: {d.reason}" for d in dropped if d.knob == knob.name],
    )


def text(knob: Knob, level: int = 1) -> str:
    """The entry of a knob as Markdown."""
    names = ", ".join(f"`--{flag.replace('_', '-')}`" for flag in knob.flags) or "none"
    lines = [f"{'#' * level} {knob.title} (`{knob.name}`)", "", knob.does, ""]
    lines += _item("Flags", names + "".join(f"; {n}" for n in _other_names(knob)))
    lines += _item("State", _state(knob))
    lines += _item("Values that are tried", knob.values)
    lines += _item("Relieves", ", ".join(knob.relieves))
    lines += _item("Outputs", knob.outputs)
    lines += _item("Expected", _expected(knob.expected))
    lines += _listed("Needs", (_need(n.capability, n.values) for n in knob.needs))
    lines += _listed(
        "Does not go with", (x.text + (" (no effect)" if x.outcome == "no effect" else "") for x in knob.excludes)
    )
    lines += _listed("Traps", (f"{t.text} ({t.source})" for t in knob.traps))
    lines += _listed("Sources", knob.sources)
    return "\n".join(lines) + "\n"


def here_text(here: ValuesHere) -> str:
    """The values of a knob on some hardware as Markdown."""
    values = ", ".join(here.values) or "only what the baseline has"
    return "\n".join([f"**{here.where}:** {values}", "", *_listed("Left out", here.dropped)]) + "\n"


def overview() -> list[list[str]]:
    """One row per knob: name, what it relieves, whether answers may change, state."""
    return [[k.name, ", ".join(k.relieves), "yes" if k.changes_outputs else "no", STATUS[k.status]] for k in knobs()]


HEADS = ["Knob", "Relieves", "Changes outputs", "State"]


def page() -> str:
    """The content of docs/knobs.md."""
    lines = [
        *INTRODUCTION,
        "",
        "## Overview",
        "",
        *_table(HEADS, ([f"`{row[0]}`", *row[1:]] for row in overview())),
        "",
        f"## Values for {REFERENCE_MODEL} and {REFERENCE_WORKLOAD} (vLLM {REFERENCE_VERSION})",
        "",
        *_reference(),
        "",
    ]
    crossed = [k for k in knobs() if k.crossed]
    alone = [k for k in knobs() if not k.crossed]
    lines += ["## Knobs that are combined with each other", "", *(text(k, 3) for k in crossed)]
    lines += ["## Other knobs", "", *(text(k, 3) for k in alone)]
    lines += ["## Flags that are not tuned", "", "A user can still name values for them; see `rooftune plan`.", ""]
    rows = ([", ".join(f"`{flag}`" for flag in u.flags), u.reason] for u in knowledge_base().untuned)
    return "\n".join([*lines, *_table(["Flags", "Reason"], rows), ""])


def _reference() -> list[str]:
    contexts = [context_of(gpu) for gpu in REFERENCE_GPUS]
    rows = []
    for knob in knobs():
        found = [[s.removeprefix(f"{knob.name} ") for s in values_here(knob, c).values] for c in contexts]
        if any(found):
            rows.append([f"`{knob.name}`", *(", ".join(values) or "–" for values in found)])
    return _table(["Knob", *REFERENCE_GPUS], rows)


def _state(knob: Knob) -> str:
    words = [STATUS[knob.status]]
    if knob.status == "searched":
        words.append("combined with other knobs" if knob.crossed else "tried alone")
    if knob.switchable:
        words.append("can be lowered without a restart")
    return "; ".join(words)


def _other_names(knob: Knob) -> list[str]:
    return [f"{n.name} {f'up to {n.until}' if n.until else f'from {n.since} on'}" for n in knob.names]


def _expected(expected: Expected) -> str:
    bounds = ""
    if expected.low is not None and expected.high is not None:
        bounds = f" [{number(expected.low)} to {number(expected.high)} times]"
    return f"{expected.text}{bounds} ({expected.source})"


def _need(capability: str, values: Iterable[str]) -> str:
    only = " or ".join(values)
    return f"`{capability}` of `rooftune probe`" + (f", for {only}" if only else "")


def _item(head: str, content: str) -> list[str]:
    return [f"- **{head}:** {content}"]


def _listed(head: str, items: Iterable[str]) -> list[str]:
    found = list(items)
    return [f"- **{head}:**", *(f"  - {item}" for item in found)] if found else []


def _table(heads: list[str], rows: Iterable[list[str]]) -> list[str]:
    return [
        f"| {' | '.join(heads)} |",
        f"|{'---|' * len(heads)}",
        *(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows),
    ]


if __name__ == "__main__":
    print(page(), end="")
