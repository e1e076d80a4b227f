"""The configurations of a space: which are in, which are out, and in which order."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cases import LLAMA, context, published, values_of

from rooftune.errors import InputError
from rooftune.knobs.context import Named, SpaceContext
from rooftune.knobs.effective import effective_key
from rooftune.knobs.space import configurations, neighbours, space
from rooftune.vllm_rules.validation import validate


@pytest.fixture(scope="module")
def t4() -> SpaceContext:
    return published()


@pytest.fixture(scope="module")
def l4() -> SpaceContext:
    return context(flags={"max_model_len": 4096})


@pytest.mark.parametrize("case", ["t4", "l4"])
def test_one_gpu_has_hundreds_of_configurations_and_the_baseline_is_the_first(
    case: str, request: pytest.FixtureRequest
) -> None:
    found = configurations(request.getfixturevalue(case))
    assert 500 <= len(found) <= 3000
    assert found[0].change == {}
    assert found[0].name == "baseline"
    assert all(c.change for c in found[1:])


@pytest.mark.parametrize("case", ["t4", "l4"])
def test_every_configuration_starts_by_the_rules_and_none_equals_another(
    case: str, request: pytest.FixtureRequest
) -> None:
    c: SpaceContext = request.getfixturevalue(case)
    keys = []
    for found in configurations(c):
        config = found.config(c.baseline)
        validate(config, c.engine_version)
        start = c.start_of(config)
        assert start is not None
        assert start.resolved is not None, found.name
        keys.append(effective_key(config, start.resolved, c.engine_version))
    assert len(keys) == len(set(keys))


def test_a_threshold_that_no_step_reaches_is_not_another_configuration(l4: SpaceContext) -> None:
    found = [c.change for c in configurations(l4) if "long_prefill_token_threshold" in c.change]
    assert found
    assert all(c["long_prefill_token_threshold"] < c.get("max_num_batched_tokens", 2048) for c in found)


def test_the_order_is_fixed_and_begins_with_few_changes(l4: SpaceContext) -> None:
    first, second = configurations(l4), configurations(replace(l4))
    assert [c.change for c in first] == [c.change for c in second]
    counts = [len(c.knobs) for c in first]
    assert counts == sorted(counts)


def test_the_known_best_configurations_are_in_the_space(t4: SpaceContext, l4: SpaceContext) -> None:
    on_t4 = [dict(c.change) for c in configurations(t4)]
    best = {"quantization": "awq_marlin", "kv_cache_dtype": "fp8", "enforce_eager": None, "max_num_seqs": 128}
    assert best in on_t4
    on_l4 = [dict(c.change) for c in configurations(l4)]
    assert {"quantization": "fp8", "kv_cache_dtype": "fp8", "max_num_batched_tokens": 512} in on_l4


def test_members_of_a_family_differ_in_limits_only(l4: SpaceContext) -> None:
    found = configurations(l4)
    limits = [c for c in found if set(c.change) <= {"max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization"}]
    assert len(limits) > 20
    assert {c.family for c in limits} == {found[0].family}
    fp8 = next(c for c in found if c.change == {"quantization": "fp8"})
    assert fp8.family != found[0].family


def test_weights_and_kv_type_change_outputs_and_kernels_do_not(t4: SpaceContext) -> None:
    by_change = {str(dict(c.change)): c for c in configurations(t4)}
    assert not by_change["{'quantization': 'awq_marlin'}"].changes_outputs
    assert not by_change["{'max_num_seqs': 64}"].changes_outputs
    assert by_change["{'kv_cache_dtype': 'fp8'}"].changes_outputs


def test_a_name_lists_everything_that_is_set(t4: SpaceContext) -> None:
    found = next(c for c in configurations(t4) if set(c.change) == {"quantization", "kv_cache_dtype", "max_num_seqs"})
    assert found.name.startswith("Marlin kernel for the AWQ weights, FP8 KV cache, max_num_seqs ")
    assert found.knobs == ("weights", "kv_cache_dtype", "max_num_seqs")


def test_one_value_pins_a_knob_and_several_narrow_it(l4: SpaceContext) -> None:
    found = configurations(replace(l4, values={"max_num_seqs": (64,), "kv_cache_dtype": ("fp8", "auto")}))
    assert all(c.change.get("max_num_seqs") == 64 for c in found[1:])
    assert values_of(found, "kv_cache_dtype") == {"fp8"}
    assert any("kv_cache_dtype" not in c.change for c in found[1:])


def test_named_values_widen_a_knob_and_any_flag_can_become_one(l4: SpaceContext) -> None:
    found = configurations(replace(l4, values={"max_num_seqs": (12, 48), "watermark": (None, 0.05)}))
    assert values_of(found, "max_num_seqs") == {12, 48}
    assert values_of(found, "watermark") == {0.05}


def test_a_knob_pinned_to_the_baseline_is_never_set(l4: SpaceContext) -> None:
    found = configurations(replace(l4, values={"weights": (None,), "kv_cache_dtype": (None,)}))
    assert not any(c.changes_outputs for c in found)
    assert len(found) > 50


def test_composite_values_have_names(t4: SpaceContext) -> None:
    found = configurations(replace(t4, values={"graphs": ("graphs",), "weights": ("awq_marlin",)}))
    assert all(c.change["enforce_eager"] is None and c.change["quantization"] == "awq_marlin" for c in found[1:])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"max_num_seq": (64,)}, "did you mean 'max_num_seqs'"),
        ({"kv_cache_dtype": ("fp9",)}, "is not a value of this flag"),
    ],
)
def test_a_wrong_restriction_is_an_error(l4: SpaceContext, values: dict[str, tuple[str, ...]], words: str) -> None:
    with pytest.raises(InputError, match=words):
        space(replace(l4, values=values))


def test_named_changes_are_added_as_they_are(l4: SpaceContext) -> None:
    own = Named("odd", {"max_num_seqs": 37, "block_size": 32})
    found = configurations(replace(l4, named=(own,)))
    assert found[1].change == own.change
    assert found[1].name == "odd (max_num_seqs 37, block_size 32)"
    assert found[1].values["max_num_seqs"] == 37


def test_named_changes_are_combined_with_the_families_and_with_any_configuration(l4: SpaceContext) -> None:
    own = Named("wide", {"block_size": 32})
    c = replace(l4, named=(own,))
    found = configurations(c)
    with_fp8 = next(x for x in found if x.change == {"quantization": "fp8", "kv_cache_dtype": "fp8", "block_size": 32})
    assert with_fp8.name == "FP8 weights, FP8 KV cache, wide (block_size 32)"
    assert with_fp8.values["wide"] == "wide"
    assert found[0].values["wide"] == "baseline"
    around = next(x for x in found if x.change == {"quantization": "fp8", "max_num_seqs": 64})
    near = neighbours(c, around)
    combined = next(x for x in near if x.change == {"quantization": "fp8", "max_num_seqs": 64, "block_size": 32})
    assert {"quantization": "fp8", "max_num_seqs": 64} in [dict(x.change) for x in neighbours(c, combined)]


def test_a_named_change_is_combined_although_it_sets_a_pinned_knob(l4: SpaceContext) -> None:
    c = replace(l4, named=(Named("small", {"max_num_seqs": 5}),), values={"max_num_seqs": (64,)})
    found = configurations(c)
    with_fp8 = next(x for x in found if x.change == {"quantization": "fp8", "max_num_seqs": 5})
    assert with_fp8.knobs == ("weights", "small")
    assert any(x.change.get("kv_cache_dtype") == "fp8" for x in neighbours(c, with_fp8))
    assert all("max_num_seqs" in x.change for x in [*found[1:], *neighbours(c, with_fp8)])


def test_a_named_change_replaces_the_knob_that_it_sets_and_keeps_its_values_whole(l4: SpaceContext) -> None:
    c = replace(l4, named=(Named("small", {"max_num_seqs": 5}),))
    around = next(x for x in configurations(c) if x.change == {"quantization": "fp8", "max_num_seqs": 64})
    combined = next(x for x in neighbours(c, around) if x.change == {"quantization": "fp8", "max_num_seqs": 5})
    assert combined.knobs == ("weights", "small")
    assert all(
        "small" not in x.labels or x.change["max_num_seqs"] == 5 for x in [*configurations(c), *neighbours(c, combined)]
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"max_num_seqs": 256}, "the engine would run it as the baseline"),
        ({"gpu_memory_utilization": 0.3}, "rule"),
        ({"block_size": 32}, "the installed engine does not list --block-size"),
    ],
)
def test_a_named_change_that_is_left_out_has_its_reason(
    l4: SpaceContext, change: dict[str, int | float], reason: str
) -> None:
    flags = frozenset({"max_num_seqs", "gpu_memory_utilization"})
    found = space(replace(l4, named=(Named("mine", change),), engine_flags=flags))
    assert not any("mine" in c.labels for c in found.configurations)
    assert next(d.reason for d in found.dropped if d.what == "mine").startswith(reason)


def test_a_named_change_may_have_the_name_of_a_knob(l4: SpaceContext) -> None:
    found = configurations(replace(l4, named=(Named("max_num_seqs", {"max_num_seqs": 5}),)))
    assert found[1].values["max_num_seqs"] == 5
    assert found[1].labels == {"own max_num_seqs": "max_num_seqs (max_num_seqs 5)"}


def test_values_are_coordinates_of_every_configuration(l4: SpaceContext) -> None:
    found = configurations(l4)
    assert found[0].values["max_num_seqs"] == 256
    assert found[0].values["weights"] == "baseline"
    assert len({tuple(c.values) for c in found}) == 1, "every configuration has the same knobs in the same order"
    assert len({tuple(c.values.values()) for c in found}) == len(found)
    best = next(c for c in found if c.change == {"quantization": "fp8", "max_num_seqs": 64})
    assert (best.values["weights"], best.values["max_num_seqs"]) == ("fp8", 64)
    assert "weights=fp8 by fp8" in best.families


def test_what_was_dropped_is_said_with_its_reason(t4: SpaceContext) -> None:
    reasons = {d.what: d.reason for d in space(t4).dropped}
    assert "it came with 0.20" in reasons["INT8 KV cache"]
    assert "another configuration" in " ".join(d.reason for d in space(t4).dropped if d.what == "combinations")


def test_flags_that_the_installed_engine_does_not_list_are_left_out(l4: SpaceContext) -> None:
    flags = frozenset({"max_num_seqs", "quantization"})
    found = space(replace(l4, engine_flags=flags))
    assert {name for c in found.configurations for name in c.change} <= flags
    assert any("does not list --kv-cache-dtype" in d.reason for d in found.dropped)


def test_flags_that_contradict_each_other_are_never_combined(l4: SpaceContext) -> None:
    found = space(replace(l4, values={"graphs": ("eager", "graphs"), "cuda_graph_sizes": (None, 64)}))
    both = [
        c for c in found.configurations if c.change.get("enforce_eager") and "max_cudagraph_capture_size" in c.change
    ]
    assert both == []
    assert any("no sizes to capture" in d.reason for d in found.dropped)
    assert any("max_cudagraph_capture_size" in c.change for c in found.configurations)


def test_an_endpoint_has_its_baseline_only(l4: SpaceContext) -> None:
    assert len(configurations(replace(l4, engine="endpoint"))) == 1


def test_a_model_that_is_not_known_still_has_a_space() -> None:
    c = context(model="someone/unheard-of-model", engine="vllm")
    found = configurations(c)
    assert len(found) > 100
    assert not any(x.predictable for x in found)
    assert len({str(dict(x.change)) for x in found}) == len(found)


def test_several_gpus_bring_tensor_parallelism() -> None:
    c = context("A100-80", LLAMA, count=4)
    found = configurations(c)
    assert values_of(found, "tensor_parallel_size") == {2, 4}
    assert {x.gpus for x in found} == {1, 2, 4}
    assert len(found) <= 4000


def test_neighbours_differ_in_one_knob_and_have_finer_steps(l4: SpaceContext) -> None:
    around = next(c for c in configurations(l4) if c.change == {"quantization": "fp8", "max_num_seqs": 64})
    found = neighbours(l4, around)
    assert {"quantization": "fp8", "max_num_seqs": 48} in [dict(c.change) for c in found]
    assert {"quantization": "fp8"} in [dict(c.change) for c in found]
    assert {"max_num_seqs": 64} in [dict(c.change) for c in found]
    for other in found:
        differ = {k for k in {**around.change, **other.change} if around.change.get(k) != other.change.get(k)}
        assert len(differ) == 1, other.name
