"""All configurations that are worth a look: the cross product of the knobs, without what cannot run or changes nothing.

Knobs marked ``crossed`` in the knowledge base, and those whose values the user named, are combined with each other,
the user's first, as long as the product stays below :data:`MOST`. Every other value is combined with each family
(weights, KV type, kernels) alone; ``neighbours`` combines it with any configuration.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from rooftune.errors import InputError
from rooftune.knobs.choices import Choice, choices
from rooftune.knobs.configuration import Configuration, Dropped, KnobValue, Space
from rooftune.knobs.context import Named, SpaceContext
from rooftune.knobs.effective import changes_outputs, effective_key, families_of
from rooftune.knobs.entry import Knob, knobs
from rooftune.knobs.installed import unknown_flags
from rooftune.knobs.setting import Change, Setting, applied, effective_change, of_flag
from rooftune.vllm_rules.config import EngineConfig, FlagValue
from rooftune.vllm_rules.defaults import gpu_memory_utilization
from rooftune.vllm_rules.effects import unmodelled
from rooftune.vllm_rules.exclusions import refuse_contradictions
from rooftune.vllm_rules.kernels import TIMED
from rooftune.vllm_rules.refusals import StartRefused
from rooftune.vllm_rules.resolve import Resolved

MOST = 2400
"""Combinations of the crossed knobs before any is dropped."""
HALF_STEPS = (0.5, 0.75, 1.5, 2.0)
"""Factors by which ``neighbours`` moves a limit."""

__all__ = ["Configuration", "Dropped", "Space", "SpaceContext", "configurations", "neighbours", "space"]


def configurations(context: SpaceContext) -> list[Configuration]:
    """The configurations of a space, the baseline first; see ``space``."""
    return list(space(context).configurations)


def space(context: SpaceContext) -> Space:
    """All configurations that can start and differ from each other, in a fixed order: few changes first.

    An endpoint cannot be changed, so its space is the baseline alone.

    Raises:
        InputError: the user narrowed something that is neither a knob nor a flag, or named an invalid value.
    """
    if context.engine == "endpoint":
        return Space(tuple(_Collector(context, ()).configurations))
    offered, dropped = choices(context)
    crossed, alone = _split(offered)
    collector = _Collector(context, offered)
    own = tuple(d for named in context.named for d in collector.add_named(named))
    for pick in sorted(_combinations(crossed, alone, context.named), key=lambda pick: pick.size):
        collector.add(pick)
    return Space(tuple(collector.configurations), (*dropped, *own, *collector.dropped()))


def neighbours(context: SpaceContext, around: Configuration) -> list[Configuration]:
    """What differs from a configuration in one knob: every value of every knob, and finer steps of the numbers.

    Changes that the user named are added to it, or taken away. What the user pinned stays pinned.
    """
    offered, _ = choices(context)
    pinned = [choice.knob for choice in offered if not choice.may_stay]
    collector = _Collector(context, offered)
    now = {name: Chosen(around.values.get(name, name), label) for name, label in around.labels.items()}
    for named in context.named:
        if named.knob in now:
            rest = {k: v for k, v in around.change.items() if k not in named.change}
            collector.add_change(rest, {name: chosen for name, chosen in now.items() if name != named.knob})
        else:
            replaced = {choice.knob.name for choice in offered if named.change.keys() & set(choice.knob.flags)}
            others = {name: chosen for name, chosen in now.items() if name not in replaced}
            rest = {k: v for k, v in around.change.items() if k not in _flags_of(offered, replaced)}
            collector.add_change({**rest, **named.change}, {**others, named.knob: Chosen.of_named(named)})
    taken = {flag for named in context.named if named.knob in now for flag in named.change}
    for choice in offered:
        if taken & set(choice.knob.flags):
            continue
        if choice.may_stay and choice.knob.name in now:
            others = {name: chosen for name, chosen in now.items() if name != choice.knob.name}
            collector.add_change(_without(around, choice.knob), others)
        for setting in [*choice.settings, *_between(choice.knob, around, context)]:
            change = {**_without(around, choice.knob), **setting.change}
            collector.add_change(change, {**now, choice.knob.name: Chosen.of(choice.knob, setting)})
    return [
        c
        for c in collector.configurations[1:]
        if c.change != around.change and all(_has(c, knob, context.named) for knob in pinned)
    ]


def _has(configuration: Configuration, knob: Knob, own: Iterable[Named]) -> bool:
    """Whether a configuration sets a knob, itself or by a change that the user named."""
    named = (n for n in own if n.knob in configuration.labels)
    return knob.name in configuration.labels or any(n.change.keys() & set(knob.flags) for n in named)


@dataclass(frozen=True)
class Undone:
    """A configuration with one knob as the baseline has it, or why there is none."""

    knob: str
    configuration: Configuration | None = None
    reason: str = ""


def undone(context: SpaceContext, around: Configuration) -> list[Undone]:
    """A configuration with each of its knobs set back alone, whether the space has it or not."""
    offered, _ = choices(context)
    flags = {named.knob: set(named.change) for named in context.named}
    flags |= {k.name: {*k.flags, *(("model", "tokenizer") if k.name == "weights" else ())} for k in knobs()}
    now = {name: Chosen(around.values.get(name, name), label) for name, label in around.labels.items()}
    found = []
    for knob in around.labels:
        rest = {k: v for k, v in around.change.items() if k not in flags.get(knob, {knob})}
        collector = _Collector(context, offered)
        if not rest:
            found.append(Undone(knob, collector.configurations[0]))
            continue
        collector.add_change(around.change, now)
        made = collector.try_change(rest, {name: chosen for name, chosen in now.items() if name != knob})
        found.append(Undone(knob, reason=made.alone) if isinstance(made, LeftOut) else Undone(knob, made))
    return found


@dataclass(frozen=True)
class Chosen:
    """A value of a knob in one configuration, and its words."""

    value: KnobValue
    label: str

    @classmethod
    def of(cls, knob: Knob, setting: Setting) -> Chosen:
        """A setting of a knob; 'default' where it removes the flag."""
        simple = setting.value if isinstance(setting.value, (str, int, float)) else setting.words(knob.name)
        return cls("default" if setting.value is None else simple, setting.words(knob.name))

    @classmethod
    def of_named(cls, named: Named) -> Chosen:
        """A change that the user named, with everything that it sets."""
        return cls(named.id, named.words)


@dataclass(frozen=True)
class _Pick:
    """One setting for some knobs, and perhaps a change that the user named."""

    settings: tuple[tuple[Knob, Setting], ...]
    named: Named | None = None

    @property
    def size(self) -> int:
        """How many knobs it sets."""
        return len(self.settings) + (self.named is not None)


@dataclass(frozen=True)
class LeftOut:
    """Why a combination is not in the space. Combinations of one kind share a reason."""

    kind: str
    reason: str
    equals: str = ""
    """The configuration as which the engine would run it."""

    @property
    def alone(self) -> str:
        """The reason of one configuration."""
        return (
            f"the engine would run it as {self.equals}" if self.equals else self.reason.replace(", for example:", ":")
        )


SAME, SAME_REASON = "same", "the engine would run them as another configuration"


def _split(offered: Iterable[Choice]) -> tuple[list[Choice], list[Choice]]:
    """The choices to cross, whose product stays below the limit, and the rest."""
    crossed: list[Choice] = []
    alone: list[Choice] = []
    size = 1
    for choice in sorted(offered, key=lambda choice: not choice.named):
        many = tuple(s for s in choice.settings if choice.named or not s.alone)
        options = len(many) + choice.may_stay
        fits = (choice.knob.crossed or choice.named) and many and size * options <= MOST
        if fits or not choice.may_stay:
            size *= max(options, 1)
            crossed.append(Choice(choice.knob, many, choice.may_stay))
        rest = tuple(s for s in choice.settings if s not in many) if fits or not choice.may_stay else choice.settings
        if rest:
            alone.append(Choice(choice.knob, rest))
    return crossed, alone


def _flags_of(offered: Iterable[Choice], names: set[str]) -> set[str]:
    return {flag for choice in offered if choice.knob.name in names for flag in choice.knob.flags}


def _combinations(crossed: list[Choice], alone: list[Choice], own: Iterable[Named]) -> Iterator[_Pick]:
    for settings in product(*(_options(c) for c in crossed)):
        yield _pick(crossed, settings)
    yielded: set[str] = set()
    families = [c if c.knob.family or not c.may_stay else Choice(c.knob, ()) for c in crossed]
    for settings in product(*(_options(c) for c in families)):
        base = _pick(families, settings)
        for choice in alone:
            for setting in choice.settings:
                kept = tuple(s for s in base.settings if s[0].name != choice.knob.name)
                yield _Pick((*kept, (choice.knob, setting)))
        for named in own:
            kept = tuple(s for s in base.settings if not named.change.keys() & s[1].change.keys())
            pick = _Pick(kept, named)
            if kept and repr(pick) not in yielded:
                yielded.add(repr(pick))
                yield pick


def _options(choice: Choice) -> tuple[Setting | None, ...]:
    return (None, *choice.settings) if choice.may_stay else choice.settings


def _pick(of: list[Choice], settings: tuple[Setting | None, ...]) -> _Pick:
    chosen = zip(of, settings, strict=True)
    return _Pick(tuple((choice.knob, setting) for choice, setting in chosen if setting is not None))


def _own_value(knob: Knob, context: SpaceContext) -> KnobValue:
    """What a configuration has that leaves a knob as it is."""
    limits = {
        "max_num_seqs": context.limits.sequences,
        "max_num_batched_tokens": context.limits.tokens,
        "tensor_parallel_size": context.baseline.tensor_parallel_size or 1,
        "gpu_memory_utilization": gpu_memory_utilization(context.baseline, context.version),
    }
    return limits.get(knob.name, "baseline")


def _without(around: Configuration, knob: Knob) -> dict[str, FlagValue | None]:
    own = {*knob.flags, *(("model", "tokenizer") if knob.name == "weights" else ())}
    return {k: v for k, v in around.change.items() if k not in own}


def _between(knob: Knob, around: Configuration, context: SpaceContext) -> list[Setting]:
    """Half steps around a limit."""
    multiple = {"max_num_seqs": 4, "max_num_batched_tokens": 128}.get(knob.name)
    if multiple is None or knob.name in context.values:
        return []
    default = context.limits.sequences if knob.name == "max_num_seqs" else context.limits.tokens
    asked = around.config(context.baseline).flags().get(knob.name)
    now = asked if isinstance(asked, int) else default
    steps = (round(factor * now / multiple) * multiple for factor in HALF_STEPS)
    return of_flag(knob.name, *(n for n in steps if n > 0 and n != now))


class _Collector:
    """Keeps configurations that can start and that no other one equals; counts what it drops."""

    def __init__(self, context: SpaceContext, offered: Iterable[Choice]) -> None:
        self.context = context
        self.own = {choice.knob.name: _own_value(choice.knob, context) for choice in offered}
        self.own.update({named.knob: "baseline" for named in context.named})
        self.order = {k.name: i for i, k in enumerate(knobs())}
        self.seen: dict[str, str] = {}
        """What a configuration comes to in the engine -> its name."""
        self.reasons: dict[str, str] = {}
        self.left_out: Counter[str] = Counter()
        self.start = context.start
        self.before = self.start.resolved if self.start else None
        self.unmodelled = {str(u) for u in unmodelled(context.baseline, context.engine_version)}
        self.configurations = [self._configuration(context.baseline, {}, {}, self.before)]
        self.seen[effective_key(context.baseline, self.before, context.engine_version)] = "the baseline"

    def add(self, pick: _Pick) -> None:
        """One combination of settings."""
        change: dict[str, FlagValue | None] = {}
        for _, setting in pick.settings:
            change.update(setting.change)
        chosen = {knob.name: Chosen.of(knob, setting) for knob, setting in pick.settings}
        if pick.named is not None:
            change.update(pick.named.change)
            chosen[pick.named.knob] = Chosen.of_named(pick.named)
        self.add_change(change, chosen)

    def add_named(self, named: Named) -> list[Dropped]:
        """A change that the user named, as it is; the reason where it cannot start or changes nothing."""
        listed = self.context.engine_flags
        missing = unknown_flags(named.change, listed) if listed is not None else []
        if missing:
            flags = ", ".join("--" + name.replace("_", "-") for name in missing)
            return [Dropped(named.id, f"the installed engine does not list {flags}", knob=named.knob)]
        lacking = self.context.lacks_checkpoint(named.change)
        if lacking:
            return [Dropped(named.id, lacking, knob=named.knob)]
        made = self.try_change(named.change, {named.knob: Chosen.of_named(named)})
        return [Dropped(named.id, made.alone, knob=named.knob)] if isinstance(made, LeftOut) else []

    def add_change(self, change: Change, chosen: Mapping[str, Chosen]) -> None:
        """One change of the baseline, if it can start and differs from all before it."""
        made = self.try_change(change, chosen)
        if isinstance(made, LeftOut):
            self.left_out[made.kind] += 1
            self.reasons.setdefault(made.kind, made.reason)

    def try_change(self, change: Change, chosen: Mapping[str, Chosen]) -> Configuration | LeftOut:
        """The configuration with a change, which is added; or why it is left out."""
        context = self.context
        config = applied(context.baseline, change)
        try:
            refuse_contradictions(config, context.engine_version)
            resolved = self._resolved(config)
        except InputError as error:
            return LeftOut(re.sub(r"\d+", "", str(error)), str(error).rstrip("."))
        except StartRefused as error:
            return LeftOut(error.rule.id, f"rule {error.rule.id}, for example: {error}".rstrip("."))
        key = effective_key(config, resolved, context.engine_version)
        if key in self.seen:
            return LeftOut(SAME, SAME_REASON, self.seen[key])
        made = self._configuration(config, change, chosen, resolved)
        self.seen[key] = made.name
        self.configurations.append(made)
        return made

    def dropped(self) -> tuple[Dropped, ...]:
        """What was left out, the most frequent reason first; configurations that equal another one last."""
        kinds = sorted(self.left_out, key=lambda kind: (kind == SAME, -self.left_out[kind]))
        return tuple(Dropped("combinations", self.reasons[kind], self.left_out[kind]) for kind in kinds)

    def _resolved(self, config: EngineConfig) -> Resolved | None:
        start = self.context.start_of(config)
        if start is None:
            return None
        if start.error is not None:
            ours = self.start.error.rule.id if self.start and self.start.error else ""
            known = start.error.rule.estimated and start.error.rule.id == ours and self.context.engine != "simulated"
            if not known:  # an estimate that is wrong about the baseline may be wrong about this one too
                raise start.error
        return start.resolved

    def _configuration(
        self, config: EngineConfig, change: Change, chosen: Mapping[str, Chosen], resolved: Resolved | None
    ) -> Configuration:
        context = self.context
        last = len(self.order)
        inside = dict(sorted(chosen.items(), key=lambda pair: self.order.get(pair[0], last)))
        more = {str(u) for u in unmodelled(config, context.engine_version)} - self.unmodelled
        changed = effective_change(context.baseline, change)
        return Configuration(
            change=changed,
            labels={name: c.label for name, c in inside.items()},
            values={**self.own, **{name: c.value for name, c in inside.items()}, **self._numbers(changed)},
            families=families_of(config, resolved),
            changes_outputs=changes_outputs(config, resolved, context.baseline, self.before),
            gpus=config.tensor_parallel_size or 1,
            predictable=resolved is not None and resolved.quantization in TIMED and not more,
        )

    def _numbers(self, change: Change) -> dict[str, KnobValue]:
        """Values of knobs that have the name of their flag; a change that the user named says them nowhere else."""
        return {name: value for name, value in change.items() if name in self.own and isinstance(value, (int, float))}
