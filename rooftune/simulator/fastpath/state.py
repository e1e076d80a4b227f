"""State of the fast path: two flat arrays that hold every column one after another, and where each column begins.

The functions over it are plain Python over lists; numba compiles the same source (``compilation.py``). Column
``computed`` of request ``r`` is ``s.q[s.computed + r]``. With two arrays instead of fifty, numba compiles in a
fraction of the time, and passing the state to a function costs next to nothing.
"""

from __future__ import annotations

from typing import Any, NamedTuple

BLOCK = 16
CHAIN = 1 << 20
"""Most blocks of one chain (``prefixes.py``); the key of block i of chain c is c * CHAIN + i."""

N_RUN, HEAD, TAIL, INBOX, FREE, CURSOR, HEAP, IN_FLIGHT, MARK, SLOTS = range(10)
PREEMPTED, QUERIES, HITS, STEPS, MIXED_STEPS, DECODED, ENDING, EXTRA, BIN, CLOSED = range(10, 20)
STEP, GROUP, GROUP_CONTEXT, GROUP_END, SEEN, SENT, DRAFT, COUNTERS = range(20, 28)
"""Places in ``State.c``:

- N_RUN: running sequences; HEAD, TAIL: ends of the waiting queue; INBOX: end of the inbox behind it; FREE: free blocks;
- CURSOR: next opening request; HEAP: later turns and users' next requests in the heap; IN_FLIGHT: requests in flight;
- MARK: current interval;
- SLOTS: free slots; PREEMPTED: preemptions; QUERIES, HITS: prefix queries and hits in tokens; STEPS: steps;
- MIXED_STEPS: steps with prefill; DECODED: decoding sequences, summed over steps; ENDING: running sequences that have
  ended but still hold their places; EXTRA: tokens that came together with another (speculative decoding);
- BIN: bin of the gap noted last; CLOSED: whether the window has been closed;
- STEP: decode steps of the group (``group.py``); GROUP: its members; GROUP_CONTEXT: their known tokens; GROUP_END:
  the step at which the first of them ends; SEEN: whether the first tokens of its members inside the window are noted;
- SENT: end of the requests that were sent, behind the inbox: those between are on their way to the engine;
- DRAFT: tokens of the drafts that the next step verifies.
"""
CLOCK, BUSY, MIXED, CONTEXT, GAP, GROUP_LAST, FRONT, TIMES = range(8)
"""Places in ``State.x``: time now; seconds of all steps, and of those with prefill; decode context summed over steps;
the gap noted last; when the members of the group got their last token; until when the server's front has work."""
OUT, PROMPT, COMPUTED, ENDED, IN_QUERIES, IN_HITS, IN_PREEMPTED, IN_STEPS, KINDS = range(9)
"""What ``State.counts`` holds by interval: tokens generated, prompt tokens of requests that got their first token,
prompt tokens computed, requests ended, prefix queries and hits, preemptions, steps."""
RUNNING_S, WAITING_S, KV_S, BUSY_S, LEVELS = range(5)
"""What ``State.levels`` holds by interval: running, waiting and share of blocks in use, each times seconds; busy
seconds."""
LEAST_GAP, GAP_STEP = 1e-6, 0.002
"""Histogram of gaps: the first bin's lower edge in seconds, and the width of a bin on the natural logarithm."""
FAR = 1e300
NEVER = 1 << 60
"""A step that no group ever reaches."""


class State(NamedTuple):
    """The whole state of a run.

    ``q`` holds whole numbers, ``f`` seconds and other fractions. Each following field is the place in one of them
    where a column begins, with one entry per request unless stated otherwise.
    """

    q: Any
    f: Any
    c: Any
    """Counters, see above."""
    x: Any
    """Times, see above."""
    # columns of q
    opening: int
    """Requests that do not wait for an earlier turn, in order of arrival."""
    prompt: int
    output: int
    prefix_chain: int
    prefix_blocks: int
    prompt_chain: int
    trace_chains: int
    """Chains of the blocks that a trace names, for all requests one after another; by request where they begin, and how
    many blocks of the prompt they cover."""
    trace_start: int
    trace_blocks: int
    shared: int
    """1: other requests may match blocks of this one, so they are named as they fill. A request that was preempted
    may match its own blocks; with speculative tokens all are named."""
    next_turn: int
    computed: int
    generated: int
    cached: int
    preemptions: int
    held: int
    slot: int
    waiting: int
    running: int
    chunk: int
    """Tokens of the current step, -1: none; once it runs, 1 plus its speculative tokens."""
    since: int
    """Members of the group: the group's step as of which their columns are valid."""
    finish: int
    """The group's step at which a member ends; -1: not a member."""
    after: int
    """Members that need a block at the same step modulo a block's tokens, as doubly linked lists; ``phase``: first of
    each."""
    before: int
    phase: int
    slots: int
    slot_blocks: int
    """Blocks of the sequence in each slot, row by row."""
    newer: int
    older: int
    """The free queue as a ring through entry ``blocks``; per block."""
    owners: int
    key: int
    table_key: int
    table_block: int
    heap_request: int
    counts: int
    """By interval and kind."""
    stream_from: int
    """Tokens after the first moment with tokens inside the window, and at the window's end."""
    stream_to: int
    accept: int
    """Speculative decoding: accepted tokens, drawn in advance, cyclic by request and position."""
    lengths: int
    """Tokens of a draft by the requests of the step before, from 0 on."""
    # columns of f
    due: int
    think: int
    sent: int
    arrives: int
    """When a request reaches the engine."""
    admitted: int
    first: int
    last: int
    heap_s: int
    marks: int
    levels: int
    """By interval and kind."""
    gaps: int
    """Histogram of gaps between tokens inside the window, logarithmic."""
    stream_first: int
    """First token inside the window; -1: none."""
    stream_last: int
    """Last token before the window's end; -1: none."""
    linear_decode: int
    linear_mixed: int
    head: int
    host_decode: int
    host_mixed: int
    cost: int
    """Tables and scalars of the step cost, see ``step_seconds``."""
    # lengths and settings
    n_requests: int
    n_opening: int
    n_table_key: int
    n_accept: int
    n_lengths: int
    """0: drafts have the same length after every step."""
    n_marks: int
    n_gaps: int
    trace_block_size: int
    blocks: int
    stride: int
    max_seqs: int
    budget: int
    max_len: int
    threshold: int
    spared: int
    """Requests, running and waiting, up to which the threshold does not apply: 1 or 0."""
    chunked: int
    caching: int
    whole: int
    spare: int
    early: int
    spec: int
    connections: int
    users: int
    """Users of a closed loop; 0: an open loop."""
    send_until: float
    end: float
    window_from: float
    window_to: float
    path_in: float
    """The way through the server's front, see ``ServerPath``."""
    path_request: float
    path_token: float
    path_out: float
