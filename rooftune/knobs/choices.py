"""The values of each knob that this engine version and hardware take, or that the user named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rooftune.errors import InputError, nearest
from rooftune.knobs.configuration import Dropped
from rooftune.knobs.context import SpaceContext, Values
from rooftune.knobs.entry import Knob, knobs
from rooftune.knobs.setting import Setting, applied, effective_change
from rooftune.knobs.values import RULES, WHY_NONE
from rooftune.vllm_rules.flag_entries import registry
from rooftune.vllm_rules.flags import check_flag, check_value, default
from rooftune.vllm_rules.kernels import TIMED


@dataclass(frozen=True)
class Choice:
    """The settings of one knob besides leaving it as the baseline has it."""

    knob: Knob
    settings: tuple[Setting, ...]
    may_stay: bool = True
    """False where the user pinned other values than the baseline's."""
    named: bool = False
    """The user named the values, so they are combined with those of other knobs."""


def choices(context: SpaceContext) -> tuple[list[Choice], list[Dropped]]:
    """The choices of every knob, and the values that were dropped.

    Raises:
        InputError: the user narrowed something that is neither a knob nor a flag, or named an invalid value, or values
            none of which can run here.
    """
    by_name = {k.name: k for k in knobs()}
    found, dropped = [], []
    for knob in [*by_name.values(), *_own_knobs(context, by_name)]:
        rule = RULES.get(knob.name)
        proposed = rule(context) if rule else []
        asked = context.values.get(knob.name)
        why_none = WHY_NONE[knob.name](context) if knob.name in WHY_NONE and asked is None else ""
        if why_none:
            dropped.append(Dropped(knob.title, why_none, knob=knob.name))
        settings = proposed if asked is None else _asked(knob, asked, proposed, context)
        kept = []
        for setting in settings:
            if not _changes(setting, context):
                continue
            reason = _impossible(knob, setting, context)
            if reason:
                dropped.append(Dropped(setting.words(knob.name), reason, knob=knob.name))
            else:
                kept.append(setting)
        stays = asked is None or any(not _changes(s, context) for s in settings)
        if not kept and not stays:
            why = "; ".join(f"{d.what}: {d.reason}" for d in dropped if d.knob == knob.name)
            raise InputError(
                f"no value of {knob.name} that you named can run here ({why}); name others or leave it out."
            )
        if kept or not stays:
            found.append(Choice(knob, tuple(kept), stays, named=asked is not None))
    return found, dropped


def _own_knobs(context: SpaceContext, known: dict[str, Knob]) -> Iterator[Knob]:
    """Flags that the user gave values for and that no entry has under this name."""
    for name in context.values:
        if name in known:
            continue
        if name not in registry():
            raise InputError(
                f"{name!r} is neither a knob nor an engine flag{nearest(name, [*known, *registry()])}; "
                "`rooftune explain` lists the knobs."
            )
        yield Knob.model_validate(
            {
                "name": name,
                "title": name,
                "flags": [name],
                "crossed": True,
                "does": "A flag whose values the user named.",
                "values": "as named",
                "relieves": ["queueing"],
                "outputs": "not known",
                "expected": {"text": "not known", "source": "user"},
                "sources": ["user"],
            }
        )


def _asked(knob: Knob, values: Values, proposed: Iterable[Setting], context: SpaceContext) -> list[Setting]:
    """The user's values: proposals by their name, anything else as the value of the knob's first flag."""
    by_name = {str(s.value).lower(): s for s in proposed}
    found = []
    limits = {"max_num_seqs": context.limits.sequences, "max_num_batched_tokens": context.limits.tokens}
    for value in values:
        if knob.name in limits and value == limits[knob.name] and knob.name not in context.baseline.flags():
            found.append(Setting(None, {knob.name: None}))  # what the engine has by itself
            continue
        if str(value).lower() in by_name:
            found.append(by_name[str(value).lower()])
            continue
        flag = knob.flags[0] if knob.flags else knob.name
        if value is not None:
            check_flag(flag, context.engine_version)
            check_value(flag, value, context.engine_version)
        found.append(Setting(value, {flag: value}))
    return found


def _changes(setting: Setting, context: SpaceContext) -> bool:
    """Whether a setting differs from what the baseline has, by its flags or by the engine's defaults."""
    differs = effective_change(context.baseline, setting.change)
    now = context.baseline.flags()
    return any(
        name in now or value != (None if name == "model" else default(name, context.engine_version))
        for name, value in differs.items()
    )


def _impossible(knob: Knob, setting: Setting, context: SpaceContext) -> str:
    """Why a value cannot be set here; empty where it can."""
    flags = {k: v for k, v in setting.change.items() if k != "model" and v is not None}
    for name, value in flags.items():
        try:
            check_flag(name, context.engine_version)
            check_value(name, value, context.engine_version)
        except InputError as error:
            return str(error).rstrip(".")
        if context.engine_flags is not None and name not in context.engine_flags:
            return f"the installed engine does not list --{name.replace('_', '-')}"
    lacking = context.lacks_checkpoint(setting.change)
    if lacking:
        return lacking
    if context.engine == "simulated":
        left_out = _not_simulated(setting, context)
        if left_out:
            return f"the simulated engine does not model it: {left_out}"
    for need in knob.needs:
        if need.values and str(setting.value) not in need.values:
            continue
        capability = context.capabilities.get(need.capability)
        if capability is not None and not capability.available:
            return capability.reason
    return ""


def _not_simulated(setting: Setting, context: SpaceContext) -> str:
    """What of a setting the simulated engine leaves out; empty where it shows everything."""
    facts = context.facts_of(applied(context.baseline, setting.change))
    if facts is not None and facts.quantization not in TIMED:
        return f"no step time is known for {facts.quantization} weights"
    return next(iter(context.unmodelled_by(setting.change)), "")
