"""How the answers of candidates are checked, from what a user asks for."""

from __future__ import annotations

from flows.inputs.parameters import QualityOptions
from rooftune.errors import InputError
from rooftune.tuning.plan import QualityRules


def check_resumed(asked: QualityOptions) -> None:
    """Refuse what a resumed run cannot take up: the baseline was evaluated when the run began, or not.

    Raises:
        InputError: an evaluation is named.
    """
    if asked.quality_command is not None or asked.quality_value is not None:
        raise InputError(
            "--quality-command and --quality-value belong to a new run, because it evaluates the baseline first; leave "
            "them out to resume this run."
        )


def quality_rules(asked: QualityOptions, engine: str) -> QualityRules:
    """The rules of the checks.

    Args:
        engine: as ``--engine`` names it.

    Raises:
        InputError: a command without the place of its value, or the reverse, or a command for an endpoint.
    """
    if asked.quality_command is not None and engine == "endpoint":
        raise InputError(
            "--quality-command compares configurations, and rooftune cannot change those of an endpoint; use "
            "--engine vllm, or run the evaluation on each endpoint yourself."
        )
    if asked.quality_command is not None and not asked.quality_command.strip():
        raise InputError("--quality-command is empty; give the command that evaluates a server.")
    if asked.quality_command is not None and not asked.quality_value:
        raise InputError(
            "--quality-command needs --quality-value, the place of the value in its JSON, such as results.acc."
        )
    if asked.quality_value and asked.quality_command is None:
        raise InputError("--quality-value belongs to --quality-command, which evaluates a server; give both.")
    return QualityRules(accept_loss=asked.accept_quality_loss, command=asked.quality_command, value=asked.quality_value)
