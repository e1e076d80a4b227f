"""Whether a version of vLLM takes a configuration, as far as that is known before a device and a model are."""

from __future__ import annotations

from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.exclusions import idle_flags, refuse_contradictions
from rooftune.vllm_rules.flags import check_flag, check_value


def validate(config: EngineConfig, engine_version: str) -> list[str]:
    """Check every flag against the version, and the flags against each other; return what a user should know of them.

    Raises:
        InputError: one sentence about the first thing that is wrong.
    """
    flags = config.flags()
    uncertain = [check_flag(name, engine_version) for name in flags]
    for name, value in flags.items():
        check_value(name, value, engine_version)
    refuse_contradictions(config, engine_version)
    return [note for note in uncertain if note] + idle_flags(config, engine_version)
