"""Checks of tokens and prompts: counted by the server, of the planned length, not cut, not repeated."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from rooftune.evidence.audit.findings import failed, no_data, passed, warned
from rooftune.evidence.metrics.gauges import delta
from rooftune.evidence.records.columns import Bools, Floats, Requests
from rooftune.evidence.records.evidence import Evidence
from rooftune.evidence.records.trial import Check
from rooftune.loadgen.texts_sent import TextsSent
from rooftune.metrics.window import Window

COUNT_WARN, COUNT_FAIL = 0.02, 0.05
REPEATED_WARN, REPEATED_FAIL = 0.9, 0.5
"""Shares of distinct prompts below which prefix-cache hits are likely, and certain."""
CUT_WARN = 0.2
"""Share of answers cut at ``max_tokens`` above which the lengths are those of the limit, not of the model."""


def count(e: Evidence) -> Check:
    """Tokens of the client against usage and against the server's own counter."""
    name = "token-count"
    if e.characters:
        return failed(
            name,
            "The file has characters of finished answers and no tokens. Characters / 4 is a "
            "guess, and tokens of unfinished answers are missing.",
            "Ask for usage (stream_options.include_usage) and count each chunk as it arrives, "
            "including those of unfinished answers.",
        )
    if e.requests is None:
        return no_data(name, f"{e.no_requests}, so its tokens cannot be recounted.")
    r = e.requests
    done = (r.status == "completed") & np.isfinite(r.output_tokens)
    if not done.any():
        if e.ours and np.nansum(r.streamed_tokens) > 0:
            return warned(
                name,
                "The server sent no usage, so tokens are counted from the text of each chunk.",
                "Use an engine that supports stream_options.include_usage.",
            )
        return no_data(name, "The file has no token counts of single requests.")
    usage, mine = float(r.output_tokens[done].sum()), float(np.nansum(r.streamed_tokens[done]))
    figures: dict[str, float] = {"usage": usage, "client": mine}
    gaps = [abs(mine / usage - 1)] if usage and np.isfinite(r.streamed_tokens[done]).any() else []
    counted, whole = _in_window(e), _in_load(e)
    sentence = f"The server's usage has {usage:,.0f} tokens"
    if gaps:
        sentence += f", the client counted {mine:,.0f}"
    if counted is not None:
        figures |= {"window_client": counted.client, "window_server": counted.server}
        where = "in the window"
        if whole is not None and whole.gap < counted.gap:  # tokens that come late are missing in the window alone
            counted, where = whole, "over the whole load"
        gaps.append(counted.gap)
        sentence += f"; {where} the server counted {counted.server:,.0f} and the client {counted.client:,.0f}"
    worst = max(gaps, default=0.0)
    remedy = (
        "Look for other clients of the same server, a proxy that drops chunks, or a chat template that adds tokens."
    )
    if worst > COUNT_FAIL:
        return failed(name, f"Counts differ by {100 * worst:.1f} %. {sentence}.", remedy, figures)
    if worst > COUNT_WARN:
        return warned(name, f"Counts differ by {100 * worst:.1f} %. {sentence}.", remedy, figures)
    return passed(name, f"{sentence}.", figures)


def late(e: Evidence) -> Check:
    """Tokens that the server made in the window and the client received outside of it."""
    name = "token-arrival"
    counted, whole = _in_window(e), _in_load(e)
    if counted is None or whole is None:
        return no_data(name, "The server's own counter of tokens is missing.")
    figures = {"window_client": counted.client, "window_server": counted.server}
    sentence = (
        f"In the window the server made {counted.server:,.0f} tokens and the client received {counted.client:,.0f}"
    )
    missing = whole.gap > COUNT_FAIL or whole.gap >= counted.gap  # token-count judges what never came
    if counted.gap <= COUNT_WARN or missing:
        return passed(name, f"{sentence}.", figures)
    sentence += (
        f", although over the whole load their counts differ by {100 * whole.gap:.1f} %: tokens or samples of the "
        "counter came late"
    )
    remedy = "Measure again while the machine does little else, or send the load from another machine."
    if counted.gap > COUNT_FAIL:
        return failed(name, f"{sentence}.", remedy, figures)
    return warned(name, f"{sentence}.", remedy, figures)


@dataclass(frozen=True)
class _Tokens:
    """Tokens between two samples of the server's counter, by the client's count and by that counter."""

    client: float
    server: float
    early: float
    """Tokens that the server may have counted before the first sample and the client received after it."""
    late: float
    """Tokens that the server may have counted between the samples and the client received at another time."""

    @property
    def gap(self) -> float:
        """Difference of the two counts that those tokens do not explain, relative to the server's."""
        more = self.client - self.server
        return max(0.0, more - self.early, -more - self.late) / self.server


def _in_window(e: Evidence) -> _Tokens | None:
    """Both counts of the window; None where the server's counter is missing or did not move."""
    return _between_samples(e, e.window) if e.window is not None else None


def _in_load(e: Evidence) -> _Tokens | None:
    """Both counts of the whole load. On a busy machine the first sample is late too."""
    found = _between_samples(e, Window(start_s=-math.inf, end_s=math.inf))
    if found is None or e.requests is None:
        return None
    return replace(found, late=float(e.requests.token_count.sum()) - found.client)


def _between_samples(e: Evidence, window: Window) -> _Tokens | None:
    """Both counts from the first to the last sample of the server that the window holds."""
    if e.requests is None or not e.ticks or e.ticks.get("generation_tokens_total") is None:
        return None
    at = e.ticks["t_s"]
    known = np.isfinite(e.ticks["generation_tokens_total"])
    edges = at[known & (at >= window.start_s) & (at <= window.end_s)]
    if len(edges) < 3 or edges[0] >= edges[-1]:
        return None
    span = Window(start_s=float(edges[0]), end_s=float(edges[-1]))
    counted = delta(e.ticks, "generation_tokens_total", span)
    if not counted:
        return None
    inside = (e.requests.token_s >= span.start_s) & (e.requests.token_s < span.end_s)
    early, late = (_next_chunks(e.requests, moment) for moment in (span.start_s, span.end_s))
    return _Tokens(float(e.requests.token_count[inside].sum()), counted, early, late)


def _next_chunks(r: Requests, moment_s: float) -> float:
    """Tokens in the next chunk of every answer that streams at that moment."""
    next_one = (r.token_owner[1:] == r.token_owner[:-1]) & (r.token_s[:-1] < moment_s) & (r.token_s[1:] >= moment_s)
    return float(r.token_count[1:][next_one].sum())


def answers(e: Evidence) -> Check:
    """Early stops and empty answers."""
    name = "answer-lengths"
    if e.requests is None:
        return no_data(name, f"{e.no_requests}.")
    r = e.requests
    done = r.status == "completed"
    got = np.where(np.isfinite(r.output_tokens), r.output_tokens, r.streamed_tokens)
    known = done & np.isfinite(got)
    if not known.any():
        return no_data(name, "The file does not have the number of tokens of an answer.")
    empty = int((known & (got <= 0)).sum())
    figures: dict[str, float] = {"completed": int(done.sum()), "empty": empty}
    remedy = (
        "Set ignore_eos, give max_tokens and leave room below max_model_len; an answer without tokens is not a success."
    )
    if empty > 0.01 * known.sum():
        return failed(
            name, f"{empty:,} of {int(known.sum()):,} answers are empty but recorded as completed.", remedy, figures
        )
    if _natural(e):
        return _natural_ends(e, r, known, got, figures)
    exact = e.workload is not None and e.workload.ignore_eos
    planned = known & np.isfinite(r.planned_output_tokens)
    if not exact or not planned.any():
        return passed(
            name,
            f"{int(known.sum()):,} answers have {got[known].mean():.1f} tokens on average, and none is empty.",
            figures,
        )
    short = int((planned & (got < r.planned_output_tokens)).sum())
    figures["short"] = short
    if short > 0.01 * planned.sum():
        return failed(
            name,
            f"{short:,} of {int(planned.sum()):,} answers are shorter than planned although ignore_eos was set.",
            remedy,
            figures,
        )
    if short:
        return warned(name, f"{short:,} answers are shorter than planned.", remedy, figures)
    return passed(name, f"All {int(planned.sum()):,} answers have the planned length.", figures)


def _natural(e: Evidence) -> bool:
    """Whether answers ended by themselves, as on a real server; the simulated one gives each its planned length."""
    simulated = e.trial is not None and e.trial.simulated
    return e.workload is not None and e.workload.natural_ends and not simulated


def _natural_ends(e: Evidence, r: Requests, known: Bools, got: Floats, figures: dict[str, float]) -> Check:
    """Answers that ended by themselves, and those that the limit cut."""
    name, total = "answer-lengths", int(known.sum())
    cut = float((r.finish_reason[known] == "length").mean())
    mean = float(got[known].mean())
    figures |= {"cut_share": round(cut, 4), "mean": round(mean, 1)}
    sentence = f"{total:,} answers have {mean:.1f} tokens on average; {100 * (1 - cut):.0f} % ended by themselves"
    if cut > CUT_WARN:
        return warned(
            name,
            f"{sentence}, and {100 * cut:.0f} % were cut at max_tokens.",
            "Raise max_tokens if users get longer answers than that.",
            figures,
        )
    return passed(name, f"{sentence}.", figures)


def prompts(e: Evidence) -> Check:
    """Prompts that the server cut or made longer."""
    name = "prompt-lengths"
    if e.requests is None:
        return no_data(name, f"{e.no_requests}.")
    r = e.requests
    known = np.isfinite(r.prompt_tokens) & np.isfinite(r.planned_prompt_tokens) & (r.planned_prompt_tokens > 0)
    if e.workload is not None and e.workload.prompts is not None:
        known &= ~(r.turn > 0)  # later turns carry the real answers, whose lengths nobody planned
    if not known.any():
        return no_data(name, "The file does not have both the planned and the counted length of prompts.")
    counted, planned = r.prompt_tokens[known], r.planned_prompt_tokens[known]
    source = _source(e)
    if source == "estimate":
        ratio = float(counted.sum() / planned.sum())
        return passed(
            name,
            f"The lengths of the {int(known.sum()):,} prompts were estimated for planning; the server counts "
            f"{100 * ratio:.0f} % of that.",
            {"prompts": int(known.sum()), "counted_over_estimate": round(ratio, 4)},
        )
    templated = source == "tokenizer" and e.workload is not None and e.workload.chat
    least = 0.9 * planned - 16 if templated else 0.98 * planned - 1
    cut = float((counted < least).mean())
    longer = float(np.median(counted - planned))
    figures = {"prompts": int(known.sum()), "cut_share": round(cut, 4), "median_added_tokens": longer}
    if cut > 0.01:
        return failed(
            name,
            f"{100 * cut:.1f} % of the prompts are shorter at the server than planned.",
            "Raise max_model_len or shorten the prompts; look for truncate_prompt_tokens.",
            figures,
        )
    if longer > max(16.0, 0.1 * float(np.median(planned))):
        return warned(
            name,
            f"The server counts {longer:.0f} tokens more than planned in the median prompt.",
            "A chat template or another tokenizer adds them; plan with the lengths that the server counts.",
            figures,
        )
    return passed(name, f"The server counts the planned lengths for {int(known.sum()):,} prompts.", figures)


def _source(e: Evidence) -> str:
    """Where the planned lengths are from. The simulated engine counts as the estimate does, so there it is exact."""
    source = e.load.planned_lengths if e.load is not None else "exact"
    return "exact" if source == "estimate" and e.trial is not None and e.trial.simulated else source


def repeated(e: Evidence) -> Check:
    """The same few prompts over and over, which the prefix cache answers."""
    name = "prompts-repeated"
    if e.load is not None and e.load.texts is not None:
        return _texts_repeated(e.load.texts)
    if e.requests is None or e.requests.prompt_key is None:
        if e.ours:
            return passed(
                name,
                "Prompts are drawn distinct, except for prefixes that the workload shares; "
                "prefix-hits checks this at the server.",
            )
        return no_data(name, "The file does not say which requests sent the same prompt.")
    keys = e.requests.prompt_key
    distinct, total = len(set(keys.tolist())), len(keys)
    share = distinct / total if total else 1.0
    figures = {"requests": total, "distinct_prompts": distinct}
    sentence = f"{total:,} requests sent {distinct:,} distinct prompts"
    remedy = "Draw distinct prompts, or declare the shared part of the prompts and measure that."
    if share < REPEATED_FAIL:
        return failed(
            name,
            f"{sentence}, each {total / distinct:.0f} times on average: the prefix cache answers "
            "prompts that users would not repeat.",
            remedy,
            figures,
        )
    if share < REPEATED_WARN:
        return warned(name, f"{sentence}.", remedy, figures)
    return passed(name, f"{sentence}.", figures)


def _texts_repeated(texts: TextsSent) -> Check:
    """Real texts that were sent more than once."""
    name, share = "prompts-repeated", texts.distinct / texts.sent if texts.sent else 1.0
    figures: dict[str, float] = {"requests": texts.sent, "distinct_prompts": texts.distinct, "passes": texts.passes}
    sentence = f"The load sent {texts.sent:,} prompts, {texts.distinct:,} of them different"
    if texts.salted:
        apart = "; each pass through them had its own cache_salt" if texts.passes > 1 else ""
        return passed(name, f"{sentence}{apart}.", figures)
    remedy = "Give more prompts, or leave prompts.repeats at salted, which keeps passes apart in the prefix cache."
    if texts.passes > 1 and share < REPEATED_FAIL:
        words = f"{sentence}, each {1 / share:.0f} times on average: the prefix cache answers for repeated prompts."
        return failed(name, words, remedy, figures)
    if texts.passes > 1 and share < REPEATED_WARN:
        return warned(name, f"{sentence}.", remedy, figures)
    return passed(name, f"{sentence}.", figures)


ALL = (count, late, answers, prompts, repeated)
