"""The playbook file: candidates as data, read strictly, extended by the user's own file."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, Protocol, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from rooftune.errors import InputError, nearest
from rooftune.vllm_rules.config import FlagValue

DEFAULT = Path(__file__).parent / "data" / "playbook.yaml"


_Parsed = TypeVar("_Parsed", bound=BaseModel)


class _Strict(BaseModel):
    """An unknown key is an error. The text below a field is its description in the schema."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class When(_Strict):
    """Conditions that must all hold; a missing condition always holds."""

    kind: Literal["cuda", "cpu"] | None = None
    """Kind of the accelerator."""
    quantization: list[str] | None = None
    """'none' = not quantised."""
    engine: list[str] | None = None
    """Engines: simulated, vllm, endpoint."""
    since: str | None = None
    """First engine version."""
    until: str | None = None
    """Last engine version."""
    old_awq_kernel: bool | None = None
    """``quantization=awq`` forces the old AWQ kernel in this engine version, or may."""
    prompt_tokens_from: int | None = None
    """The workload's prompts have at least this many tokens on average."""


class Trap(_Strict):
    """A condition under which the change is known to backfire; it is still measured."""

    when: When
    reason: str
    """What happens, for the report."""


class Automatic(_Strict):
    """From this version on, the engine does this by default."""

    since: str
    """Engine version."""
    reason: str
    """Why, for the report."""


class Literature(_Strict):
    """A published result, used where the simulator has no prediction."""

    sentence: str
    source: str
    ratio: float | None = None
    """Metric with the change, relative to that without it."""
    low: float | None = None
    high: float | None = None


class Entry(_Strict):
    """One candidate of the playbook; ``data/playbook.yaml`` explains the keys."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    """Its name in commands, folders and tables."""
    name: str
    """Its name in sentences."""
    phase: str
    """One of ``phases``."""
    change: dict[str, FlagValue | None]
    hypothesis: str
    """Why it should help, in a sentence."""
    relieves: Literal["weights", "kv", "compute", "overhead", "queueing", "none"] = "none"
    group: str = ""
    on: Literal["incumbent", "baseline"] = "incumbent"
    when: When = When()
    needs: list[str] = Field(default_factory=list)
    needs_any: list[str] = Field(default_factory=list)
    """Capabilities of which one is enough."""
    artifact: str | None = None
    needs_texts: bool = False
    automatic: Automatic | None = None
    traps: list[Trap] = Field(default_factory=list)
    changes_output: bool = False
    """The generated text may differ, so its quality needs a check."""
    notes: list[str] = Field(default_factory=list)
    """Sentences for the report."""
    expected: Literature | None = None


class Playbook(_Strict):
    """Phases in order, candidates in order, artefacts by name."""

    name: str
    phases: list[str]
    artifacts: dict[str, str] = Field(default_factory=dict)
    candidates: list[Entry]
    knobs: dict[str, list[FlagValue | None]] = Field(default_factory=dict)
    """Knob or flag -> the only values that the search tries; one value pins it."""
    checkpoints: list[str] = Field(default_factory=list)
    """Other checkpoints of the model: hub ids, model folders, or folders of model folders."""
    draft_models: list[str] = Field(default_factory=list)
    """Models that can draft for speculative decoding: hub ids, model folders, or folders of model folders."""


def _values(given: object) -> object:
    """The values of a knob; one value needs no list."""
    if isinstance(given, dict):
        raise ValueError("write one value or a list of values, such as [64, 128]")
    found = given if isinstance(given, list) else [given]
    if not found:
        raise ValueError("name at least one value, or leave the knob out")
    return found


def _by_knob(given: object) -> object:
    if given is not None and not isinstance(given, dict):
        raise ValueError("write one line per knob, such as max_num_seqs: [64, 128]")
    return given or {}


KnobValues = Annotated[
    dict[str, Annotated[list[FlagValue | None], BeforeValidator(_values)]], BeforeValidator(_by_knob)
]


class Extension(_Strict):
    """A user's file; every part is optional."""

    name: str | None = None
    """Name of the playbook in the report."""
    phases: list[str] = Field(default_factory=list)
    """Phases of your candidates, after the built-in ones."""
    artifacts: dict[str, str] = Field(default_factory=dict)
    """Files or models that candidates need: name -> path or hub id."""
    candidates: list[Entry] = Field(default_factory=list)
    """Your candidates. One with the id of a built-in candidate replaces it."""
    drop: list[str] = Field(default_factory=list)
    """Ids of candidates to leave out."""
    knobs: KnobValues = Field(default_factory=dict)
    """Knob or flag -> the only values that the search tries; one value pins it."""
    checkpoints: list[str] = Field(default_factory=list)
    """Other checkpoints of the model, added to those of ``base``."""
    draft_models: list[str] = Field(default_factory=list)
    """Models that can draft for speculative decoding, added to those of ``base``."""


@lru_cache(maxsize=1)
def default_playbook() -> Playbook:
    """The playbook that comes with rooftune."""
    return checked(_parsed(DEFAULT, Playbook))


class Asked(Protocol):
    """The values of ``--playbook``, ``--candidate``, ``--checkpoint`` and ``--draft-model``, as options or as kept."""

    @property
    def playbook(self) -> Path | str | None: ...
    @property
    def candidates(self) -> Sequence[str] | None: ...
    @property
    def checkpoints(self) -> Sequence[str] | None: ...
    @property
    def draft_models(self) -> Sequence[str] | None: ...


def load_playbook(path: Path | str | None = None) -> Playbook:
    """The default playbook, extended by the file ``path`` if there is one.

    Raises:
        InputError: the file is missing, is not YAML, or has an invalid key, type, phase or id.
    """
    base = default_playbook()
    return base if path is None else extend(base, _parsed(Path(path), Extension))


def extend(base: Playbook, more: Extension) -> Playbook:
    """``base`` with the user's phases added, candidates added or replaced by id, and dropped candidates removed."""
    known = {c.id for c in base.candidates}
    for unknown in set(more.drop) - known:
        raise InputError(f"The playbook drops {unknown!r}, which is not a candidate{nearest(unknown, sorted(known))}.")
    mine = {c.id: c for c in more.candidates}
    kept = [mine.pop(c.id, c) for c in base.candidates if c.id not in more.drop]
    phases = [*base.phases, *(p for p in more.phases if p not in base.phases)]
    return checked(
        Playbook(
            name=more.name or base.name,
            phases=phases,
            artifacts={**base.artifacts, **more.artifacts},
            candidates=[*kept, *mine.values()],
            knobs={**base.knobs, **more.knobs},
            checkpoints=[*base.checkpoints, *more.checkpoints],
            draft_models=[*base.draft_models, *more.draft_models],
        )
    )


def with_candidates(playbook: Playbook, named: list[str], engine_version: str) -> Playbook:
    """The playbook with the candidates of ``--candidate NAME=FLAG=VALUE,FLAG=VALUE`` added as phase ``own``.

    Raises:
        InputError: the text is malformed, or a flag is unknown.
    """
    from rooftune.vllm_rules.flags import parse_set

    entries = []
    for text in named:
        name, _, flags = text.partition("=")
        if not flags or not name.replace("-", "").isalnum() or name != name.lower():
            raise InputError(
                f"--candidate {text!r} is not valid; write NAME=FLAG=VALUE,FLAG=VALUE with a lower-case name, "
                "for example --candidate small=max_num_seqs=4,enforce_eager=true."
            )
        change: dict[str, FlagValue | None] = {**parse_set(_split(flags), engine_version)}
        entries.append(
            Entry(
                id=name,
                name=f"Own candidate {name}",
                phase="own",
                group=name,
                change=change,
                hypothesis="Given on the command line.",
            )
        )
    return extend(playbook, Extension(phases=["own"] if entries else [], candidates=entries))


def asked_playbook(asked: Asked, engine_version: str) -> Playbook:
    """The playbook that a user names, with what they add to it.

    Raises:
        InputError: see ``load_playbook`` and ``with_candidates``.
    """
    playbook = with_candidates(load_playbook(asked.playbook), list(asked.candidates or []), engine_version)
    more = Extension(checkpoints=list(asked.checkpoints or []), draft_models=list(asked.draft_models or []))
    return extend(playbook, more)


def checked(playbook: Playbook) -> Playbook:
    """The playbook itself, after a check of its phases and ids.

    Raises:
        InputError: a phase is unknown, or an id is used twice or is that of the baseline.
    """
    seen = {"baseline"}
    for entry in playbook.candidates:
        if entry.phase not in playbook.phases:
            raise InputError(
                f"Candidate {entry.id!r} has the phase {entry.phase!r}, which the playbook does not list"
                f"{nearest(entry.phase, playbook.phases)}; add it under `phases:`."
            )
        if entry.id in seen:
            raise InputError(
                f"The playbook uses the id {entry.id!r} twice; ids must be unique, and 'baseline' is reserved."
            )
        seen.add(entry.id)
    return playbook


def _split(flags: str) -> list[str]:
    """Split at commas outside braces, brackets and quotes."""
    parts, depth, current, quoted = [], 0, "", False
    for letter in flags:
        quoted ^= letter == '"'
        depth += (letter in "{[") - (letter in "}]")
        if letter == "," and depth == 0 and not quoted:
            parts.append(current)
            current = ""
        else:
            current += letter
    return [*parts, current]


def _parsed(path: Path, kind: type[_Parsed]) -> _Parsed:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        content = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"The playbook {path} does not exist.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The playbook {path} cannot be read ({error}).") from None
    except YAMLError as error:
        where = " ".join(str(error).split())
        raise InputError(f"The playbook {path} is not valid YAML: {where}.") from None
    try:
        value = kind.model_validate(content or {})
    except ValidationError as error:
        raise InputError(f"The playbook {path}: {_first(error, kind)}.") from None
    return value


def _first(error: ValidationError, kind: type[BaseModel]) -> str:
    """The first error in one clause, with the nearest key for an unknown one."""
    found = error.errors()[0]
    where = ".".join(str(p) for p in found["loc"])
    if found["type"] == "extra_forbidden":
        models: list[type[BaseModel]] = [kind, Entry, When, Trap, Literature, Automatic]
        keys = sorted({k for m in models for k in m.model_fields})
        return f"key {where} is unknown{nearest(str(found['loc'][-1]), keys)}"
    return f"{where}: {found['msg'].removeprefix('Value error, ')}"
