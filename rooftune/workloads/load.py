"""Reads workload files; errors report file, line and the nearest key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import RoundTripConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError

from rooftune.errors import InputError, nearest
from rooftune.shipped import WORKLOADS, shipped
from rooftune.workloads import spec
from rooftune.workloads.adapters import LoraAdapter
from rooftune.workloads.slo import Slo
from rooftune.workloads.spec import Trace, Workload
from rooftune.workloads.strict import MOST_TOKENS
from rooftune.workloads.texts.prompt_set import prompt_file, with_file
from rooftune.workloads.texts.prompts_file import Prompts
from rooftune.workloads.texts.sampling import Sampling

FOLDER = WORKLOADS
_DRAWN = ("prompt_tokens", "shared_prefix", "conversations", "parts", "endpoint", "ignore_eos", "prompts")
"""Keys about drawn prompts. ``output_tokens`` are the expected lengths of answers, which a file may not have."""


def own_workload_files() -> dict[str, Path]:
    """Names and files of the workloads in ``./workloads``."""
    return _yaml_files(Path.cwd() / FOLDER)


def workload_files() -> dict[str, Path]:
    """Names and files of all workloads: those in ``./workloads``, then those that come with rooftune."""
    return {**_yaml_files(shipped(FOLDER)), **own_workload_files()}


def _yaml_files(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_workload(name_or_path: str, texts: Path | None = None) -> Workload:
    """Load a workload by name or by path.

    Args:
        texts: a file of prompts that takes the place of the workload's own prompts, which then may be missing.

    Raises:
        InputError: no such workload, not YAML, unknown key (with the nearest), wrong type or value; with file and line.
            The file of prompts has none.
    """
    files = workload_files()
    path = files.get(name_or_path) or Path(name_or_path)
    if not path.is_file():
        names = list(files)
        known = f"; known: {', '.join(names)}" if names else ""
        raise InputError(
            f"no workload {name_or_path!r}{nearest(name_or_path, names)}{known}; or give a path to a YAML file."
        )
    tree = _parse(path)
    if not isinstance(tree, dict):
        raise InputError(
            f"{path} is empty or not a mapping; see {shipped(FOLDER) / 'chat-medium.yaml'} for an example."
        )
    content = _plain(tree)
    if texts is not None:
        kept = _plain({key: value for key, value in tree.items() if key not in _DRAWN})
        about = f"Prompts of {texts.name}, arrivals and SLO of {tree.get('name', path.stem)}"
        content = {**kept, "description": about, "prompts": {"file": str(texts.absolute())}}
    try:
        workload = Workload.model_validate(content)
    except ValidationError as error:
        raise InputError(_sentence(error, str(path), tree)) from None
    return _beside(workload, path)


def as_workload(value: object, name: str) -> Workload:
    """A workload from its content.

    Raises:
        InputError: unknown key (with the nearest), wrong type or value.
    """
    try:
        return Workload.model_validate(value)
    except ValidationError as error:
        raise InputError(_sentence(error, name)) from None


class _DatesAsText(RoundTripConstructor):
    """A workload has no dates; what looks like one stays text, so that the error is that of its key."""


_DatesAsText.add_constructor("tag:yaml.org,2002:timestamp", RoundTripConstructor.construct_scalar)


def _parse(path: Path) -> object:
    """The tree of a YAML file, with the line of each key."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file; a workload is YAML in UTF-8.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from None
    yaml = YAML(typ="rt")
    yaml.Constructor = _DatesAsText
    try:
        tree: object = yaml.load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError(f"{path}, line {line}: not valid YAML ({_first_line(error.problem)}).") from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        character = repr(text[error.position : error.position + 1])
        raise InputError(f"{path}, line {line}: the character {character} is not allowed in YAML; remove it.") from None
    except (YAMLError, ValueError, TypeError, AttributeError, LookupError, RecursionError, AssertionError) as error:
        # ruamel.yaml raises these for values that it recognises but cannot build, such as a tag of another type.
        raise InputError(f"{path}: not valid YAML ({type(error).__name__}: {_first_line(error)}).") from None
    return tree


def _first_line(message: object) -> str:
    return " ".join(str(message).split("\n")[0].split())


def _plain(value: Any) -> Any:
    """Built-in types in place of ruamel.yaml's."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if isinstance(value, bool) or value is None:
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def _sentence(error: ValidationError, name: str, tree: object = None) -> str:
    """The first error in one sentence. With the tree of a file it starts with the line."""
    errors = error.errors()
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    keys = [k for k in first["loc"] if not _is_tag(k)]
    where = ".".join(str(k) for k in keys) or "the file"
    kind = first["type"]
    context = first.get("ctx", {})
    if kind.startswith("union_tag"):
        discriminator = str(context.get("discriminator", "")).strip("'")
        keys = [*keys, discriminator]
        said = f"{where}: {_unknown_tag(context, discriminator)}"
    elif kind == "extra_forbidden":
        known = _known_keys(first["loc"])
        parent = f" in {'.'.join(str(k) for k in keys[:-1])}" if keys[:-1] else ""
        key = str(keys[-1])
        said = f"unknown key {_short(key)}{parent}{nearest(key, known)}; known: {', '.join(known)}"
    elif kind == "missing":
        said = f"{where} is missing"
    else:
        given = f" (found {_short(first['input'])})" if not isinstance(first["input"], (dict, list)) else ""
        subject = "" if kind == "value_error" and not keys else f"{where}: "  # a sentence about several keys names them
        said = f"{subject}{first['msg'].removeprefix('Value error, ')}{given}"
    place = f"{name}, line {_line(tree, keys)}" if tree is not None else name
    return f"{place}: {_first_line(said)}."


def _unknown_tag(context: Mapping[str, object], discriminator: str) -> str:
    """What is wrong with a ``process`` or ``distribution``."""
    expected = str(context.get("expected_tags", "")).replace("'", "")
    found = context.get("tag")
    if not found:
        return f"{discriminator} is missing; it takes {expected}"
    near = nearest(str(found), expected.split(", "))
    return f"{discriminator} {_short(found)} is unknown{near}; it takes {expected}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


_MODELS: list[type[BaseModel]] = [v for v in vars(spec).values() if isinstance(v, type) and issubclass(v, BaseModel)]
_TAGS: dict[str, type[BaseModel]] = {
    get_args(m.model_fields[field].annotation)[0]: m
    for m in _MODELS
    for field in ("process", "distribution")
    if field in m.model_fields
}
_CHILDREN: dict[str, type[BaseModel]] = {
    "slo": Slo, "objective": spec.ObjectiveMetric, "shared_prefix": spec.SharedPrefix, "parts": spec.Part,
    "conversations": spec.Conversations, "constraints": spec.Constraint, "prompts": Prompts, "sampling": Sampling,
    "lora": LoraAdapter,
}  # fmt: skip


def _is_tag(key: object) -> bool:
    return isinstance(key, str) and key in _TAGS


def _known_keys(loc: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Workload
    for key in loc[:-1]:
        if isinstance(key, str):
            model = _TAGS.get(key) or _CHILDREN.get(key) or model
    return list(model.model_fields)


def _line(tree: object, keys: list[int | str]) -> int:
    """Line of the deepest of these keys that the file has, from 1."""
    line = 1
    for key in keys:
        try:
            if isinstance(tree, CommentedMap):
                line, tree = tree.lc.key(key)[0] + 1, tree[key]
            elif isinstance(tree, CommentedSeq) and isinstance(key, int):
                line, tree = tree.lc.item(key)[0] + 1, tree[key]
            else:
                break
        except (KeyError, IndexError, TypeError):
            break
    return line


def _beside(workload: Workload, path: Path) -> Workload:
    """Resolve paths relative to the workload file: a trace gets its whole path, a file of lengths its values."""
    folder = path.resolve().parent
    update: dict[str, object] = {}
    arrivals = workload.arrivals
    if isinstance(arrivals, Trace):
        update["arrivals"] = arrivals.model_copy(update={"file": str(folder / arrivals.file)})
    if workload.prompts is not None:
        update |= _texts(workload, workload.prompts, folder)
    if workload.lora:
        update["lora"] = [_adapter_beside(a, folder) for a in workload.lora]
    for name in ("prompt_tokens", "output_tokens"):
        found = _values(getattr(workload, name), folder)
        if found is not None:
            update[name] = found
    parts = [
        p.model_copy(update={n: v for n in ("prompt_tokens", "output_tokens") if (v := _values(getattr(p, n), folder))})
        for p in workload.parts
    ]
    return workload.model_copy(update={**update, "parts": parts})


def _texts(workload: Workload, prompts: Prompts, folder: Path) -> dict[str, object]:
    """The file of prompts with its whole path and its hash, and the API that it needs."""
    found = with_file(prompts, folder / prompts.file)
    if not prompt_file(found).chat:
        return {"prompts": found}
    if "endpoint" in workload.model_fields_set and not workload.chat:
        raise InputError(f"{found.file} has messages, which need the chat API; set endpoint: chat.")
    return {"prompts": found, "endpoint": "chat"}


def _adapter_beside(adapter: LoraAdapter, folder: Path) -> LoraAdapter:
    """An adapter in a folder beside the workload file with its whole path; any other path is left as it is."""
    if adapter.path is None or not (folder / adapter.path).is_dir():
        return adapter
    return adapter.model_copy(update={"path": str(folder / adapter.path)})


def _values(lengths: spec.Lengths | None, folder: Path) -> spec.Empirical | None:
    if not isinstance(lengths, spec.Empirical) or lengths.file is None:
        return None
    path = folder / lengths.file
    try:
        words = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read ({_first_line(error)}); it has one length in tokens per line."
        ) from None
    try:
        return spec.Empirical(distribution="empirical", values=words)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        number = next((k + 1 for k in first["loc"] if isinstance(k, int)), 0)
        if not number:
            raise InputError(f"{path} is empty; it has one length in tokens per line.") from None
        raise InputError(
            f"{path}: entry {number} is {_short(words[number - 1])}; "
            f"it has one length in tokens per line, from 1 to {MOST_TOKENS:,}."
        ) from None
