"""Files that people try to audit and that have no figures of a load: each is refused with its reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rooftune.evidence.importers.values import Json


@dataclass(frozen=True)
class _Refusal:
    """A kind of file, how to recognise it, and why it cannot be audited."""

    fits: Callable[[Json], bool]
    sentence: str


REFUSALS = (
    _Refusal(
        lambda v: "results" in v and any(k in v for k in ("n-samples", "n-shot", "versions", "config_general")),
        "is a result of lm_eval: it measures the quality of answers, and not the speed of a server",
    ),
    _Refusal(
        lambda v: "avg_latency" in v and ("latencies" in v or "percentiles" in v),
        "is a result of vllm bench latency: it times one batch without a server, so there is no load to judge; "
        "run vllm bench serve --save-result --save-detailed",
    ),
    _Refusal(
        lambda v: "elapsed_time" in v and "num_requests" in v,
        "is a result of vllm bench throughput: it times a batch job without a server, so there is no load to judge; "
        "run vllm bench serve --save-result --save-detailed",
    ),
    _Refusal(
        lambda v: "architectures" in v and ("hidden_size" in v or "text_config" in v),
        "is the config.json of a model and not a result; use it as --model of rooftune predict",
    ),
    _Refusal(
        lambda v: "arrivals" in v and "duration_s" in v,
        "is a workload and not a result; measure it with rooftune load",
    ),
    _Refusal(
        lambda v: "metrics" in v and "root_group" in v,
        "is a summary of k6, which knows HTTP requests and no tokens",
    ),
)


def reason(value: Json) -> str | None:
    """Why this file cannot be audited; None where it is not a known kind."""
    return next((r.sentence for r in REFUSALS if r.fits(value)), None)


def seen(value: Json) -> str:
    """What the file has, for a file of an unknown kind."""
    keys = [str(k) for k in value]
    shown = ", ".join(k if len(k) <= 40 else f"{k[:37]}..." for k in keys[:8])
    return f"has the keys {shown}{' …' if len(keys) > 8 else ''}" if keys else "is empty"
