"""``rooftune capacity``: how much of a workload one server carries within its SLO, without Prefect."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.cli import terminal
from flows.inputs import options
from flows.inputs.flat import flat_command
from flows.inputs.parameters import CapacityOptions, RateOptions, TargetOptions
from tasks.run_listener import RunListener

if TYPE_CHECKING:
    from flows.inputs.capacity import CapacityOrder
    from rooftune.capacity.result import CapacityResult
    from tasks.capacity_lines import CapacityLines


@flat_command
def capacity(
    workload: options.WorkloadName,
    target: TargetOptions,
    changes: RateOptions,
    measurement: CapacityOptions,
    save: options.Save = None,
    artifacts: options.Artifacts = options.ARTIFACTS,
    as_json: options.Json = False,
) -> None:
    """Measure how much of a workload one server carries within its SLO, and how many servers the workload needs.

    [bold]Examples[/bold]

      rooftune capacity chat-medium     (simulated T4, about a minute)
      rooftune capacity chat-medium --url http://127.0.0.1:8000 --gpu L4 --model llama-3.1-8b
      rooftune capacity chat-medium --per users --think-time 10     (how many users, instead of requests/s)
      rooftune capacity chat-low --engine vllm --model ./my-model --slo ttft_ms=500 --budget 10m
      rooftune capacity chat-medium --url http://127.0.0.1:8000 --save here     (run it again to continue)

    The load changes from step to step on the same server: the rate of an open loop, or with --per users the number of
    users who wait for their answers. Ctrl-C ends with what is known so far.
    """
    order = asyncio.run(_order(workload, target, changes, measurement, save, artifacts))
    result = asyncio.run(_measure(order))
    if as_json:
        terminal.print_json(flat(result))
    else:
        _show(result, order.folder)
    _judge(result, order.folder)


async def _order(
    workload: str,
    target: TargetOptions,
    changes: RateOptions,
    measurement: CapacityOptions,
    save: str | None,
    artifacts: str,
) -> CapacityOrder:
    from flows.inputs.capacity import capacity_order
    from rooftune.simulator.fastpath import compilation

    compilation.announce = terminal.note
    return await capacity_order(workload, target, changes, measurement, Path(save) if save else None, artifacts)


async def _measure(order: CapacityOrder) -> CapacityResult:
    """Measure, and write the report; Ctrl-C ends it with what is known."""
    from flows.cli.capacity_progress import capacity_display
    from tasks.capacity_run import measure_and_write
    from tasks.machine import exclusive_machine
    from tasks.run_listener import install

    stop = asyncio.Event()
    with capacity_display(order.target.time_scale) as shown:
        terminal.note(_about(order))
        install(_Waiting(shown))
        async with exclusive_machine(order.target, f"capacity {order.workload.name}"):
            measuring = asyncio.create_task(
                measure_and_write(order.target, order.workload, order.folder, order.settings, shown=shown, stop=stop)
            )
            with _stopping(measuring, stop, shown):
                return await measuring


class _Waiting(RunListener):
    """Shows that another run uses the machine, and what happens to the spans."""

    def __init__(self, shown: CapacityLines) -> None:
        self.shown = shown

    def phase(self, name: str, sentence: str = "") -> None:
        self.shown.say(f"{name}: {sentence}")

    def waiting(self, sentence: str) -> None:
        self.shown.waiting(sentence)


@contextlib.contextmanager
def _stopping(measuring: asyncio.Task[CapacityResult], stop: asyncio.Event, shown: CapacityLines) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the measurement after what it is doing; a second one, or an early one, cancels it."""
    loop = asyncio.get_running_loop()

    def handle() -> None:
        if stop.is_set() or shown.plan is None:
            measuring.cancel()
        stop.set()

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, handle)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _about(order: CapacityOrder) -> str:
    target = order.target
    if target.engine == "endpoint":
        return f"Measuring {order.workload.name} on {target.url}. Steps are kept in {order.folder}."
    where = f"a simulated {target.gpu}" if target.simulated else f"vLLM {target.engine_version}"
    scale = f", clock {target.time_scale:.3g} times as fast" if target.simulated and target.time_scale != 1 else ""
    return f"Measuring {order.workload.name} on {where} with {target.model}{scale}. Steps are kept in {order.folder}."


def flat(result: CapacityResult) -> dict[str, Any]:
    """The result for ``--json``: the answer first."""
    rest = result.model_dump(mode="json")
    names = (
        "per",
        "rate_per_s",
        "low_per_s",
        "high_per_s",
        "users",
        "low_users",
        "high_users",
        "level",
        "half",
        "limited_by",
    )
    first = {name: rest.pop(name) for name in names}
    first |= {"asked_rate_per_s": result.asked_rate_per_s, "asked_users": result.asked_users}
    first |= {"believed": result.believed}
    return {**first, **rest}


def _show(result: CapacityResult, folder: Path) -> None:
    from rooftune.capacity.sentences import headline, method_lines, replica_lines

    print(headline(result))
    for line in (*replica_lines(result), *method_lines(result)):
        print(line)
    print(f"Files: {folder} (capacity.md, capacity.json, figures)")


def _judge(result: CapacityResult, folder: Path) -> None:
    """Fail when nothing is known; say what is incomplete or not to be trusted."""
    from rooftune.capacity.sentences import headline
    from rooftune.errors import RooftuneError

    if result.capacity is None:
        raise RooftuneError(headline(result))
    if result.stopped:
        terminal.note(f"rooftune: stopped early; the same command with --save {folder} goes on.")
    if not result.believed:
        failed = "; ".join(c.sentence.rstrip(".") for c in result.checks if c.status == "fail")
        terminal.note(f"rooftune: do not trust these figures: {failed}.")
