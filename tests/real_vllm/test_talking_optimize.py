"""``rooftune optimize`` with a user's prompts on a real vLLM: n-gram drafts win, and a model that is four times as fast
and spoils the answers does not.
"""

from __future__ import annotations

import pytest

from rooftune.answers.answer import FILE, Answers
from rooftune.evidence.records.quality import Floor
from tests.real_vllm.tuned_run import REPEAT, RUN_S, START_S, TunedRun

pytestmark = [pytest.mark.timeout(START_S + RUN_S), pytest.mark.measurement]


def test_the_baseline_keeps_its_answers_as_token_ids(tuned: TunedRun) -> None:
    folder = tuned.folder.trial("baseline", 1)
    floor = Floor.model_validate_json(folder.floor_json.read_text(encoding="utf-8"))
    answers = Answers.read(folder.path / FILE)
    assert not floor.reason
    assert floor.prompts == len(answers) > 40, "the part of the prompts that the search sees"
    assert all(a.text is None for a in answers)


def test_weights_that_spoil_answers_do_not_win(tuned: TunedRun) -> None:
    found = tuned.quality("spoilt")
    assert found.verdict == "spoilt", found.words
    verdict = tuned.verdicts["spoilt"]
    assert verdict["verdict"] != "applied"
    assert "spoilt" in verdict["reason"]
    assert "spoilt" not in tuned.script
    assert tuned.tpot_ms("spoilt") < tuned.tpot_ms("ngram"), "by speed alone it would have won"


def test_ngram_drafts_win_with_their_answers_checked(tuned: TunedRun) -> None:
    found = tuned.quality("ngram")
    assert found.verdict in ("equal", "changed within the threshold"), found.words
    assert tuned.verdicts["ngram"]["verdict"] == "applied", tuned.verdicts["ngram"]["reason"]
    assert "ngram" in tuned.script


def test_the_report_says_what_each_did_to_the_answers(tuned: TunedRun) -> None:
    assert tuned.quality("spoilt").reason in tuned.report
    assert tuned.quality("ngram").reason in tuned.report
    assert "accepted" in tuned.report
    assert "on prompts that the search never sent" in tuned.report


def test_no_text_leaves_the_file_of_the_user(tuned: TunedRun) -> None:
    written = "".join(p.read_text(encoding="utf-8") for p in tuned.folder.path.glob("**/*.json"))
    assert REPEAT not in written + tuned.report + tuned.said
