"""The SLO of a workload: what a request must meet to be counted as goodput."""

from __future__ import annotations

from pydantic import Field

from rooftune.workloads.strict import Strict

SLO_LIMITS = ("ttft_ms", "answer_ttft_ms", "tpot_ms", "e2el_ms")
"""Limits that an SLO may have, in the order of a request's life."""


class Slo(Strict):
    """What a request must meet to be counted as goodput."""

    ttft_ms: float | None = Field(default=None, gt=0, description="longest time to the first token")
    answer_ttft_ms: float | None = Field(
        default=None, gt=0, description="longest time to the first token of the answer of a model that reasons first"
    )
    tpot_ms: float | None = Field(default=None, gt=0, description="longest mean time per further token")
    e2el_ms: float | None = Field(default=None, gt=0, description="longest time to the last token")
    share: float = Field(default=0.99, gt=0, le=1, description="share of requests that must meet all of it")

    def limits_ms(self) -> dict[str, float]:
        """The limits that are set: {'ttft_ms': 500.0, …}."""
        return {k: v for k in SLO_LIMITS if (v := getattr(self, k)) is not None}

    def check_api(self, *, chat: bool) -> None:
        """Refuse a limit that the API of a workload gives no value for.

        Raises:
            ValueError: which.
        """
        if self.answer_ttft_ms is not None and not chat:
            raise ValueError(
                "slo.answer_ttft_ms needs a workload file with endpoint: chat, because only the chat API separates "
                "reasoning from the answer"
            )
