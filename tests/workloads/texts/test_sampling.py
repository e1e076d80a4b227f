"""The fields of a request that follow from the sampling of a workload."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from rooftune.workloads.texts.sampling import Sampling


def test_without_any_word_requests_are_greedy() -> None:
    assert Sampling().request_fields() == {"temperature": 0.0}
    assert Sampling().greedy


def test_the_workload_comes_before_the_record_and_the_record_before_the_default() -> None:
    own = {"temperature": 0.7, "top_p": 0.5}
    assert Sampling().request_fields(own) == own
    assert Sampling(temperature=1.0).request_fields(own) == {"temperature": 1.0, "top_p": 0.5}
    assert not Sampling(temperature=1.0).greedy


def test_every_key_reaches_the_request() -> None:
    given = {
        "temperature": 0.6,
        "top_p": 0.95,
        "top_k": 20,
        "seed": 7,
        "chat_template_kwargs": {"enable_thinking": False},
        "response_format": {"type": "json_object"},
        "tools": [{"type": "function", "function": {"name": "f"}}],
    }
    found = Sampling.model_validate({**given, "extra_body": {"min_p": 0.1, "stop": ["\n"]}}).request_fields()
    assert found == {**given, "min_p": 0.1, "stop": ["\n"]}


@pytest.mark.parametrize("name", ["max_tokens", "stream", "model", "messages", "n", "ignore_eos"])
def test_what_the_load_sets_cannot_be_set_twice(name: str) -> None:
    with pytest.raises(ValidationError, match=f"{name} cannot be set here"):
        Sampling(extra_body={name: 1})
