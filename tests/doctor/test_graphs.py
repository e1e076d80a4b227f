"""CUDA graphs in the doctor: padding by the samples and by the log's tables, and batches above the largest graph."""

from __future__ import annotations

import pytest

from rooftune.doctor.diagnosis import DoctorFinding
from rooftune.doctor.graphs import capture_sizes, graph_findings
from rooftune.doctor.watch import Watched
from rooftune.engines.server import EffectiveConfig
from rooftune.knobs.entry import knob

SIZES = [1, 2, 4, *range(8, 256, 8), *range(256, 513, 16)]
LOG = (
    "INFO 11-27 10:00:00 [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: model='m', "
    f"compilation_config={{'cudagraph_mode': <CUDAGraphMode.FULL_AND_PIECEWISE: (2, 1)>, "
    f"'cudagraph_capture_sizes': {SIZES}, 'max_cudagraph_capture_size': 512}}\n"
)
TABLE = """\
INFO 11-27 10:01:00 [cuda_graph.py:117] **CUDAGraph Config Settings:**
INFO 11-27 10:01:00 [cuda_graph.py:117]
INFO 11-27 10:01:00 [cuda_graph.py:117] - Mode: FULL_AND_PIECEWISE
INFO 11-27 10:01:00 [cuda_graph.py:117] - Capture sizes: [1, 2, 4, 8, 16]
INFO 11-27 10:01:00 [cuda_graph.py:117] | Unpadded Tokens | Padded Tokens | Num Paddings | Runtime Mode | Count |
INFO 11-27 10:01:00 [cuda_graph.py:117] |-----------------|---------------|--------------|--------------|-------|
INFO 11-27 10:01:00 [cuda_graph.py:117] | 9               | 16            | 7            | FULL         | 30    |
INFO 11-27 10:01:00 [cuda_graph.py:117] | 16              | 16            | 0            | PIECEWISE    | 10    |
INFO 11-27 10:01:00 [cuda_graph.py:117] | 2048            | 2048          | 0            | NONE         | 500   |
"""
EFFECTIVE = EffectiveConfig(engine_version="0.32.0", max_num_seqs=256, cuda_graphs=True)


def found(
    running: list[float], effective: EffectiveConfig = EFFECTIVE, log: str = LOG, page: str = ""
) -> dict[str, DoctorFinding]:
    samples = [{"running": n} for n in running]
    seen = Watched([float(n) for n in range(len(samples))], samples, page)
    findings = {f.id: f for f in graph_findings(seen, effective, log)}
    assert all(f.knob is None or knob(f.knob) for f in findings.values())
    return findings


def test_a_batch_just_above_a_size_is_padded_to_the_next() -> None:
    finding = found([9, 9, 10, 10])["graph-padding"]
    assert finding.severity == "advice"
    assert finding.sentence == "41 % of the rows of a step are padding for its CUDA graph."
    assert finding.evidence == (
        "decode steps of 4 samples: 9.5 rows and 6.5 of padding on average; graphs for 1, 2, 4, 8, 16, 24 … 512"
    )
    assert (finding.knob, finding.flags) == ("performance_mode", ["performance_mode=interactivity"])
    older = found([9, 9], EFFECTIVE.model_copy(update={"engine_version": "0.15.1"}))["graph-padding"]
    assert (older.knob, older.flags) == ("cuda_graph_sizes", [])


@pytest.mark.parametrize("running", [[16, 16], [15, 16], [100, 103], [500, 512]])
def test_little_padding_is_fine(running: list[float]) -> None:
    assert found(running)["graph-padding"].severity == "fine"


def test_a_batch_limit_between_two_sizes_wastes_places() -> None:
    limited = EFFECTIVE.model_copy(update={"max_num_seqs": 33})
    finding = found([33, 33, 33], limited)["graph-padding"]
    assert finding.flags == ["max_num_seqs=40"]
    assert finding.sentence.endswith("so 7 more sequences than max_num_seqs=33 would run in the same steps.")
    far_from_it = found([33, 33], EFFECTIVE)["graph-padding"]
    assert (far_from_it.knob, far_from_it.flags) == ("cuda_graph_sizes", [])


def test_a_batch_above_the_largest_graph() -> None:
    large = EFFECTIVE.model_copy(update={"max_num_seqs": 1000})
    findings = found([600, 700, 500], large)
    finding = findings["graph-sizes"]
    assert (finding.severity, finding.flags) == ("advice", ["max_cudagraph_capture_size=1008"])
    assert "600 running on average, above 512 in 67 % of samples" in finding.evidence
    assert findings["graph-padding"].severity == "fine", "the third sample has a graph"
    assert found([600, 700], large).keys() == {"graph-sizes"}
    old = found([600], large.model_copy(update={"engine_version": "0.11.0"}))
    assert old["graph-sizes"].flags == []


def test_the_tables_of_the_log_count_every_step_with_a_graph() -> None:
    finding = found([1], log=LOG + TABLE + TABLE)["graph-padding"]
    assert "80 steps in the log: 10.8 rows and 5.25 of padding on average" in finding.evidence
    assert finding.severity == "advice"
    assert capture_sizes(TABLE) == [1, 2, 4, 8, 16]
    assert capture_sizes("'cudagraph_capture_sizes': [8, 4, 2, 1]") == [1, 2, 4, 8]


@pytest.mark.parametrize(
    ("changed", "log"),
    [({"cuda_graphs": False}, LOG), ({"enforce_eager": True}, LOG), ({}, ""), ({"cuda_graphs": None}, "x")],
)
def test_without_graphs_or_without_a_log_there_is_no_padding(changed: dict[str, object], log: str) -> None:
    assert found([9], EFFECTIVE.model_copy(update=changed), log) == {}


def test_what_is_not_known_is_said() -> None:
    assert found([9], log="cut")["graph-padding"].severity == "not known"
    assert found([0, 0])["graph-padding"].severity == "not known", "an idle server"
    assert found([9], page='vllm:num_requests_running{engine="1"} 3')["graph-padding"].severity == "not known"
    speculative = EFFECTIVE.model_copy(update={"speculative": "ngram"})
    assert found([9], speculative)["graph-padding"].severity == "not known"


def test_the_sizes_in_the_log_of_the_emulated_engine(capsys: pytest.CaptureFixture[str]) -> None:
    from rooftune.engines.logs import read_effective
    from rooftune.hardware.named import accelerator
    from rooftune.models.catalogue import model_facts
    from rooftune.simulator.engine.core import EngineCore
    from rooftune.simulator.front.log_lines import startup
    from rooftune.vllm_rules.config import EngineConfig

    config = EngineConfig(model="m", max_num_seqs=33)
    startup(EngineCore(accelerator("T4"), model_facts("tinyllama-1.1b"), config, "0.32.0"), config, "m")
    log = capsys.readouterr().err
    effective = read_effective(log)
    assert effective.cuda_graphs
    assert 33 in capture_sizes(log)
    assert found([33, 33], effective, log)["graph-padding"].severity == "fine", "0.32 captures the limit itself"
