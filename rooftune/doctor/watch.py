"""Samples a server's ``/metrics`` for some seconds, without sending it a request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

from rooftune.engines.metrics import parse, scrape_once
from rooftune.errors import EngineError

Sample = dict[str, float]
Scrape = Callable[[str], str | None]


@dataclass(frozen=True)
class Watched:
    """The samples of one server, in order, with their time in seconds from the first one."""

    at_s: list[float]
    samples: list[Sample]
    page: str
    """The last page as text."""

    @property
    def seconds(self) -> float:
        return self.at_s[-1] - self.at_s[0]

    def mean(self, name: str) -> float | None:
        """Mean of a gauge over the samples; None if the server does not report it."""
        values = [s[name] for s in self.samples if name in s]
        return fmean(values) if values else None

    def most(self, name: str) -> float | None:
        """The largest value of a gauge."""
        return max((s[name] for s in self.samples if name in s), default=None)

    def share(self, name: str, above: float) -> float:
        """Share of the samples in which a gauge is above a value."""
        return fmean(s.get(name, 0.0) > above for s in self.samples)

    def total(self, name: str) -> float | None:
        """A counter since the server's start; None if the server does not report it."""
        return self.samples[-1].get(name)

    def grown(self, name: str) -> float:
        """By how much a counter grew while it was watched."""
        return max(0.0, self.samples[-1].get(name, 0.0) - self.samples[0].get(name, 0.0))

    @property
    def busy(self) -> bool:
        """Whether the server worked while it was watched."""
        return self.grown("generation_tokens_total") > 0 or bool(self.most("running"))


async def watch(url: str, seconds: float, every_s: float = 1.0, scrape: Scrape = scrape_once) -> Watched:
    """Read the metrics from now until ``seconds`` have passed, at least twice.

    Raises:
        EngineError: the server has no metrics page of vLLM, or stopped answering.
    """
    at_s: list[float] = []
    samples: list[Sample] = []
    page = ""
    begun = time.monotonic()
    while len(samples) < 2 or at_s[-1] < seconds:
        if samples:
            await asyncio.sleep(every_s)
        text = await asyncio.to_thread(scrape, url)
        if text is None or "vllm:" not in text:
            raise EngineError(
                f"{url} has no /metrics page of vLLM; check the address, and that the server was started without "
                "--disable-log-stats.",
                "metrics",
            )
        page = text
        at_s.append(time.monotonic() - begun)
        samples.append(parse(text))
    return Watched(at_s, samples, page)
