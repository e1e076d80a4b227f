"""Workload files: what they say, what is wrong with them, and the schema for editors."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from rooftune.errors import InputError
from rooftune.workloads.identity import workload_hash
from rooftune.workloads.load import load_workload, own_workload_files, workload_files
from rooftune.workloads.schema import json_schema
from rooftune.workloads.spec import Constraint, Empirical, Workload

FOLDER = Path(__file__).parents[2] / "workloads"
NAMES = {"chat-low", "chat-medium", "chat-high", "rag-medium", "code-medium", "mixed", "burst"}
TEXT = """name: mine
arrivals:
  process: poisson
  rate_per_s: 2
prompt_tokens:
  distribution: fixed
  value: 10
output_tokens:
  distribution: fixed
  value: 20
duration_s: 30
"""


def load(folder: Path, text: str) -> Workload:
    path = folder / "mine.yaml"
    path.write_text(text)
    return load_workload(str(path))


def test_every_workload_of_the_repository_loads() -> None:
    assert set(workload_files()) >= NAMES
    for name in NAMES:
        workload = load_workload(name)
        assert workload.name == name
        assert workload.description


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda p: p.stem)
def test_files_agree_with_the_schema_that_editors_use(path: Path) -> None:
    import json

    assert path.read_text().startswith("# yaml-language-server: $schema=workload.schema.json\n")
    schema = json.loads((FOLDER / "workload.schema.json").read_text())
    jsonschema.validate(YAML(typ="safe").load(path), schema)


def test_the_schema_file_is_generated_from_the_spec() -> None:
    assert (FOLDER / "workload.schema.json").read_text() == json_schema(), "run python -m rooftune.workloads.schema"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("rate_per_s: 2", "rate_per_second: 2", ["line 4", "'rate_per_second'", "did you mean 'rate_per_s'"]),
        ("duration_s: 30", "duration: 30", ["line 11", "'duration'", "did you mean 'duration_s'"]),
        ("value: 20", "valu: 20", ["line 10", "'valu'", "did you mean 'value'"]),
        ("rate_per_s: 2", "rate_per_s: fast", ["line 4", "rate_per_s", "'fast'"]),
        ("process: poisson", "process: poison", ["line", "did you mean 'poisson'"]),
        ("duration_s: 30", "duration_s: -1", ["line 11", "greater than 0"]),
        ("duration_s: 30", "", ["duration_s is missing"]),
        ("name: mine", "name: [", ["not valid YAML"]),
        ("name: mine", "name: Mine!", ["line 1"]),
        ("duration_s: 30", "duration_s: 3\x1b0", ["line 11", r"the character '\x1b' is not allowed in YAML"]),
        ("duration_s: 30", "duration_s: .inf", ["line 11", "duration_s", "finite number"]),
        ("duration_s: 30", "duration_s: 2026-13-45", ["line 11", "duration_s", "'2026-13-45'"]),
        (
            "value: 20",
            "value: 99999999999999999999",
            ["line 10", "output_tokens.value", "less than or equal to 10000000"],
        ),
        ("duration_s: 30", "duration_s: &a [*a]", ["line 11", "valid number"]),
    ],
)
def test_an_error_reports_the_file_with_its_line_and_the_nearest_key(
    tmp_path: Path, before: str, after: str, said: list[str]
) -> None:
    with pytest.raises(InputError) as error:
        load(tmp_path, TEXT.replace(before, after))
    for part in said:
        assert part in str(error.value)
    assert "mine.yaml" in str(error.value)


@pytest.mark.parametrize("text", ["", "- 1\n", "word"])
def test_a_file_without_a_mapping_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="mapping"):
        load(tmp_path, text)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'chat-medium'"):
        load_workload("chat-medum")


def test_lengths_from_a_file_count_from_the_workload_file(tmp_path: Path) -> None:
    (tmp_path / "lengths.txt").write_text("5\n7\n7\n")
    text = TEXT.replace("  distribution: fixed\n  value: 20", "  distribution: empirical\n  file: lengths.txt")
    lengths = load(tmp_path, text).output_tokens
    assert isinstance(lengths, Empirical)
    assert lengths.values == [5, 7, 7]
    (tmp_path / "lengths.txt").write_text("5\nmany\n")
    with pytest.raises(InputError, match="entry 2 is 'many'"):
        load(tmp_path, text)


def test_the_hash_follows_what_is_sent_and_not_how_it_is_described(tmp_path: Path) -> None:
    first = load(tmp_path, TEXT)
    assert workload_hash(first) == workload_hash(load(tmp_path, TEXT + "description: other words\n"))
    assert workload_hash(first) != workload_hash(load(tmp_path, TEXT.replace("rate_per_s: 2", "rate_per_s: 3")))
    assert workload_hash(first) == workload_hash(first.model_copy(update={"seed": first.seed + 1})), "one workload"


def test_parts_and_lengths_exclude_each_other(tmp_path: Path) -> None:
    part = (
        "parts:\n  - weight: 1\n    prompt_tokens: {distribution: fixed, value: 3}\n    "
        "output_tokens: {distribution: fixed, value: 3}\n"
    )
    with pytest.raises(InputError, match="exclude each other"):
        load(tmp_path, TEXT + part)


def test_a_limit_on_the_answer_needs_the_api_that_separates_it(tmp_path: Path) -> None:
    thinking = TEXT + "slo: {answer_ttft_ms: 8000}\n"
    with pytest.raises(InputError, match=r"line 1: slo\.answer_ttft_ms needs .*endpoint: chat"):
        load(tmp_path, thinking)
    assert load(tmp_path, thinking + "endpoint: chat\n").slo.limits_ms() == {"answer_ttft_ms": 8000}
    (tmp_path / "asked.jsonl").write_text('{"messages": [{"role": "user", "content": "Why?"}]}\n')
    asked = "name: w\nprompts: {file: asked.jsonl}\nduration_s: 9\nslo: {answer_ttft_ms: 8000}\n"
    assert load(tmp_path, asked + "arrivals: {process: poisson, rate_per_s: 2}\n").chat, "the file has messages"


def test_own_workloads_come_first_and_shipped_ones_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = workload_files()
    own = tmp_path / "workloads" / "chat-low.yaml"
    own.parent.mkdir()
    own.write_text(shipped["chat-low"].read_text().replace("seed: 1", "seed: 7"))
    assert workload_files() == {**shipped, "chat-low": own}
    assert load_workload("chat-low").seed == 7
    assert own_workload_files() == {"chat-low": own}


@pytest.mark.parametrize(
    ("arrivals", "slo", "decides"),
    [
        ({"process": "poisson", "rate_per_s": 2}, {"ttft_ms": 500}, "capacity"),
        ({"process": "gamma", "rate_per_s": 2, "burstiness": 0.5}, {"tpot_ms": 50}, "capacity"),
        ({"process": "poisson", "rate_per_s": 2}, {}, "output_throughput"),
        ({"process": "closed", "concurrency": 2}, {"ttft_ms": 500}, "output_throughput"),
        ({"process": "ramp", "from_rate_per_s": 1, "to_rate_per_s": 2}, {"ttft_ms": 500}, "output_throughput"),
    ],
)
def test_the_capacity_decides_where_there_is_an_slo_and_a_rate(
    arrivals: dict[str, object], slo: dict[str, object], decides: str
) -> None:
    lengths = {"distribution": "fixed", "value": 8}
    fields = {"name": "x", "prompt_tokens": lengths, "output_tokens": lengths, "duration_s": 10}
    assert Workload.model_validate({**fields, "arrivals": arrivals, "slo": slo}).decides == decides


def test_a_constraint_has_one_bound() -> None:
    with pytest.raises(ValueError, match="either at_most or at_least"):
        Constraint(metric="p99_ttft_ms")
    bound = Constraint(metric="output_throughput", at_least=100)
    assert bound.allows(100)
    assert not bound.allows(99)
