"""The value of an evaluation in its JSON."""

from __future__ import annotations

import json

import pytest

from rooftune.quality.json_value import FoundValue, value_in

HARNESS = {
    "results": {
        "gsm8k": {
            "alias": "gsm8k",
            "exact_match,strict-match": 0.61,
            "exact_match_stderr,strict-match": 0.02,
            "exact_match,flexible-extract": 0.65,
        }
    },
    "samples": [{"score": 1.0}, {"score": 0.0}, {"score": True}],
    "v1.0": {"acc": 0.5},
}


def test_a_value_with_the_standard_error_of_lm_evaluation_harness() -> None:
    found = value_in(json.dumps(HARNESS), "results.gsm8k.exact_match,strict-match")
    assert found == FoundValue(0.61, (), 0.02)
    assert value_in(json.dumps(HARNESS), "results.gsm8k.exact_match,flexible-extract").standard_error is None


def test_items_of_a_list() -> None:
    assert value_in(json.dumps(HARNESS), "samples.*.score") == FoundValue(pytest.approx(2 / 3), (1.0, 0.0, 1.0))
    assert value_in("[1, 2, 3]", "*").items == (1.0, 2.0, 3.0)
    assert value_in('{"scores": [0, 1]}', "scores").items == (0.0, 1.0)


def test_keys_may_contain_dots_and_places_are_numbers() -> None:
    assert value_in(json.dumps(HARNESS), "v1.0.acc").number == 0.5
    assert value_in(json.dumps(HARNESS), "samples.0.score").number == 1.0


def test_json_may_be_the_last_line_of_other_output() -> None:
    assert value_in('loading\n50 %\n{"acc": 0.25}\ndone\n', "acc").number == 0.25


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("", "acc", "it prints nothing"),
        ("accuracy: 0.5", "acc", "it prints no JSON"),
        ('{"acc": "high"}', "acc", 'acc is "high", not a number'),
        ('{"acc": NaN}', "acc", "not a number"),
        ('{"acc": null}', "acc", "not a number"),
        ('{"accuracy": 1}', "acc", "acc is missing at 'acc'; there is accuracy"),
        ('{"a": {"b": 1}}', "a.c", "a.c is missing at 'c'; there is b"),
        ('{"a": 1}', "a.b", "a.b is missing at 'b'"),
        ('{"a": 1}', "*.a", "takes entries of a list"),
        ('{"a": [1]}', "a", "a has 1 item,"),
        ('{"a": [1, "x"]}', "a", "not a number"),
    ],
)
def test_output_without_the_value_is_named(text: str, path: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("*", r"\*")):
        value_in(text, path)
