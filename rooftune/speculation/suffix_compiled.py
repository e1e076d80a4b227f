"""Suffix decoding over many recorded answers at once, compiled by numba where it is installed."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from rooftune.machine_code import wanted
from rooftune.speculation import suffix_kernel
from rooftune.speculation.sessions import Recorded
from rooftune.speculation.suffix import SuffixProposer
from rooftune.speculation.suffix_tree import single

Ints = npt.NDArray[np.int64]
MANY_TOKENS = 50_000
"""Tokens from which compiled code is worth loading; plain Python takes a second for about twice as many."""
NODES_PER_TOKEN = 2
"""Room of a tree at first. Where it is too small, the replay begins again with twice as much."""
NO_CONTEXT = 1 << 60


@dataclass(frozen=True)
class Counts:
    """What became of the drafts, by answer."""

    judged: Ints
    """By position: steps in which the tokens before are accepted and the outcome is known."""
    kept: Ints
    """By position: steps in which this token is accepted too."""
    steps: Ints
    drafts: Ints
    drafted: Ints
    accepted: Ints


def pays(answers: Sequence[Recorded]) -> bool:
    """Whether compiled code is there and the answers are many."""
    return wanted() and sum(len(a.prompt_ids) + len(a.output_ids) for a in answers) >= MANY_TOKENS


def compiled_replay(
    answers: Sequence[Recorded], proposer: SuffixProposer, *, streams: int = 1, max_model_len: int | None = None
) -> Counts:
    """Replay a proposer over all answers, some at a time."""
    kernel = compiled_kernel()
    prompts = np.array([len(a.prompt_ids) for a in answers], np.int64)
    outputs = np.array([len(a.output_ids) for a in answers], np.int64)
    whole = [np.asarray(part, np.int64) for a in answers for part in (a.prompt_ids, a.output_ids)]
    words, text = np.unique(np.concatenate([np.zeros(0, np.int64), *whole]), return_inverse=True)
    at_once = max(1, min(streams, len(answers)))
    factor = NODES_PER_TOKEN
    while True:
        counts = np.zeros((2, len(answers), proposer.length), np.int64)
        totals = np.zeros((len(answers), 4), np.int64)
        trees = _trees(text.astype(np.int64), len(words), prompts, outputs, proposer, at_once, factor)
        context = NO_CONTEXT if max_model_len is None else max_model_len
        if kernel.run(trees, prompts, outputs, at_once, proposer.remembers, context, counts[0], counts[1], totals):
            return Counts(counts[0], counts[1], *totals.T)
        factor *= 2


@cache
def compiled_kernel() -> Any:
    """The kernel with every function compiled; once per process."""
    spec = importlib.util.spec_from_file_location(suffix_kernel.COMPILED, suffix_kernel.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[suffix_kernel.COMPILED] = module
    spec.loader.exec_module(module)
    return module


def _trees(
    text: Ints, words: int, prompts: Ints, outputs: Ints, proposer: SuffixProposer, streams: int, factor: int
) -> Any:
    """Empty trees: one for each answer that runs, and one over the answers of all."""
    each = factor * int((prompts + outputs).max(initial=0)) + 2
    rooms = np.array([each] * streams + [factor * int(outputs.sum()) + 2], np.int64)
    sizes = np.array([1 << int(2 * room).bit_length() for room in rooms], np.int64)
    nodes, rows, width = int(rooms.sum()), streams + len(prompts), proposer.depth + 3
    begins = np.zeros(rows, np.int64)
    begins[streams:] = np.cumsum(prompts + outputs) - outputs

    def numbers(*shape: int) -> Ints:
        return np.zeros(shape, np.int64)

    return suffix_kernel.Trees(
        text=text, words=max(words, 1), depth=proposer.depth, least=single(proposer.least_probability),
        factor=float(proposer.factor),
        count=numbers(nodes), token=numbers(nodes), owner=numbers(nodes), start=numbers(nodes), first=numbers(nodes),
        last=numbers(nodes), after=numbers(nodes), before=numbers(nodes),
        root=np.cumsum(rooms) - rooms, used=numbers(len(rooms)), room=rooms,
        keys=np.full(int(sizes.sum()), -1, np.int64), children=numbers(int(sizes.sum())),
        slots=np.cumsum(sizes) - sizes, mask=sizes - 1,
        begins=begins, known=numbers(rows),
        active_start=numbers(rows, width), active_node=numbers(rows, width), active=numbers(rows),
        past_start=numbers(width), past_node=numbers(width), draft=numbers(2, max(proposer.length, proposer.depth) + 1),
    )  # fmt: skip
