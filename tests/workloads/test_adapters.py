"""LoRA adapters: each request asks for one by its share, and servers get the flags for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rooftune.errors import InputError
from rooftune.loadgen.job import split
from rooftune.loadgen.request_bodies import RequestBodies
from rooftune.loadgen.summary import LoadOptions
from rooftune.vllm_rules.adapters import adapter_flags, adapter_names
from rooftune.workloads.draw import draw
from rooftune.workloads.identity import workload_hash
from rooftune.workloads.load import as_workload, load_workload
from rooftune.workloads.prompts import prompt_token_ids
from rooftune.workloads.request_plan import RequestPlan
from rooftune.workloads.spec import Workload
from rooftune.workloads.texts.sampling import Sampling

BASE: dict[str, Any] = {
    "name": "w",
    "arrivals": {"process": "poisson", "rate_per_s": 100},
    "prompt_tokens": {"distribution": "fixed", "value": 64},
    "output_tokens": {"distribution": "fixed", "value": 4},
    "duration_s": 40,
}
LORA = [{"name": "sql", "share": 0.5, "path": "org/sql", "rank": 64}, {"name": "chat", "share": 0.2, "path": "/a/chat"}]


def workload(**changes: Any) -> Workload:
    return as_workload({**BASE, "lora": LORA, **changes}, "w")


def names_of(plan: RequestPlan) -> list[str]:
    assert plan.adapter is not None
    return [(*plan.adapters, "")[k] for k in plan.adapter]


def test_shares_are_those_of_the_workload() -> None:
    names = names_of(draw(workload()))
    assert names.count("sql") / len(names) == pytest.approx(0.5, abs=0.03)
    assert names.count("chat") / len(names) == pytest.approx(0.2, abs=0.03)
    assert names.count("") / len(names) == pytest.approx(0.3, abs=0.03)


def test_a_workload_without_adapters_is_drawn_and_hashed_as_before() -> None:
    plain = as_workload(BASE, "w")
    assert draw(plain).adapter is None
    assert (draw(plain).prompt_seed == draw(workload()).prompt_seed).all()
    assert workload_hash(plain) != workload_hash(workload())
    assert workload_hash(plain) == "adf4a33f3185e3e0"
    elsewhere = [{**a, "path": "/other"} for a in LORA]
    assert workload_hash(workload(lora=elsewhere)) == workload_hash(workload())


def test_a_conversation_keeps_its_adapter() -> None:
    talks = {"turns": {"distribution": "uniform", "low": 2, "high": 5}}
    plan = draw(workload(conversations=talks))
    assert plan.adapter is not None
    for c in np.unique(plan.conversation):
        assert len(set(plan.adapter[plan.conversation == c])) == 1


def test_prefixes_of_two_adapters_are_different_text() -> None:
    plan = draw(workload(shared_prefix={"share": 1.0, "tokens": 32}))
    begins = {name: {tuple(prompt_token_ids(plan, i)[:32]) for i, n in enumerate(names_of(plan)) if n == name}
              for name in ("", "sql", "chat")}  # fmt: skip
    assert {len(found) for found in begins.values()} == {1}
    assert len(set.union(*begins.values())) == 3


@pytest.mark.parametrize("endpoint", ["completions", "chat"])
def test_requests_name_their_adapter_also_in_a_split_plan(endpoint: str) -> None:
    plan = draw(workload(endpoint=endpoint))
    names = names_of(plan)
    options = LoadOptions(url="http://x", model="base", endpoint=endpoint)  # type: ignore[arg-type]
    for share in split(plan, 3):
        bodies = RequestBodies(share.plan, options, Sampling(), ignore_eos=True)
        for i in range(0, len(share.index), 50):
            assert json.loads(bodies.body(i))["model"] == (names[share.index[i]] or "base")


def test_a_trace_decides_which_request_asks_for_what(tmp_path: Path) -> None:
    rows = [
        {"arrival_s": i, "prompt_tokens": 20, "output_tokens": 2, "adapter": a}
        for i, a in enumerate(["sql", "", "new", "chat"])
    ]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    trace = {"process": "trace", "file": str(tmp_path / "t.jsonl")}
    plan = draw(as_workload({"name": "t", "arrivals": trace, "duration_s": 9, "lora": LORA}, "t"))
    assert names_of(plan) == ["sql", "", "", "chat"]
    assert any("requests for new ask for the model" in note for note in plan.notes)
    assert draw(as_workload({"name": "t", "arrivals": trace, "duration_s": 9}, "t")).adapter is None


def test_the_flags_have_every_adapter_in_one_batch() -> None:
    assert adapter_flags([]) == {}
    flags = adapter_flags(workload().lora)
    assert flags == {
        "enable_lora": True,
        "max_loras": 2,
        "max_lora_rank": 64,
        "lora_modules": "sql=org/sql chat=/a/chat",
    }
    assert adapter_names(flags) == ["sql", "chat"]


def test_an_adapter_beside_the_workload_is_found(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "w.yaml").write_text(
        json.dumps(
            {
                **BASE,
                "lora": [{"name": "a", "share": 0.1, "path": "mine"}, {"name": "b", "share": 0.1, "path": "org/b"}],
            }
        )
    )
    assert [a.path for a in load_workload(str(tmp_path / "w.yaml")).lora] == [str(tmp_path / "mine"), "org/b"]


@pytest.mark.parametrize(
    ("lora", "sentence"),
    [
        ([{"name": "a", "share": 0.7}, {"name": "b", "share": 0.6}], "the shares add up to 1.3"),
        ([{"name": "a", "share": 0.1}, {"name": "a", "share": 0.1}], "two adapters have the same name"),
        ([{"name": "a b", "share": 0.1}], "lora.0.name"),
        ([{"name": "a", "share": 0.1, "rnk": 8}], "unknown key 'rnk' in lora.0 .did you mean 'rank'"),
    ],
)
def test_what_cannot_be_is_refused(lora: list[dict[str, object]], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        workload(lora=lora)
