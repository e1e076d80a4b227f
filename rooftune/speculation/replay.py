"""Acceptance of a proposer by replaying it over prompts and recorded answers.

Under greedy decoding the replay is exact: a server accepts a drafted token if and only if it is the one that the model
generates next, and that is the recorded one. With a temperature a server accepts token x of a proposer that draws
nothing itself with the probability p(x) that the model gives it. A recorded answer is a draw from p, so it contains x
with that same probability: the replay then gives the right acceptance on average over answers, not for each answer.

vLLM counts drafted tokens beyond the end of an answer too, and the record does not say what the model would have
generated there. Positions beyond the end are left out of ``by_position`` (the product-limit estimate).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from rooftune.speculation import suffix_compiled
from rooftune.speculation.acceptance import Acceptance, Interval
from rooftune.speculation.ngram import NO_MATCH, NgramProposer, draft_starts
from rooftune.speculation.sessions import Outcome, Proposer, Recorded, Replayer, Session, compare
from rooftune.speculation.suffix import SuffixProposer

Floats = npt.NDArray[np.float64]
FEWEST_REQUESTS = 4
"""Requests from which an interval is given."""


@dataclass
class _Tally:
    """The drafts of one request, by position."""

    length: int
    judged: list[int] = field(init=False)
    """Steps in which all tokens before this position are accepted and the outcome at it is known."""
    kept: list[int] = field(init=False)
    """Steps in which the token at this position is accepted too."""
    drafts: int = 0
    drafted: int = 0
    accepted: int = 0
    steps: int = 0

    def __post_init__(self) -> None:
        self.judged, self.kept = [0] * self.length, [0] * self.length

    def note(self, outcome: Outcome) -> None:
        """Count one decode step."""
        self.steps += 1
        if not outcome.drafted:
            return
        self.drafts += 1
        self.drafted += outcome.drafted
        self.accepted += outcome.accepted
        for i in range(outcome.accepted):
            self.kept[i] += 1
            self.judged[i] += 1
        ended = outcome.accepted == outcome.known < outcome.drafted
        if outcome.accepted < self.length and not ended:
            self.judged[outcome.accepted] += 1


def replay(
    answers: Sequence[Recorded], proposer: Proposer, *, streams: int = 1, max_model_len: int | None = None
) -> Acceptance:
    """Replay one proposer over all answers.

    Args:
        streams: answers at a time, in their order; it matters only where a proposer learns from other answers.
        max_model_len: of the server, which drafts nothing beyond it.
    """
    return replay_all(answers, [proposer], streams=streams, max_model_len=max_model_len)[0]


def replay_all(
    answers: Sequence[Recorded], proposers: Sequence[Proposer], *, streams: int = 1, max_model_len: int | None = None
) -> list[Acceptance]:
    """Replay several proposers over the same answers; n-gram proposers that differ only in length share the search."""
    shared: dict[tuple[int, int], list[list[int]]] = {}
    found = []
    for proposer in proposers:
        if isinstance(proposer, NgramProposer):
            lookup = proposer.shortest, proposer.longest
            if lookup not in shared:
                shared[lookup] = _starts(answers, proposer)
            tallies = [
                _ngram_tally(answer, starts, proposer.length, max_model_len)
                for answer, starts in zip(answers, shared[lookup], strict=True)
            ]
        elif suffix_compiled.pays(answers):
            tallies = _compiled(answers, proposer, streams, max_model_len)
        else:
            tallies = _side_by_side(answers, proposer, streams, max_model_len)
        found.append(_acceptance(tallies, proposer.length))
    return found


def replay_readable(
    answers: Sequence[Recorded], proposer: Proposer, *, streams: int = 1, max_model_len: int | None = None
) -> Acceptance:
    """The same as ``replay`` without compiled code, which is compared with it."""
    return _acceptance(_side_by_side(answers, proposer, streams, max_model_len), proposer.length)


def replay_compiled(
    answers: Sequence[Recorded], proposer: SuffixProposer, *, streams: int = 1, max_model_len: int | None = None
) -> Acceptance:
    """The same as ``replay`` by compiled code, which needs numba."""
    return _acceptance(_compiled(answers, proposer, streams, max_model_len), proposer.length)


def _starts(answers: Sequence[Recorded], proposer: NgramProposer) -> list[list[int]]:
    return [
        draft_starts([*a.prompt_ids, *a.output_ids], len(a.prompt_ids) + 1, proposer.shortest, proposer.longest)
        for a in answers
    ]


def _ngram_tally(answer: Recorded, starts: Sequence[int], length: int, max_model_len: int | None) -> _Tally:
    """What an ``NgramSession`` gives, without its calls: a plan replays many lengths."""
    text, first, tally = (*answer.prompt_ids, *answer.output_ids), len(answer.prompt_ids) + 1, _Tally(length)
    known, whole = first, len(answer.prompt_ids) + len(answer.output_ids)
    while known < whole:
        start = starts[known - first]
        if start == NO_MATCH:
            tally.steps += 1
            known += 1
            continue
        room = length if max_model_len is None else max(0, min(length, max_model_len - known - 1))
        outcome = compare(text[start : min(start + room, known)], text, known)
        tally.note(outcome)
        known += outcome.accepted + 1
    return tally


def _compiled(
    answers: Sequence[Recorded], proposer: SuffixProposer, streams: int, max_model_len: int | None
) -> list[_Tally]:
    """What ``_side_by_side`` gives, from compiled code."""
    found = suffix_compiled.compiled_replay(answers, proposer, streams=streams, max_model_len=max_model_len)
    tallies = []
    for i in range(len(answers)):
        tally = _Tally(proposer.length)
        tally.judged, tally.kept = found.judged[i].tolist(), found.kept[i].tolist()
        tally.steps, tally.drafts = int(found.steps[i]), int(found.drafts[i])
        tally.drafted, tally.accepted = int(found.drafted[i]), int(found.accepted[i])
        tallies.append(tally)
    return tallies


def _side_by_side(
    answers: Sequence[Recorded], proposer: Proposer, streams: int, max_model_len: int | None
) -> list[_Tally]:
    """Some answers at a time, one step of each in turn."""
    replayer = Replayer(proposer)
    tallies = [_Tally(proposer.length) for _ in answers]
    waiting, running = list(range(len(answers)))[::-1], dict[int, Session]()
    known = [len(a.prompt_ids) + 1 for a in answers]
    while waiting or running:
        while waiting and len(running) < max(streams, 1):
            begun = waiting.pop()
            running[begun] = replayer.session(answers[begun])
        for i, session in list(running.items()):
            if session.ended:
                del running[i]
            else:
                known[i] += _step(session, tallies[i], known[i], max_model_len)
    return tallies


def _step(session: Session, tally: _Tally, known: int, max_model_len: int | None) -> int:
    """One decode step; returns how many tokens it gave."""
    room = tally.length if max_model_len is None else max_model_len - known - 1
    outcome = session.check(session.propose(max(0, min(tally.length, room))))
    session.advance(outcome.accepted + 1)
    tally.note(outcome)
    return outcome.accepted + 1


def _acceptance(tallies: Sequence[_Tally], length: int) -> Acceptance:
    tallies = [t for t in tallies if t.steps]
    drafts, steps = sum(t.drafts for t in tallies), sum(t.steps for t in tallies)
    judged = np.array([t.judged for t in tallies], np.float64).reshape(-1, length)
    kept = np.array([t.kept for t in tallies], np.float64).reshape(-1, length)
    shares, influence = _product_limit(judged, kept)
    begun = np.array([t.drafts for t in tallies], np.float64)
    taken = np.array([t.steps for t in tallies], np.float64)
    draft_share = drafts / steps if steps else 0.0
    per_step = draft_share * influence.sum(axis=1)
    if steps:
        per_step = per_step + shares.sum() * (begun - draft_share * taken) / steps
    tokens, enough = 1.0 + draft_share * float(shares.sum()), len(tallies) >= FEWEST_REQUESTS
    return Acceptance(
        by_position=tuple(float(s) for s in shares),
        drafts=drafts,
        drafted=sum(t.drafted for t in tallies),
        accepted=sum(t.accepted for t in tallies),
        steps=steps,
        requests=len(tallies),
        position_intervals=tuple(
            _interval(float(s), influence[:, i], 0.0, 1.0) for i, s in enumerate(shares) if enough
        ),
        tokens_per_step_interval=_interval(tokens, per_step, 1.0, 1.0 + length) if enough else None,
    )


def _product_limit(judged: Floats, kept: Floats) -> tuple[Floats, Floats]:
    """Share of drafts accepted up to each position, and how each request moves it (its influence)."""
    n, length = judged.shape
    shares, influence = np.zeros(length), np.zeros((n, length))
    share, moved = 1.0, np.zeros(n)
    for i in range(length):
        total = judged[:, i].sum()
        here = kept[:, i].sum() / total if total else 0.0
        here_moved = (kept[:, i] - here * judged[:, i]) / total if total else np.zeros(n)
        moved = moved * here + share * here_moved
        share *= here
        shares[i], influence[:, i] = share, moved
    return shares, influence


def _interval(value: float, influence: Floats, least: float, most: float) -> Interval:
    """95 % interval over requests by the delta method, with Student's t."""
    n = len(influence)
    half = _t_quantile(n - 1) * float(np.sqrt(n / (n - 1) * (influence**2).sum()))
    return Interval(max(least, value - half), min(most, value + half))


def _t_quantile(freedom: int) -> float:
    """The 97.5 % quantile of Student's t (Cornish-Fisher expansion, within 1 % from 3 degrees of freedom on)."""
    z = NormalDist().inv_cdf(0.975)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3
