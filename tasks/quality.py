"""Task that checks the answers of a server between its load and its end, where a check is due."""

from __future__ import annotations

import asyncio
import shutil
import time
from typing import TYPE_CHECKING

from prefect import task

from rooftune.engines.server import ServerInfo
from rooftune.errors import RooftuneError
from rooftune.evidence.records.quality import Floor
from rooftune.evidence.records.trial_files import kept_floor, read_floor, read_quality, read_trials
from rooftune.files import read_model
from rooftune.quality.command import UserCommand
from rooftune.runfolder import RunFolder
from rooftune.trial_order import TrialOrder
from rooftune.tuning.plan import Plan
from tasks import run_listener
from tasks.aggregate import assessed
from tasks.run_files import plan_of, workload_of
from tasks.telemetry.spans import span

if TYPE_CHECKING:
    from rooftune.quality.guard import Guarded
    from rooftune.tuning.answer_quality import Due

LONGEST_S = 4 * 3600


async def check_where_due(run: RunFolder, order: TrialOrder, server: ServerInfo) -> float:
    """Keep the baseline's answers, or check those of a promising candidate. Returns the real seconds that it took.

    Each runs once, on a server that was started for this trial, after its load and before trial.json is written.
    """
    began = time.monotonic()
    what = await asyncio.to_thread(due_after_load, run, order, server)
    if what is None:
        return 0.0
    if what == "floor":
        await keep_floor_of(run, order, server)
    else:
        await check_answers(run, order, server)
    return time.monotonic() - began


def due_after_load(run: RunFolder, order: TrialOrder, server: ServerInfo) -> Due | None:
    """What the server of a trial is still to be asked, whose load has ended; None where the trial is complete."""
    from rooftune.tuning.answer_quality import due, promising

    plan, workload = plan_of(run), workload_of(run)
    asks = workload.prompts is not None or plan.quality.command is not None
    if not asks or server.engine == "endpoint" or server.switched is not None:
        return None
    floor = read_floor(run)
    if floor is not None and floor.reason and plan.quality.command is None:
        return None  # no candidate can be judged
    results = read_trials(run)
    what = due(plan, results, order.candidate, order.config, has_floor=floor is not None)
    if what != "check":
        return what
    if read_quality(run.trial(order.candidate, order.n)) is not None:
        return None
    return what if promising(plan, results, assessed(run, order), order.config) else None


@task(
    name="keep answers",
    task_run_name="keep the answers of {order.candidate}",
    timeout_seconds=LONGEST_S,
    persist_result=False,
)
async def keep_floor_of(run: RunFolder, order: TrialOrder, server: ServerInfo) -> None:
    """Ask the baseline's server for the answers that checks compare with, twice."""
    from rooftune.quality.guard import keep_floor

    run_listener.current().waiting("asking the baseline for the answers that candidates are compared with")
    with span("answers", {"candidate": order.candidate, "trial": order.n}):
        floor = await keep_floor(await _guarded(run, plan_of(run), server), run.trial(order.candidate, order.n))
    run_listener.log(f"answers of {order.candidate}: {floor_words(floor)}")


@task(
    name="check answers",
    task_run_name="check the answers of {order.candidate}",
    timeout_seconds=LONGEST_S,
    persist_result=False,
)
async def check_answers(run: RunFolder, order: TrialOrder, server: ServerInfo) -> None:
    """Compare the answers of a candidate's server with the baseline's, and write quality.json."""
    from rooftune.quality.guard import check
    from rooftune.quality.key import speculates

    kept, plan = kept_floor(run), plan_of(run)
    if kept is None:
        return
    run_listener.current().waiting(f"comparing the answers of {order.candidate} with the baseline's")
    with span("answers", {"candidate": order.candidate, "trial": order.n}):
        found = await check(
            await _guarded(run, plan, server),
            run.trial(order.candidate, order.n),
            kept.floor,
            kept.folder,
            order.config,
            speculates=speculates(order.config, plan.candidates[0].config),
        )
    run_listener.log(f"answers of {order.candidate}: {found.words}")


def refuse_failed_evaluation(run: RunFolder, order: TrialOrder) -> None:
    """End the run where the user's evaluation of the baseline does not work.

    The trial is removed, so that a resumed run measures the baseline again, with the command that then works.

    Raises:
        RooftuneError: why it gave no value.
    """
    files = run.trial(order.candidate, order.n)
    if not files.floor_json.is_file():
        return
    error = read_model(files.floor_json, Floor).evaluation_error
    if error:
        shutil.rmtree(files.path, ignore_errors=True)
        raise RooftuneError(error)


def floor_words(floor: Floor) -> str:
    """What is kept of the baseline, in one line."""
    if floor.evaluation_error:
        return floor.evaluation_error
    if floor.reason:
        return f"not judged: {floor.reason}"
    return f"{floor.prompts} prompts, {floor.tokens:,} tokens scored twice"


def command_of(plan: Plan) -> UserCommand | None:
    """The user's own evaluation; None where none is named."""
    rules = plan.quality
    return UserCommand(rules.command, rules.value) if rules.command is not None and rules.value is not None else None


async def _guarded(run: RunFolder, plan: Plan, server: ServerInfo) -> Guarded:
    from rooftune.quality.asked import asked_of
    from rooftune.quality.guard import Guarded

    asked = await asyncio.to_thread(asked_of, workload_of(run))
    adapters = not server.simulated and bool(plan.candidates[0].config.flags().get("enable_lora"))
    return Guarded(server.url, server.model, asked, command_of(plan), server.simulated, adapters)
