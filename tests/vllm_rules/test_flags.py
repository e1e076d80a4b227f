"""The registry of flags: types, versions, contradictions, and the sentences that a user reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rooftune.engines.command_line import command_line
from rooftune.errors import InputError
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.flag_entries import registry
from rooftune.vllm_rules.flags import choices, default, parse_set
from rooftune.vllm_rules.validation import validate
from rooftune.vllm_rules.versions import parse_version


def test_pairs_become_typed_values() -> None:
    found = parse_set(
        [
            "max_num_seqs=8",
            "--gpu-memory-utilization=0.85",
            "enforce-eager",
            "--no-enable-prefix-caching",
            'speculative_config={"method":"ngram","num_speculative_tokens":3}',
            "max_model_len=16k",
            "max_num_batched_tokens=2K",
            "dtype=half",
        ],
        "0.15.1",
    )
    assert found == {
        "max_num_seqs": 8,
        "gpu_memory_utilization": 0.85,
        "enforce_eager": True,
        "enable_prefix_caching": False,
        "speculative_config": {"method": "ngram", "num_speculative_tokens": 3},
        "max_model_len": 16000,
        "max_num_batched_tokens": 2048,
        "dtype": "half",
    }


@pytest.mark.parametrize(
    ("pair", "version", "words"),
    [
        ("max_num_seq=8", "0.15.1", ["unknown engine flag", "max_num_seqs"]),
        ("port=8000", "0.15.1", ["unknown engine flag", "PORT"]),
        ("watermark=0.05", "0.15.1", ["0.15.1 has no flag watermark", "0.29 has it, 0.23 does not"]),
        ("swap_space=4", "0.32.0", ["0.32.0 has no flag swap_space", "never swaps"]),
        ("disable_log_requests", "0.32.0", ["has no flag", "not logged by default"]),
        ("attention_backend=FLASHINFER", "0.11.0", ["came with 0.13", "VLLM_ATTENTION_BACKEND"]),
        ("quantization=auto_awq", "0.15.1", ["in vLLM 0.15.1 (0.29 has it, 0.23 does not)"]),
        ("quantization=bitsandbytes", "0.32.0", ["in vLLM 0.32.0 (0.23 has it, 0.29 does not)"]),
        ("quantization=awq_marlyn", "0.15.1", ["did you mean 'awq_marlin'"]),
        ("kv_cache_dtype=int8_per_token_head", "0.15.1", ["it came with 0.20"]),
        ("max_num_partial_prefills=4", "0.15.1", ["refuses to start"]),
        ("max_num_seqs=many", "0.15.1", ["whole number"]),
        ("max_num_seqs=1.5", "0.15.1", ["whole number"]),
        ("max_num_seqs", "0.15.1", ["needs a value"]),
        ("enforce_eager=perhaps", "0.15.1", ["true or false"]),
        ("speculative_config=[1]", "0.15.1", ["JSON object"]),
        ("max_num_seqs=8", "newest", ["not a vLLM version"]),
    ],
)
def test_an_error_is_one_sentence(pair: str, version: str, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        parse_set([pair], version)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"max_num_batched_tokens": 32, "max_num_seqs": 64}, ["below max_num_seqs"]),
        ({"enable_chunked_prefill": False, "max_num_batched_tokens": 1024, "max_model_len": 2048}, ["chunked prefill"]),
        ({"enforce_eager": True, "compilation_config": {"cudagraph_mode": "FULL_DECODE_ONLY"}}, ["CUDA graphs off"]),
        ({"compilation_config": {"mode": 0, "cudagraph_mode": "FULL_AND_PIECEWISE"}}, ["needs compilation"]),
        ({"gpu_memory_utilization": 1.2}, ["share"]),
        ({"max_num_seqs": 0}, ["at least 1"]),
        ({"max_model_len": -7}, ["max_model_len"]),
        ({"speculative_config": {"method": "draft_model", "num_speculative_tokens": 3}}, ["needs a model"]),
        ({"speculative_config": {"method": "ngram"}}, ["num_speculative_tokens"]),
        ({"speculative_config": {"num_speculative_tokens": 3}}, ["neither a method nor a model"]),
        ({"async_scheduling": True, "speculative_config": {"method": "ngram", "num_speculative_tokens": 3}}, ["async"]),
        ({"long_prefill_token_threshold": 4096, "max_model_len": 2048}, ["long_prefill_token_threshold"]),
        ({"dtype": "float8"}, ["not a value of this flag"]),
    ],
)
def test_contradictions_are_refused(flags: dict[str, object], words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        validate(EngineConfig(model="m").with_change(flags), "0.15.1")  # type: ignore[arg-type]
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_valid_flags_pass_and_idle_ones_are_reported() -> None:
    config = EngineConfig(model="m", max_num_seqs=8, enable_chunked_prefill=True, gpu_memory_utilization=0.9)
    assert validate(config, "0.15.1") == [
        "gpu_memory_utilization=0.9 is the default of vLLM 0.15.1",
        "enable_chunked_prefill=True is the default of vLLM 0.15.1",
    ]
    assert validate(EngineConfig(model="m", max_model_len=-1), "0.32.0") == []
    spec = {"method": "draft_model", "model": "small", "num_speculative_tokens": 3}
    assert validate(EngineConfig(model="m", async_scheduling=False, speculative_config=spec), "0.15.1") == []


def test_between_the_known_releases_it_says_that_it_does_not_know() -> None:
    assert (
        "may lack watermark: 0.29 has it, 0.23 does not"
        in validate(EngineConfig(model="m", watermark=0.05), "0.26.0")[0]
    )
    assert "auto_awq" in choices("quantization", "0.26.0")
    assert "bitsandbytes" in choices("quantization", "0.26.0")
    assert "auto_awq" not in choices("quantization", "0.23.0")


def test_defaults_change_with_the_version() -> None:
    assert default("gpu_memory_utilization", "0.15.1") == 0.9
    assert default("gpu_memory_utilization", "0.32.0") == 0.92
    assert default("max_num_seqs", "0.32.0") is None


def test_every_field_of_the_configuration_is_registered() -> None:
    fields = set(EngineConfig.model_fields) - {"model", "other_flags"}
    assert fields <= set(registry())


_PLAIN = sorted(n for n, e in registry().items() if e.type in ("bool", "int", "float") and not e.broken)


@given(st.lists(st.sampled_from(_PLAIN), unique=True, max_size=8), st.integers(1, 4000), st.booleans())
def test_the_command_line_has_exactly_the_flags_that_were_set(names: list[str], number: int, truth: bool) -> None:
    pairs = []
    for name in names:
        entry = registry()[name]
        value = str(truth).lower() if entry.type == "bool" else str(number)
        pairs.append(f"{name}={value}")
    version = "0.32.0"
    usable = [p for p in pairs if registry()[p.split("=")[0]].releases.has(parse_version(version))]
    words = command_line(EngineConfig(model="m").with_change(parse_set(usable, version)))
    for pair in usable:
        name, value = pair.split("=")
        dashed = name.replace("_", "-")
        if registry()[name].type == "bool":
            assert (f"--{dashed}" if truth else f"--no-{dashed}") in words
        else:
            assert words[words.index(f"--{dashed}") + 1] == value
