"""A workload drawn with its seed: every request that will be sent, as columns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from rooftune.workloads.texts.prompt_text import PromptText

COLUMNS = (
    *("arrival_s", "prompt_tokens", "output_tokens", "prefix_id", "prefix_tokens", "prompt_seed"),
    *("conversation", "turn", "think_s", "part", "prompt", "max_tokens", "salt", "adapter"),
)
LISTS = ("blocks", "texts")
"""Fields that have one entry for each request; any of them may be None."""


@dataclass(frozen=True)
class RequestPlan:
    """Columns of length n, one row for each request, in order of arrival.

    ``prompt_tokens`` includes the shared prefix. A request of turn > 0 of a conversation is not due at its
    ``arrival_s`` but ``think_s`` after the answer to its previous turn. In a closed loop all ``arrival_s`` are 0: each
    of ``concurrency`` users takes the next request (or conversation) when the last one has ended, and sends it
    ``think_s`` later.
    """

    arrival_s: npt.NDArray[np.float64]
    prompt_tokens: npt.NDArray[np.int32]
    output_tokens: npt.NDArray[np.int32]
    prefix_id: npt.NDArray[np.int32]
    """-1 = no shared prefix."""
    prefix_tokens: npt.NDArray[np.int32]
    prompt_seed: npt.NDArray[np.int64]
    """Seed of the distinct part of the prompt; two equal values mean the same text (a trace may repeat one)."""
    conversation: npt.NDArray[np.int32]
    """-1 = not part of a conversation."""
    turn: npt.NDArray[np.int32]
    think_s: npt.NDArray[np.float64]
    part: npt.NDArray[np.int16]
    """Index of the component of a mixed workload."""
    concurrency: int | None
    """Closed loop: users; None = open loop."""
    seed: int
    blocks: tuple[tuple[int, ...], ...] | None = None
    """Traces that name the blocks of each prompt (Mooncake): equal numbers are equal text. None = see ``prefix_id``."""
    block_tokens: int = 512
    texts: tuple[str, ...] | None = None
    """Traces with real text: what the user says in each request."""
    notes: tuple[str, ...] = ()
    """What was assumed about a trace or prompts, one sentence each without its full stop."""
    prompts: tuple[PromptText, ...] | None = None
    """Real texts that are sent; None = prompts are drawn."""
    prompt: npt.NDArray[np.int32] | None = None
    """Place of the prompt, or conversation, of each request in ``prompts``."""
    max_tokens: npt.NDArray[np.int32] | None = None
    """Where answers end by themselves: the longest that each may be. ``output_tokens`` is what is expected."""
    salt: npt.NDArray[np.int32] | None = None
    """With ``prompts``: how many times all of them were sent before."""
    adapter: npt.NDArray[np.int16] | None = None
    """Place in ``adapters`` of the LoRA adapter that each request asks for; -1 = the model itself."""
    adapters: tuple[str, ...] = ()
    counted: str = "exact"
    """Where the lengths of ``prompts`` are from: a tokenizer, the server, or an estimate; exact = they are drawn."""

    def __len__(self) -> int:
        return len(self.arrival_s)

    def take(self, rows: npt.NDArray[np.integer]) -> RequestPlan:
        """The plan with some of its requests, in this order."""
        columns: dict[str, Any] = {name: v[rows] for name in COLUMNS if (v := getattr(self, name)) is not None}
        columns |= {name: tuple(v[i] for i in rows) for name in LISTS if (v := getattr(self, name)) is not None}
        return replace(self, **columns)

    @property
    def longest_request(self) -> int:
        """Tokens of the longest request, prompt and answer together; 1 where there is none."""
        answers = self.output_tokens if self.max_tokens is None else self.max_tokens
        return int((self.prompt_tokens.astype(np.int64) + answers).max(initial=1))
