"""A server about which little is known gets a simulated one that takes about as long for its requests."""

from __future__ import annotations

import pytest
from made_capacity import workload

from rooftune.capacity.lone import LoneTimes
from rooftune.capacity.reference_server import ReferenceServer
from rooftune.capacity.stand_in import Known, simulated_times, stand_in
from rooftune.engines.server import EffectiveConfig
from rooftune.errors import RooftuneError
from rooftune.workloads.draw import draw


def test_without_times_the_first_pair_that_fits_is_taken() -> None:
    found = stand_in(Known(EffectiveConfig(), "some-model"), None, workload())
    assert (found.gpu, found.model, found.stand_in, found.price) == ("L4", "llama-3.1-8b", True, None)


@pytest.mark.parametrize("tpot_s", [0.002, 0.0055, 0.012, 0.06, 0.16, 2.0])
def test_the_pair_takes_about_as_long_without_load(tpot_s: float) -> None:
    found = stand_in(Known(EffectiveConfig(), "some-model"), LoneTimes(tpot_s, tpot_s), workload())
    alone = simulated_times(found.engine(), draw(workload()))
    assert found.stand_in
    assert alone.tpot_s == pytest.approx(tpot_s, rel=0.6)


def test_what_the_server_reports_is_used() -> None:
    effective = EffectiveConfig(engine_version="0.28.0", max_model_len=4096, max_num_seqs=48)
    found = stand_in(Known(effective, "qwen2.5-7b", "A10G"), None, workload())
    assert not found.stand_in
    assert (found.gpu, found.model, found.engine_version) == ("A10G", "qwen2.5-7b", "0.28.0")
    assert found.flags == {"max_model_len": 4096, "max_num_seqs": 48}
    assert found.price is not None


def test_limits_that_do_not_fit_are_dropped() -> None:
    effective = EffectiveConfig(engine_version="not a version", max_model_len=64)
    found = stand_in(Known(effective, "some-model"), None, workload())
    assert found.flags["max_model_len"] != 64
    ReferenceServer.model_validate(found.model_dump())


def test_a_workload_that_fits_nowhere_is_refused_with_a_way_out() -> None:
    long = workload(prompt_tokens={"distribution": "fixed", "value": 2_000_000})
    with pytest.raises(RooftuneError, match="--gpu and --model"):
        stand_in(Known(EffectiveConfig(), "some-model"), None, long)
