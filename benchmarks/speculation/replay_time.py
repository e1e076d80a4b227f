"""How long replays take: n-gram proposers of all lengths, and suffix decoding in its readable and its compiled form.

    python -m benchmarks.speculation.replay_time [--answers 400]

Answers and prompts of 500 tokens, made of words that have one likely successor. Processor time of this process.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

from rooftune.answers.answer import Answer
from rooftune.formatting import number
from rooftune.speculation.acceptance import Acceptance
from rooftune.speculation.candidates import LENGTHS, LOOKUPS, SUFFIX_LENGTHS
from rooftune.speculation.ngram import NgramProposer
from rooftune.speculation.replay import replay_all, replay_readable
from rooftune.speculation.suffix import SuffixProposer

TOKENS, WORDS = 500, 5_000
STREAMS = 8
"""Answers at a time in the replay of suffix decoding, as in a plan."""


def main(arguments: list[str] | None = None) -> int:
    """Print the table; 1 where the two forms differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--answers", type=int, default=400)
    answers = made_answers(parser.parse_args(arguments).answers)
    suffix = [SuffixProposer(length) for length in SUFFIX_LENGTHS]
    ngram = [NgramProposer(length, *lookup) for lookup in LOOKUPS for length in LENGTHS]
    replay_all(answers, suffix, streams=STREAMS)  # compiles, or loads machine code
    print(f"| {len(answers):,} answers of {TOKENS} tokens to prompts of {TOKENS} | seconds |\n|---|---:|")
    _timed(f"n-gram, {len(ngram)} proposers", lambda: replay_all(answers, ngram))
    plain = _timed("suffix decoding, readable", lambda: [replay_readable(answers, p, streams=STREAMS) for p in suffix])
    fast = _timed("suffix decoding, as a plan replays it", lambda: replay_all(answers, suffix, streams=STREAMS))
    if plain != fast:
        print("FALLS SHORT: the two forms of suffix decoding differ", file=sys.stderr)
        return 1
    return 0


def made_answers(count: int) -> list[Answer]:
    """Texts in which some words nearly always have the same successor."""
    rng = np.random.default_rng(0)
    likely, sure = rng.integers(0, WORDS, WORDS), rng.uniform(0.2, 0.95, WORDS)

    def text() -> tuple[int, ...]:
        word, said = int(rng.integers(WORDS)), []
        for _ in range(TOKENS):
            word = int(likely[word]) if rng.random() < sure[word] else int(WORDS * rng.random() ** 3)
            said.append(word)
        return tuple(said)

    return [Answer(str(n), text(), text(), "stop") for n in range(count)]


def _timed(name: str, work: Callable[[], Sequence[Acceptance]]) -> Sequence[Acceptance]:
    began = time.process_time()
    found = work()
    print(f"| {name} | {number(time.process_time() - began, 2)} |")
    return found


if __name__ == "__main__":
    sys.exit(main())
