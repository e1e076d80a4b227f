"""The server that trials of a search share: it stays up after a trial, and the next one may only lower its limits.

It belongs to the process of the run. A killed run leaves no server, and a resumed one starts its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from rooftune.engines.server import ServerInfo
from rooftune.errors import EngineError
from rooftune.files import write_json
from rooftune.runfolder import RunFolder, TrialFolder
from rooftune.trial_order import TrialOrder
from tasks import run_listener
from tasks.provision import stop_server
from tasks.telemetry.spans import span


@dataclass(frozen=True)
class _Running:
    """A server that waits for the next trial."""

    server: ServerInfo
    order: TrialOrder
    """The trial that it was started for."""
    folder: TrialFolder


class KeptServer:
    """At most one server between two trials. Outside of a search, every trial starts and stops its own."""

    def __init__(self, *, keeps: bool = False) -> None:
        self.keeps = keeps
        self._running: _Running | None = None

    async def take(self, run: RunFolder, order: TrialOrder) -> ServerInfo | None:
        """The running server with the limits of this trial; None where it cannot have them, and then it is stopped."""
        from rooftune.engines import launch, switching

        held, files = self._running, run.trial(order.candidate, order.n)
        if held is None:
            return None
        limits = None
        if held.server.switchable is not None and order.shares_server and launch.died(held.server, held.folder) is None:
            length = held.server.effective.max_model_len
            limits = switching.lowered(held.server.switchable, length, held.order.config, order.config)
        if limits is None:
            await self.stop()
            return None
        try:
            with span("switch", {"candidate": order.candidate, "trial": order.n}):
                server = await switching.switch(held.server, held.folder, limits, f"{order.candidate}/{order.n}")
        except EngineError as error:
            run_listener.log(f"{order.candidate} {order.n} starts its own server: {error}")
            await self.stop()
            return None
        write_json(files.server_json, server.model_dump())
        return server

    async def leave(self, run: RunFolder, order: TrialOrder, server: ServerInfo) -> None:
        """The load of a trial has ended: keep its server for the next one, or stop it."""
        from rooftune.engines import switching

        files = run.trial(order.candidate, order.n)
        if self._running is not None and server.switched is not None:
            switching.copy_log(server, self._running.folder, files)
        elif self.keeps and server.switchable is not None:
            self._running = _Running(server, order, files)
        else:
            await stop_server(server)

    async def stop(self) -> None:
        """Stop the server that is kept, if there is one."""
        held, self._running = self._running, None
        await stop_server(held.server if held is not None else None)


_current = KeptServer()


def current() -> KeptServer:
    """The kept server of the search that this process runs; one that keeps nothing outside of a search."""
    return _current


@contextlib.asynccontextmanager
async def keeping() -> AsyncIterator[None]:
    """Let the trials of a block share a server, and stop it at the end of the block, however that comes."""
    global _current
    before, _current = _current, KeptServer(keeps=True)
    try:
        yield
    finally:
        kept, _current = _current, before
        await kept.stop()
