"""Compiles the fast path with numba where it is installed; without it the same code runs as plain Python."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])
_compiling = False
OFF = "ROOFTUNE_NO_NUMBA"
"""Environment variable: set to 1, the fast path runs as plain Python."""


def compiled(function: F) -> F:
    """Mark a function of the fast path. Compiles only while ``kernel`` loads the compiled copy."""
    if not _compiling:
        return function
    from numba import njit

    jitted: Any = njit(cache=True, nogil=True, error_model="numpy")(function)
    return cast(F, jitted)


@cache
def kernel() -> tuple[ModuleType, bool]:
    """(the fast path's module, whether it is compiled). The machine code is cached beside the source, or in the user's cache."""
    from rooftune.simulator import kernel as plain

    if os.environ.get(OFF) == "1" or importlib.util.find_spec("numba") is None:
        return plain, False
    global _compiling
    name = "rooftune.simulator._compiled_kernel"
    spec = importlib.util.spec_from_file_location(name, Path(str(plain.__file__)))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    _compiling = True
    try:
        spec.loader.exec_module(module)
    finally:
        _compiling = False
    return module, True
