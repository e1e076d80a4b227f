"""Speculative decoding as a knob: which configurations are offered, and what can draft for a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cases import LLAMA, context
from packaging.version import Version
from qwen_config import QWEN

from rooftune.errors import InputError
from rooftune.knobs.draft_models import draft_models
from rooftune.knobs.space import space
from rooftune.models.catalogue import model_facts
from rooftune.speculation.acceptance import Acceptance
from rooftune.speculation.candidates import DraftModel, best_at_each_cost, label_of, replayed_drafts, schedules
from rooftune.speculation.known import KnownDraft, KnownDrafts
from rooftune.speculation.ngram import NgramProposer

HEAD = DraftModel("someone/EAGLE3-Llama", "eagle3")
NGRAM = {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_min": 2, "prompt_lookup_max": 4}


def asked(found: Any) -> list[dict[str, Any]]:
    return [c.change["speculative_config"] for c in found.configurations if "speculative_config" in c.change]


def known(*configurations: dict[str, Any]) -> KnownDrafts:
    return KnownDrafts(
        tuple(KnownDraft(speculation=c, accepted=[0.5, 0.3, 0.1], drafted=1.0, source="test") for c in configurations)
    )


def test_without_texts_there_is_no_candidate_and_the_reason_is_given() -> None:
    found = space(context(draft_models=(HEAD,), drafts=known(NGRAM)))
    assert not asked(found)
    assert any("the workload has no texts" in d.reason for d in found.dropped)


def test_with_texts_proposers_heads_and_schedules_are_candidates() -> None:
    drafts = known(NGRAM, {**NGRAM, "num_speculative_tokens": 1}, {"method": "suffix", "num_speculative_tokens": 24})
    found = asked(space(context(has_texts=True, draft_models=(HEAD,), drafts=drafts)))
    assert {one["method"] for one in found} == {"ngram", "suffix", "eagle3"}
    assert {one["num_speculative_tokens"] for one in found if one["method"] == "eagle3"} == {1, 3, 5}
    falling = [one for one in found if "num_speculative_tokens_per_batch_size" in one]
    assert {one["method"] for one in falling} == {"ngram", "eagle3"}
    older = asked(space(context(version="0.23.0", has_texts=True, draft_models=(HEAD,), drafts=drafts)))
    assert older
    assert not any("num_speculative_tokens_per_batch_size" in one for one in older)


def test_what_excludes_asynchronous_scheduling_is_left_out_where_it_is_asked_for() -> None:
    drafts = known(NGRAM, {**NGRAM, "method": "ngram_gpu"})
    found = space(context(flags={"async_scheduling": True}, has_texts=True, drafts=drafts))
    assert {one["method"] for one in asked(found)} == {"ngram_gpu"}
    assert any("async_scheduling" in d.reason for d in found.dropped)


def test_the_best_length_at_each_cost_of_a_token_is_kept() -> None:
    def of(length: int, shares: tuple[float, ...]) -> tuple[NgramProposer, Acceptance]:
        drafts = 100
        return NgramProposer(length), Acceptance(shares, drafts, drafts * length, round(drafts * sum(shares)), drafts)

    sure = dict([of(1, (0.9,)), of(4, (0.9, 0.85, 0.8, 0.75)), of(7, (0.9, 0.85, 0.8, 0.75, 0.7, 0.68, 0.66))])
    assert best_at_each_cost(sure)[0].length == 7
    poor = dict([of(1, (0.3,)), of(4, (0.3, 0.1, 0.02, 0.0)), of(7, (0.3, 0.1, 0.02, 0.0, 0.0, 0.0, 0.0))])
    assert max(p.length for p in best_at_each_cost(poor)) < 7
    assert best_at_each_cost(dict([of(1, (0.0,))])) == []


def test_recorded_answers_decide_which_proposers_are_worth_a_look() -> None:
    class One:
        prompt_ids = tuple(range(3, 60))
        output_ids = tuple(range(3, 60)) * 2

    version = Version("0.32.0")
    found = replayed_drafts([One()] * 10, version, cuda=True)
    assert {k.speculation["method"] for k in found} == {"ngram", "ngram_gpu", "suffix"}
    assert max(k.per_step.tokens for k in found) > 4
    assert {k.speculation["method"] for k in replayed_drafts([One()] * 10, version, cuda=False)} == {"ngram", "suffix"}
    assert replayed_drafts([One()] * 3, version, cuda=True) == []


def test_labels_say_the_method_the_length_and_the_lookup() -> None:
    assert label_of(NGRAM) == "n-gram speculation (3 tokens, lookup 2 to 4)"
    falling = schedules([NGRAM, {**NGRAM, "num_speculative_tokens": 1}], Version("0.32.0"))
    assert label_of(falling[0]) == "n-gram speculation (3/1/1 tokens by batch size, lookup 2 to 4)"
    assert (
        label_of({"method": "eagle3", "model": "a/b-head", "num_speculative_tokens": 5}) == "EAGLE 3 b-head (5 tokens)"
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A target, a small model of its vocabulary, one of another, a head, and a model as large as the target."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    head = {"architectures": ["LlamaForCausalLMEagle3"], **{k: QWEN[k] for k in ("hidden_size", "vocab_size")}}
    tiny = {"num_hidden_layers": 1, "hidden_size": 128, "num_attention_heads": 2, "intermediate_size": 256}
    models = {
        "target": QWEN,
        "small": {**QWEN, **tiny},
        "other-vocabulary": {**QWEN, **tiny, "vocab_size": 999},
        "as-large": QWEN,
        "head": head,
        "wide-head": {**head, "hidden_size": 4096},
    }
    for name, config in models.items():
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "config.json").write_text(json.dumps(config))
    return tmp_path / "models"


def test_a_folder_is_searched_by_vocabulary_and_size(folder: Path) -> None:
    facts = model_facts(str(folder / "target"))
    found = draft_models(facts, str(folder / "target"), [str(folder)])
    assert {(Path(d.model).name, d.method) for d in found} == {("small", "draft_model"), ("head", "eagle3")}
    with pytest.raises(InputError, match="another vocabulary"):
        draft_models(facts, str(folder / "target"), [str(folder / "other-vocabulary")])
    assert draft_models(facts, str(folder / "target")) == ()


def test_what_the_hub_cache_has_is_found_where_its_weights_are(folder: Path, tmp_path: Path) -> None:
    facts = model_facts(str(folder / "target"))
    place = tmp_path / "hub" / "models--someone--small" / "snapshots" / "1"
    place.mkdir(parents=True)
    (place / "config.json").write_text((folder / "small" / "config.json").read_text())
    assert draft_models(facts, str(folder / "target")) == ()
    (place / "model.safetensors").write_text("")
    assert draft_models(facts, str(folder / "target")) == (DraftModel("someone/small", "draft_model"),)


def test_layers_for_multi_token_prediction_are_a_candidate(folder: Path) -> None:
    (folder / "mtp").mkdir()
    (folder / "mtp" / "config.json").write_text(json.dumps({**QWEN, "num_nextn_predict_layers": 1}))
    assert draft_models(None, str(folder / "mtp")) == (DraftModel("", "mtp"),)
    assert draft_models(None, LLAMA) == ()
