"""Verdicts on answers and the floor are read beside the trials; a damaged one is treated as not there."""

from __future__ import annotations

from pathlib import Path

from rooftune.evidence.records.quality import Floor, Quality
from rooftune.evidence.records.trial import TrialResult
from rooftune.evidence.records.trial_files import floor_folder, read_floor, read_trial
from rooftune.files import write_json
from rooftune.runfolder import RunFolder, TrialFolder


def trial(folder: TrialFolder) -> TrialResult:
    found = TrialResult(
        candidate=folder.candidate, n=folder.n, status="measured", workload="w", workload_hash="0", seed=1, position=0
    )
    write_json(folder.trial_json, found.model_dump(mode="json"))
    return found


def test_the_verdict_belongs_to_the_trial_and_not_to_its_file(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path).trial("x", 1)
    trial(folder)
    assert read_trial(folder).quality is None
    quality = Quality(verdict="equal", reason="r", key="k")
    write_json(folder.quality_json, quality.model_dump(mode="json"))
    found = read_trial(folder)
    assert found.quality == quality
    assert "quality" not in found.model_dump(mode="json")


def test_a_damaged_verdict_loses_no_trial(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path).trial("x", 1)
    trial(folder)
    folder.quality_json.write_text('{"verdict": "equ')
    assert read_trial(folder).quality is None


def test_the_floor_is_that_of_the_baseline_without_an_error(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert (read_floor(run), floor_folder(run)) == (None, None)
    for n, error in ((1, "it failed"), (2, ""), (3, "")):
        folder = run.trial("baseline", n)
        folder.path.mkdir(parents=True)
        write_json(folder.floor_json, Floor(prompts=n, evaluation_error=error).model_dump(mode="json"))
    floor = read_floor(run)
    assert floor is not None
    assert floor.prompts == 2
    run.trial("baseline", 2).floor_json.write_text("junk")
    assert floor_folder(run) == run.trial("baseline", 3)
