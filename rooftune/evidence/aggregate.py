"""From the records of one trial to trial.json and result.json: figures, overload, server gauges, audit."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from rooftune.engines.server import EffectiveConfig, ServerInfo
from rooftune.engines.target import Target
from rooftune.errors import EngineError, RooftuneError
from rooftune.evidence.audit.checks import audit
from rooftune.evidence.history import row
from rooftune.evidence.metrics import overload
from rooftune.evidence.metrics.gauges import server_figures
from rooftune.evidence.metrics.jackknife import jackknife, within
from rooftune.evidence.metrics.request_metrics import request_metrics, tokens_per_chunk
from rooftune.evidence.records.columns import Floats, Requests, read_requests, read_ticks
from rooftune.evidence.records.evidence import Evidence
from rooftune.evidence.records.trial import Census, TrialResult, Window
from rooftune.evidence.vllm_result import vllm_result
from rooftune.files import read_json, replacing, write_json
from rooftune.loadgen.schema import STATUSES
from rooftune.loadgen.summary import LoadSummary
from rooftune.runfolder import RunFolder, TrialFolder
from rooftune.workloads.spec import Closed, Workload, workload_hash

Model = TypeVar("Model", bound=BaseModel)
SEVERAL_TOKENS = 1.05
"""Mean tokens per chunk above which a gap between chunks is no gap between tokens."""


def aggregate(
    folder: TrialFolder,
    *,
    workload: Workload,
    candidate: str,
    n: int,
    position: int,
    target: Target,
    flags: dict[str, Any],
) -> TrialResult:
    """Turn the records in ``folder`` into a trial, audit it, and write trial.json and result.json.

    Raises:
        RooftuneError: requests.parquet or load.json is missing, empty or cut.
    """
    load = typed(folder.load_json, LoadSummary)
    requests = read_requests(folder.requests)
    ticks = read_ticks(folder.ticks) if folder.ticks.is_file() else {}
    server = typed(folder.server_json, ServerInfo) if folder.server_json.is_file() else None
    trial = _about(workload, candidate, n, position, target, flags, server)
    trial = trial.model_copy(update=figures(requests, ticks, load, workload))
    log = folder.server_log.read_text(errors="replace") if folder.server_log.is_file() else None
    evidence = Evidence.of_trial(requests, ticks, load, workload, trial, log)
    trial = trial.model_copy(update={"checks": audit(evidence)})
    write_json(folder.trial_json, trial.model_dump(mode="json"))
    write_json(folder.result_json, vllm_result(trial, workload, requests))
    return trial


def failed_trial(
    folder: TrialFolder,
    *,
    workload: Workload,
    candidate: str,
    n: int,
    position: int,
    target: Target,
    flags: dict[str, Any],
    error: BaseException | str,
    kind: str | None = None,
    seed: int | None = None,
    started_at: float = 0.0,
) -> TrialResult:
    """Write trial.json of a trial whose server never came up, or whose load could not be run.

    ``error`` is the sentence for the user (an ``EngineError`` also tells its kind).
    """
    server = typed(folder.server_json, ServerInfo) if folder.server_json.is_file() else None
    trial = _about(workload, candidate, n, position, target, flags, server).model_copy(
        update={
            "status": "failed",
            "failure": str(error),
            "failure_kind": kind or (error.kind if isinstance(error, EngineError) else "unknown"),
            "seed": workload.seed if seed is None else seed,
            "started_at": started_at or (server.started_at if server else 0.0),
        }
    )
    write_json(folder.trial_json, trial.model_dump(mode="json"))
    return trial


def read_trial(folder: TrialFolder) -> TrialResult:
    """Read trial.json. Raises RooftuneError when it is missing or of another version."""
    return typed(folder.trial_json, TrialResult)


def write_metrics(run: RunFolder) -> Path:
    """Write metrics.parquet of a run: one row a trial that has a trial.json, ordered by position."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    trials = [read_trial(f) for _, _, f in run.trials() if f.trial_json.is_file()]
    rows = [row(t, run.path.name) for t in sorted(trials, key=lambda t: t.position)]
    if not rows:
        raise RooftuneError(f"{run.path} has no trial yet; run the load phase first.")
    names = dict.fromkeys(name for r in rows for name in r)
    table = pa.Table.from_pylist([{name: r.get(name) for name in names} for r in rows])
    with replacing(run.metrics) as temporary:
        pq.write_table(table, temporary)
    return run.metrics


def _about(
    workload: Workload,
    candidate: str,
    n: int,
    position: int,
    target: Target,
    flags: dict[str, Any],
    server: ServerInfo | None,
) -> TrialResult:
    """What the trial is of, before anything was measured."""
    effective = server.effective if server else EffectiveConfig()
    return TrialResult(
        candidate=candidate,
        n=n,
        status="measured",
        simulated=server.simulated if server else target.simulated,
        time_scale=server.time_scale if server else target.time_scale,
        workload=workload.name,
        workload_hash=workload_hash(workload),
        seed=workload.seed,
        position=position,
        engine=target.engine,
        engine_version=effective.engine_version or target.engine_version,
        gpu=target.gpu or "",
        model=target.model,
        flags=flags,
        effective=effective,
    )


def figures(r: Requests, ticks: dict[str, Floats], load: LoadSummary, workload: Workload) -> dict[str, Any]:
    """Window, census, metrics and gauges."""
    window = Window(start_s=load.window_start_s, end_s=load.window_end_s)
    closed = isinstance(workload.arrivals, Closed) or load.concurrency is not None
    state = overload.assess(r, window, workload.slo, closed=closed, fixed=workload.ignore_eos)
    metrics, withheld = request_metrics(r, window, workload.slo, overloaded=state.overloaded)
    left_out = jackknife(r, window, set(metrics), overloaded=state.overloaded)
    several = tokens_per_chunk(r)
    if several > SEVERAL_TOKENS:
        reason = f"the server sends {several:.2f} tokens a chunk, so gaps between chunks are no gaps between tokens"
        for name in [m for m in metrics if m.endswith("_itl_ms")]:
            del metrics[name]
            withheld[name] = reason
    server = server_figures(ticks, window)
    server |= {"queue_growth_per_s": state.queue_growth_per_s, "in_flight_growth_per_s": state.in_flight_growth_per_s}
    if state.slo_breaks_after_s is not None:
        server["slo_breaks_after_s"] = state.slo_breaks_after_s
    return {
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
        "server": server,
        "within": within(left_out),
        "jackknife": left_out,
    }


def census(r: Requests, load: LoadSummary | None = None) -> Census:
    """What became of every scheduled request; one without a record was never begun."""
    counts = Counter(r.status.tolist())
    scheduled = max(load.scheduled, len(r)) if load else len(r)
    found = {name: int(counts.get(name, 0)) for name in STATUSES}
    found["never_begun"] += scheduled - len(r)
    return Census(scheduled=scheduled, **found)


def typed(path: Path, kind: type[Model]) -> Model:
    """A file of ours as its type. Raises RooftuneError when it is missing, cut, or of another version."""
    value = read_json(path)
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(p) for p in first["loc"])
        raise RooftuneError(
            f"{path} does not fit this rooftune ({place}: {first['msg']}); run the phase that writes it again."
        ) from None
