"""The ``prompts`` of a workload: a file of real texts, and how it is used."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rooftune.workloads.strict import Strict
from rooftune.workloads.texts.records import PromptFormat


class Prompts(Strict):
    """Real texts to send, from a file. Each arrival takes the next prompt, or conversation, in an order by the seed."""

    file: str = Field(description="path, relative to the workload file")
    format: PromptFormat = Field(default="auto", description="what wrote it; auto recognises each entry by its keys")
    part: Literal["all", "search", "confirm"] = Field(
        default="all", description="part of the split that is sent; a tuning run sets it for each trial"
    )
    repeats: Literal["salted", "same"] = Field(
        default="salted",
        description="when the load needs more prompts than there are: salted gives each further pass through them its "
        "own cache_salt, so that the prefix cache of vLLM does not answer for it; same sends them as they are",
    )
    think_s: float = Field(
        default=2.0, ge=0, description="mean of the exponential pause between turns, where the file has no times"
    )
    keep_texts: bool = Field(default=False, description="keep the prompts and answers of a run in its folder")
    sha256: str | None = Field(
        default=None, description="first digits of the hash of the file's content; set when it is read"
    )
    lengths: str | None = Field(
        default=None, description="file with the tokens of each prompt; a run writes it; without it they are estimated"
    )
