"""Compiles the fast path with numba where it is installed; without it the same code runs as plain Python.

The modules of the fast path are loaded a second time for that, with every function compiled. The machine code is kept for the next
start in a folder of the user's cache, so an installation that cannot be written to is no hindrance.
"""

from __future__ import annotations

import atexit
import hashlib
import importlib.util
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])
_compiling = False
_LOADING = threading.Lock()
OFF = "ROOFTUNE_NO_NUMBA"
"""Environment variable: set to 1, the fast path runs as plain Python."""
PARTS = ("state", "blocks", "group", "clock", "client", "schedule", "decode", "loop")
"""Modules of the fast path, each after those that it imports."""
PACKAGE = "rooftune.simulator.fastpath"
announce: Callable[[str], None] | None = None
"""Told before a compilation, which takes its time once; the command line sets it."""


def compiled(function: F) -> F:
    """Mark a function of the fast path. Compiles only while the compiled copies are loaded."""
    return _compile(function, inline=False)


def inlined(function: F) -> F:
    """Mark a function of the fast path whose code is put wherever it is called: a call passes the whole state, a hundred words, which
    takes longer than most of these functions do (three times as long in all, ``docs/benchmarks.md``)."""
    return _compile(function, inline=True)


def _compile(function: F, *, inline: bool) -> F:
    if not _compiling:
        return function
    from numba import njit

    # _nrt: nothing is allocated here, and without numba's runtime no array is counted at each look (a quarter of all time).
    compiler = cast(Any, njit)(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=inline)
    return cast(F, compiler(function))


def wanted() -> bool:
    """Whether numba is installed and not switched off."""
    return os.environ.get(OFF) != "1" and importlib.util.find_spec("numba") is not None


def plain() -> ModuleType:
    """The fast path as plain Python."""
    from rooftune.simulator.fastpath import loop as kernel

    return kernel


def kernel() -> tuple[ModuleType, bool]:
    """(the fast path's module, whether it is compiled). Loaded once, however many threads ask."""
    with _LOADING:
        return _kernel()


@cache
def _kernel() -> tuple[ModuleType, bool]:
    if not wanted():
        return plain(), False
    plain()
    if announce is not None and not is_cached():
        announce("Compiling the simulator's fast path, once; this takes about twenty seconds.")
    with _numba_cache(cache_folder()), _copies() as copies:
        for part in PARTS:
            _load(part, copies)
    return copies[PARTS[-1]], True


def is_cached() -> bool:
    """Whether the machine code of this very source was kept by an earlier start."""
    return any(cache_folder().rglob("*.nbc"))


def cache_folder() -> Path:
    """Where the machine code is kept: a folder of its own for each state of the source."""
    root = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "rooftune" / f"fast-path-{_digest()}"


@cache
def _digest() -> str:
    folder = Path(__file__).parent
    text = b"".join((folder / f"{part}.py").read_bytes() for part in PARTS)
    return hashlib.sha256(text + sys.version.encode()).hexdigest()[:16]


@contextmanager
def _numba_cache(folder: Path) -> Iterator[None]:
    """numba looks for the changes of one file only; a folder for each state of all of them is safe."""
    from numba.core import config

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="rooftune-"))  # nothing is kept then
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    settings = cast(Any, config)
    before = settings.CACHE_DIR
    settings.CACHE_DIR = str(folder)
    try:
        yield
    finally:
        settings.CACHE_DIR = before


@contextmanager
def _copies() -> Iterator[dict[str, ModuleType]]:
    """While the copies are loaded, the parts import each other's copies and not the plain modules."""
    global _compiling
    copies: dict[str, ModuleType] = {}
    originals = {name: sys.modules[name] for part in PARTS if (name := f"{PACKAGE}.{part}") in sys.modules}
    _compiling = True
    try:
        yield copies
    finally:
        _compiling = False
        sys.modules.update(originals)


def _load(part: str, copies: dict[str, ModuleType]) -> None:
    name = f"{PACKAGE}._compiled_{part}"
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{part}.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"{part}.py is not beside {__file__}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    copies[part] = module
    sys.modules[f"{PACKAGE}.{part}"] = module
