"""How a configuration changes, and how files of older runs are read."""

from __future__ import annotations

from rooftune.engines.target import Target
from rooftune.vllm_rules.config import EngineConfig


def test_none_in_a_change_removes_a_flag_wherever_it_is_kept() -> None:
    config = EngineConfig(model="m", max_num_seqs=8).with_change({"enforce_eager": True, "cpu_offload_gb": 2.0})
    assert config.flags() == {"max_num_seqs": 8, "enforce_eager": True, "cpu_offload_gb": 2.0}
    assert config.with_change({"max_num_seqs": None, "cpu_offload_gb": None}).flags() == {"enforce_eager": True}


def test_a_change_leaves_the_configuration_it_is_applied_to_alone() -> None:
    config = EngineConfig(model="m")
    changed = config.with_change({"max_num_seqs": 8})
    assert config.flags() == {}
    assert changed.model == "m"


def test_files_of_older_runs_are_read_by_their_old_keys() -> None:
    config = EngineConfig.model_validate({"model": "m", "extra": {"cpu_offload_gb": 2.0}})
    assert config.flags() == {"cpu_offload_gb": 2.0}
    assert EngineConfig.model_validate(config.model_dump()) == config
    target = Target.model_validate({"model": "m", "engine_version": "0.15.1", "base_flags": {"max_num_seqs": 8}})
    assert target.flags == {"max_num_seqs": 8}
    assert "base_flags" not in target.model_dump()
