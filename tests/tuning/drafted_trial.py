"""A trial whose server drafted in every decode step."""

from __future__ import annotations

from collections.abc import Mapping

from rooftune.evidence.records.trial import TrialResult


def drafted(speculation: Mapping[str, object] | None, drafts: int, *accepted: int, **more: object) -> TrialResult:
    """A measured trial with these counters: drafts, and how many were accepted up to each position."""
    tokens = 1000.0
    server = {
        "spec_drafts": float(drafts),
        "spec_draft_tokens": float(drafts * len(accepted)),
        "spec_accepted_tokens": float(sum(accepted)),
        "generation_tokens": float(drafts + sum(accepted)) + tokens,
        "first_tokens": tokens,
        **{f"spec_accepted_pos_{i + 1}": float(n) for i, n in enumerate(accepted)},
    }
    fields = {
        "candidate": "c", "n": 1, "status": "measured", "workload": "w", "workload_hash": "h", "seed": 1, "position": 1,
        "flags": {"speculative_config": dict(speculation)} if speculation is not None else {},
        "server": server if drafts else {}, **more,
    }  # fmt: skip
    return TrialResult.model_validate(fields)
