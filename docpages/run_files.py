"""The pages of the files of a run: Parquet columns, JSON keys, and the metrics in both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

import pyarrow as pa
from pydantic import BaseModel

from docpages import columns
from docpages.markdown import cell, code, head, sentence_case, table, text_of
from docpages.schema_tables import SchemaTables
from rooftune.capacity.measured_step import StepRecord
from rooftune.capacity.reference_server import ReferenceServer
from rooftune.capacity.result import CapacityResult
from rooftune.engines.server import ServerInfo
from rooftune.evidence.metrics.gauges import COUNTERS, MEANS, RATIOS
from rooftune.evidence.records.columns import Requests
from rooftune.evidence.records.quality import Floor, Quality
from rooftune.evidence.records.sent_load import SentLoad
from rooftune.evidence.records.trial import Census, TrialResult
from rooftune.evidence.trial_table import IDENTITY, row
from rooftune.evidence.vllm_result import vllm_result
from rooftune.gate.result import GateResult
from rooftune.hardware.accelerator import Hardware
from rooftune.loadgen.schema import REQUESTS, TICKS
from rooftune.loadgen.summary import LoadSummary
from rooftune.metrics.summary import STATISTICS
from rooftune.report.curves import ReferenceCurves
from rooftune.report.levers import Levers
from rooftune.report.step_parts import StepBreakdown
from rooftune.roofline.model import Roofline
from rooftune.trial_order import TrialOrder
from rooftune.tuning.other_workloads import OtherWorkloads
from rooftune.tuning.plan import Decision, Plan
from rooftune.tuning.upgrade import UpgradePath
from rooftune.workloads.load import load_workload
from rooftune.workloads.spec import CAPACITY, COST, ENERGY, Workload
from rooftune.workloads.texts.lengths import PromptLengths

FILES: tuple[tuple[str, type[BaseModel]], ...] = (
    ("prompt_lengths.json", PromptLengths),
    ("hardware.json", Hardware),
    ("plan.json", Plan),
    ("trials/<candidate>/<n>/order.json", TrialOrder),
    ("trials/<candidate>/<n>/server.json", ServerInfo),
    ("trials/<candidate>/<n>/load.json", LoadSummary),
    ("trials/<candidate>/<n>/sent.json", SentLoad),
    ("trials/<candidate>/<n>/reference.json", ReferenceServer),
    ("trials/<candidate>/<n>/trial.json", TrialResult),
    ("trials/baseline/<n>/floor.json", Floor),
    ("trials/<candidate>/<n>/quality.json", Quality),
    ("decision.json", Decision),
    ("roofline.json", Roofline),
    ("curves.json", ReferenceCurves),
    ("steps.json", StepBreakdown),
    ("levers.json", Levers),
    ("upgrade.json", UpgradePath),
    ("other_workloads.json", OtherWorkloads),
    ("gate.json", GateResult),
    ("capacity.json", CapacityResult),
    ("steps/<n>/step.json", StepRecord),
)
"""Files whose content is a model, in the order in which a run writes them."""


def parquet_page() -> str:
    """The page of the Parquet files."""
    lines = head(
        "Parquet files",
        "All times are workload seconds from the start of the load, unless a column says otherwise. How to read them: "
        "[Load results](../how-to/results.md).",
        "## requests.parquet",
        "`trials/<candidate>/<n>/requests.parquet` has one row for each scheduled request, whatever became of it.",
    )
    lines += [*_columns(REQUESTS, columns.REQUESTS), "## ticks.parquet", ""]
    lines += ["`trials/<candidate>/<n>/ticks.parquet` has one row for each second of the load. A value that the server "
              "does not report is null.", "", *_columns(TICKS, columns.TICKS)]  # fmt: skip
    lines += ["## metrics.parquet", ""]
    lines += ["`metrics.parquet` of a run has one row for each trial, `artifacts/history/` the same rows of all runs "
              "(partitioned by `workload` and `month`). Besides these columns there is one for each metric: its "
              "[name](metrics.md), `server_<name>` for those of the server, and `within_<name>` for the standard error "
              "of the metric's logarithm from blocks of the window.", ""]  # fmt: skip
    names = [*IDENTITY, *(name for name in _trial_columns() if name not in IDENTITY)]
    lines += table(["Column", "Meaning"], [[code(n), cell(sentence_case(_trial_meaning(n)))] for n in names])
    return text_of(lines)


def json_page() -> str:
    """The page of the JSON files."""
    lines = head(
        "JSON files",
        "The files of a run folder `artifacts/<workload>/<run>/` and of a folder of `rooftune capacity --save`. Keys "
        "may be added in later versions; none is renamed. `format` is the version of a file's layout.",
    )
    lines += [
        "## run.json",
        "",
        *table(["Key", "Meaning"], [[code(k), cell(sentence_case(v))] for k, v in columns.RUN.items()]),
    ]
    shown = SchemaTables(mode="serialization", elsewhere=_workload_sections())
    for name, model in FILES:
        lines += [f"## {name.rpartition('/')[2]}", "", f"`{name}`: {_first_sentence(model)}", ""]
        lines += shown.of(model)
    lines += ["## spent.json", "", "`trials/<candidate>/<n>/spent.json`: What the trial took.", ""]
    lines += table(["Key", "Meaning"], [[code(k), cell(sentence_case(v))] for k, v in columns.SPENT.items()])
    lines += ["## result.json", ""]
    lines += [
        "`trials/<candidate>/<n>/result.json` has the keys of `vllm bench serve --save-result`. `summary.json` of the "
        "run lists those of all trusted trials, as `vllm bench sweep` writes them.",
        "",
    ]
    lines += table(["Key", "Meaning"], [[code(k), cell(sentence_case(_result_meaning(k)))] for k in result_keys()])
    return text_of(lines)


def metrics_page() -> str:
    """The page of the metrics."""
    lines = head(
        "Metrics",
        "Names are those of vLLM's benchmark. A metric that does not exist for a load is withheld: absent in `metrics` "
        "of `trial.json`, NaN in tables, with the reason in `withheld`. How each is computed: "
        "[How rooftune measures](../measurement.md#a-trial).",
        "## Of the load",
    )
    lines += table(
        ["Metric", "Meaning"], [[code(name), cell(sentence_case(text))] for name, text in columns.METRICS.items()]
    )
    lines += ["## Latencies", "", f"Each has the statistics {', '.join(code(f'{s}_') for s in STATISTICS)}.", ""]
    lines += table(["Metric", "Meaning"], [[code(name), cell(text)] for name, text in columns.LATENCIES.items()])
    lines += ["## Of the server", "", "Over the measured window, under `server` in `trial.json`.", ""]
    server = {**{m: columns.TICKS[m] for m in MEANS}, **{n: columns.TICKS[c] for c, n in COUNTERS.items()}}
    server |= {name: columns.SERVER[name] for name in RATIOS} | columns.SERVER
    kinds = {**dict.fromkeys(MEANS, "mean"), **dict.fromkeys(COUNTERS.values(), "growth")}
    rows = [
        [code(name), kinds.get(name, ""), cell(sentence_case(text.removesuffix(", counter")))]
        for name, text in server.items()
    ]
    return text_of([*lines, *table(["Metric", "Kind", "Meaning"], rows)])


def _empty_trial(status: Literal["measured", "failed"]) -> TrialResult:
    """A trial without figures, for the names that its files have."""
    return TrialResult(
        candidate="", n=1, status=status, workload="", workload_hash="", seed=0, position=0, census=Census(scheduled=0)
    )


def result_keys() -> list[str]:
    """The keys that result.json has."""
    return list(vllm_result(_empty_trial("measured"), load_workload("chat-low"), cast(Requests, None)))


def _columns(schema: pa.Schema, meanings: Mapping[str, str]) -> list[str]:
    rows = [[code(f.name), _kind(f.type), cell(sentence_case(meanings[f.name]))] for f in schema]
    return table(["Column", "Type", "Meaning"], rows)


def _kind(kind: pa.DataType) -> str:
    return f"list of {kind.value_type}" if pa.types.is_list(kind) else str(kind)


def _trial_columns() -> list[str]:
    return [*row(_empty_trial("failed")), "window_start_s", "window_end_s"]


def _trial_meaning(name: str) -> str:
    if name.startswith("census_"):
        return f"requests {name.removeprefix('census_').replace('_', ' ')}, of the whole load"
    return columns.TRIALS[name]


def _result_meaning(key: str) -> str:
    known = {**columns.RESULT, **columns.METRICS}
    if key in known:
        return known[key]
    statistic, _, latency = key.partition("_")
    assert statistic in STATISTICS, f"{key} of result.json has no description"
    return f"{statistic} of {columns.LATENCIES[latency].partition(':')[0]}"


def _workload_sections() -> dict[str, str]:
    """Where the page of workload files explains the parts of a workload."""
    parts = {name: f"workload-file.md#{name.lower()}" for name in Workload.model_json_schema()["$defs"]}
    return {**parts, Workload.__name__: "workload-file.md#keys"}


def _first_sentence(model: type[BaseModel]) -> str:
    text = " ".join((model.__doc__ or "").split())
    return text.partition(". ")[0].rstrip(".") + "."


assert {CAPACITY, COST, ENERGY} <= columns.METRICS.keys()
