"""What a run knows about drafts of speculative decoding: from recorded answers of its prompts, or the baseline's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from rooftune.answers.answer import Answers
from rooftune.answers.recorded import recorded_answers
from rooftune.engines.prompt_lengths import encoder_for
from rooftune.engines.target import Target
from rooftune.engines.vocabulary import USUAL
from rooftune.files import read_model, write_json
from rooftune.models.facts import ModelFacts
from rooftune.simulator.front.played import answers_of_prompts
from rooftune.speculation.candidates import replayed_drafts
from rooftune.speculation.known import KnownDraft
from rooftune.speculation.sessions import Recorded
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
        return target.model_copy(update={"texts": self.texts, "drafts": self.drafts, "answers": played})


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


def drafts_from(answers: Sequence[Recorded], target: Target, *, cuda: bool) -> list[KnownDraft]:
    """What a replay of answers says; nothing where there are too few."""
    return replayed_drafts(answers[:MOST_REPLAYED], version(target.engine_version), cuda=cuda, streams=STREAMS)


def _recorded(prompts: Sequence[PromptText], target: Target, facts: ModelFacts | None, as_chat: bool) -> Answers:
    if target.simulated:
        words = facts.vocab_size if facts is not None else USUAL
        return answers_of_prompts(prompts, words, as_chat=as_chat)
    encoder = encoder_for(target.model)
    return recorded_answers(prompts, encoder.text, encoder.chat, as_chat=as_chat)
