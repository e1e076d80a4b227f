"""What a run knows about drafts of speculative decoding: from recorded answers of its prompts, or the baseline's."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from rooftune.answers.answer import Answers
from rooftune.answers.recorded import recorded_answers
from rooftune.engines.prompt_lengths import encoder_for
from rooftune.engines.target import Target
from rooftune.engines.vocabulary import USUAL
from rooftune.evidence.records.trial import TrialResult
from rooftune.files import read_model, write_json
from rooftune.formatting import quantity
from rooftune.models.facts import ModelFacts
from rooftune.simulator.front.played import answers_of_prompts
from rooftune.speculation.acceptance import from_counters
from rooftune.speculation.candidates import replayed_drafts
from rooftune.speculation.known import KnownDraft
from rooftune.speculation.sessions import Recorded
from rooftune.vllm_rules.speculation import SCHEDULE
from rooftune.vllm_rules.versions import version
from rooftune.workloads.spec import Workload
from rooftune.workloads.texts.prompt_set import prompt_file
from rooftune.workloads.texts.prompt_text import PromptText

MOST_REPLAYED = 400
"""Answers that are replayed: more make intervals narrower and a plan slower."""
STREAMS = 8
"""Answers at a time in the replay of suffix decoding, whose answers learn from each other."""


class RunDrafts(BaseModel):
    """``drafts.json`` of a run folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    texts: bool = Field(description="the workload sends real texts")
    plays: bool = Field(default=False, description="the simulated engine plays the recorded answers of the prompts")
    drafts: list[KnownDraft] = Field(default_factory=list)
    learned: bool = Field(default=False, description="they are from the baseline's own answers")
    measured: list[KnownDraft] = Field(default_factory=list, description="from the counters of the run's trials")

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        write_json(path, self.model_dump(mode="json"))

    @classmethod
    def read(cls, path: Path) -> RunDrafts:
        """Read what ``write`` wrote.

        Raises:
            RooftuneError: the file is missing or broken.
        """
        return read_model(path, cls)

    def learned_from(self, answers: Sequence[Recorded], target: Target, *, cuda: bool) -> RunDrafts:
        """The same after the baseline has answered: its own answers replace those of the file."""
        return self.model_copy(update={"drafts": drafts_from(answers, target, cuda=cuda), "learned": True})

    def in_target(self, target: Target, workload: Workload) -> Target:
        """The target with what is known. The simulated engine plays the user's file: no text enters the run folder."""
        played = workload.prompts.file if workload.prompts and self.plays and target.simulated else None
        known = {"texts": self.texts, "drafts": self.drafts, "measured_drafts": self.measured, "answers": played}
        return target.model_copy(update=known)


def drafts_of_prompts(workload: Workload, target: Target, facts: ModelFacts | None, *, cuda: bool) -> RunDrafts:
    """What the recorded answers of a workload's prompts say before any trial.

    Args:
        cuda: whether the n-gram proposer on the GPU is there.

    Raises:
        InputError: the file of prompts cannot be read.
    """
    if workload.prompts is None:
        return RunDrafts(texts=False)
    prompts = prompt_file(workload.prompts).split.search
    found = _recorded(prompts, target, facts, workload.chat)
    plays = target.simulated and len(found) > 0
    return RunDrafts(texts=True, plays=plays, drafts=drafts_from(found, target, cuda=cuda))


def measured_drafts(trials: Iterable[TrialResult]) -> list[KnownDraft]:
    """What the counters of trials show, by configuration of the drafts.

    Trials with a schedule of lengths are left out: how often a position was drafted at all depends on their load.
    """
    counters: dict[str, Counter[str]] = {}
    asked: dict[str, Mapping[str, object]] = {}
    number: Counter[str] = Counter()
    for trial in trials:
        drafting = trial.flags.get("speculative_config")
        if not trial.believed or not isinstance(drafting, Mapping) or SCHEDULE in drafting:
            continue
        key = json.dumps(drafting, sort_keys=True)
        asked[key] = drafting
        counters.setdefault(key, Counter()).update(trial.server)  # the keys that are read are all counts
        number[key] += 1
    found = {key: from_counters(total) for key, total in counters.items()}
    return [
        KnownDraft.of(asked[key], acceptance, f"counters of {quantity(number[key], 'trial')}")
        for key, acceptance in found.items()
        if acceptance is not None
    ]


def drafts_from(answers: Sequence[Recorded], target: Target, *, cuda: bool) -> list[KnownDraft]:
    """What a replay of answers says; nothing where there are too few."""
    return replayed_drafts(answers[:MOST_REPLAYED], version(target.engine_version), cuda=cuda, streams=STREAMS)


def _recorded(prompts: Sequence[PromptText], target: Target, facts: ModelFacts | None, as_chat: bool) -> Answers:
    if target.simulated:
        words = facts.vocab_size if facts is not None else USUAL
        return answers_of_prompts(prompts, words, as_chat=as_chat)
    encoder = encoder_for(target.model)
    return recorded_answers(prompts, encoder.text, encoder.chat, as_chat=as_chat)
