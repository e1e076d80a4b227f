"""Runs a long computation in a separate process, so that a flow that is cancelled does not wait for its end.

A thread cannot be ended, and a cancelled event loop waits for its threads. The process and everything that it started
are killed when the flow is cancelled or its own process dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Generic, TypeVar

R = TypeVar("R")
MAIN = "import sys; sys.path[:] = {path!r}; from tasks.apart import work; work()"


@dataclass(frozen=True)
class Work(Generic[R]):
    """What the process computes: a function of a module, and picklable arguments."""

    function: Callable[..., R]
    arguments: tuple[object, ...]


@dataclass(frozen=True)
class Ended(Generic[R]):
    """How it ended: with a result or an error."""

    result: R | None = None
    error: BaseException | None = None
    trace: str = ""


class Remote(Exception):
    """The traceback of an error in the other process."""


async def apart(function: Callable[..., R], *arguments: object) -> R:
    """The result of a function that runs in a separate process.

    Raises:
        RuntimeError: the process ended without a result.
    """
    process = _started()
    try:
        ended = await asyncio.to_thread(_outcome, process, Work(function, arguments))
    finally:
        _kill(process)
    if ended.error is not None:
        raise ended.error from Remote(ended.trace)
    return ended.result  # type: ignore[return-value]


def _started() -> subprocess.Popen[bytes]:
    """The other process. A Ctrl-C in the terminal does not reach it; this process ends it."""
    return subprocess.Popen(
        [sys.executable, "-c", MAIN.format(path=sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )


def _outcome(process: subprocess.Popen[bytes], given: Work[R]) -> Ended[R]:
    """Hand over the work and wait. The other process ends as soon as its input does, so the input stays open."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        pickle.dump(given, process.stdin)
        process.stdin.flush()
        found: Ended[R] = pickle.load(process.stdout)
    except (EOFError, BrokenPipeError, pickle.UnpicklingError):
        code = process.wait()
        raise RuntimeError(f"a process that computed {given.function.__name__} ended with code {code}") from None
    return found


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the process and everything that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def work() -> None:
    """The other process: compute what the input describes, and write how that ended."""
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the function prints is no answer
    given = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with, args=(sys.stdin.buffer,), daemon=True).start()
    try:
        ended = Ended(result=given.function(*given.arguments))
    except BaseException as error:
        ended = Ended(error=_portable(error), trace=traceback.format_exc())
    for stream in (sys.stdout, sys.stderr):  # _exit does not
        stream.flush()
    pickle.dump(ended, answer)
    answer.flush()
    os._exit(0)


def _end_with(lifeline: IO[bytes]) -> None:
    """End this process group when the process that started it has ended, which closes its end of the input."""
    lifeline.read()
    os.killpg(0, signal.SIGKILL)


def _portable(error: BaseException) -> BaseException:
    """The error, or one with its words where it cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
