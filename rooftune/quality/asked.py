"""What a check asks of the servers of a workload: its prompts, how answers are drawn, and how long they may be."""

from __future__ import annotations

from dataclasses import replace

from rooftune.quality.baseline import Asked, chosen
from rooftune.workloads.spec import Workload
from rooftune.workloads.texts.prompt_set import prompt_file
from rooftune.workloads.texts.prompt_text import PromptText

MOST_TOKENS = 512
"""Longest answer of a check."""


def asked_of(workload: Workload) -> Asked | None:
    """What checks of this workload ask: the prompts of the search's part. None where it has no texts.

    Raises:
        InputError: the file of prompts is missing, or is not the one with which the run began.
    """
    if workload.prompts is None:
        return None
    prompts = prompt_file(workload.prompts).split.search
    return Asked(
        prompts=[_sent(p, chat=workload.chat) for p in chosen(prompts)],
        sampling=workload.requests_sampling,
        max_tokens=min(workload.max_tokens or MOST_TOKENS, MOST_TOKENS),
        keep_texts=workload.prompts.keep_texts,
    )


def _sent(prompt: PromptText, *, chat: bool) -> PromptText:
    """The prompt as requests of this workload send it."""
    return replace(prompt, text=None, messages=prompt.as_messages()) if chat else prompt
