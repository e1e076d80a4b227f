"""Draws the requests of a workload with real texts: which prompt each arrival takes, and how long all are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rooftune.errors import InputError
from rooftune.workloads.blocks import BLOCK_TOKENS
from rooftune.workloads.request_plan import RequestPlan
from rooftune.workloads.seeds import prompt_seeds, stream
from rooftune.workloads.strict import MOST_REQUESTS, MOST_TOKENS
from rooftune.workloads.texts.lengths import PromptLengths
from rooftune.workloads.texts.prompt_set import PromptSet
from rooftune.workloads.texts.prompt_text import PromptText, Turn
from rooftune.workloads.texts.prompts_file import Prompts

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
MOST_OUTPUT = 1024
"""Longest answer where neither the workload nor the file limits it."""


@dataclass(frozen=True)
class AnswerLimits:
    """What decides how long answers are."""

    natural: bool
    """Answers end by themselves."""
    max_tokens: int | None
    """Of the workload."""
    drawn: Callable[[int], npt.NDArray[np.int32]] | None
    """Draws lengths from the workload's ``output_tokens``; None where it has none."""


@dataclass(frozen=True)
class _Table:
    """Every request of every prompt, one prompt after another."""

    start: Ints
    """By prompt: its first row."""
    turns: Ints
    """By prompt: its rows."""
    asked: Ints
    recorded: Ints
    """Tokens of the recorded answer; 0 = unknown."""
    cap: Ints
    think_s: Floats
    """NaN where the file has no times."""


def draw_prompts(
    prompts: Prompts, source: PromptSet, limits: AnswerLimits, arrival: Floats, pause: Floats, seed: int
) -> RequestPlan:
    """The plan of a workload with texts.

    Args:
        prompts: of the workload.
        source: the prompts of the part that is sent.
        limits: how long answers are.
        arrival: when conversations, or single requests, begin.
        pause: think time before each of them, in a closed loop.
        seed: decides the order of the prompts.

    Raises:
        InputError: too many turns, or an answer whose length nothing says.
    """
    texts, lengths = source.prompts, source.lengths
    table, order = _table(texts, lengths, limits), _order(len(texts), len(arrival), seed)
    sent = _sent(table, order)
    n = len(sent.row)
    answers = _answers(table, sent, limits, texts)
    salted = prompts.repeats == "salted"
    salt = order.passes[sent.start] if salted else np.zeros(n, np.int64)
    return RequestPlan(
        arrival_s=arrival[sent.start],
        prompt_tokens=_grown(table.asked[sent.row], answers.planned, sent.begin).astype(np.int32),
        output_tokens=answers.planned.astype(np.int32),
        prefix_id=np.full(n, -1, np.int32),
        prefix_tokens=np.zeros(n, np.int32),
        prompt_seed=prompt_seeds(seed, 1)[0] + salt * len(texts) + _same(texts)[sent.prompt],
        conversation=np.where(table.turns[sent.prompt] > 1, sent.start, -1).astype(np.int32),
        turn=sent.turn.astype(np.int32),
        think_s=np.where(sent.turn > 0, _thinking(table, sent, prompts.think_s, seed), pause[sent.start]),
        part=np.zeros(n, np.int16),
        concurrency=None,
        seed=seed,
        blocks=_blocks(texts, lengths, sent.prompt, salt),
        block_tokens=BLOCK_TOKENS,
        notes=_notes(lengths, len(texts), order.passes),
        prompts=texts,
        prompt=sent.prompt.astype(np.int32),
        max_tokens=answers.cap.astype(np.int32) if limits.natural else None,
        salt=salt.astype(np.int32) if salted else None,
        counted=lengths.source,
    )


@dataclass(frozen=True)
class _Order:
    """Which prompt each start takes."""

    chosen: Ints
    passes: Ints
    """How many times all prompts were taken before it."""


@dataclass(frozen=True)
class _Sent:
    """Every request of the plan."""

    start: Ints
    """Number of the arrival that it belongs to."""
    begin: Ints
    """Place in the plan of the first request of its conversation."""
    turn: Ints
    prompt: Ints
    row: Ints
    """Its row in the table."""


@dataclass(frozen=True)
class _Answers:
    """Planned lengths of answers, and the most that each may have."""

    planned: Ints
    cap: Ints


def _order(count: int, starts: int, seed: int) -> _Order:
    """The prompts in the order of the seed. Each pass through them has its own order."""
    rng = stream(seed, "texts")
    rounds = -(-starts // count)
    chosen = np.concatenate([rng.permutation(count) for _ in range(rounds)]) if rounds else np.zeros(0, np.int64)
    return _Order(chosen[:starts].astype(np.int64), np.arange(starts) // count)


def _sent(table: _Table, order: _Order) -> _Sent:
    """The requests of the starts, turn by turn.

    Raises:
        InputError: there are too many.
    """
    turns = table.turns[order.chosen]
    n = int(turns.sum())
    if n > MOST_REQUESTS:
        raise InputError(f"the prompts have {n:,} turns, and at most {MOST_REQUESTS:,} can be drawn; lower the rate.")
    begin = np.repeat(np.cumsum(turns) - turns, turns)
    turn = np.arange(n) - begin
    start = np.repeat(np.arange(len(turns)), turns)
    prompt = order.chosen[start]
    return _Sent(start, begin, turn, prompt, table.start[prompt] + turn)


def _table(texts: tuple[PromptText, ...], lengths: PromptLengths, limits: AnswerLimits) -> _Table:
    turns = np.array([p.requests for p in texts], np.int64)
    measured = [lengths.prompts[p.key] for p in texts]
    requests: list[PromptText | Turn] = []
    for p in texts:
        requests += [p, *p.turns]
    usual = limits.max_tokens or MOST_OUTPUT
    return _Table(
        start=np.cumsum(turns) - turns,
        turns=turns,
        asked=np.array([a for m in measured for a in m.asked], np.int64),
        recorded=np.array([a or 0 for m in measured for a in m.answered], np.int64),
        cap=np.array([min(r.max_tokens or usual, limits.max_tokens or MOST_TOKENS) for r in requests], np.int64),
        think_s=np.array([_think(r) for r in requests], np.float64),
    )


def _think(request: PromptText | Turn) -> float:
    return request.think_s if isinstance(request, Turn) and request.think_s is not None else np.nan


def _thinking(table: _Table, sent: _Sent, mean_s: float, seed: int) -> Floats:
    """Pauses before later turns: as the file has them, else drawn."""
    recorded = table.think_s[sent.row]
    found: Floats = np.where(np.isnan(recorded), stream(seed, "think").exponential(mean_s, len(recorded)), recorded)
    return found


def _answers(table: _Table, sent: _Sent, limits: AnswerLimits, texts: tuple[PromptText, ...]) -> _Answers:
    """Answers have the recorded length, else a drawn one, else the most that they may have.

    Raises:
        InputError: nothing says how long an answer is that cannot end by itself.
    """
    cap, recorded = table.cap[sent.row], table.recorded[sent.row]
    if limits.drawn is not None:
        recorded = np.where(recorded > 0, recorded, limits.drawn(len(sent.row)))
    elif not limits.natural and limits.max_tokens is None and (recorded == 0).any():
        prompt = texts[int(sent.prompt[np.flatnonzero(recorded == 0)[0]])]
        raise InputError(
            f"the prompt in line {prompt.line} has no recorded answer, so with ignore_eos its length is not known; set "
            "ignore_eos: false, or output_tokens or max_tokens."
        )
    return _Answers(np.minimum(np.where(recorded > 0, recorded, cap), cap), cap)


def _grown(asked: Ints, output: Ints, begin: Ints) -> Ints:
    """Tokens of each prompt: all that was asked and answered before in its conversation, and what is asked now.

    Raises:
        InputError: a conversation grows too long.
    """
    so_far = np.cumsum(asked + output)
    before = so_far - asked - output
    found: Ints = before - before[begin] + asked if len(asked) else asked
    if len(found) and found.max() > MOST_TOKENS:
        raise InputError(f"a conversation grows to {found.max():,} tokens, and a prompt has at most {MOST_TOKENS:,}.")
    return found


def _same(texts: tuple[PromptText, ...]) -> Ints:
    """By prompt: the place of the first one that is equal."""
    first: dict[str, int] = {}
    return np.array([first.setdefault(p.key, i) for i, p in enumerate(texts)], np.int64)


def _blocks(
    texts: tuple[PromptText, ...], lengths: PromptLengths, which: Ints, salt: Ints
) -> tuple[tuple[int, ...], ...] | None:
    """The blocks that each request has in common with other prompts; those of another pass are different."""
    shared = [lengths.prompts[p.key].shared for p in texts]
    if not any(shared):
        return None
    most = 1 + max(max(s, default=0) for s in shared)
    known: dict[tuple[int, int], tuple[int, ...]] = {}
    found = []
    for i, k in zip(which.tolist(), salt.tolist(), strict=True):
        if (i, k) not in known:
            known[i, k] = tuple(b + k * most for b in shared[i])
        found.append(known[i, k])
    return tuple(found)


def _notes(lengths: PromptLengths, count: int, passes: Ints) -> tuple[str, ...]:
    notes = []
    if lengths.source == "estimate":
        notes.append("the planned lengths of the prompts are estimated; the server counts the true ones")
    if len(passes) and passes[-1] > 0:
        notes.append(f"the load needs {len(passes):,} prompts and has {count:,}, so it sends each several times")
    return tuple(notes)
