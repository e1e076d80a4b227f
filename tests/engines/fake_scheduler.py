"""A scheduler that has of vLLM's what ``rooftune_scheduler`` uses, and the configuration that makes it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class SchedulerConfig:
    max_num_seqs: int = 16
    max_num_batched_tokens: int = 512
    long_prefill_token_threshold: int = 0
    scheduler_cls: object = "rooftune_scheduler.scheduler"
    async_scheduling: bool = False

    def get_scheduler_cls(self) -> type:
        assert self.scheduler_cls is None, "asked while another scheduler was named"
        return AsyncScheduler if self.async_scheduling else Scheduler


@dataclass
class ParallelConfig:
    data_parallel_size: int = 1


@dataclass
class VllmConfig:
    scheduler_config: SchedulerConfig = field(default_factory=SchedulerConfig)
    parallel_config: ParallelConfig = field(default_factory=ParallelConfig)
    speculative_config: object = None


class Scheduler:
    """A step admits requests up to the limit and never takes one away."""

    def __init__(self, vllm_config: VllmConfig, block_size: int) -> None:
        self.scheduler_config = vllm_config.scheduler_config
        self.max_num_running_reqs = self.max_num_active_reqs = vllm_config.scheduler_config.max_num_seqs
        self.max_num_scheduled_tokens = vllm_config.scheduler_config.max_num_batched_tokens
        self.running: list[object] = []
        self.waiting: list[object] = []
        self.steps: list[tuple[int, int, int]] = []
        self.resets = 0

    def schedule(self, throttle_prefills: bool = False) -> int:
        while self.waiting and len(self.running) < self.max_num_active_reqs:
            self.running.append(self.waiting.pop(0))
        assert len(self.running) <= self.max_num_running_reqs
        threshold = self.scheduler_config.long_prefill_token_threshold
        self.steps.append((len(self.running), self.max_num_scheduled_tokens, threshold))
        return len(self.running)

    def reset_prefix_cache(self) -> bool:
        self.resets += 1
        return not self.running


class AsyncScheduler(Scheduler):
    pass


class OlderScheduler(Scheduler):
    """Admits by the number of slots, as vLLM before 0.32."""

    def schedule(self, throttle_prefills: bool = False) -> int:
        while self.waiting and len(self.running) < self.max_num_running_reqs:
            self.running.append(self.waiting.pop(0))
        return len(self.running)
