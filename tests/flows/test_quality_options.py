"""How the answers are checked, from what a user asks for."""

from __future__ import annotations

import pytest

from flows.inputs.parameters import QualityOptions
from flows.inputs.quality import check_resumed, quality_rules
from rooftune.errors import InputError
from rooftune.tuning.plan import QualityRules


def test_by_default_a_loss_is_not_accepted_and_no_command_runs() -> None:
    assert quality_rules(QualityOptions(), "vllm") == QualityRules()
    assert quality_rules(QualityOptions(accept_quality_loss=True), "endpoint").accept_loss


def test_a_command_comes_with_the_place_of_its_value() -> None:
    found = quality_rules(QualityOptions(False, "evaluate", "acc"), "simulated")
    assert found == QualityRules(command="evaluate", value="acc")


def test_a_command_compares_nothing_on_an_endpoint() -> None:
    with pytest.raises(InputError, match="cannot change those of an endpoint; use --engine vllm"):
        quality_rules(QualityOptions(False, "evaluate", "acc"), "endpoint")


@pytest.mark.parametrize("asked", [QualityOptions(False, "evaluate", "acc"), QualityOptions(False, None, "acc")])
def test_an_evaluation_belongs_to_a_new_run(asked: QualityOptions) -> None:
    check_resumed(QualityOptions(accept_quality_loss=True))
    with pytest.raises(InputError, match="belong to a new run"):
        check_resumed(asked)


@pytest.mark.parametrize(
    ("command", "value", "message"),
    [
        ("evaluate", None, "--quality-command needs --quality-value"),
        (None, "acc", "--quality-value belongs to --quality-command"),
        (" ", "acc", "--quality-command is empty"),
    ],
)
def test_half_of_it_is_an_error(command: str | None, value: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        quality_rules(QualityOptions(False, command, value), "vllm")
