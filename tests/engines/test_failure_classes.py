"""Why an engine did not start: wordings of vLLM 0.8 to 0.33 from its sources and its public issues."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from rooftune.engines.failures import classify, last_exception
from rooftune.engines.log_lines import log_lines

LOGS = Path(__file__).parent / "logs"
PUBLIC = LOGS / "public"

EXPECTED: dict[str, tuple[str, str]] = {
    "ansi-import": ("install", "No module named 'mistral_common'"),
    "cudagraph-oom": ("oom", "2.00 MiB"),
    "flashmla": ("attention", "no FlashMLA kernel for this GPU"),
    "fp8kv-turing": ("attention", "FP8 KV cache"),
    "free-memory": ("memory taken", "3.22 of 4.0 GiB"),
    "gated": ("model", "the model is gated"),
    "gcc-python-h": ("install", "Python.h"),
    "hybrid-kv": ("kv cache", "hybrid KV cache manager is off"),
    "kv-too-small-v0": ("kv memory", "set max_model_len=2400"),
    "models-apostrophe": ("kv memory", "set max_model_len=34736"),
    "no-attention-backend": ("attention", "no attention backend supports"),
    "no-c-compiler": ("install", "there is no C compiler"),
    "no-kernel-image": ("driver", "no kernels for this GPU"),
    "no-kv": ("kv memory", "leave no memory for the KV cache"),
    "nvcc": ("install", "nvcc is missing"),
    "nvcc-file": ("install", "nvcc is missing"),
    "port": ("port", "the port is taken"),
    "ptxas": ("install", "ptxas fatal : Value 'sm_121a' is not defined for option 'gpu-name'"),
    "retried-then-other": ("attention", "attention sinks"),
    "sampler": ("oom", "1024 sequences"),
    "scheme-capability": ("quantization", "compute capability 80, but this GPU has 75"),
    "shm": ("shared memory", "--shm-size"),
    "sinks": ("attention", "FlashAttention 3"),
    "transformers5-tokenizer": ("install", "pin transformers"),
    "trust-remote-code": ("model", "set trust_remote_code=true"),
    "undefined-symbol": ("install", "undefined symbol"),
    "unknown-flag": ("flag", "--swap-space 4"),
}


def test_every_public_log_has_its_reason() -> None:
    assert {path.stem for path in PUBLIC.glob("*.log")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_public_log_is_explained(name: str) -> None:
    kind, words = EXPECTED[name]
    found = classify((PUBLIC / f"{name}.log").read_text(encoding="utf-8"), 1)
    assert found is not None
    assert found.kind == kind
    assert words in str(found), str(found)
    assert found.evidence
    assert "\x1b" not in found.evidence[0]


WORDINGS: list[dict[str, str]] = YAML(typ="safe").load((LOGS / "wordings.yaml").read_text(encoding="utf-8"))

PREFIXES = {
    "none": "",
    "0.8": "ERROR 04-17 15:10:09 [core.py:448] ",
    "0.8 worker": "(VllmWorker rank=1 pid=336) ERROR 04-09 10:29:26 [multiproc_executor.py:374] ",
    "0.6 worker": "(VllmWorkerProcess pid=232) ERROR 08-23 08:25:25 multiproc_worker_utils.py:226] ",
    "0.11": "(EngineCore_DP0 pid=101) ERROR 11-20 10:00:05 [core.py:868] ",
    "0.33": "(Worker pid=7) (Worker_TP1_EP1 pid=7) ERROR 11-20 10:00:05 [multiproc_executor.py:990] ",
    "coloured": "\x1b[1;36m(APIServer pid=1)\x1b[0;0m \x1b[31mERROR\x1b[0m 11-20 10:00:05 [core.py:868] ",
    "journal": "Aug 19 18:34:27 host vllm[8727]: (EngineCore pid=8727) ERROR 08-19 18:34:27 [core.py:1349] ",
    "compose": "vllm-1  | (APIServer pid=1) ",
    "kubernetes": "2026-02-24T20:21:58.123Z stderr F (EngineCore_DP0 pid=6940) ",
    "torch": "[rank0]: ",
}


@pytest.mark.parametrize("wording", WORDINGS, ids=[w["message"][:60] for w in WORDINGS])
def test_a_message_is_explained(wording: dict[str, str]) -> None:
    found = classify(f"Traceback (most recent call last):\n{wording['message']}\n", 1)
    assert found is not None
    assert found.kind == wording["kind"], str(found)
    assert wording["says"] in str(found), str(found)
    assert "; " in str(found), "a sentence has a reason and a way out"


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_prefix_changes_nothing(prefix: str) -> None:
    """Each line of a message has the prefix, whatever wrote it."""
    for wording in WORDINGS:
        lines = ["Traceback (most recent call last):", '  File "x.py", line 3, in f', *wording["message"].split("\n")]
        found = classify("".join(f"{PREFIXES[prefix]}{line}\n" for line in lines), 1)
        assert found is not None
        assert found.kind == wording["kind"], str(found)
        assert wording["says"] in str(found), str(found)


def test_the_parts_of_a_line() -> None:
    (line,) = log_lines("\x1b[1;36m(Worker pid=1)\x1b[0;0m (Worker_TP0 pid=1) ERROR 11-20 10:00:05 [a.py:9]   File x")
    assert (line.process, line.level, line.text) == ("Worker_TP0", "ERROR", "  File x")
    (line,) = log_lines("Loading: 10%\rLoading: 100%\r")
    assert line.text == "Loading: 100%"
    assert log_lines("INFO:     Started server process [1]")[0].quiet
    assert (
        log_lines("2024-12-19 21:40:35 ERROR 56542 [async_llm_engine.py:64] KeyError: 'x'")[0].text == "KeyError: 'x'"
    )
    assert log_lines("vllm: error: unrecognized arguments")[0].level == ""


# ---- the order of causes

OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
SINKS = "AssertionError: Sinks are only supported in FlashAttention 3"
HUB = "Error retrieving file list: (ReadTimeoutError('x')), retrying 1 of 2"


def error(process: str, text: str, *, header: bool = True) -> str:
    head = "Traceback (most recent call last):\n" if header else ""
    return "".join(
        f"({process} pid=9) ERROR 11-20 10:00:05 [core.py:868] {line}\n" for line in (head + text).split("\n")
    )


def kind_of(log: str) -> str:
    found = classify(log, 1)
    assert found is not None
    return found.kind


def test_the_last_cause_counts_and_not_what_the_engine_survived() -> None:
    started = "(APIServer pid=9) INFO 11-20 10:00:00 [utils.py:233] non-default args: {}\n"
    survived = error("APIServer", HUB, header=False)
    assert kind_of(survived) == "model"
    assert kind_of(survived + started + error("EngineCore_DP0", SINKS)) == "attention"
    unknown = classify(survived + started + error("EngineCore_DP0", "KeyError: 'rope'"), 1)
    assert unknown is not None
    assert (unknown.kind, "KeyError: 'rope'" in str(unknown)) == ("died", True)


def test_a_retry_that_another_process_outlived_is_survived() -> None:
    core = "(EngineCore_DP0 pid=3) INFO 11-20 10:00:01 [core.py:65] Initializing a V1 LLM engine (v0.11.0)\n"
    assert kind_of(error("APIServer", HUB, header=False) + core + error("EngineCore_DP0", "KeyError: 'x'")) == "died"


def test_a_worker_that_goes_on_does_not_absolve_another() -> None:
    other = "(Worker_TP1 pid=5) INFO 11-20 10:00:09 [gpu_model_runner.py:1] Model loading took 9.0 GiB\n"
    assert kind_of(error("Worker_TP0", OOM) + other) == "oom"


def test_what_another_failure_caused_is_not_the_reason() -> None:
    peer = "torch.distributed.DistBackendError: NCCL error: remote process exited or there was a network error"
    assert kind_of(error("Worker_TP0", OOM) + error("Worker_TP1", peer)) == "oom"
    assert kind_of(error("Worker_TP1", peer)) == "nccl"
    assert kind_of(error("Worker_TP0", OOM) + error("Worker_TP0", "BrokenPipeError: [Errno 32] Broken pipe")) == "oom"


def test_a_later_unrelated_exception_is_the_reason_and_a_chained_one_is_not() -> None:
    first, second = error("EngineCore", HUB), error("EngineCore", "KeyError: 'rope'")
    assert kind_of(first + second) == "died"
    chained = error("EngineCore", "During handling of the above exception, another exception occurred:", header=False)
    assert kind_of(error("EngineCore", OOM) + chained + second) == "oom"


def test_the_more_specific_of_two_views_of_one_failure_is_told() -> None:
    load = (
        "(EngineCore pid=9) ERROR 11-20 10:00:05 [x.py:1] Failed to load model - not enough GPU memory. Try lowering\n"
    )
    found = classify(load + error("EngineCore", OOM), 1)
    assert "the weights do not fit" in str(found)


def test_the_reason_of_pydantic_is_quoted_behind_any_prefix() -> None:
    log = (
        "(APIServer pid=4) pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n"
        "(APIServer pid=4)   Value error, the moon is in the wrong place [type=value_error, input_value=Args(), x]\n"
        "(APIServer pid=4)     For further information visit https://errors.pydantic.dev/2.12/v/value_error\n"
    )
    assert last_exception(log) == "the moon is in the wrong place"


def test_an_exception_without_words_is_quoted_with_its_line_of_code() -> None:
    log = error(
        "EngineCore", '  File "x.py", line 3, in f\n    assert page % 16 == 0\n           ^^^^^^^^\nAssertionError'
    )
    assert last_exception(log) == "AssertionError at assert page % 16 == 0"


def test_what_follows_a_colon_is_quoted() -> None:
    log = error("EngineCore", "RuntimeError: Compilation of the moon failed:\nsome lines\nmoon.c: error: no such moon")
    assert last_exception(log) == "RuntimeError: Compilation of the moon failed: moon.c: error: no such moon"


def test_a_long_line_is_read_in_time_that_grows_with_its_length() -> None:
    """A pattern that begins with any characters tries each place of a word, and from each reads the word to its end."""

    def seconds(characters: int) -> float:
        took = []
        for _ in range(3):
            begin = time.process_time()
            classify("x" * characters, 1)
            took.append(time.process_time() - begin)
        return min(took)

    assert seconds(40_000) < 40 * seconds(4_000), "ten times as long, not a hundred times"
