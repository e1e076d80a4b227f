"""What identifies a workload: its name, and a hash of what decides its requests and how they are judged."""

from __future__ import annotations

import hashlib
import json
import re

from rooftune.workloads.spec import Workload
from rooftune.workloads.texts.prompts_file import Prompts
from rooftune.workloads.texts.sampling import Sampling


def name_from(words: str, otherwise: str) -> str:
    """A workload's name from other words, such as the name of a file: lower case, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-") or otherwise


def workload_hash(workload: Workload) -> str:
    """Short hash of everything that decides which requests are drawn and how they are judged, except the seed.

    Trials of one workload draw with several seeds and stay comparable; each records its seed.
    """
    content = workload.model_dump(mode="json", exclude={"description", "seed", *_UNSET_BY_DEFAULT})
    if workload.slo.answer_ttft_ms is None:
        del content["slo"]["answer_ttft_ms"]
    content |= {name: value for name in _UNSET_BY_DEFAULT if (value := _hashed(workload, name)) is not None}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


_UNSET_BY_DEFAULT = ("prompts", "sampling", "max_tokens", "lora")
"""Keys that are left out of the hash where they are not set, as slo.answer_ttft_ms is, so that trials from before they
existed keep theirs."""
_ELSEWHERE = {"file", "part", "lengths", "keep_texts"}
"""Keys of ``prompts`` that do not identify a workload: its file does so by its content, wherever it is."""


def _hashed(workload: Workload, name: str) -> object:
    value = getattr(workload, name)
    if isinstance(value, Prompts):
        return value.model_dump(mode="json", exclude=_ELSEWHERE)
    if name == "lora":
        return [a.model_dump(mode="json", exclude={"path"}) for a in workload.lora] or None
    return value.model_dump(mode="json", exclude_none=True) if isinstance(value, Sampling) else value
