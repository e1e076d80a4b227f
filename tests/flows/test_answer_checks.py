"""Trials of a run with texts on simulated servers that answer from a toy: what is kept, checked and decided."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.inputs.parameters import TargetOptions
from flows.inputs.targets import resolve_target
from rooftune.answers.answer import Answers
from rooftune.errors import RooftuneError
from rooftune.evidence.records.trial_files import read_floor, read_trial
from rooftune.runfolder import RunFolder
from rooftune.simulator.front.toy_answers import VARIABLE
from rooftune.trial_order import TrialOrder
from rooftune.tuning.plan import QualityRules
from rooftune.workloads.load import load_workload
from tasks.run_files import RunSettings, plan_of

pytestmark = [pytest.mark.usefixtures("prefect", "patient_audit"), pytest.mark.slow]
WORKLOAD = """\
name: texts
arrivals: {process: poisson, rate_per_s: 5}
prompts: {file: texts.txt}
max_tokens: 16
duration_s: 6
warmup_s: 1
drain_s: 5
objective: {metric: output_throughput}
"""
OTHER = "awq-marlin"
CONFIRMS = 1000
"""Distance of the seeds of the confirmation, whose trials are always worth a check."""


async def prepared(tmp_path: Path, quality: QualityRules | None = None, time_scale: float | None = None) -> RunFolder:
    """A run folder whose plan is made."""
    from flows.plan import plan
    from flows.probe import probe

    (tmp_path / "texts.txt").write_text("\n".join(f"Tell me about the number {n * n}." for n in range(40)))
    (tmp_path / "texts.yaml").write_text(WORKLOAD)
    spec, target = load_workload(str(tmp_path / "texts.yaml")), await resolve_target(TargetOptions(), time_scale)
    settings = RunSettings(search="ladder", quality=quality or QualityRules())
    about = {
        "target": target.model_dump(mode="json"),
        "workload_spec": spec.model_dump(mode="json"),
        "settings": settings.model_dump(mode="json"),
    }
    run = RunFolder.create(tmp_path / "artifacts", spec.name, about)
    await probe(str(run.path))
    await plan(str(run.path))
    return run


def order(run: RunFolder, candidate: str, position: int, seed: int) -> TrialOrder:
    config = plan_of(run).candidate(candidate).config
    return TrialOrder(candidate=candidate, n=1, position=position, config=config, seed=seed, phase="p")


async def measured(run: RunFolder, candidate: str, position: int) -> None:
    from flows.trial import trial

    seed = plan_of(run).objective.seed + CONFIRMS
    await trial(str(run.path), order(run, candidate, position, seed))


async def test_the_baselines_answers_are_kept_and_a_candidate_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "toy;quantization=awq_marlin:3")
    run = await prepared(tmp_path)
    await measured(run, "baseline", 0)
    floor = read_floor(run)
    assert floor is not None
    assert (floor.reason, floor.simulated) == ("", True)
    assert len(Answers.read(run.trial("baseline", 1).path / "answers.parquet")) == floor.prompts
    assert 20 <= floor.prompts < 40, "the part of the confirmation is not asked"
    assert run.trial("baseline", 1).trial_json.is_file()
    await measured(run, OTHER, 1)
    found = read_trial(run.trial(OTHER, 1))
    assert found.status == "measured"
    assert found.quality is not None
    assert found.quality.verdict == "spoilt"
    assert not run.trial("baseline", 1).quality_json.exists()


async def test_the_simulated_engine_judges_nothing_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    run = await prepared(tmp_path)
    await measured(run, "baseline", 0)
    await measured(run, OTHER, 1)
    floor = read_floor(run)
    assert floor is not None
    assert "simulated engine has no weights" in floor.reason
    assert read_trial(run.trial(OTHER, 1)).quality is None


async def test_an_evaluation_that_does_not_work_ends_the_run(tmp_path: Path) -> None:
    from tasks.quality import refuse_failed_evaluation

    run = await prepared(tmp_path, QualityRules(command="exit 7", value="acc"))
    await measured(run, "baseline", 0)
    with pytest.raises(RooftuneError, match="exit code 7"):
        refuse_failed_evaluation(run, order(run, "baseline", 0, 1))
    assert not run.trial("baseline", 1).path.exists(), "a resumed run measures it again"


async def test_an_evaluation_that_works_is_compared(tmp_path: Path) -> None:
    command = """curl -s -o /dev/null "$ROOFTUNE_URL/health" && echo '{"acc": [0.5, 0.6, 0.7]}'"""
    run = await prepared(tmp_path, QualityRules(command=command, value="acc"))
    await measured(run, "baseline", 0)
    await measured(run, OTHER, 1)
    quality = read_trial(run.trial(OTHER, 1)).quality
    assert quality is not None
    assert quality.verdict == "equal"
    assert quality.evaluation is not None
    assert quality.evaluation.items == 3
