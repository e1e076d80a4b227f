"""``rooftune doctor``: what a running vLLM reports about itself, and which knob to try."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from flows.cli import terminal
from flows.inputs import options

if TYPE_CHECKING:
    from rooftune.doctor.diagnosis import Diagnosis, DoctorFinding

Url = Annotated[str, Option("--url", help="Address of the server, for example http://127.0.0.1:8000.")]
Seconds = Annotated[float, Option("--seconds", min=0.5, max=600, help="How long to watch its metrics.")]
LogFile = Annotated[Path | None, Option("--log", metavar="FILE", help="The server's output, for what it recommends.")]
ForCommands = Annotated[str, Option("--workload", help="Workload in the commands that measure a change.")]
HEADS = {"problem": "Problems", "advice": "Worth trying", "not known": "Not known", "fine": "Fine"}
SHOWN = (
    "engine_version", "model", "dtype", "quantization", "linear_kernel", "attention_backend", "max_model_len",
    "max_num_seqs", "max_num_batched_tokens", "prefix_caching", "async_scheduling", "enforce_eager", "kv_cache_dtype",
    "kv_cache_tokens", "gpu_memory_utilization", "speculative",
)  # fmt: skip


def doctor(
    url: Url,
    seconds: Seconds = 10.0,
    log: LogFile = None,
    workload: ForCommands = "chat-medium",
    as_json: options.Json = False,
) -> None:
    """Watch a running vLLM without sending it load: configuration, queue, KV cache, preemptions, prefix
    cache, padding of CUDA graphs.

    Every finding has its evidence, the knob to try, and the command that measures whether it helps. The answer is a
    hint, not a measurement.

    [bold]Examples[/bold]

      rooftune doctor --url http://127.0.0.1:8000
      rooftune doctor --url http://127.0.0.1:8000 --log vllm.log --seconds 60
    """
    from rooftune.doctor.configuration import read_log
    from rooftune.doctor.examine import examine

    log_text = read_log(log) if log is not None else ""
    terminal.note(f"Watching the metrics of {url} for {seconds:g} s ...")
    with terminal.busy(f"Watching {url}"):
        found = asyncio.run(examine(url, seconds, log_text, workload))
    if as_json:
        terminal.print_json(found.model_dump(mode="json"))
    else:
        terminal.markdown(_text(found))


def _text(found: Diagnosis) -> str:
    """The diagnosis as Markdown."""
    known = [(name, value) for name in SHOWN if (value := getattr(found.effective, name)) is not None]
    simulated = " (simulated)" if found.simulated else ""
    lines = [f"# {found.url}{simulated}", "", ", ".join(f"`{name}={value}`" for name, value in known), ""]
    for severity, head in HEADS.items():
        chosen = [f for f in found.findings if f.severity == severity]
        if chosen:
            lines += [f"## {head}", "", *(line for f in chosen for line in _item(f)), ""]
    return "\n".join(lines)


def _item(finding: DoctorFinding) -> list[str]:
    lines = [f"- **{finding.id}**: {finding.sentence} ({finding.evidence})" if finding.evidence else finding.sentence]
    if finding.flags:
        tried = ", ".join(f"`--{_dashed(flag)}`" for flag in finding.flags)
        lines.append(f"  - try {tried}; `rooftune explain {finding.knob}`" if finding.knob else f"  - try {tried}")
    if finding.command:
        lines.append(f"  - `{finding.command}`")
    return lines


def _dashed(flag: str) -> str:
    name, _, value = flag.partition("=")
    return f"{name.replace('_', '-')} {value}"
