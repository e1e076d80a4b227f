"""Atomic writes and typed reads: a reader finds a file whole or not at all, even after a kill or on a full disk."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from rooftune.errors import RooftuneError

Model = TypeVar("Model", bound=BaseModel)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success fsync it and rename it over ``path``.

    On any error the temporary file is removed and an older ``path`` stays as it was.

    Raises:
        RooftuneError: the disk is full or the folder cannot be written.
    """
    handle, name = -1, ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise _write_error(error, path) from error
    finally:
        if name:
            with contextlib.suppress(OSError):
                os.unlink(name)


def _write_error(error: OSError, path: Path) -> RooftuneError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RooftuneError(f"The disk is full: {path} could not be written; free some space and run again.")
    return RooftuneError(
        f"{path} could not be written ({error.strerror or error}); check the permissions of its folder."
    )


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Write JSON atomically (two-space indent; NaN and infinity become null)."""
    write_text(path, json.dumps(finite(value), indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON of any shape; prefer :func:`read_model` where a model describes the file.

    Raises:
        RooftuneError: the file is missing, cut or not JSON; the message names it and the way out.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise RooftuneError(f"{path} is missing; the phase that writes it has not run in this folder.") from None
    except (ValueError, RecursionError) as error:
        raise RooftuneError(f"{path} is not valid JSON ({error}); run the phase that writes it again.") from None


def read_model(path: Path, model: type[Model]) -> Model:
    """Read a JSON file as a model.

    Raises:
        RooftuneError: the file is missing, cut, or does not fit the model; the message names the first field.
    """
    return as_model(read_json(path), model, str(path))


def as_model(value: object, model: type[Model], name: str) -> Model:
    """Validate a value that was read from ``name``.

    Raises:
        RooftuneError: it does not fit; the message says where it came from and names the first field.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(p) for p in first["loc"]) or "the whole file"
        raise RooftuneError(
            f"{name} does not fit this version of rooftune ({place}: {first['msg']}); "
            "run the phase that writes it again."
        ) from None


def finite(value: object) -> Any:
    """Replace NaN and infinities by None, and numpy scalars by Python ones, in nested lists and mappings."""
    if isinstance(value, dict):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    if hasattr(value, "item") and not isinstance(value, (str, bytes)):
        value = value.item()
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
