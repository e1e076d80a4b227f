"""A recorded answer replayed step by step: what a proposer drafts, and how much of it the answer accepts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from rooftune.speculation.ngram import NO_MATCH, NgramProposer, draft_starts
from rooftune.speculation.suffix import SuffixCache, SuffixProposer, SuffixSession

Proposer = NgramProposer | SuffixProposer
"""A proposer that is a pure function of the texts."""


class Recorded(Protocol):
    """A prompt and the answer that a model gave to it, as token ids."""

    @property
    def prompt_ids(self) -> Sequence[int]: ...

    @property
    def output_ids(self) -> Sequence[int]: ...


class Outcome(NamedTuple):
    """What became of the draft of one decode step."""

    drafted: int
    accepted: int
    known: int
    """Drafted tokens of which the record says whether they are accepted; fewer than drafted where the answer ends."""


class Session(Protocol):
    """One answer in replay, from its first token on, which comes from prefill."""

    @property
    def ended(self) -> bool:
        """Whether all tokens of the answer are out."""

    def propose(self, most: int) -> int:
        """Draft for the text so far; returns how many tokens."""

    def check(self, drafted: int) -> Outcome:
        """What the answer accepts of the first ``drafted`` tokens of the draft."""

    def advance(self, tokens: int) -> None:
        """The next tokens of the answer are out."""


class NgramSession:
    """The n-gram proposer on one answer. The places of matches do not depend on what was accepted, so they are found
    once."""

    def __init__(self, proposer: NgramProposer, answer: Recorded) -> None:
        self._length = proposer.length
        self._text = [*answer.prompt_ids, *answer.output_ids]
        self._first = self._known = len(answer.prompt_ids) + 1
        self._starts = draft_starts(self._text, self._first, proposer.shortest, proposer.longest)
        self._draft: Sequence[int] = ()

    @property
    def ended(self) -> bool:
        return self._known >= len(self._text)

    def propose(self, most: int) -> int:
        start = NO_MATCH if self.ended else self._starts[self._known - self._first]
        end = min(start + min(most, self._length), self._known)
        self._draft = self._text[start:end] if start != NO_MATCH else ()
        return len(self._draft)

    def check(self, drafted: int) -> Outcome:
        return compare(self._draft[:drafted], self._text, self._known)

    def advance(self, tokens: int) -> None:
        self._known = min(self._known + tokens, len(self._text))
        self._draft = ()


class SuffixReplay:
    """Suffix decoding on one answer."""

    def __init__(self, cache: SuffixCache, answer: Recorded) -> None:
        self._session = SuffixSession(cache, answer.prompt_ids)
        self._output = list(answer.output_ids)
        self._known = 0
        self._draft: list[int] = []
        self.advance(1)

    @property
    def ended(self) -> bool:
        return self._known >= len(self._output)

    def propose(self, most: int) -> int:
        self._draft = [] if self.ended else self._session.propose(most)
        return len(self._draft)

    def check(self, drafted: int) -> Outcome:
        return compare(self._draft[:drafted], self._output, self._known)

    def advance(self, tokens: int) -> None:
        after = min(self._known + tokens, len(self._output))
        self._session.extend(self._output[self._known : after])
        self._known, self._draft = after, []


class Replayer:
    """Begins the sessions of one proposer, which may share what they learn."""

    def __init__(self, proposer: Proposer) -> None:
        self.proposer = proposer
        self._cache = SuffixCache(proposer) if isinstance(proposer, SuffixProposer) else None

    def session(self, answer: Recorded) -> Session:
        """One answer from its first token on."""
        if isinstance(self.proposer, NgramProposer):
            return NgramSession(self.proposer, answer)
        assert self._cache is not None
        return SuffixReplay(self._cache, answer)


def compare(draft: Sequence[int], text: Sequence[int], known: int) -> Outcome:
    """How much of a draft equals the text from ``known`` on."""
    room = len(text) - known
    accepted = 0
    while accepted < len(draft) and accepted < room and draft[accepted] == text[known + accepted]:
        accepted += 1
    judged = len(draft) if accepted < min(len(draft), room) else min(len(draft), room)
    return Outcome(len(draft), accepted, judged)
