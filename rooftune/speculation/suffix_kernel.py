"""The replay of suffix decoding over flat arrays, compiled by numba.

The rules are those of ``suffix_tree.py`` and ``suffix.py``, and a test compares the two. All trees share the arrays of
nodes: one tree for each answer that runs, over its prompt and answer, and one over the answers of all. A row is a text
in a tree: row ``r`` of the first trees is the ``r``-th running answer, and answer ``i`` in the tree of all is row
``streams + i``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

F = TypeVar("F", bound=Callable[..., Any])
COMPILED = "rooftune.speculation._compiled_suffix_kernel"
"""Name under which the module is loaded a second time, with every function compiled."""
NONE = -1
INNER = -1


def compiled(function: F) -> F:
    """Compile a function that only compiled code calls, in the module's second copy."""
    return _compile(function, {"no_cpython_wrapper": True, "no_cfunc_wrapper": True})


def entry(function: F) -> F:
    """Compile the function that Python calls. Its machine code holds that of all others and is kept."""
    return _compile(function, {"cache": True})


def _compile(function: F, options: dict[str, bool]) -> F:
    if __name__ != COMPILED:
        return function
    from numba import njit

    return cast(F, cast(Any, njit)(nogil=True, error_model="numpy", **options)(function))


class Trees(NamedTuple):
    """All trees."""

    text: Any
    """Prompts and answers, one after another, as small whole numbers."""
    words: int
    """How many different tokens there are."""
    depth: int
    least: float
    """Probability below which a draft ends."""
    factor: float
    count: Any
    token: Any
    owner: Any
    """Of a leaf, the row in which it occurs; ``INNER`` for other nodes."""
    start: Any
    """Of a leaf, where it occurs there."""
    first: Any
    """The most frequent child of a node."""
    last: Any
    after: Any
    """The next child of the same parent."""
    before: Any
    root: Any
    """Of each tree; its nodes have the numbers from there on."""
    used: Any
    """Nodes of each tree."""
    room: Any
    """The most that it may have."""
    keys: Any
    """Hash table from a node and a token to the child."""
    children: Any
    slots: Any
    """Where the table of each tree begins."""
    mask: Any
    begins: Any
    """Of each row, where its text begins."""
    known: Any
    """Of each row, its length so far."""
    active_start: Any
    """Suffixes of each row that end at an inner node, the longest first."""
    active_node: Any
    active: Any
    """How many these are."""
    past_start: Any
    """The active suffixes before the last token; used while it is appended."""
    past_node: Any
    draft: Any
    """Two drafts: the best one so far, and the one that is being made."""


@compiled
def slot_of(t: Trees, tree: int, key: int) -> int:
    """Where a key is in the hash table of a tree, or the free place for it."""
    mixed = (key ^ (key >> 15)) * 2654435761
    at = (mixed ^ (mixed >> 20)) & t.mask[tree]
    begin = t.slots[tree]
    while t.keys[begin + at] != NONE and t.keys[begin + at] != key:
        at = (at + 1) & t.mask[tree]
    return int(begin + at)


@compiled
def child_of(t: Trees, tree: int, node: int, token: int) -> int:
    """The child of a node for a token; ``NONE`` where it has none."""
    at = slot_of(t, tree, node * t.words + token)
    return int(t.children[at]) if t.keys[at] != NONE else NONE


@compiled
def clear(t: Trees, tree: int) -> None:
    """An empty tree."""
    root = t.root[tree]
    t.used[tree] = 1
    t.count[root] = 0
    t.owner[root] = INNER
    t.first[root] = t.last[root] = NONE
    begin = t.slots[tree]
    t.keys[begin : begin + t.mask[tree] + 1] = NONE


@compiled
def add_leaf(t: Trees, tree: int, parent: int, token: int, row: int, start: int) -> bool:
    """A substring occurs for the first time; False where the tree has no room."""
    if t.used[tree] >= t.room[tree]:
        return False
    leaf = t.root[tree] + t.used[tree]
    t.used[tree] += 1
    t.count[leaf], t.token[leaf], t.owner[leaf], t.start[leaf] = 1, token, row, start
    t.first[leaf] = t.last[leaf] = t.after[leaf] = NONE
    t.before[leaf] = t.last[parent]
    if t.last[parent] == NONE:
        t.first[parent] = leaf
    else:
        t.after[t.last[parent]] = leaf
    t.last[parent] = leaf
    key = parent * t.words + token
    at = slot_of(t, tree, key)
    t.keys[at], t.children[at] = key, leaf
    return True


@compiled
def activate(t: Trees, row: int, start: int, node: int) -> None:
    """A suffix of a row ends at an inner node."""
    at = t.active[row]
    while at > 0 and t.active_start[row, at - 1] > start:
        t.active_start[row, at], t.active_node[row, at] = t.active_start[row, at - 1], t.active_node[row, at - 1]
        at -= 1
    t.active_start[row, at], t.active_node[row, at] = start, node
    t.active[row] += 1


@compiled
def count_again(t: Trees, tree: int, parent: int, child: int) -> None:
    """One more occurrence of a child; see ``SuffixTree._count_again``."""
    count = t.count[child]
    t.count[child] = count + 1
    to = t.before[child]
    if parent == t.root[tree] or to == NONE or t.count[to] > count + 1:
        return
    level = t.count[to]
    while t.before[to] != NONE and t.count[t.before[to]] == level:
        to = t.before[to]
    left, right = t.before[child], t.after[child]
    t.after[left] = right  # take it out: ``to`` is before it, so it is not the first
    if right == NONE:
        t.last[parent] = left
    else:
        t.before[right] = left
    ahead = t.before[to]
    t.before[child], t.after[child], t.before[to] = ahead, to, child
    if ahead == NONE:
        t.first[parent] = child
    else:
        t.after[ahead] = child


@compiled
def append(t: Trees, tree: int, row: int) -> bool:
    """The text of a row has one more token; False where the tree has no room."""
    token = t.text[t.begins[row] + t.known[row]]
    t.known[row] += 1
    known, root, suffixes = t.known[row], t.root[tree], t.active[row]
    t.count[root] += 1
    t.past_start[:suffixes], t.past_node[:suffixes] = t.active_start[row, :suffixes], t.active_node[row, :suffixes]
    t.past_start[suffixes], t.past_node[suffixes] = known - 1, root
    t.active[row] = 0
    for i in range(suffixes + 1):
        start, node = t.past_start[i], t.past_node[i]
        child, reached = child_of(t, tree, node, token), known - start
        if child == NONE:
            if not add_leaf(t, tree, node, token, row, start):
                return False
            continue
        count_again(t, tree, node, child)
        owner, begin = t.owner[child], t.start[child]
        if owner != INNER:
            t.owner[child] = INNER
            if reached < t.depth:
                if begin + reached >= t.known[owner]:
                    activate(t, owner, begin, child)
                elif not add_leaf(t, tree, child, t.text[t.begins[owner] + begin + reached], owner, begin):
                    return False
        if reached < t.depth:
            activate(t, row, start, child)
    return True


@compiled
def single(value: float) -> float:
    """A number rounded to single precision."""
    return float(np.float64(np.float32(value)))


@compiled
def draft_of(t: Trees, node: int, matched: int, most: int) -> tuple[int, float]:
    """Write the likeliest continuation of the substring of a node into ``draft[1]``; returns its length and score."""
    probability, score, length = 1.0, 0.0, 0
    while length < most and probability >= t.least:
        owner = t.owner[node]
        if owner != INNER:
            begin = t.start[node]
            end = min(begin + t.depth, begin + matched + most - length, t.known[owner])
            for i in range(begin + matched, end):
                t.draft[1, length] = t.text[t.begins[owner] + i]
                length += 1
                score = single(score + probability)
            break
        child = t.first[node]
        if child == NONE:
            break
        probability = single(probability * single(t.count[child] / t.count[node]))
        if probability < t.least:
            break
        node, matched = child, matched + 1
        t.draft[1, length] = t.token[node]
        length += 1
        score = single(score + probability)
    return length, score


@compiled
def better(t: Trees, node: int, matched: int, most: int, length: int, score: float) -> tuple[int, float]:
    """Length and score of the better one of the best draft so far and the one that follows a match."""
    limit = min(most, int(matched * t.factor + 1e-6))
    if limit <= score:
        return length, score
    found, its_score = draft_of(t, node, matched, limit)
    if its_score <= score:
        return length, score
    t.draft[0, :found] = t.draft[1, :found]
    return found, its_score


@compiled
def node_of(t: Trees, tree: int, begin: int, tokens: int) -> int:
    """The node at or below which a part of the text ends; ``NONE`` where the tree does not have it."""
    node = t.root[tree]
    for at in range(tokens):
        owner = t.owner[node]
        if owner != INNER:
            start = t.start[node]
            if start + tokens > t.known[owner]:
                return NONE
            for i in range(at, tokens):
                if t.text[t.begins[owner] + start + i] != t.text[begin + i]:
                    return NONE
            return int(node)
        node = child_of(t, tree, node, t.text[begin + at])
        if node == NONE:
            return NONE
    return int(node)


@compiled
def propose(t: Trees, row: int, shared: int, mine: int, most: int) -> int:
    """Write the draft of a running answer into ``draft[0]``; returns its length.

    Matches come longest first, and a draft must have a higher score than the one before it, so that of equal ones the
    longest match of the answer's own tree wins.
    """
    known, length, score = t.known[row], 0, 0.0
    context = min(known, t.depth)
    for i in range(t.active[row]):
        matched = known - t.active_start[row, i]
        if matched < context:
            length, score = better(t, t.active_node[row, i], matched, most, length, score)
    if mine == NONE:
        return int(length)
    longest = t.known[mine] + 1
    end = t.begins[row] + known
    while longest < context:  # matches that begin in the prompt, while the answer is short
        if node_of(t, shared, end - longest, longest) == NONE:
            break
        longest += 1
    for matched in range(longest - 1, t.known[mine], -1):
        length, score = better(t, node_of(t, shared, end - matched, matched), matched, most, length, score)
    for i in range(t.active[mine]):
        matched = t.known[mine] - t.active_start[mine, i]
        if matched < context:
            length, score = better(t, t.active_node[mine, i], matched, most, length, score)
    return int(length)


@compiled
def note(judged: Any, kept: Any, totals: Any, drafted: int, accepted: int, left: int) -> None:
    """Count one decode step of an answer with this many tokens left; see ``_Tally.note``."""
    totals[0] += 1
    if drafted == 0:
        return
    totals[1] += 1
    totals[2] += drafted
    totals[3] += accepted
    for i in range(accepted):
        kept[i] += 1
        judged[i] += 1
    if accepted < len(judged) and not (accepted == left < drafted):
        judged[accepted] += 1


@entry
def run(
    t: Trees, prompts: Any, answers: Any, streams: int, remembers: bool, context: int,
    judged: Any, kept: Any, totals: Any,
) -> bool:  # fmt: skip
    """Replay all answers, some at a time; False where a tree has no room.

    ``prompts`` and ``answers`` are lengths. ``judged``, ``kept`` and ``totals`` (steps, drafts, drafted, accepted) have
    a row for each answer.
    """
    shared, waiting, running = streams, 0, 0
    clear(t, shared)
    which, place = np.zeros(streams, np.int64), np.arange(streams)
    while waiting < len(prompts) or running > 0:
        while waiting < len(prompts) and running < streams:
            row = place[running]
            clear(t, row)
            t.begins[row] = t.begins[streams + waiting] - prompts[waiting]
            t.known[row] = t.active[row] = 0
            for _ in range(prompts[waiting]):
                if not append(t, row, row):
                    return False
            which[running] = waiting
            if answers[waiting] > 0 and not advance(t, row, shared, streams + waiting, 1, remembers):
                return False
            waiting += 1
            running += 1
        ended = 0
        for j in range(running):
            i, row = which[j], place[j]
            out = t.known[row] - prompts[i]
            if out >= answers[i]:
                ended += 1
                continue
            which[j - ended], place[j - ended], place[j] = i, row, place[j - ended]
            most = max(0, min(judged.shape[1], context - t.known[row] - 1))
            mine = streams + i if remembers else NONE
            drafted = propose(t, row, shared, mine, most)
            accepted, left = 0, answers[i] - out
            while (
                accepted < min(drafted, left)
                and t.draft[0, accepted] == t.text[t.begins[row] + t.known[row] + accepted]
            ):
                accepted += 1
            note(judged[i], kept[i], totals[i], drafted, accepted, left)
            if not advance(t, row, shared, streams + i, min(accepted + 1, left), remembers):
                return False
        running -= ended
    return True


@compiled
def advance(t: Trees, row: int, shared: int, mine: int, tokens: int, remembers: bool) -> bool:
    """The next tokens of an answer are out."""
    for _ in range(tokens):
        if not append(t, row, row):
            return False
    if remembers:
        for _ in range(tokens):
            if not append(t, shared, mine):
                return False
    return True
