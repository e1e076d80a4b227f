"""Speed and answers side by side in the report of a run whose fastest configuration spoils the answers."""

from __future__ import annotations

import pytest
from reading import rows, section

from rooftune.evidence.records.quality import Evaluation, Floor, Measure, Quality
from rooftune.evidence.records.trial_files import read_trials
from rooftune.files import read_model, write_json
from rooftune.quality.key import answers_key
from rooftune.report.page.to_markdown import markdown
from rooftune.report.page.to_terminal import summary
from rooftune.report.run.answer_quality import known_answers, unchecked_answers
from rooftune.report.run.page import page_of
from rooftune.report.run.pictures import Pictures
from rooftune.report.run_data import RunData, read_run
from rooftune.report.scripts import comments
from rooftune.runfolder import RunFolder
from rooftune.tuning.plan import Plan, QualityRules
from rooftune.tuning.search import decide
from tasks.run_files import accept_quality_loss, settings_of

HEADING = "## What happens to the answers"
MEASURE = Measure(name="KL divergence", value=0.41, floor=0.01, low=0.3, high=0.5, threshold=0.05)


def judged(folder: RunFolder, verdict: str = "spoilt", *, accept: bool = False, simulated: bool = False) -> RunData:
    """The run with a floor and a verdict on its fastest configuration, decided again."""
    plan = read_model(folder.plan_json, Plan)
    plan = plan.model_copy(update={"quality": QualityRules(accept_loss=accept)})
    write_json(folder.plan_json, plan.model_dump(mode="json"))
    values = {"top-1 disagreement": 0.004, "KL divergence": 0.01}
    floor = Floor(prompts=60, tokens=4200, values=values, simulated=simulated)
    write_json(folder.trial("baseline", 1).floor_json, floor.model_dump(mode="json"))
    ours = next(t for t in read_trials(folder) if t.candidate == "fp8-kv")
    quality = Quality.model_validate({
        "verdict": verdict, "reason": "KL divergence 0.4 nats above the floor", "prompts": 60, "tokens": 4200,
        "key": answers_key(plan.candidates[0].config.with_change(ours.flags)), "measures": [MEASURE],
        "simulated": simulated,
        "evaluation": Evaluation(command="x", baseline=0.8, candidate=0.6, low=0.2, high=0.3, threshold=0.02),
    })  # fmt: skip
    write_json(folder.trial("fp8-kv", ours.n).quality_json, quality.model_dump(mode="json"))
    write_json(folder.decision_json, decide(plan, read_trials(folder)).model_dump(mode="json"))
    return read_run(folder)


def page(data: RunData) -> str:
    return markdown(page_of(data, Pictures(), []), data.folder.path)


def test_what_spoils_the_answers_is_in_the_table_and_on_the_first_screen(folder: RunFolder) -> None:
    before = read_run(folder)
    assert before.decision.incumbent == "fp8-kv"
    data = judged(folder)
    assert data.decision.incumbent != "fp8-kv"
    text = page(data)
    found = section(text, HEADING)
    (row,) = [r for r in rows(found) if "fp8-kv" in r[0]]
    assert "spoilt" in row
    assert any("0.4 nats (0.3 to 0.5 nats)" in cell for cell in row)
    assert any("0.6 and 0.8 for the baseline: loss 25 %" in cell for cell in row)
    assert "The baseline compared with itself over 60 prompts and 4,200 tokens" in found
    first = text[: text.index("## ")]
    assert "was not chosen because it spoils the answers: KL divergence 0.4 nats" in first
    assert "spoils the answers" in " ".join(summary(page_of(data, Pictures(), [])).split())


def test_an_accepted_loss_is_stated(folder: RunFolder) -> None:
    data = judged(folder, accept=True)
    assert data.decision.incumbent == "fp8-kv"
    text = page(data)
    assert "--accept-quality-loss allowed it to win" in section(text, HEADING)


def test_a_verdict_that_lets_it_win_is_beside_the_flags(folder: RunFolder) -> None:
    data = judged(folder, "changed within the threshold")
    assert data.decision.incumbent == "fp8-kv"
    assert "changed within the threshold" in section(page(data), "## What to deploy")


def test_a_loss_can_be_accepted_after_the_run(folder: RunFolder) -> None:
    before = judged(folder)
    assert "To let it win, resume the run with --accept-quality-loss" in page(before)
    accept_quality_loss(folder)
    assert settings_of(folder).quality.accept_loss
    plan = read_model(folder.plan_json, Plan)
    assert decide(plan, read_trials(folder)).incumbent == "fp8-kv"


@pytest.mark.parametrize("checked", [False, True])
def test_an_answer_that_nobody_checked_is_stated_wherever_the_winner_is(folder: RunFolder, checked: bool) -> None:
    data = judged(folder, "equal" if checked else "not judged")
    assert data.decision.incumbent == "fp8-kv"
    words = "equal: KL divergence" if checked else "not checked: KL divergence 0.4 nats above the floor. Compare"
    text = page(data)
    assert f"**Answers**: {words[0].upper()}{words[1:]}" in text[: text.index("## ")]
    assert any(line.startswith(f"Answers {words}") for line in comments(data, "fp8-kv", "start_vllm.sh"))
    assert unchecked_answers(data).startswith(
        "" if checked else f"The answers of the recommended configuration were {words}"
    )
    assert bool(unchecked_answers(data)) != checked
    assert not known_answers(data, "baseline")


def test_simulated_answers_are_labelled(folder: RunFolder) -> None:
    text = page(judged(folder, "equal", simulated=True))
    assert "**Answers**: Equal (simulated): " in text
    assert "By simulated answers" in section(text, HEADING)
    assert "those of a toy distribution" in section(text, HEADING)
    assert "KL divergence: 0.05 nats." in section(text, HEADING), "only the thresholds of what is shown"


def test_without_texts_the_section_about_the_prompts_says_what_was_not_judged(folder: RunFolder) -> None:
    text = page(read_run(folder))
    assert HEADING not in text
    assert "`fp8-kv`" in section(text, "## Prompts")
