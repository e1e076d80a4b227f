"""What the configuration of a server shows: what its log recommends, what it overrode, which features are off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rooftune.doctor.diagnosis import DoctorFinding
from rooftune.engines.failure_rules import warning_rules
from rooftune.engines.log_lines import log_lines
from rooftune.engines.server import EffectiveConfig
from rooftune.errors import InputError
from rooftune.knobs.entry import knob

HEAD_BYTES = TAIL_BYTES = 4 * 2**20
RESOLVED = {
    "quantization": "quantization",
    "max_model_len": "max_model_len",
    "max_num_batched_tokens": "max_num_batched_tokens",
    "enforce_eager": "enforce_eager",
    "enable_prefix_caching": "prefix_caching",
    "enable_chunked_prefill": "chunked_prefill",
    "async_scheduling": "async_scheduling",
}
"""Flags, and where the effective configuration has what became of them."""


@dataclass(frozen=True)
class Rule:
    """A feature that is worth trying where it is off."""

    id: str
    field: str
    off: bool
    sentence: str
    knob: str
    flag: str


RULES = (
    Rule("cuda-graphs", "enforce_eager", True, "Eager mode is on, so every step pays for launching its kernels.",
         "graphs", "enforce_eager=false"),
    Rule("async-scheduling", "async_scheduling", False,
         "Asynchronous scheduling is off, so the GPU waits for the scheduler between steps.", "async_scheduling",
         "async_scheduling=true"),
)  # fmt: skip


def read_log(path: Path) -> str:
    """The beginning of a log, where the configuration is, and its end.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with path.open("rb") as handle:
            head = handle.read(HEAD_BYTES)
            handle.seek(max(handle.tell(), path.stat().st_size - TAIL_BYTES))
            return (head + handle.read()).decode(errors="replace")
    except OSError as error:
        raise InputError(f"--log {path} cannot be read ({error.strerror}); name the file with vLLM's output.") from None


def configuration_findings(effective: EffectiveConfig, log_text: str) -> list[DoctorFinding]:
    """All findings from the effective configuration and the log; the log may be empty."""
    found = [_recommended(flag, value, log_text) for flag, value in effective.recommended.items()]
    quoted = {finding.evidence for finding in found}
    found += [warning for warning in _warnings(log_text) if warning.evidence not in quoted]
    found += _overridden(effective)
    for rule in RULES:
        if getattr(effective, rule.field) is rule.off:
            evidence = f"the server reports {rule.field}={rule.off}"
            found.append(
                DoctorFinding(
                    id=rule.id,
                    severity="advice",
                    sentence=rule.sentence,
                    evidence=evidence,
                    knob=rule.knob,
                    flags=[rule.flag],
                )
            )
    if not log_text:
        sentence = "Without --log FILE, nothing is known of kernels, CUDA graphs and what the log recommends."
        found.append(DoctorFinding(id="log", severity="not known", sentence=sentence, evidence="no log was named"))
    return found


def _recommended(flag: str, value: str, log_text: str) -> DoctorFinding:
    named = (flag, flag.replace("_", "-"))
    line = next((x for x in log_lines(log_text) if value in x.text and any(n in x.text for n in named)), None)
    return DoctorFinding(
        id="log-recommends",
        severity="problem",
        sentence=f"The log recommends {flag}={value}.",
        evidence=_quoted(line.number, line.text) if line is not None else "the log",
        knob=_knob(flag),
        flags=[f"{flag}={value}"],
    )


def _warnings(log_text: str) -> list[DoctorFinding]:
    """Warnings that matter although the server runs, each with its line."""
    found = []
    for rule in warning_rules():
        for line in log_lines(log_text):
            if match := rule.pattern.search(line.text):
                sentence = f"The log warns: {rule.sentence(match)}."
                evidence = _quoted(line.number, line.text)
                found.append(DoctorFinding(id="log-warns", severity="problem", sentence=sentence, evidence=evidence))
                break
    return found


def _overridden(effective: EffectiveConfig) -> list[DoctorFinding]:
    """Flags that were passed and have another value in the resolved configuration."""
    found = []
    for flag, value in passed_flags(effective).items():
        if flag not in RESOLVED or (became := getattr(effective, RESOLVED[flag])) is None:
            continue
        if str(value).lower() not in (str(became).lower(), "auto", "none"):
            found.append(
                DoctorFinding(
                    id="overridden",
                    severity="advice",
                    sentence=f"{flag}={value} was passed, and the server runs with {became}.",
                    evidence="the arguments and the resolved configuration in the log",
                    knob=_knob(flag),
                )
            )
    return found


def passed_flags(effective: EffectiveConfig) -> Mapping[str, object]:
    """The flags that the server was started with, by its log."""
    passed = effective.raw.get("passed")
    return passed if isinstance(passed, dict) else {}


def _quoted(number: int, text: str) -> str:
    return f'line {number + 1}: "{text.strip()}"'


def _knob(flag: str) -> str | None:
    """The knob that sets a flag; None for a flag that is not tuned."""
    try:
        return knob(flag).name
    except InputError:
        return None
