"""Compiles the fast path with numba where it is installed; otherwise the same code runs as plain Python.

The fast path's modules are loaded a second time with every function compiled. The machine code is kept in the user's
cache folder for later processes, so the installation itself may be read-only.
"""

from __future__ import annotations

import atexit
import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, cast, get_type_hints

import numpy as np

from rooftune.machine_code import wanted
from rooftune.simulator.fastpath import loop
from rooftune.simulator.fastpath.decorators import compiling
from rooftune.simulator.fastpath.state import CLOSED, COUNTERS, TIMES, State

_LOADING = threading.Lock()
PARTS = ("state", "blocks", "group", "clock", "client", "schedule", "decode", "loop")
"""Modules of the fast path, each after those that it imports."""
PACKAGE = "rooftune.simulator.fastpath"
COMPLETE = "complete"
"""File in the cache folder that says that all machine code is there."""
announce: Callable[[str], None] | None = None
"""Called with a sentence before a compilation, which takes about twenty seconds once per installation."""


@dataclass(frozen=True)
class FastPath:
    """One form of the fast path."""

    run: Callable[[State], None]
    """Runs a state to its end."""
    compiled: bool
    """Whether the columns of a state are arrays (compiled) or lists (plain Python)."""


def plain_path() -> FastPath:
    """The fast path as plain Python."""
    return FastPath(loop.run, compiled=False)


def fast_path() -> FastPath:
    """The compiled fast path, or the plain one where numba is missing or switched off. Compiled once per process."""
    with _LOADING:
        return _fast_path()


def compile_ahead() -> None:
    """Compile the fast path for processes that start together; otherwise they all wait for the first that needs it."""
    numbers = {name: kind() for name, kind in get_type_hints(State).items() if kind is not Any}
    ended = State(q=np.zeros(1, np.int64), f=np.zeros(1), c=np.zeros(COUNTERS, np.int64), x=np.zeros(TIMES), **numbers)
    ended.c[CLOSED] = 1
    fast_path().run(ended)


@cache
def _fast_path() -> FastPath:
    if not wanted():
        return plain_path()
    if announce is not None and not is_cached():
        announce("Compiling the simulator's fast path, once; this takes about twenty seconds.")
    with _numba_cache(cache_folder()) as folder, _copies() as copies:
        for part in PARTS:
            _load(part, copies)
    return FastPath(CompiledOnce(copies[PARTS[-1]].run, folder), compiled=True)


@dataclass
class CompiledOnce:
    """A function that is compiled when it first runs, by one process at a time: the others wait and load its code."""

    function: Callable[[State], None]
    folder: Path
    """Where numba keeps the machine code."""
    _complete: bool = field(default=False, init=False)

    def __call__(self, state: State) -> None:
        if self._complete or (self.folder / COMPLETE).exists():
            self.function(state)
        else:
            with _alone(self.folder):
                self.function(state)
                with suppress(OSError):
                    (self.folder / COMPLETE).touch()
        self._complete = True


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other process is in this block for the same folder. Without locks of files (Windows), several may be."""
    with ExitStack() as stack:
        with suppress(ImportError, OSError):
            import fcntl

            file = stack.enter_context((folder / "compiling.lock").open("w"))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_cached() -> bool:
    """Whether an earlier process kept the machine code of exactly this source."""
    return (cache_folder() / COMPLETE).exists()


def is_loaded() -> bool:
    """Whether this process has run the compiled form, so that even a short run is fastest with it."""
    return bool(_fast_path.cache_info().currsize)


def cache_folder() -> Path:
    """Where the machine code is kept: one folder for each installation and state of the source."""
    root = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "rooftune" / f"fast-path-{_digest()}"


@cache
def _digest() -> str:
    """By the text of all files, and by what numba knows its machine code by: path and time of change of a file, and its
    own version."""
    files = [Path(__file__).parent / f"{part}.py" for part in ("decorators", *PARTS)]
    parts = [file.read_bytes() + f"{file}{file.stat().st_mtime_ns}".encode() for file in files]
    versions = f"{sys.version}{importlib.metadata.version('numba')}".encode()
    return hashlib.sha256(b"".join([*parts, versions])).hexdigest()[:16]


@contextmanager
def _numba_cache(folder: Path) -> Iterator[Path]:
    """Let numba keep its machine code in ``folder``, or in a temporary one if that is not writable; yields the folder.

    numba itself only notices changes of the file that it compiles; a folder for each state of all files is safe.
    """
    from numba.core import config

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="rooftune-"))  # not writable: nothing is kept
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    settings = cast(Any, config)
    before = settings.CACHE_DIR
    settings.CACHE_DIR = str(folder)
    try:
        yield folder
    finally:
        settings.CACHE_DIR = before


@contextmanager
def _copies() -> Iterator[dict[str, ModuleType]]:
    """While the copies are loaded, the parts import each other's copies and not the plain modules."""
    copies: dict[str, ModuleType] = {}
    originals = {name: sys.modules[name] for part in PARTS if (name := f"{PACKAGE}.{part}") in sys.modules}
    try:
        with compiling():
            yield copies
    finally:
        sys.modules.update(originals)


def _load(part: str, copies: dict[str, ModuleType]) -> None:
    name = f"{PACKAGE}._compiled_{part}"
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{part}.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"{part}.py is missing beside {__file__}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    copies[part] = module
    sys.modules[f"{PACKAGE}.{part}"] = module
