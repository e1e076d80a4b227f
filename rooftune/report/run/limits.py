"""What limits the server: its effective configuration, the roofline, and the figures of both."""

from __future__ import annotations

from rooftune.engines.server import EffectiveConfig
from rooftune.formatting import number
from rooftune.report.markup import code, sentence
from rooftune.report.page.model import Fact, Facts, Picture, Section, bullets, section
from rooftune.report.run.naming import RECOMMENDED, Names
from rooftune.report.run_data import RunData
from rooftune.roofline.model import Stage

STAGES: tuple[Stage, ...] = ("decode", "prefill")
HEADING = "What limits the server"


def limits(run: RunData, names: Names, figures: list[Picture | Section]) -> Section | None:
    """The roofline of the baseline and of the recommended configuration, and what the engine reports."""
    chosen = run.compared
    rows = [
        Fact(f"{_called(run, names, name)}, {stage}", sentence(point.sentence))
        for name in chosen
        for stage in STAGES
        if (point := run.roofline_point(name, stage)) is not None
    ]
    reported = section("What the engine reports", bullets(_reported(run, names, chosen)), folded=True)
    return section(HEADING, *figures, Facts(tuple(rows)), reported)


def _called(run: RunData, names: Names, name: str) -> str:
    """The name, and that it is the recommended one where it does not say so."""
    plain = names.plain(name)
    unsaid = name == run.decision.incumbent and plain not in ("baseline", RECOMMENDED)
    return f"{plain} (recommended)" if unsaid else plain


def _reported(run: RunData, names: Names, chosen: list[str]) -> list[str]:
    lines = []
    if run.plan.context is not None:
        lines.append(f"{sentence(run.plan.context.sentence)} Raise it where longer requests have to be served.")
    for name in chosen:
        trials = run.of(name)
        if trials:
            lines.append(f"{names.of(name)}: {effective_words(trials[-1].effective)}.")
            lines += [f"{names.of(name)}: its log warns {code(w)}." for w in trials[-1].effective.warnings[:3]]
    return lines


def effective_words(effective: EffectiveConfig) -> str:
    """The effective configuration in words, without what the engine did not report."""
    switches = {
        "chunked prefill": effective.chunked_prefill,
        "prefix caching": effective.prefix_caching,
        "asynchronous scheduling": effective.async_scheduling,
        "CUDA graphs": effective.cuda_graphs,
    }
    parts = [f"{words} {'on' if value else 'off'}" for words, value in switches.items() if value is not None]
    if effective.linear_kernel:
        parts.append(f"linear kernel {effective.linear_kernel}")
    if effective.attention_backend:
        parts.append(f"attention backend {effective.attention_backend}")
    if effective.max_num_seqs:
        parts.append(f"at most {number(effective.max_num_seqs)} sequences at once")
    if effective.max_num_batched_tokens:
        parts.append(f"at most {number(effective.max_num_batched_tokens)} tokens per step")
    if effective.kv_cache_tokens is not None:
        parts.append(f"KV cache for {number(effective.kv_cache_tokens)} tokens")
    return ", ".join(parts) or "none of its settings"
