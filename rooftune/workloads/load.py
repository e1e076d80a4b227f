"""Reads workload files; a mistake is named with file, line and the nearest key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from rooftune.errors import InputError, nearest
from rooftune.shipped import WORKLOADS, shipped
from rooftune.workloads import spec
from rooftune.workloads.spec import Trace, Workload

FOLDER = WORKLOADS


def own_workload_files() -> dict[str, Path]:
    """Names and files of the workloads in ``./workloads``."""
    return _yaml_files(Path.cwd() / FOLDER)


def workload_files() -> dict[str, Path]:
    """Names and files of all workloads: those in ``./workloads``, then those that come with rooftune."""
    return {**_yaml_files(shipped(FOLDER)), **own_workload_files()}


def _yaml_files(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_workload(name_or_path: str) -> Workload:
    """Load a workload by name or by path.

    Raises:
        InputError: no such workload, not YAML, unknown key (with the nearest), wrong type or value; with file and line.
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
    try:
        workload = Workload.model_validate(_plain(tree))
    except ValidationError as error:
        raise InputError(_sentence(path, tree, error)) from None
    return _beside(workload, path)


def _parse(path: Path) -> Any:
    try:
        return YAML(typ="rt").load(path.read_text(encoding="utf-8"))
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError(f"{path}, line {line}: not valid YAML ({error.problem}).") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is no text file; a workload is YAML in UTF-8.") from None


def _plain(value: Any) -> Any:
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


def _sentence(path: Path, tree: Any, error: ValidationError) -> str:
    errors = error.errors()
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    keys = [k for k in first["loc"] if not _is_tag(k)]
    line = _line(tree, keys)
    where = ".".join(str(k) for k in keys) or "the file"
    kind = first["type"]
    if kind == "extra_forbidden":
        parent = ".".join(str(k) for k in keys[:-1])
        known = _known_keys(first["loc"])
        inside = f" in {parent}" if parent else ""
        return f"{path}, line {line}: unknown key {str(keys[-1])!r}{inside}{nearest(str(keys[-1]), known)}; known: {', '.join(known)}."
    if kind == "missing":
        return f"{path}, line {line}: {where} is missing."
    if kind.startswith("union_tag"):
        context = first.get("ctx", {})
        expected = str(context.get("expected_tags", "")).replace("'", "")
        found = context.get("tag")
        discriminator = str(context.get("discriminator", "")).strip("'")
        line = _line(tree, [*keys, discriminator])
        near = nearest(str(found), expected.split(", ")) if found else ""
        said = f"{discriminator} {found!r} is unknown{near}" if found else f"{discriminator} is missing"
        return f"{path}, line {line}: {where}: {said}; it takes {expected}."
    message = first["msg"].removeprefix("Value error, ")
    given = f" (found {first['input']!r})" if not isinstance(first["input"], (dict, list)) else ""
    return f"{path}, line {line}: {where}: {message}{given}."


_MODELS: list[type[BaseModel]] = [v for v in vars(spec).values() if isinstance(v, type) and issubclass(v, BaseModel)]
_TAGS: dict[str, Any] = {
    m.model_fields[field].annotation.__args__[0]: m  # type: ignore[union-attr]
    for m in _MODELS
    for field in ("process", "distribution")
    if field in m.model_fields
}
_CHILDREN = {
    "slo": spec.Slo, "objective": spec.Objective, "shared_prefix": spec.SharedPrefix, "parts": spec.Part,
    "conversations": spec.Conversations,
}  # fmt: skip


def _is_tag(key: Any) -> bool:
    return isinstance(key, str) and key in _TAGS


def _known_keys(loc: tuple[int | str, ...]) -> list[str]:
    model: Any = Workload
    for key in loc[:-1]:
        if isinstance(key, str):
            model = _TAGS.get(key) or _CHILDREN.get(key) or model
    return list(model.model_fields)


def _line(tree: Any, keys: list[int | str]) -> int:
    """Line of the deepest key that the file has, from 1."""
    line = 1
    for key in keys:
        try:
            position = tree.lc.item(key) if isinstance(key, int) else tree.lc.key(key)
            line, tree = position[0] + 1, tree[key]
        except (AttributeError, KeyError, IndexError, TypeError):
            break
    return line


def _beside(workload: Workload, path: Path) -> Workload:
    """Paths in a workload file count from it: a trace gets its whole path, a file of lengths becomes its values."""
    folder = path.resolve().parent
    update: dict[str, Any] = {}
    arrivals = workload.arrivals
    if isinstance(arrivals, Trace):
        update["arrivals"] = arrivals.model_copy(update={"file": str(folder / arrivals.file)})
    for name in ("prompt_tokens", "output_tokens"):
        found = _values(getattr(workload, name), folder)
        if found is not None:
            update[name] = found
    parts = [p.model_copy(update={n: v for n in ("prompt_tokens", "output_tokens") if (v := _values(getattr(p, n), folder))}) for p in workload.parts]  # fmt: skip
    return workload.model_copy(update={**update, "parts": parts})


def _values(lengths: Any, folder: Path) -> spec.Empirical | None:
    if not isinstance(lengths, spec.Empirical) or lengths.file is None:
        return None
    path = folder / lengths.file
    try:
        words = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); it holds one length in tokens a line.") from None
    for number, word in enumerate(words, 1):
        if not word.isdigit() or int(word) < 1:
            raise InputError(f"{path}: entry {number} is {word!r}; it holds one length in tokens, at least 1, a line.")
    return spec.Empirical(distribution="empirical", values=[int(w) for w in words])
