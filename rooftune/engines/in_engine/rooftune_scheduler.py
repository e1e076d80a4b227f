"""vLLM's own scheduler, with limits that rooftune lowers while the server runs.

vLLM imports this file in its own interpreter (``--scheduler-cls rooftune_scheduler.scheduler``, the folder is in
PYTHONPATH), so it imports nothing but the standard library. A control file, named by ``ROOFTUNE_CONTROL_FILE``, holds
the limits. It is read at the edge of a step if it was replaced. The answer is printed and so is in the server's log.

A busy step must not ask the file system. The call itself takes 1.7 µs, but it releases the interpreter's lock, and the
thread that sends the answers of the last step then takes the interpreter before the next step is scheduled: with
one ``stat`` per step, 4 sequences on a CPU decoded 9.5 % slower. So only steps that begin with no running request
look at the file, and one busy step in ``BUSY_STEPS``.

Only what the scheduler decides is changed: how many requests run, and how many tokens a step takes. Buffers, CUDA
graphs and KV cache stay as the server made them when it started, so limits can only be lowered. Where the scheduler of
a version does not look as expected, the server gets it unchanged.
"""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Protocol

CONTROL_FILE = "ROOFTUNE_CONTROL_FILE"
SAYS = "rooftune scheduler: "
KNOBS = ("max_num_seqs", "max_num_batched_tokens", "long_prefill_token_threshold")
READ_BY_STEP = ("max_num_active_reqs", "max_num_scheduled_tokens", "long_prefill_token_threshold")
"""What a step of vLLM 0.32 and 0.33 reads. Older versions admit by ``max_num_running_reqs``, which is also the number
of slots and must stay."""
BUSY_STEPS = 32
"""Steps with running requests from one look at the control file to the next."""


class SchedulerConfig(Protocol):
    """The part of vLLM's class that is used here."""

    scheduler_cls: object
    async_scheduling: bool | None
    max_num_seqs: int
    max_num_batched_tokens: int
    long_prefill_token_threshold: int

    def get_scheduler_cls(self) -> type[Scheduler]: ...


class ParallelConfig(Protocol):
    """The part of vLLM's class that is used here."""

    data_parallel_size: int


class VllmConfig(Protocol):
    """The part of vLLM's class that is used here."""

    scheduler_config: SchedulerConfig
    parallel_config: ParallelConfig
    speculative_config: object


class Scheduler(Protocol):
    """The part of vLLM's class that is used here."""

    scheduler_config: SchedulerConfig
    max_num_active_reqs: int
    max_num_scheduled_tokens: int
    running: list[object]

    def __init__(self, vllm_config: VllmConfig, *args: object, **kwargs: object) -> None: ...
    def schedule(self, *args: object, **kwargs: object) -> object: ...
    def reset_prefix_cache(self) -> bool: ...


def scheduler(vllm_config: VllmConfig, *args: object, **kwargs: object) -> Scheduler:
    """Called by vLLM in place of the class of its scheduler."""
    own = own_class(vllm_config.scheduler_config)
    made = own(vllm_config, *args, **kwargs)
    try:
        reason = unexpected(made, vllm_config)
        if not reason:
            control = Control(os.environ[CONTROL_FILE], limits_of(made))
            made.__class__ = switchable(own, control)
    except (AttributeError, TypeError) as error:
        reason = str(error)
    if reason:
        say({"switchable": False, "reason": reason})
    else:
        say({"switchable": True, "scheduler": own.__name__, "limits": limits_of(made)})
    return made


def own_class(config: SchedulerConfig) -> type[Scheduler]:
    """The class that this version takes when nobody names one."""
    chosen, config.scheduler_cls = config.scheduler_cls, None
    try:
        return config.get_scheduler_cls()
    finally:
        config.scheduler_cls = chosen


def unexpected(made: Scheduler, config: VllmConfig) -> str:
    """Why the limits of this scheduler cannot be lowered; empty if they can."""
    if not os.environ.get(CONTROL_FILE):
        return f"{CONTROL_FILE} is not set"
    if config.speculative_config is not None:
        return "speculative decoding counts its tokens differently"
    if config.parallel_config.data_parallel_size != 1:
        return "there is more than one scheduler"
    missing = [name for name in READ_BY_STEP if name not in names_read(type(made).schedule)]
    if missing:
        return f"the scheduler of this version does not read {', '.join(missing)}"
    found = limits_of(made)
    expected = {name: getattr(made.scheduler_config, name) for name in KNOBS}
    return "" if found == expected else f"the scheduler started with {json.dumps(found)}"


def names_read(method: Callable[..., object]) -> tuple[str, ...]:
    """The attributes that a method's code names."""
    plain = inspect.unwrap(method)
    return plain.__code__.co_names if isinstance(plain, FunctionType) else ()


def limits_of(made: Scheduler) -> dict[str, int]:
    """The limits that a scheduler keeps now."""
    return {
        "max_num_seqs": made.max_num_active_reqs,
        "max_num_batched_tokens": made.max_num_scheduled_tokens,
        "long_prefill_token_threshold": made.scheduler_config.long_prefill_token_threshold,
    }


def switchable(own: type[Scheduler], control: Control) -> type[Scheduler]:
    """The version's class, whose steps look at the control file first where that is due."""

    def schedule(made: Scheduler, *args: object, **kwargs: object) -> object:
        if control.due(busy=bool(made.running)):
            wanted = control.changed()
            if wanted is not None:
                switch(made, control, wanted)
        return own.schedule(made, *args, **kwargs)

    return type(f"Switchable{own.__name__}", (own,), {"schedule": schedule})


def switch(made: Scheduler, control: Control, wanted: Mapping[str, object]) -> None:
    """Take over limits, or say why not. Requests that already run are finished."""
    limits, reason = control.limits(wanted)
    if reason:
        say({"refused": wanted.get("id"), "reason": reason})
        return
    made.max_num_active_reqs = limits["max_num_seqs"]
    made.max_num_scheduled_tokens = limits["max_num_batched_tokens"]
    made.scheduler_config.long_prefill_token_threshold = limits["long_prefill_token_threshold"]
    empty = not made.running and made.reset_prefix_cache()
    say({"switched": wanted.get("id"), "limits": limits_of(made), "prefix_cache_empty": empty})


class Control:
    """The control file, and the limits of the start, which no change may exceed."""

    def __init__(self, path: str, started: dict[str, int]) -> None:
        self.path, self.started = path, started
        self.seen = (0, 0)
        self.busy_steps = 0

    def due(self, *, busy: bool) -> bool:
        """Whether a step looks at the file: each that begins idle, and few of those that find requests running."""
        self.busy_steps = self.busy_steps + 1 if busy else 0
        return self.busy_steps % BUSY_STEPS == 0

    def changed(self) -> Mapping[str, object] | None:
        """The content of the file if it was replaced since the last call."""
        try:
            now = os.stat(self.path)
            if (now.st_mtime_ns, now.st_ino) == self.seen:
                return None
            self.seen = (now.st_mtime_ns, now.st_ino)
            with open(self.path, encoding="utf-8") as file:
                found = json.load(file)
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def limits(self, wanted: Mapping[str, object]) -> tuple[dict[str, int], str]:
        """The limits, and why they cannot be had. What the file does not name is as the server started."""
        found: dict[str, int] = {}
        for name in KNOBS:
            value = wanted.get(name, self.started[name])
            if not isinstance(value, int) or isinstance(value, bool):
                return found, f"{name} is not a whole number"
            found[name] = value
        seqs, tokens, threshold = (found[name] for name in KNOBS)
        if seqs < 1 or tokens < seqs:
            return found, "a step needs a token for each request"
        if seqs > self.started["max_num_seqs"] or tokens > self.started["max_num_batched_tokens"]:
            return found, "limits can only be lowered"
        highest = self.started["long_prefill_token_threshold"]
        if threshold < 0 or (highest > 0 and not 0 < threshold <= highest):  # 0 cuts no prompt
            return found, "the cut of long prompts can only be lowered"
        return found, ""


def say(what: Mapping[str, object]) -> None:
    """Write one line into the server's log, whatever its log level."""
    print(SAYS + json.dumps(what), flush=True)
