"""Servers of the talking model, one at a time, and what their counters gained."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from benchmarks.talking_model.store import TalkingModels
from rooftune.engines import metrics
from rooftune.engines.interpreter import Installed
from rooftune.engines.launch import start, stop
from rooftune.engines.server import ServerInfo
from rooftune.engines.target import Target
from rooftune.runfolder import TrialFolder
from rooftune.vllm_rules.config import EngineConfig, FlagValue

ADAPTER = "manual"
BLOCK = 32
"""Tokens per KV block: the smallest that the CPU's attention takes, because prompts are short."""
COMMON: dict[str, FlagValue] = {
    "dtype": "float32",
    "enforce_eager": True,
    "max_num_seqs": 8,
    "max_model_len": 512,
    "block_size": BLOCK,
}
"""Float32, so that the order of a batch does not decide between two tokens that are nearly equally probable."""
DRAFTED = 3
NGRAM: dict[str, FlagValue] = {
    "speculative_config": {
        "method": "ngram",
        "num_speculative_tokens": DRAFTED,
        "prompt_lookup_min": 2,
        "prompt_lookup_max": 4,
    }
}
SUFFIX: dict[str, FlagValue] = {"speculative_config": {"method": "suffix", "num_speculative_tokens": 8}}


def draft_model(folder: Path) -> dict[str, FlagValue]:
    """Flags for a draft model."""
    return {"speculative_config": {"method": "draft_model", "model": str(folder), "num_speculative_tokens": DRAFTED}}


@dataclass(frozen=True)
class Serving:
    """What a server serves."""

    model: Path
    flags: dict[str, FlagValue]

    @staticmethod
    def baseline(talking: TalkingModels) -> Serving:
        """The trained model."""
        return Serving(talking.model, {})

    @staticmethod
    def with_adapter(talking: TalkingModels) -> Serving:
        """The trained model with its adapter.

        The CPU build of vLLM 0.32 with ``enable_lora`` dies of a request with ``prompt_logprobs``.
        """
        adapter = f"{ADAPTER}={talking.adapter}"
        return Serving(talking.model, {"enable_lora": True, "max_lora_rank": 8, "lora_modules": adapter})


class TalkingServers:
    """Runs one server at a time. One that is asked for again while it runs is not started again."""

    def __init__(self, vllm: Installed, folder: Path) -> None:
        self._vllm, self._folder = vllm, folder
        self._serving: Serving | None = None
        self._server: ServerInfo | None = None
        self.started = 0

    def get(self, serving: Serving) -> ServerInfo:
        """The server that serves this."""
        if self._server is None or serving != self._serving:
            self.close()
            self.started += 1
            python, model = self._vllm.python, str(serving.model)
            target = Target(engine="vllm", model=model, engine_version=self._vllm.version, vllm_python=python)
            config = EngineConfig(model=model).with_change({**COMMON, **serving.flags})
            place = TrialFolder(self._folder / f"{self.started}-{serving.model.name}")
            self._server = asyncio.run(start(target, config, place, ready_timeout_s=400))
            self._serving = serving
        return self._server

    def close(self) -> None:
        """End the server that runs."""
        if self._server is not None:
            asyncio.run(stop(self._server))
        self._server = self._serving = None


def counters(server: ServerInfo) -> dict[str, float]:
    """The counters of ``/metrics`` now."""
    return metrics.parse(metrics.scrape_once(server.url) or "")


def gained(server: ServerInfo, before: dict[str, float]) -> dict[str, float]:
    """How far each counter moved since then."""
    return {name: value - before.get(name, 0.0) for name, value in counters(server).items()}


@dataclass(frozen=True)
class Reply:
    """A greedy answer."""

    text: str
    finish_reason: str
    prompt_ids: list[int]
    output_ids: list[int]

    @property
    def all_ids(self) -> list[int]:
        """Prompt and answer."""
        return self.prompt_ids + self.output_ids


async def ask(session: aiohttp.ClientSession, server: ServerInfo, model: str, messages: list[dict[str, str]]) -> Reply:
    """Ask for the greedy answer to a chat."""
    body = {"model": model, "messages": messages, "temperature": 0, "max_tokens": 120, "return_token_ids": True}
    async with session.post(server.url + "/v1/chat/completions", json=body) as reply:
        assert reply.status == 200, await reply.text()
        found = await reply.json()
    choice = found["choices"][0]
    return Reply(choice["message"]["content"], choice["finish_reason"], found["prompt_token_ids"], choice["token_ids"])
