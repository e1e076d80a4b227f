"""One optimisation in this process: checks the input, finds or starts a Prefect server, runs the flow."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from flows.cli import command_log
from flows.cli.progress import RunDisplay, run_display
from flows.inputs.durations import seconds
from flows.inputs.parameters import OptimizeRequest
from flows.inputs.quality import check_resumed, quality_rules
from flows.inputs.targets import engine_kind, for_workload, resolve_target
from flows.inputs.workloads import changed_workload
from flows.service import local
from rooftune.errors import RooftuneError
from rooftune.run_names import find_run

if TYPE_CHECKING:
    from tasks.results import OptimizeResult

R = TypeVar("R")
Start = Callable[[], Coroutine[object, object, R]]


def check(request: OptimizeRequest) -> None:
    """Refuse bad input before anything is started.

    Raises:
        InputError: see ``flows.inputs``.
    """
    if request.trials.budget:
        seconds(request.trials.budget)
    if request.resume:
        check_resumed(request.quality)
        find_run(request.resume, Path(request.artifacts))
        return
    quality_rules(request.quality, request.target.engine)
    from rooftune.tuning.goal import goal_of

    spec = changed_workload(request.workload, request.changes, goal=request.goal, prompts=request.texts.prompts)
    goal_of(spec)
    if engine_kind(request.target.engine) == "vllm":
        from rooftune.engines.interpreter import installed, vllm_python

        installed(vllm_python(request.target.vllm_python))
    target = for_workload(asyncio.run(resolve_target(request.target, request.trials.time_scale)), spec)
    from rooftune.knobs.checkpoints import checkpoints_at
    from rooftune.knobs.draft_models import named_draft_models
    from rooftune.tuning.playbook import asked_playbook
    from tasks.run_files import facts_of

    facts = facts_of(target)
    playbook = asked_playbook(request.added, target.engine_version)
    checkpoints_at(facts, playbook.checkpoints)
    named_draft_models(facts, playbook.draft_models)


class Stopped(RooftuneError):
    """Ctrl-C or SIGTERM; the message says how to continue."""

    exit_code = 130


def run_optimize(request: OptimizeRequest) -> OptimizeResult:
    """Run the flow in this process.

    Raises:
        RooftuneError: it failed; the message says why.
        Stopped: a signal stopped it. No engine is left running.
    """
    check(request)

    def start() -> Coroutine[object, object, OptimizeResult]:
        from flows.optimize import optimize

        flow: Coroutine[object, object, OptimizeResult] = optimize(**request.parameters())
        return flow

    return run_flow(start, lambda run: _stopped(request.workload, run))


def run_flow(start: Start[R], stopped: Callable[[str], str]) -> R:
    """Run a flow in this process, on a Prefect server that is found or started.

    Args:
        start: begins the flow. It is called once Prefect's settings are in place, so it imports the flow itself.
        stopped: what to say after Ctrl-C, given the run folder.

    Raises:
        Stopped: a signal stopped it. No engine is left running.
    """
    command_log.keep()
    with run_display() as display:
        display.phase("prefect")
        with local.server() as api:
            display.phase("prefect", f"records at {api}")
            return _FlowThread(start, display).run(stopped)


class _FlowThread(Generic[R]):
    """Runs a flow in a thread; the main thread handles Ctrl-C and SIGTERM and cancels the flow.

    In the main thread Prefect would replace our handler of SIGTERM. Its own raises out of the event loop and leaves
    threads behind, for which the process then waits.
    """

    def __init__(self, start: Start[R], display: RunDisplay) -> None:
        self.start, self.display = start, display
        self.loop: asyncio.AbstractEventLoop | None = None
        self.running: asyncio.Future[R] | None = None
        self.stop_requested = False
        self.result: R | None = None
        self.error: BaseException | None = None

    def run(self, stopped: Callable[[str], str]) -> R:
        """Wait for the flow; returns its result or raises its error.

        Args:
            stopped: what to say after a signal, given the run folder.
        """
        thread = threading.Thread(target=self._work, name="flow")
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            thread.start()
            while thread.is_alive():
                thread.join(0.5)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if self.stop_requested and self.error is not None:
            raise Stopped(stopped(self.display.run)) from None
        if self.error is not None:
            raise self.error
        assert self.result is not None
        return self.result

    def _stop(self, *_: object) -> None:
        self.stop_requested = True
        if self.loop is not None and self.running is not None:
            self.loop.call_soon_threadsafe(self.running.cancel)

    def _work(self) -> None:
        try:
            self.result = asyncio.run(self._flow())
        except BaseException as error:
            self.error = error

    async def _flow(self) -> R:
        from tasks.run_listener import install

        install(self.display)
        self.running = asyncio.ensure_future(self.start())
        self.loop = asyncio.get_running_loop()
        if self.stop_requested:
            self.running.cancel()
        return await self.running


def _stopped(workload: str, run: str) -> str:
    if not run:
        return "stopped before anything was measured; nothing is left running."
    return f"stopped; nothing is left running. Continue with: rooftune optimize {workload} --resume {run}"
