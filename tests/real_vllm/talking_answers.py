"""What the talking model answers to its prompts, and how the drafts of a server fare on them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.talking_model.store import TalkingModels
from rooftune.answers.answer import Answers
from rooftune.answers.collect import AT_ONCE, collect
from rooftune.engines.server import ServerInfo
from rooftune.speculation.acceptance import Acceptance, from_counters
from rooftune.workloads.texts.prompt_text import PromptText
from rooftune.workloads.texts.read import read_prompts
from rooftune.workloads.texts.sampling import Sampling
from tests.real_vllm.talking_server import counters, gained

MAX_TOKENS = 120


@dataclass(frozen=True)
class Drafted:
    """A server's answers, and how its drafts fared."""

    answers: Answers
    acceptance: Acceptance


@dataclass(frozen=True)
class TalkingAnswers:
    """The prompts and the baseline's greedy answers to them."""

    prompts: Sequence[PromptText]
    answers: Answers

    def drafted(self, server: ServerInfo, at_once: int = AT_ONCE) -> Drafted:
        """The answers of a server that speculates, to the same prompts."""
        before = counters(server)
        answers = _collect(server, self.prompts, at_once)
        moved = {name.removesuffix("_total"): value for name, value in gained(server, before).items()}
        found = from_counters({**moved, "first_tokens": float(len(answers))})
        assert found is not None, "the server drafted nothing"
        return Drafted(answers, found)

    def same(self, answers: Answers) -> float:
        """Share of these answers that are the baseline's, token by token."""
        theirs = {a.key: a.output_ids for a in self.answers}
        return sum(theirs[a.key] == a.output_ids for a in answers) / len(answers)


def baseline_answers(server: ServerInfo, talking: TalkingModels) -> TalkingAnswers:
    """Ask the baseline's server."""
    prompts = read_prompts(talking.prompts)
    return TalkingAnswers(prompts, _collect(server, prompts))


def _collect(server: ServerInfo, prompts: Sequence[PromptText], at_once: int = AT_ONCE) -> Answers:
    return asyncio.run(collect(server.url, server.model, prompts, Sampling(), MAX_TOKENS, at_once=at_once))
