"""rooftune doctor: the knob that follows from metrics and log, and a look at a server over HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rooftune.doctor.configuration import configuration_findings, read_log
from rooftune.doctor.diagnosis import DoctorFinding
from rooftune.doctor.examine import diagnosis, examine, measuring_command
from rooftune.doctor.load import Watch, load_findings
from rooftune.doctor.watch import Watched
from rooftune.engines.logs import read_effective
from rooftune.engines.metrics import parse
from rooftune.engines.server import EffectiveConfig
from rooftune.errors import EngineError, InputError
from rooftune.knobs.entry import knob

QUIET = {
    "running": 3.0, "waiting": 0.0, "kv_usage": 0.2, "preemptions_total": 0.0, "request_success_total": 100.0,
    "generation_tokens_total": 1000.0, "prefix_queries_total": 1000.0, "prefix_hits_total": 400.0,
}  # fmt: skip
EFFECTIVE = EffectiveConfig(model="m", max_num_seqs=64, max_num_batched_tokens=2048, prefix_caching=True)
AWQ = (
    "INFO 11-27 10:00:01 [awq_marlin.py:126] Detected that the model can run with awq_marlin, however you specified "
    "quantization=awq explicitly, so forcing awq. Use quantization=awq_marlin for faster inference\n"
)
ARGUMENTS = (
    "INFO 11-27 10:00:00 [utils.py:233] non-default args: {'model': 'm', 'quantization': 'awq', 'max_num_seqs': 64}\n"
)


def found(effective: EffectiveConfig = EFFECTIVE, **changed: float) -> dict[str, DoctorFinding]:
    """Findings of a server whose gauges are constant and whose counters grow as ``grown_<name>`` says."""
    grown = {k.removeprefix("grown_"): v for k, v in changed.items() if k.startswith("grown_")}
    first = {**QUIET, **{k: v for k, v in changed.items() if not k.startswith("grown_")}}
    last = {**first, **{k: first.get(k, 0.0) + v for k, v in grown.items()}}
    return {f.id: f for f in load_findings(Watch(Watched([0.0, 10.0], [first, last], ""), effective))}


def test_a_quiet_server_has_no_problem() -> None:
    assert {f.severity for f in found().values()} == {"fine"}


@pytest.mark.parametrize(
    ("changed", "id", "knob_name", "flags"),
    [
        ({"waiting": 9, "running": 64, "kv_usage": 0.4}, "queue", "max_num_seqs", ["max_num_seqs=128"]),
        ({"waiting": 9, "running": 30, "kv_usage": 0.97}, "queue", "kv_cache_dtype", ["kv_cache_dtype=fp8"]),
        ({"waiting": 9, "running": 64, "kv_usage": 0.97}, "queue", "kv_cache_dtype", ["kv_cache_dtype=fp8"]),
        ({"waiting": 9, "running": 30, "kv_usage": 0.4}, "queue", "max_num_batched_tokens",
         ["max_num_batched_tokens=4096"]),
        ({"kv_usage": 0.95}, "kv", "kv_cache_dtype", ["kv_cache_dtype=fp8"]),
        ({"preemptions_total": 5}, "preemptions", "max_num_seqs", ["max_num_seqs=32"]),
        ({"grown_preemptions_total": 1}, "preemptions", "max_num_seqs", ["max_num_seqs=32"]),
        ({"ttft_sum_s": 10, "ttft_count": 10, "queue_sum_s": 8, "queue_count": 10}, "ttft", "replicas", []),
        ({"spec_draft_tokens_total": 100, "spec_accepted_tokens_total": 20}, "speculation", "speculation", []),
    ],
)  # fmt: skip
def test_what_limits_the_server_names_the_knob(
    changed: dict[str, float], id: str, knob_name: str, flags: list[str]
) -> None:
    finding = found(**changed)[id]
    assert finding.severity == "problem"
    assert (finding.knob, finding.flags) == (knob_name, flags)
    assert finding.evidence
    assert knob(knob_name)


def test_what_happens_now_counts_more_than_what_happened() -> None:
    """A server that has queued once, but no longer does, has no problem."""
    before = {"ttft_sum_s": 100.0, "ttft_count": 10.0, "queue_sum_s": 90.0, "queue_count": 10.0}
    now = {"grown_ttft_sum_s": 1.0, "grown_ttft_count": 10.0, "grown_queue_sum_s": 0.1, "grown_queue_count": 10.0}
    assert found(**before)["ttft"].severity == "problem"
    assert found(**before, **now)["ttft"].severity == "fine"


def test_a_prefix_cache_that_is_off_is_worth_trying_and_one_without_hits_is_not_blamed() -> None:
    off = found(EFFECTIVE.model_copy(update={"prefix_caching": False}))["prefix-cache"]
    assert (off.severity, off.knob) == ("advice", "prefix_caching")
    assert found(prefix_hits_total=1)["prefix-cache"].severity == "fine"


def test_the_log_recommends_and_warns_with_its_line() -> None:
    log = ARGUMENTS + AWQ
    findings = {f.id: f for f in configuration_findings(read_effective(log), log)}
    finding = findings["log-recommends"]
    assert (finding.knob, finding.flags) == ("weights", ["quantization=awq_marlin"])
    assert finding.evidence.startswith('line 2: "Detected that')
    assert "log-warns" not in findings, "the line has been quoted"
    fallback = "WARNING 11-27 10:00:02 [x.py:1] Layer 'a.b' is not supported by AutoAWQMarlin. "
    log += fallback + "Falling back to unoptimized AWQ kernels.\n"
    warned = {f.id: f for f in configuration_findings(read_effective(log), log)}["log-warns"]
    assert warned.sentence.startswith("The log warns: layer a.b runs on the slow AWQ kernel")
    assert warned.evidence.startswith("line 3: \"Layer 'a.b'")


def test_without_a_log_the_doctor_says_what_it_does_not_know() -> None:
    assert [f.id for f in configuration_findings(EFFECTIVE, "")] == ["log"]


def test_an_overridden_flag_and_eager_mode() -> None:
    effective = EffectiveConfig(
        quantization="awq_marlin", enforce_eager=True, raw={"passed": {"quantization": "awq", "max_model_len": None}}
    )
    findings = {f.id: f for f in configuration_findings(effective, "x")}
    assert findings["overridden"].sentence == "quantization=awq was passed, and the server runs with awq_marlin."
    assert findings["cuda-graphs"].flags == ["enforce_eager=false"]


def test_the_command_measures_the_change_on_the_server_s_own_flags() -> None:
    from flows.cli.app import command_line

    effective = read_effective(ARGUMENTS).model_copy(update={"model": "m"})
    finding = DoctorFinding(id="queue", severity="problem", sentence="", evidence="", flags=["max_num_seqs=128"])
    command = measuring_command(finding, effective, "chat-low")
    assert command == (
        "rooftune optimize chat-low --engine vllm --model m --set quantization=awq --set max_num_seqs=64 "
        "--candidate queue=max_num_seqs=128"
    )
    assert command_line(["optimize"])


def test_an_idle_server_is_not_called_healthy() -> None:
    still = {**QUIET, "running": 0.0}
    result = diagnosis("http://x", Watched([0.0, 2.0], [still, still], ""), EFFECTIVE, "", "chat-low")
    assert not result.busy
    assert "idle" in {f.id for f in result.findings}
    severities = [f.severity for f in result.findings]
    assert severities == sorted(severities, key=["problem", "advice", "not known", "fine"].index)


LOGS = Path(__file__).parents[1] / "engines" / "logs"


@pytest.mark.parametrize(
    ("log", "wanted"),
    [
        ("vllm_0.15.1_t4_awq.txt", {"log-recommends": "problem"}),
        ("vllm_0.32.0_cpu_eager.txt", {"cuda-graphs": "advice"}),
        ("vllm_0.32.0_cpu_compiled.txt", {}),
    ],
)
def test_logs_of_real_servers(log: str, wanted: dict[str, str]) -> None:
    text = read_log(LOGS / log)
    metrics_text = (LOGS / "vllm_0.32.0_metrics.txt").read_text(encoding="utf-8")
    effective = read_effective(text, metrics_text)
    values = parse(metrics_text)
    result = diagnosis("http://x", Watched([0.0, 2.0], [values, values], metrics_text), effective, text, "chat-low")
    severities = {f.id: f.severity for f in result.findings}
    assert {name: severities.get(name) for name in wanted} == wanted
    assert severities["queue"] != "not known", "the names of a real page are known"
    assert severities["kv"] != "not known"
    assert severities["preemptions"] != "not known"
    assert all(f.command for f in result.findings if f.flags)


def page(tokens: int) -> str:
    return (
        '# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{model_name="m"} 4\n'
        'vllm:num_requests_waiting{model_name="m"} 7\nvllm:kv_cache_usage_perc{model_name="m"} 0.3\n'
        f'vllm:generation_tokens_total{{model_name="m"}} {tokens}\n'
        'vllm:cache_config_info{block_size="16",enable_prefix_caching="True",num_gpu_blocks="1000"} 1\n'
    )


@contextmanager
def server(metrics: bool = True) -> Iterator[str]:
    """A server with the pages of vLLM that the doctor reads; it notes every path."""
    asked: list[str] = []

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            bodies = {
                "/v1/models": json.dumps({"data": [{"id": "m", "max_model_len": 4096}]}),
                "/version": json.dumps({"version": "0.32.0"}),
                "/metrics": page(len(asked)) if metrics else None,
            }
            body = bodies.get(self.path)
            self.send_response(200 if body else 404)
            self.end_headers()
            self.wfile.write((body or "").encode())

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as listening:
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}"
        finally:
            listening.shutdown()
            assert not [path for path in asked if "completions" in path], "the doctor sends no load"


async def test_a_look_at_a_server() -> None:
    with server() as url:
        result = await examine(url, 0.5, "", "chat-low")
    assert result.busy
    assert result.effective.engine_version == "0.32.0"
    assert result.effective.kv_cache_tokens == 16_000
    assert {f.id: f.severity for f in result.findings}["queue"] == "problem"
    assert {f.id: f.knob for f in result.findings}["queue"] == "max_num_batched_tokens"


async def test_a_server_without_metrics_is_named() -> None:
    with server(metrics=False) as url, pytest.raises(EngineError, match=r"no /metrics page of vLLM"):
        await examine(url, 0.5, "", "chat-low")


def test_a_log_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--log .* cannot be read"):
        read_log(tmp_path / "none.log")


def test_a_long_log_keeps_its_beginning_and_its_end(tmp_path: Path) -> None:
    path = tmp_path / "vllm.log"
    path.write_text("first\n" + "x" * 9_000_000 + "\nlast\n")
    text = read_log(path)
    assert text.startswith("first")
    assert text.endswith("last\n")
    assert len(text) < 8_500_000
    path.write_text("short\n")
    assert read_log(path) == "short\n"


def test_the_command(capfd: pytest.CaptureFixture[str]) -> None:
    from flows.cli.app import run

    with server() as url:
        assert run(["doctor", "--url", url, "--seconds", "0.5"]) == 0
    out, _ = capfd.readouterr()
    assert "## Problems" in out
    assert "rooftune explain max_num_batched_tokens" in out
