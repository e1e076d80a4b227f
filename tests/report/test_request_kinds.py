"""The report has the figures of each adapter, and both times to a first token where a model reasons."""

from __future__ import annotations

from reading import rows, section

from rooftune.evidence.records.trial_files import read_trials
from rooftune.files import write_json
from rooftune.report.page.to_markdown import markdown
from rooftune.report.run.page import page_of
from rooftune.report.run.pictures import Pictures
from rooftune.report.run_data import read_run
from rooftune.runfolder import RunFolder

FIGURES = {"completed": 30.0, "output_throughput": 120.5, "median_ttft_ms": 80.0, "slo_attainment": 0.993}


def page(folder: RunFolder, **update: dict[str, object]) -> str:
    """The report of the run whose trials have these values besides their own."""
    for trial in read_trials(folder):
        more = {name: {**getattr(trial, name), **values} for name, values in update.items()}
        changed = trial.model_copy(update=more)
        write_json(folder.trial(trial.candidate, trial.n).trial_json, changed.model_dump(mode="json"))
    data = read_run(folder)
    return markdown(page_of(data, Pictures(), []), data.folder.path)


def test_each_adapter_of_the_baseline_and_of_the_recommendation(folder: RunFolder) -> None:
    found = section(page(folder, adapters={"base model": FIGURES, "sql": {"completed": 9.0}}), "## LoRA adapters")
    table = rows(found)
    assert [row[1] for row in table if row[1] in ("base model", "sql")] == ["base model", "sql"] * 2
    (base, *_) = [row for row in table if row[1] == "base model"]
    assert base[2:] == ["30", "120", "80", "99.3 %"], "a column without values is left out"
    assert "In the simulated engine, adapters hold memory" in found


def test_both_first_tokens_where_the_model_reasons(folder: RunFolder) -> None:
    metrics = {"median_answer_ttft_ms": 4100.0, "reasoning_share": 0.71, "median_ttft_ms": 95.0}
    table = rows(section(page(folder, metrics=metrics), "## Reasoning"))
    assert ["95", "4,100", "71 %"] in [row[1:] for row in table]


def test_other_runs_have_neither_section(folder: RunFolder) -> None:
    text = page(folder)
    assert "## LoRA adapters" not in text
    assert "## Reasoning" not in text
