"""Fast path: the group of running sequences that decode in step, which are counted together instead of one by one.

Near capacity almost every step is an event: a request arrives, ends or is admitted. Visiting every running sequence
in each of them would make a step cost as much as its batch is large. But a sequence that decodes gets one token per
step like all others, so members of the group differ only in when they joined and when they end. The group keeps

- ``STEP``: its decode steps so far, ``GROUP_LAST``: when the members got their last token;
- ``GROUP``: its members, and ``GROUP_CONTEXT``: their known tokens, which decides how long a step takes;
- ``GROUP_END``: the step at which the first member ends (``finish``);
- sixteen linked lists, one for each step modulo a block's tokens (``phase``): members that need their next block at
  that step.

A step of the group then costs the same whatever its size, except for members that come, go or need a block (one in
sixteen per step). The columns of a member (``computed``, ``generated``, ``last``) are valid as of the group's step
``since``; ``settle`` brings them up to date. Functions outside this module only see settled members: they call
``settle_all`` or ``disband`` first.

A request whose blocks others may match never joins, because its blocks must be named as they fill. With speculative
decoding there is no group, because sequences get different numbers of tokens per step.
"""

from __future__ import annotations

from typing import Any

from rooftune.simulator.fastpath.blocks import take
from rooftune.simulator.fastpath.decorators import compiled, inlined
from rooftune.simulator.fastpath.state import (
    BLOCK,
    ENDING,
    GROUP,
    GROUP_CONTEXT,
    GROUP_END,
    GROUP_LAST,
    N_RUN,
    NEVER,
    SEEN,
    STEP,
)  # fmt: skip


@inlined
def join(s: Any, r: int) -> None:
    """Add a running sequence that has one known token left to compute: from now on it decodes with the group."""
    step, generated = s.c[STEP], s.q[s.generated + r]
    known = s.q[s.prompt + r] + generated
    finish = step + min(s.q[s.output + r] - generated, s.max_len - known)
    at = s.phase + (step - s.q[s.computed + r]) % BLOCK
    first = s.q[at]
    s.q[s.since + r], s.q[s.finish + r] = step, finish
    s.q[s.after + r], s.q[s.before + r] = first, -1
    if first >= 0:
        s.q[s.before + first] = r
    s.q[at] = r
    s.c[GROUP] += 1
    s.c[GROUP_CONTEXT] += known
    s.c[GROUP_END] = min(s.c[GROUP_END], finish)


@inlined
def settle(s: Any, r: int) -> None:
    """Bring the columns of a member up to date."""
    lag = s.c[STEP] - s.q[s.since + r]
    if lag > 0:
        s.q[s.computed + r] += lag
        s.q[s.generated + r] += lag
        s.f[s.last + r] = s.x[GROUP_LAST]
        s.q[s.since + r] = s.c[STEP]


@compiled
def settle_all(s: Any) -> None:
    """Settle every member; they stay in the group."""
    if s.c[GROUP] > 0:
        for i in range(s.c[N_RUN]):
            r = s.q[s.running + i]
            if s.q[s.finish + r] >= 0:
                settle(s, r)


@inlined
def leave(s: Any, r: int) -> None:
    """Remove a member."""
    settle(s, r)
    before, after = s.q[s.before + r], s.q[s.after + r]
    if before >= 0:
        s.q[s.after + before] = after
    else:
        s.q[s.phase + (s.c[STEP] - s.q[s.computed + r]) % BLOCK] = after
    if after >= 0:
        s.q[s.before + after] = before
    s.q[s.finish + r] = -1
    s.c[GROUP] -= 1
    s.c[GROUP_CONTEXT] -= s.q[s.prompt + r] + s.q[s.generated + r]


@compiled
def disband(s: Any) -> None:
    """End the group: the next step has to look at sequences one by one."""
    if s.c[GROUP] > 0:
        for i in range(s.c[N_RUN]):
            if s.q[s.finish + s.q[s.running + i]] >= 0:
                leave(s, s.q[s.running + i])
    s.c[GROUP_END] = NEVER


@compiled
def gather(s: Any) -> None:
    """All running sequences decode: make them a group, unless one is shared or their last tokens came at different
    times."""
    if s.c[ENDING] > 0 or s.spec > 0:
        return
    last = s.f[s.last + s.q[s.running]]
    for i in range(s.c[N_RUN]):
        r = s.q[s.running + i]
        if s.q[s.shared + r] != 0 or s.f[s.last + r] != last:
            return
    for i in range(s.c[N_RUN]):
        join(s, s.q[s.running + i])
    s.x[GROUP_LAST] = last
    s.c[SEEN] = 1 if last >= s.window_from else 0


@inlined
def join_or_disband(s: Any, first: int) -> None:
    """After a step that also ran sequences beside the group: those from ``first`` on join it if all of them decode now.

    Otherwise the group ends.
    """
    if s.c[GROUP] == 0:
        return
    for i in range(first, s.c[N_RUN]):
        r = s.q[s.running + i]
        generated = s.q[s.generated + r]
        one = generated > 0 and s.q[s.prompt + r] + generated - s.q[s.computed + r] == 1
        if not one or s.q[s.shared + r] != 0:
            return disband(s)
        join(s, r)
    return None


@inlined
def reserve_group(s: Any, steps: int) -> None:
    """Hold the blocks that the members need for the next ``steps`` steps. The caller has checked that there are
    enough."""
    for k in range(min(steps, BLOCK)):
        r = s.q[s.phase + (s.c[STEP] + k) % BLOCK]
        while r >= 0:
            held, done = s.q[s.held + r], s.q[s.computed + r] + s.c[STEP] - s.q[s.since + r]
            wanted = (done + steps + BLOCK - 1) // BLOCK
            row = s.q[s.slot + r] * s.stride
            for i in range(held, wanted):
                s.q[s.slot_blocks + row + i] = take(s)
            s.q[s.held + r] = max(held, wanted)
            r = s.q[s.after + r]


@inlined
def advance_group(s: Any, steps: int, end: float) -> None:
    """Every member has got ``steps`` tokens, the last of them at ``end``."""
    s.c[STEP] += steps
    s.c[GROUP_CONTEXT] += s.c[GROUP] * steps
    s.x[GROUP_LAST] = end


@compiled
def rebase(s: Any) -> None:
    """The steps just counted were applied to the members one by one, so they are settled."""
    for i in range(s.c[N_RUN]):
        r = s.q[s.running + i]
        if s.q[s.finish + r] >= 0:
            s.q[s.since + r] = s.c[STEP]
