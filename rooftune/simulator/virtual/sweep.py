"""One flag varied over a workload in virtual time: which value serves best, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rooftune.errors import InputError
from rooftune.formatting import number
from rooftune.simulator.calibration.files import Calibration
from rooftune.simulator.steptime.bounds import decode_step
from rooftune.simulator.virtual.predict import EmulatedEngine, Prediction, engine_of, predict
from rooftune.speculation.acceptance import ASSUMED, AcceptanceLike
from rooftune.vllm_rules.config import FlagValue
from rooftune.vllm_rules.flags import parse_set
from rooftune.vllm_rules.refusals import StartRefused
from rooftune.workloads.draw import draw
from rooftune.workloads.spec import Workload, lower_is_better

TIE = 0.01
"""Among values within this share of the best one, the time per token decides."""
MOST = 64
AWQ_TILE = 16
THROUGHPUTS = ("output_throughput", "total_token_throughput")
"""Metrics that keep their meaning in overload."""


@dataclass(frozen=True)
class SweptFlag:
    """A flag and the values to try, as text."""

    flag: str
    values: list[str]


@dataclass(frozen=True)
class Choice:
    """The metric that decides between the values of a flag, and the best one."""

    metric: str
    best: SweepRow | None


@dataclass(frozen=True)
class SweepRow:
    """One value of the flag: its prediction, or why the engine would not start with it."""

    value: FlagValue
    prediction: Prediction | None
    refusal: str = ""
    rule: str = ""
    """The rule that refuses it."""


@dataclass(frozen=True)
class FlagSweep:
    """All values, the best of them by the metric that decides, and the reason."""

    flag: str
    rows: list[SweepRow]
    metric: str
    best: SweepRow | None
    why: list[str]


def sweep(
    workload: Workload,
    *,
    gpu: str,
    model: str,
    engine_version: str,
    flags: Mapping[str, FlagValue],
    asked: str,
    seed: int | None = None,
    acceptance: AcceptanceLike = ASSUMED,
    calibration: Calibration | None = None,
) -> FlagSweep:
    """Predict the workload for every value of ``asked`` (``max_num_seqs=1:256`` or ``max_num_seqs=8,16``).

    Raises:
        InputError: ``asked`` does not have that form, or this engine version does not have the flag or value.
        StartRefused: the engine would start with none of the values.
    """
    plan = draw(workload, seed=seed)
    unchanged = _unchanged(gpu, model, engine_version, flags, calibration, plan.longest_request)
    engine = None if isinstance(unchanged, StartRefused) else unchanged
    tiled = engine is not None and engine.resolved.kernel == "awq_gemm"
    swept = values(asked, tiled=tiled)
    flag, texts = swept.flag, swept.values
    rows, refused = [], None
    for text in texts:
        value = parse_set([f"{flag}={text}"], engine_version)[flag]
        changed = {**flags, flag: value}
        try:
            found = predict(
                workload,
                gpu=gpu,
                model=model,
                engine_version=engine_version,
                flags=changed,
                seed=seed,
                acceptance=acceptance,
                plan=plan,
                calibration=calibration,
                runs=len(texts),
            )
        except StartRefused as error:
            refused = refused or error
            rows.append(SweepRow(value, None, str(error), error.rule.id))
            continue
        rows.append(SweepRow(value, found))
    if refused is not None and not any(row.prediction for row in rows):
        raise unchanged if isinstance(unchanged, StartRefused) else refused
    choice = choose(rows, workload.decides, not lower_is_better(workload.decides))
    best = choice.best
    fitted = best.prediction.context if best and best.prediction else None
    why = [f"{fitted.sentence}."] if fitted else []
    why += [*_why(flag, best, rows, engine), *_within_slo(flag, best, rows, workload), *_left_out(rows)]
    return FlagSweep(flag, rows, choice.metric, best, why)


def _left_out(rows: Sequence[SweepRow]) -> list[str]:
    """The flags that no row models."""
    found = dict.fromkeys(name for row in rows if row.prediction for name in row.prediction.unmodelled)
    return [f"Not modelled: {', '.join(found)}; these figures leave it out."] if found else []


def values(asked: str, *, tiled: bool = False) -> SweptFlag:
    """Read ``flag=a,b,c`` or ``flag=low:high``: powers of two from low to high, and the values halfway between them.

    With ``tiled`` (the old AWQ kernel), values just above a multiple of 16 sequences are included as well.

    >>> values("max_num_seqs=1:8").values
    ['1', '2', '3', '4', '6', '8']
    """
    flag, equals, text = asked.partition("=")
    flag = flag.strip().lstrip("-").replace("-", "_")
    low, colon, high = text.partition(":")
    way_out = "give --sweep max_num_seqs=8,16,32 or --sweep max_num_seqs=1:256."
    if not flag or not equals or not text.strip():
        raise InputError(f"--sweep {asked!r} does not name a flag with values; {way_out}")
    if not colon:
        found = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
        if len(found) > MOST:
            raise InputError(f"--sweep {flag} has {len(found)} values; it takes at most {MOST}.")
        return SweptFlag(flag, found)
    if not (low.strip().isdigit() and high.strip().isdigit()) or not 1 <= int(low) <= int(high):
        raise InputError(f"--sweep {asked!r}: a range goes from one whole number to a larger one; {way_out}")
    return SweptFlag(flag, [str(n) for n in _steps(int(low), int(high), tiled and flag == "max_num_seqs")])


def _steps(low: int, high: int, tiled: bool) -> list[int]:
    found, power = {low, high}, 1
    while power <= high:
        found |= {power, power * 3 // 2}
        if tiled and power >= AWQ_TILE:
            found.add(power + 1)
        power *= 2
    return sorted(n for n in found if low <= n <= high)


def choose(rows: Sequence[SweepRow], metric: str, larger: bool) -> Choice:
    """Choose by the workload's objective, or by output throughput where the objective has no meaning in overload."""
    if metric not in THROUGHPUTS and not any(r.prediction and metric in r.prediction.metrics for r in rows):
        metric, larger = "output_throughput", True
    having = [(r, r.prediction.metrics[metric]) for r in rows if r.prediction and metric in r.prediction.metrics]
    if not having:
        return Choice(metric, None)
    top = max(v for _, v in having) if larger else min(v for _, v in having)
    close = [r for r, v in having if abs(v - top) <= TIE * abs(top)]
    return Choice(metric, min(close, key=_tpot))


def _tpot(row: SweepRow) -> float:
    return row.prediction.metrics.get("median_tpot_ms", float("inf")) if row.prediction else float("inf")


def _unchanged(
    gpu: str,
    model: str,
    engine_version: str,
    flags: Mapping[str, FlagValue],
    calibration: Calibration | None,
    longest_request: int,
) -> EmulatedEngine | StartRefused:
    """The engine without the swept flag, or why it would not start."""
    try:
        return engine_of(gpu, model, engine_version, flags, calibration=calibration, longest_request=longest_request)
    except StartRefused as error:
        return error


def _why(flag: str, best: SweepRow | None, rows: Sequence[SweepRow], engine: EmulatedEngine | None) -> list[str]:
    if best is None or best.prediction is None:
        return []
    said = [f"With {flag}={best.value}: {best.prediction.bottleneck}."]
    if flag == "max_num_seqs" and engine is not None and engine.resolved.kernel == "awq_gemm":
        step = engine.step_time
        inside, beyond = (decode_step(step, n, 200).step_ms for n in (AWQ_TILE, AWQ_TILE + 1))
        said.append(
            f"The old AWQ kernel reads all weights once for every {AWQ_TILE} rows: a step of {AWQ_TILE} sequences "
            f"takes {inside:.1f} ms and one of {AWQ_TILE + 1} takes {beyond:.1f} ms, so a limit "
            "just above a multiple of "
            f"{AWQ_TILE} wastes most of a pass{_beyond_a_tile(best, rows)}."
        )
    return said


def _beyond_a_tile(best: SweepRow, rows: Sequence[SweepRow]) -> str:
    """What the best value gains over one tile, and what it costs."""
    tile = next((r.prediction for r in rows if r.value == AWQ_TILE and r.prediction), None)
    ours = best.prediction
    names = ("output_throughput", "median_tpot_ms")
    if (
        tile is None
        or ours is None
        or best.value == AWQ_TILE
        or any(n not in p.metrics for p in (tile, ours) for n in names)
    ):
        return ""
    gain, cost = (ours.metrics[n] / tile.metrics[n] for n in names)
    change = f"throughput changes by {100 * (gain - 1):+.0f} % and the time per token {cost:.1f}-fold"
    return f"; from {AWQ_TILE} to {best.value} {change}"


def _within_slo(flag: str, best: SweepRow | None, rows: Sequence[SweepRow], workload: Workload) -> list[str]:
    """The best throughput among the values within the SLO's time per token, where the best value exceeds it."""
    limit = workload.slo.tpot_ms
    if limit is None or best is None or _tpot(best) <= limit:
        return []
    kept = [(r.prediction.metrics["output_throughput"], r) for r in rows if r.prediction and _tpot(r) <= limit]
    if not kept:
        return [f"No value keeps the median time per token within {number(limit)} ms."]
    found, row = max(kept, key=lambda k: k[0])
    return [
        f"Within {number(limit)} ms per token (median), the best is {number(found)} tokens/s, with {flag}={row.value}."
    ]
