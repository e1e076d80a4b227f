"""What the log of a version says; read in ``config/vllm.py`` and ``v1/metrics/loggers.py``."""

from __future__ import annotations

from rooftune.vllm_rules.versions import Releases

PRINTS_ASYNC = Releases(since="0.15", until="0.23")
"""The log says "Asynchronous scheduling is enabled." or "disabled."; later versions only say when they turn it off."""
COUNTS_COMPUTED_PROMPTS = Releases(since="0.19")
""""Avg prompt throughput" counts the prompt tokens that were computed; before, also those from the prefix cache."""
EAGER_DISABLES_COMPILE = Releases(since="0.19")
"""Eager mode is announced as "disabling torch.compile"; 0.15 says "overriding optimization level to -O0"."""
