"""One optimisation in this process: inputs checked first, a Prefect server if there is none, progress on the terminal."""

from __future__ import annotations

import asyncio
import signal
import threading
from pathlib import Path
from typing import Any

from flows.cli import terminal
from flows.cli.progress import RunDisplay
from flows.inputs.targets import engine_kind, seconds, target_of, workload_with
from flows.service import local
from rooftune.errors import RooftuneError
from rooftune.run_names import find_run


def check(parameters: dict[str, Any]) -> None:
    """Refuse bad input before anything is started.

    Raises:
        InputError: see ``flows.inputs.targets``.
    """
    p = parameters
    if p["budget"]:
        seconds(p["budget"])
    if p["resume"]:
        find_run(p["resume"], Path(p["artifacts"]))
        return
    workload_with(
        p["workload"], duration_s=p["duration_s"], warmup_s=p["warmup_s"], rate_per_s=p["rate_per_s"], seed=p["seed"]
    )
    if engine_kind(p["engine"]) == "vllm":
        from rooftune.engines.interpreter import installed, vllm_python

        installed(vllm_python(p["vllm_python"]))
    names = ("engine", "gpu", "model", "engine_version", "url", "vllm_python", "time_scale", "calibration")
    target = asyncio.run(target_of(**{n: p[n] for n in names}, flags=p["flags"]))
    from rooftune.tuning.playbook import default_playbook, load_playbook, with_candidates

    book = load_playbook(Path(p["playbook"])) if p["playbook"] else default_playbook()
    with_candidates(book, p["candidates"] or [], target.engine_version)


class Stopped(RooftuneError):
    """Ctrl-C or SIGTERM; the message says how to go on."""

    exit_code = 130


def run_optimize(parameters: dict[str, Any], *, show: bool = True) -> Any:
    """Run the flow in this process; returns its ``Outcome``.

    Raises:
        RooftuneError: it failed; the message says why.
        Stopped: it was stopped by a signal. No engine is left running.
    """
    check(parameters)
    terminal.keep_log()
    with RunDisplay(visible=show and terminal.watched()) as display:
        display.phase("prefect")
        with local.server() as api:
            display.phase("prefect", f"records at {api}")
            return _Flow(parameters, display).run()


class _Flow:
    """The flow in a thread of its own, ended in order by Ctrl-C and SIGTERM, which the main thread takes.

    In the main thread Prefect would put a handler of its own for SIGTERM in the place of ours; its exception flies out of
    the event loop and leaves threads behind that the process then waits for.
    """

    def __init__(self, parameters: dict[str, Any], display: RunDisplay) -> None:
        self.parameters, self.display = parameters, display
        self.loop: asyncio.AbstractEventLoop | None = None
        self.running: asyncio.Future[Any] | None = None
        self.asked = False
        self.outcome: Any = None
        self.error: BaseException | None = None

    def run(self) -> Any:
        """Wait for the flow; returns its outcome or raises what it raised."""
        thread = threading.Thread(target=self._work, name="optimize")
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            thread.start()
            while thread.is_alive():
                thread.join(0.5)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if self.asked and self.error is not None:
            raise Stopped(_stopped(self.parameters["workload"], self.display.run)) from None
        if self.error is not None:
            raise self.error
        return self.outcome

    def _stop(self, *_: object) -> None:
        self.asked = True
        if self.loop is not None and self.running is not None:
            self.loop.call_soon_threadsafe(self.running.cancel)

    def _work(self) -> None:
        try:
            self.outcome = asyncio.run(self._optimize())
        except BaseException as error:
            self.error = error

    async def _optimize(self) -> Any:
        from flows.optimize import optimize
        from tasks.run_listener import install

        install(self.display)
        self.running = asyncio.ensure_future(optimize(**self.parameters))
        self.loop = asyncio.get_running_loop()
        if self.asked:
            self.running.cancel()
        return await self.running


def _stopped(workload: str, run: str) -> str:
    if not run:
        return "stopped before anything was measured; nothing is left running."
    return f"stopped, nothing is left running; go on with: rooftune optimize {workload} --resume {run}"
