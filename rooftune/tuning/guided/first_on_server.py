"""Which option a new server starts for: one whose limits can be lowered to those that come after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rooftune.engines.server import Limits
from rooftune.engines.switching import lowered, stated_limits
from rooftune.search.gain import Outlook
from rooftune.search.next_step import Measure
from rooftune.vllm_rules.config import EngineConfig

WORTH = 0.5
"""Least expected gain of the option with higher limits, relative to the chosen one's. One start then serves both."""


def with_highest_limits(
    chosen: Measure, look: Outlook, config: Callable[[str], EngineConfig], max_model_len: int | None
) -> Measure:
    """A trial that needs a start, or in its place that of an option whose server can be lowered to the chosen one.

    Args:
        config: the whole configuration of an option.
        max_model_len: of the server.
    """
    options, wanted = look.problem.options, config(chosen.option)
    at = look.problem.at(chosen.option)
    worth = look.open & (look.gain >= WORTH * look.gain[at]) & (look.gain > 0)
    best, highest = at, stated_limits(wanted)
    for place in map(int, worth.nonzero()[0]):
        here = config(options[place].id)
        limits = stated_limits(here)
        if limits is None or lowered(limits, max_model_len, here, wanted) is None:
            continue
        if highest is None or _size(limits) > _size(highest):
            best, highest = place, limits
    if best == at:
        return chosen
    why = f"its server can then be lowered to {chosen.option} ({chosen.why})"
    return replace(
        chosen, option=options[best].id, why=why, gain=float(look.gain[best]), chance=float(look.chance[best])
    )


def _size(limits: Limits) -> tuple[int, int, bool, int]:
    """By which limits are ordered; a threshold of 0 is the highest."""
    threshold = limits.long_prefill_token_threshold
    return limits.max_num_seqs, limits.max_num_batched_tokens, threshold == 0, threshold
