"""One optimisation in this process: inputs checked first, a Prefect server if there is none, progress on the terminal."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

from flows import local, terminal
from flows.progress import RunDisplay
from flows.runs import find_run
from flows.targets import engine_kind, seconds, target_of, workload_with


def check(parameters: dict[str, Any]) -> None:
    """Refuse bad input before anything is started.

    Raises:
        InputError: see ``flows.targets``.
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
    names = ("engine", "gpu", "model", "engine_version", "url", "vllm_python", "time_scale")
    target = asyncio.run(target_of(**{n: p[n] for n in names}, sets=p["flags"]))
    from rooftune.tuning.playbook import default_playbook, load_playbook, with_candidates

    book = load_playbook(Path(p["playbook"])) if p["playbook"] else default_playbook()
    with_candidates(book, p["candidates"] or [], target.engine_version)


def run_optimize(parameters: dict[str, Any], *, show: bool = True) -> Any:
    """Run the flow in this process; returns its ``Outcome``.

    Raises:
        RooftuneError: it failed; the message says why.
        KeyboardInterrupt: it was stopped; the message says how to go on. No engine is left running.
    """
    check(parameters)
    terminal.keep_log()
    with RunDisplay(visible=show and terminal.watched()) as display:
        display.phase("prefect")
        with local.server() as api:
            display.phase("prefect", f"records at {api}")
            return asyncio.run(_optimize(parameters, display))


async def _optimize(parameters: dict[str, Any], display: RunDisplay) -> Any:
    """The flow, ended in order by Ctrl-C and SIGTERM."""
    from flows.optimize import optimize
    from tasks.story import listen

    loop, told = asyncio.get_running_loop(), []
    listen(display)
    running = asyncio.ensure_future(optimize(**parameters))

    def stop(number: int) -> None:
        told.append(number)
        running.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        return await running
    except (asyncio.CancelledError, Exception) as error:
        if told:
            raise KeyboardInterrupt(_stopped(parameters["workload"], display.run)) from None
        if isinstance(error, asyncio.CancelledError):
            raise KeyboardInterrupt from None
        raise
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _stopped(workload: str, run: str) -> str:
    if not run:
        return "stopped before anything was measured; nothing is left running."
    return f"stopped, nothing is left running; go on with: rooftune optimize {workload} --resume {run}"
