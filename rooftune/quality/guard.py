"""The two halves of the guard: what is kept of the baseline's server, and the check of a candidate's.

Neither half fails because of a server or a command: what cannot be judged has a reason.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from rooftune.answers.answer import FILE as ANSWERS
from rooftune.errors import RooftuneError
from rooftune.evidence.records.quality import Evaluation, Floor, Measure, Quality
from rooftune.files import write_json
from rooftune.quality.baseline import Asked, BaselineAnswers, first_answers, scored_twice
from rooftune.quality.check import differences
from rooftune.quality.command import EvaluationFailed, UserCommand, evaluate
from rooftune.quality.evaluation import compared
from rooftune.quality.judge import Ruling, judge, judge_evaluation, measured, together
from rooftune.quality.key import answers_key, model_key
from rooftune.runfolder import TrialFolder
from rooftune.vllm_rules.config import EngineConfig

NO_TEXTS = "the workload has no texts to compare answers on; give your prompts with --prompts"
WITH_ADAPTERS = (
    "a server with LoRA adapters is not asked for prompt_logprobs, on which vLLM can exit (0.32, CPU build); judge it "
    "with --quality-command"
)
SIMULATED = "the simulated engine has no weights, so its answers show nothing"


@dataclass(frozen=True)
class Guarded:
    """A server whose answers are checked, and what is asked of it."""

    url: str
    model: str
    asked: Asked | None
    """None: the workload has no texts."""
    command: UserCommand | None = None
    simulated: bool = False
    adapters: bool = False
    """It has LoRA adapters, and must not be asked for the probabilities of a prompt."""


async def keep_floor(server: Guarded, folder: TrialFolder) -> Floor:
    """Ask the baseline's server what checks need, and write it with floor.json into its trial folder."""
    began = time.monotonic()
    evaluation, error = None, ""
    if server.command is not None:
        try:
            evaluation = await evaluate(server.command, server.url, server.model)
        except EvaluationFailed as failed:
            error = str(failed)
    found = Floor() if error else await _answered(server, folder)
    more = {"evaluation": evaluation, "evaluation_error": error, "seconds": time.monotonic() - began}
    floor = found.model_copy(update=more)
    write_json(folder.floor_json, floor.model_dump(mode="json"))
    return floor


async def _answered(server: Guarded, folder: TrialFolder) -> Floor:
    if server.asked is None:
        return Floor(reason=NO_TEXTS, simulated=server.simulated)
    if server.adapters:
        return Floor(reason=WITH_ADAPTERS)
    try:
        answers = await first_answers(server.url, server.model, server.asked)
        answers.write(folder.path / ANSWERS)
        found = await scored_twice(server.url, server.model, server.asked, answers)
    except RooftuneError as error:
        return Floor(reason=SIMULATED if server.simulated else str(error).rstrip("."), simulated=server.simulated)
    found.write(folder.path)
    return Floor(
        prompts=len(found.answers),
        tokens=found.scores.tokens,
        values=found.floor_values,
        simulated=server.simulated,
    )


async def check(
    server: Guarded,
    folder: TrialFolder,
    floor: Floor,
    baseline: TrialFolder,
    config: EngineConfig,
    *,
    speculates: bool = False,
) -> Quality:
    """Compare a candidate's server with the baseline, and write quality.json into its trial folder.

    Args:
        server: the candidate's.
        folder: of the candidate's trial.
        floor: of the baseline.
        baseline: folder of the baseline's trial that has the answers.
        config: of the candidate.
        speculates: greedy answers must be those of the model alone.
    """
    began = time.monotonic()
    answers = await _compared(server, floor, baseline, speculates)
    evaluated = await _judged_by_command(server, floor)
    ruling = together([answers.ruling, *([evaluated.ruling] if evaluated is not None else [])])
    found = Quality(
        verdict=ruling.verdict,
        reason=ruling.reason,
        key=answers_key(config),
        model_key=model_key(config),
        measures=answers.measures,
        prompts=answers.prompts,
        tokens=floor.tokens if answers.prompts else 0,
        evaluation=evaluated.evaluation if evaluated is not None else None,
        simulated=server.simulated,
        seconds=time.monotonic() - began,
    )
    write_json(folder.quality_json, found.model_dump(mode="json"))
    return found


@dataclass(frozen=True)
class _Compared:
    """What the answers of two servers show."""

    ruling: Ruling
    measures: list[Measure]
    prompts: int


@dataclass(frozen=True)
class _Evaluated:
    """What the user's evaluation of two servers shows."""

    ruling: Ruling
    evaluation: Evaluation | None


async def _compared(server: Guarded, floor: Floor, baseline: TrialFolder, speculates: bool) -> _Compared:
    if floor.reason or server.asked is None:
        return _Compared(Ruling("not judged", floor.reason or NO_TEXTS), [], 0)
    try:
        known = BaselineAnswers.read(baseline.path)
        found = await differences(server.url, server.model, server.asked, known, speculates=speculates)
    except RooftuneError as error:
        return _Compared(Ruling("not judged", str(error).rstrip(".")), [], 0)
    prompts = min(map(len, found.values()), default=0)
    measures = measured(found) if prompts else []
    return _Compared(judge(measures, prompts), measures, prompts)


async def _judged_by_command(server: Guarded, floor: Floor) -> _Evaluated | None:
    if server.command is None or floor.evaluation is None:
        return None
    try:
        ours = await evaluate(server.command, server.url, server.model)
        found = compared(server.command, ours, floor.evaluation)
    except RooftuneError as error:
        return _Evaluated(Ruling("not judged", str(error).rstrip(".")), None)
    return _Evaluated(judge_evaluation(found), found)
