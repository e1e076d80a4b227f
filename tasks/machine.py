"""One run at a time on a machine: an operating-system lock decides, Prefect's limit shows the queue in its UI."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TextIO

from rooftune.engines.target import Target
from tasks import run_listener

LEASE_S = 60.0
"""Prefect frees the slot of a killed run after this lease and its own polling interval (about 80 s in total)."""
QUEUE_S = 900
"""Longest wait in Prefect's queue; after that, only the lock decides."""
_held: set[str] = set()
"""Devices that this process has reserved."""


def devices(target: Target) -> list[str]:
    """The devices that a run reserves: its GPUs, or the whole host if the processor does the work.

    A simulated engine and the client of an endpoint also reserve the host: two loads at once would disturb each other.
    """
    if target.engine != "vllm":
        return ["host"]
    from rooftune.engines.interpreter import installed, vllm_python
    from rooftune.hardware import nvml

    if installed(vllm_python(target.vllm_python)).cpu:
        return ["host"]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(i) for i in range(len(nvml.gpus()))]
    return sorted(f"gpu-{name.strip()}" for name in names if name.strip()) or ["host"]


def local_devices() -> list[str]:
    """All devices of this host that a run may reserve."""
    from rooftune.hardware import nvml

    return ["host", *(f"gpu-{i}" for i in range(len(nvml.gpus())))]


def limit_name(device: str) -> str:
    """Name of Prefect's global concurrency limit of a device of this host."""
    return f"{socket.gethostname()}:{device}"


@contextlib.asynccontextmanager
async def exclusive_machine(target: Target, holder: str) -> AsyncIterator[None]:
    """Reserve the target's devices for a block, waiting until they are free. Nested calls reserve nothing more."""
    names = [name for name in devices(target) if name not in _held]
    async with contextlib.AsyncExitStack() as stack:
        if names:
            await _queue(stack, names)
        for name in names:
            stack.enter_context(await _lock(name, holder))
        yield


async def _queue(stack: contextlib.AsyncExitStack, names: list[str]) -> None:
    """Take a slot of each limit that the server has. Outside of a flow run and without limits there is no queue."""
    if not os.environ.get("PREFECT_API_URL") or os.environ.get("ROOFTUNE_OWN_SERVER") or "prefect" not in sys.modules:
        return
    from prefect.concurrency.asyncio import concurrency
    from prefect.context import FlowRunContext

    if FlowRunContext.get() is None:
        return
    known = [limit_name(n) for n in names if await _known(limit_name(n))]
    if not known:
        return
    slots = concurrency(known, timeout_seconds=QUEUE_S, strict=True, lease_duration=LEASE_S)
    try:
        await stack.enter_async_context(slots)
    except TimeoutError:
        run_listener.log(
            f"no slot of {', '.join(known)} became free within {QUEUE_S} s; waiting for the machine's lock instead"
        )


async def _known(limit: str) -> bool:
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    async with get_client() as client:
        try:
            await client.read_global_concurrency_limit_by_name(limit)
        except ObjectNotFound:
            return False
    return True


def lock_folder() -> Path:
    """Folder of the locks: ``$ROOFTUNE_LOCKS``, else one in the system's temporary folder, shared by all users."""
    named = os.environ.get("ROOFTUNE_LOCKS")
    folder = Path(named) if named else Path(tempfile.gettempdir()) / "rooftune-locks"
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):
            folder.chmod(0o1777)
    return folder


async def _lock(name: str, holder: str) -> contextlib.AbstractContextManager[None]:
    """Wait for the lock of one device and take it."""
    path = lock_folder() / f"{name}.lock"
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+", encoding="utf-8")
    with contextlib.suppress(OSError):
        path.chmod(0o666)
    reported = False
    try:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not reported:
                    sentence = f"waiting for {_holder(file)}, which uses this machine ({name})"
                    run_listener.log(sentence)
                    run_listener.current().waiting(sentence)
                    reported = True
                await asyncio.sleep(0.5)
    except BaseException:
        file.close()
        raise
    return _holding(file, name, holder)


@contextlib.contextmanager
def _holding(file: TextIO, name: str, holder: str) -> Iterator[None]:
    file.seek(0)
    file.truncate()
    json.dump({"pid": os.getpid(), "run": holder}, file)
    file.flush()
    _held.add(name)
    try:
        yield
    finally:
        _held.discard(name)
        file.seek(0)
        file.truncate()
        file.close()


def _holder(file: TextIO) -> str:
    """The run that holds the lock, as it wrote into the file."""
    try:
        file.seek(0)
        about = json.load(file)
        return f"run {about['run']} (process {about['pid']})"
    except (ValueError, KeyError, TypeError, OSError):
        return "another run"


def busy() -> str | None:
    """The run that has reserved the host; None if there is none."""
    path = lock_folder() / "host.lock"
    try:
        with path.open("r+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return _holder(file)
    except OSError:
        pass
    return None
