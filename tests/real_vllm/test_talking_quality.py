"""The quality guard on a real vLLM: a model passes its own check, INT8 and FP8 pass, a spoilt copy is stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.talking_model.store import TalkingModels
from tests.real_vllm.talking_floor import TalkingFloor
from tests.real_vllm.talking_server import Serving, TalkingServers

pytestmark = pytest.mark.timeout(1200)  # the first test makes the models
PASSED = ("equal", "changed within the threshold")


def test_the_baseline_passes_its_own_check(
    floor: TalkingFloor, servers: TalkingServers, talking: TalkingModels, tmp_path: Path
) -> None:
    assert not floor.floor.reason
    assert floor.floor.prompts >= 100
    found = floor.checked(servers.get(Serving.baseline(talking)), tmp_path)
    assert found.verdict in PASSED, found.words


@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_weights_in_eight_bits_pass(
    floor: TalkingFloor, servers: TalkingServers, talking: TalkingModels, tmp_path: Path, kind: str
) -> None:
    folder = {"int8": talking.int8, "fp8": talking.fp8}[kind]
    found = floor.checked(servers.get(Serving(folder, {})), tmp_path)
    assert found.verdict in PASSED, found.words
    divergence = found.measure("KL divergence")
    assert divergence is not None
    assert divergence.value > divergence.floor, "eight bits round, which the guard sees"


def test_a_spoilt_copy_is_stopped(
    floor: TalkingFloor, servers: TalkingServers, talking: TalkingModels, tmp_path: Path
) -> None:
    found = floor.checked(servers.get(Serving(talking.spoilt, {})), tmp_path)
    assert found.verdict == "spoilt", found.words
