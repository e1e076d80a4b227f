"""From the records of one trial to trial.json and result.json: metrics, overload, server metrics, audit."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

from rooftune.engines.price import price_of, usd_per_hour
from rooftune.engines.server import EffectiveConfig, ServerInfo
from rooftune.engines.target import Target
from rooftune.errors import EngineError
from rooftune.evidence.audit.checks import audit
from rooftune.evidence.metrics import overload
from rooftune.evidence.metrics.by_adapter import adapter_metrics
from rooftune.evidence.metrics.gauges import server_metrics
from rooftune.evidence.metrics.jackknife import jackknife, within
from rooftune.evidence.metrics.request_metrics import request_metrics, require_reasoning, tokens_per_chunk
from rooftune.evidence.metrics.token_price import cost, energy, energy_jackknife
from rooftune.evidence.records.columns import Requests, Ticks
from rooftune.evidence.records.evidence import Evidence
from rooftune.evidence.records.parquet_files import read_requests, read_ticks
from rooftune.evidence.records.trial import Census, TrialResult
from rooftune.evidence.vllm_result import vllm_result
from rooftune.files import read_model, write_json
from rooftune.loadgen.schema import STATUSES
from rooftune.loadgen.summary import LoadSummary
from rooftune.metrics.summary import Summary, several_tokens
from rooftune.metrics.window import Window
from rooftune.runfolder import TrialFolder
from rooftune.trial_order import TrialOrder
from rooftune.workloads.identity import workload_hash
from rooftune.workloads.spec import COST, ENERGY, Closed, Workload

Completed = Callable[[TrialResult], TrialResult]
"""Adds to a trial what follows from more than one load."""


def aggregate(
    folder: TrialFolder,
    order: TrialOrder,
    workload: Workload,
    target: Target,
    completed: Completed = lambda trial: trial,
) -> TrialResult:
    """Turn the records in ``folder`` into a trial, audit it, and write trial.json and result.json.

    Args:
        workload: as it was sent.
        completed: adds what follows from more than one load.

    Raises:
        RooftuneError: requests.parquet or load.json is missing, empty or cut.
    """
    requests = read_requests(folder.requests)
    trial = _assessed(requests, folder, order, workload, target, completed)
    write_json(folder.trial_json, trial.model_dump(mode="json"))
    write_json(folder.result_json, vllm_result(trial, workload, requests))
    return trial


def assessed(
    folder: TrialFolder,
    order: TrialOrder,
    workload: Workload,
    target: Target,
    completed: Completed = lambda trial: trial,
) -> TrialResult:
    """The same trial, before it is complete: nothing is written.

    Raises:
        RooftuneError: requests.parquet or load.json is missing, empty or cut.
    """
    return _assessed(read_requests(folder.requests), folder, order, workload, target, completed)


def _assessed(
    requests: Requests,
    folder: TrialFolder,
    order: TrialOrder,
    workload: Workload,
    target: Target,
    completed: Completed,
) -> TrialResult:
    load = read_model(folder.load_json, LoadSummary)
    ticks = read_ticks(folder.ticks) if folder.ticks.is_file() else {}
    trial = measured(_planned(folder, order, workload, target), requests, ticks, load, workload)
    log = folder.server_log.read_text(errors="replace") if folder.server_log.is_file() else None
    evidence = Evidence.of_trial(requests, ticks, load, workload, trial, log)
    return completed(trial.model_copy(update={"checks": audit(evidence)}))


def failed_trial(
    folder: TrialFolder,
    order: TrialOrder,
    workload: Workload,
    target: Target,
    *,
    error: BaseException | str,
    kind: str | None = None,
    started_at: float = 0.0,
) -> TrialResult:
    """Write trial.json of a trial whose server never came up, or whose load could not be run.

    ``error`` is the sentence for the user; an ``EngineError`` also carries its kind.
    """
    planned = _planned(folder, order, workload, target)
    trial = planned.model_copy(
        update={
            "status": "failed",
            "failure": str(error),
            "failure_kind": kind or (error.kind if isinstance(error, EngineError) else "unknown"),
            "started_at": started_at or planned.started_at,
        }
    )
    write_json(folder.trial_json, trial.model_dump(mode="json"))
    return trial


def _planned(folder: TrialFolder, order: TrialOrder, workload: Workload, target: Target) -> TrialResult:
    """The trial before anything was measured, with what its server reports where there is one."""
    server = read_model(folder.server_json, ServerInfo) if folder.server_json.is_file() else None
    effective = server.effective if server else EffectiveConfig()
    return TrialResult(
        candidate=order.candidate,
        n=order.n,
        status="measured",
        simulated=server.simulated if server else target.simulated,
        time_scale=server.time_scale if server else target.time_scale,
        workload=workload.name,
        workload_hash=workload_hash(workload),
        seed=order.seed,
        position=order.position,
        started_at=server.started_at if server else 0.0,
        engine=target.engine,
        engine_version=effective.engine_version or target.engine_version,
        gpu=target.gpu or "",
        model=target.model,
        calibration=target.calibration if target.simulated else None,
        flags=order.config.flags(),
        usd_per_hour=usd_per_hour(price_of(target), order.config.flags()),
        effective=effective,
        switchable=server.switchable if server else None,
        switched=server.switched if server else None,
    )


def measured(planned: TrialResult, r: Requests, ticks: Ticks, load: LoadSummary, workload: Workload) -> TrialResult:
    """The trial with its window, census, metrics and server metrics.

    Raises:
        InputError: the SLO limits the first token of the answer, and no answer has reasoning.
    """
    require_reasoning(r, workload.slo)
    window = Window(start_s=load.window_start_s, end_s=load.window_end_s)
    closed = isinstance(workload.arrivals, Closed) or load.concurrency is not None
    state = overload.assess(r, window, workload.slo, closed=closed, fixed=workload.ignore_eos)
    found = request_metrics(r, window, workload.slo, overloaded=state.overloaded)
    metrics, withheld = found.metrics, found.withheld
    left_out = jackknife(r, window, set(metrics), overloaded=state.overloaded)
    reason = several_tokens(tokens_per_chunk(r))
    if reason:
        for name in [m for m in metrics if m.endswith("_itl_ms")]:
            del metrics[name]
            withheld[name] = reason
    found = _of_tokens(planned, r, ticks, window, metrics["output_throughput"], left_out)
    metrics, withheld = metrics | found.metrics, withheld | found.withheld
    server = server_metrics(ticks, window)
    server |= {"queue_growth_per_s": state.queue_growth_per_s, "in_flight_growth_per_s": state.in_flight_growth_per_s}
    if state.slo_breaks_after_s is not None:
        server["slo_breaks_after_s"] = state.slo_breaks_after_s
    update = {
        "seed": load.seed,
        "started_at": load.started_at,
        "time_scale": load.time_scale,
        "window": window,
        "census": census(r, load),
        "overloaded": state.overloaded,
        "asked_rate_per_s": state.asked_rate_per_s,
        "served_rate_per_s": state.served_rate_per_s,
        "metrics": metrics,
        "withheld": withheld,
        "adapters": adapter_metrics(r, window, workload.slo, overloaded=state.overloaded),
        "server": server,
        "within": within(left_out),
        "jackknife": left_out,
    }
    return planned.model_copy(update=update)


def _of_tokens(
    planned: TrialResult, r: Requests, ticks: Ticks, window: Window, throughput: float, left_out: dict[str, list[float]]
) -> Summary:
    """Cost and energy of an output token; adds to ``left_out`` what shows how much they vary."""
    found = cost(planned, throughput)
    found.add(energy(planned, ticks, window, throughput * window.seconds))
    if COST in found.metrics and "output_throughput" in left_out:
        left_out[COST] = [math.log(found.metrics[COST] * throughput) - x for x in left_out["output_throughput"]]
    if ENERGY in found.metrics:
        blocks = energy_jackknife(ticks, window, r.token_s, r.token_count)
        left_out |= {ENERGY: blocks} if blocks else {}
    return found


def census(r: Requests, load: LoadSummary | None = None) -> Census:
    """What became of every scheduled request; one without a record was never begun."""
    counts = Counter(r.status.tolist())
    scheduled = max(load.scheduled, len(r)) if load else len(r)
    found = {name: int(counts.get(name, 0)) for name in STATUSES}
    found["never_begun"] += scheduled - len(r)
    return Census(scheduled=scheduled, **found)
