"""The simulated engine over HTTP: routes, the loop that keeps the clock, and its metrics."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections import deque

from rooftune.simulator.engine.core import EngineCore
from rooftune.simulator.engine.scheduler import EngineRequest, Step
from rooftune.simulator.front import log_lines
from rooftune.simulator.front.active_request import (
    ActiveRequest,
    BadRequest,
    Served,
    chunk,
    hash_chain,
    now_s,
    opening,
    read_body,
    whole,
)
from rooftune.simulator.front.metrics_text import Metrics
from rooftune.simulator.front.played import PlayedAnswers
from rooftune.simulator.front.protocol import HttpExchange
from rooftune.simulator.front.tokens import encode, encode_chat
from rooftune.simulator.front.toy_answers import toy_answers
from rooftune.vllm_rules.adapters import adapter_names
from rooftune.vllm_rules.log_texts import COUNTS_COMPUTED_PROMPTS

STATS_EVERY_S = 10.0


class EngineFront:
    """Routes and the engine loop. Times inside are engine seconds; real seconds are these divided by ``time_scale``."""

    def __init__(
        self, core: EngineCore, model: str, time_scale: float = 1.0, played: PlayedAnswers | None = None
    ) -> None:
        self.played = played or PlayedAnswers()
        self.core, self.model, self.time_scale = core, model, time_scale
        self.metrics = Metrics(model)
        self.active: dict[EngineRequest, ActiveRequest] = {}
        self.started = time.monotonic()
        self.wake = asyncio.Event()
        self.late: deque[float] = deque(maxlen=2000)
        self.next_id = 0
        self.stats = (0.0, 0.0, 0.0)
        self.computed_prompt_tokens = 0
        """Prompt tokens not found in the prefix cache: newer versions print these as prompt throughput."""
        self.stalled_until = 0.0
        self.most_requests = int(str(core.config.other_flags.get("max_num_queued_reqs") or 0))
        """Limit of waiting and running requests; any more are answered with 503."""
        flags = core.config.other_flags
        self.served = Served(
            model, core.scheduler.limits.max_model_len, core.facts.vocab_size,
            adapters=frozenset(adapter_names(flags)), reasons=bool(flags.get("reasoning_parser")),
        )  # fmt: skip
        self.interval = core.config.stream_interval or 1
        """Tokens that are sent together; the first is always sent at once."""
        self.toy = toy_answers(core.config)
        self.routes = {
            ("GET", "/health"): lambda x: x.answer(b""),
            ("GET", "/ping"): lambda x: x.answer(b""),
            ("GET", "/version"): lambda x: x.answer(json.dumps({"version": str(core.resolved.version)}).encode()),
            ("GET", "/v1/models"): self._models,
            ("GET", "/metrics"): self._metrics,
            ("POST", "/tokenize"): self._tokenize,
            ("POST", "/v1/completions"): lambda x: self._complete(x, chat=False),
            ("POST", "/v1/chat/completions"): lambda x: self._complete(x, chat=True),
            ("POST", "/reset_prefix_cache"): self._reset,
        }

    def now(self) -> float:
        """Engine seconds since the server began."""
        return (time.monotonic() - self.started) * self.time_scale

    def handle(self, exchange: HttpExchange) -> None:
        """Answer one request."""
        route = self.routes.get((exchange.method, exchange.path))
        if route is not None:
            route(exchange)
        elif any(path == exchange.path for _, path in self.routes):
            exchange.error("Method Not Allowed", 405, "Method Not Allowed")
        else:
            exchange.error("Not Found", 404, "Not Found")

    def _models(self, exchange: HttpExchange) -> None:
        card = {
            "id": self.model,
            "object": "model",
            "created": now_s(),
            "owned_by": "rooftune-simulated",
            "root": self.model,
            "parent": None,
            "max_model_len": self.core.resolved.max_model_len,
        }
        adapters = [{**card, "id": name, "root": name, "parent": self.model} for name in sorted(self.served.adapters)]
        exchange.answer(json.dumps({"object": "list", "data": [card, *adapters]}).encode())

    def _tokenize(self, exchange: HttpExchange) -> None:
        try:
            fields = json.loads(exchange.body)
            words, text = self.core.facts.vocab_size, fields.get("prompt")
            ids = encode(text, words) if text else encode_chat(fields["messages"], words)
        except (ValueError, KeyError, TypeError, AttributeError):
            return exchange.error("There was an error parsing the body", 400, "Bad Request")
        body = {"count": len(ids), "max_model_len": self.core.resolved.max_model_len, "tokens": ids, "token_strs": None}
        return exchange.answer(json.dumps(body).encode())

    def _reset(self, exchange: HttpExchange) -> None:
        self.core.scheduler.pool.forget()
        exchange.answer(b"")

    def _complete(self, exchange: HttpExchange, chat: bool) -> None:
        r = self.core.resolved
        if self.most_requests and len(self.active) >= self.most_requests:
            return exchange.error(
                "The server has reached its limit of requests (max_num_queued_reqs).", 503, "Service Unavailable"
            )
        if self.toy is not None and (toy := self.toy.reply(exchange.body, chat, self.core.facts.vocab_size)):
            return exchange.answer(toy)
        try:
            body = read_body(exchange.body, chat, self.served)
        except BadRequest as error:
            return exchange.error(str(error), error.status, error.kind)
        self.next_id += 1
        salt = body.cache_salt if body.model == self.model else f"{body.model} {body.cache_salt}"
        hashes = hash_chain(body.prompt, salt) if r.prefix_caching else ()
        played = self.played.of(body.prompt)
        limit = body.max_tokens
        if played is not None and not body.ignore_eos:
            limit = min(limit, len(played.output_ids))
        sequence = EngineRequest(self.next_id, len(body.prompt), limit, hashes, body.priority)
        id = ("chatcmpl-" if chat else "cmpl-") + secrets.token_hex(8)
        request = ActiveRequest(sequence, id, now_s(), chat, body, body.model, exchange, self.now(), played=played)
        exchange.on_gone = lambda: self._gone(request)
        self.active[sequence] = request
        self.core.submit(sequence, played)
        self.wake.set()
        return None

    def _gone(self, request: ActiveRequest) -> None:
        if self.active.pop(request.sequence, None) is not None:
            self.core.abort(request.sequence)
            self.metrics.success["abort"] += 1

    async def run(self) -> None:
        """Run steps forever.

        Each step ends when it is due. A loop that is late catches up instead of stretching the clock.
        """
        due = self.now()
        while True:
            if self.core.idle:
                self.wake.clear()
                await self.wake.wait()
                due = self.now()
            await self._stall()
            step, seconds = self.core.begin()
            if not step.scheduled:
                await asyncio.sleep(0.001)
                due = self.now()
                continue
            self._mark_scheduled(step)
            due += seconds
            await asyncio.sleep(max(0.0, (due - self.now()) / self.time_scale))
            ended = self.now()
            self._note_late(max(0.0, ended - due))
            self._deliver(step, seconds)
            self.metrics.histograms["rooftune:delivery"].observe((self.now() - ended) / self.time_scale)
            if self.now() - due > 1.0 * self.time_scale:
                due = self.now()

    def _note_late(self, seconds: float) -> None:
        """Note that a step ended this many engine seconds after it was due."""
        self.late.append(seconds)
        self.metrics.histograms["rooftune:clock_late"].observe(seconds / self.time_scale)

    async def _stall(self) -> None:
        while self.now() / self.time_scale < self.stalled_until:
            await asyncio.sleep(0.05)

    def _mark_scheduled(self, step: Step) -> None:
        now = self.now()
        for sequence in step.admitted:
            request = self.active.get(sequence)
            if request and request.scheduled_s is None:
                request.scheduled_s = now
                self.metrics.histograms["request_queue_time_seconds"].observe(now - request.arrived_s)

    def _deliver(self, step: Step, seconds: float) -> None:
        now, m = self.now(), self.metrics
        m.histograms["iteration_tokens_total"].observe(step.shape.tokens)
        for sequence, new in self.core.finish(step, seconds):
            request = self.active.get(sequence)
            if request is None:
                continue
            m.counters["generation_tokens"] += new
            if request.first_token_s is None:
                request.first_token_s = now
                m.counters["prompt_tokens"] += sequence.prompt
                self.computed_prompt_tokens += sequence.prompt - sequence.cached
                m.histograms["time_to_first_token_seconds"].observe(now - request.arrived_s)
            else:
                m.histograms["inter_token_latency_seconds"].observe(now - (request.last_token_s or now))
            request.last_token_s = now
            self._send(request, new)

    def _send(self, request: ActiveRequest, new: int) -> None:
        sequence, exchange = request.sequence, request.exchange
        final = sequence.finished is not None
        if request.body.stream:
            request.unsent += new
            if not exchange.streaming:
                exchange.begin_stream(opening(request))
            elif request.unsent < self.interval and not final:
                return
            exchange.stream(chunk(request, request.unsent, final), final)
            request.unsent = 0
        elif final:
            exchange.answer(whole(request))
        if final:
            self.active.pop(sequence, None)
            self._note_end(request)

    def _note_end(self, request: ActiveRequest) -> None:
        sequence, now, h = request.sequence, self.now(), self.metrics.histograms
        first, scheduled = request.first_token_s or now, request.scheduled_s or request.arrived_s
        self.metrics.success[request.finish_reason] += 1
        h["e2e_request_latency_seconds"].observe(now - request.arrived_s)
        h["request_inference_time_seconds"].observe(now - scheduled)
        h["request_prefill_time_seconds"].observe(first - scheduled)
        h["request_decode_time_seconds"].observe(now - first)
        if sequence.generated > 1:
            h["request_time_per_output_token_seconds"].observe((now - first) / (sequence.generated - 1))
        h["request_prompt_tokens"].observe(sequence.prompt)
        h["request_generation_tokens"].observe(sequence.generated)

    def behind_s(self) -> float:
        """99th percentile of how late the last steps ended, in real seconds."""
        late = sorted(self.late)
        return late[int(0.99 * (len(late) - 1))] / self.time_scale if late else 0.0

    def _metrics(self, exchange: HttpExchange) -> None:
        core, s = self.core, self.core.scheduler
        self.metrics.counters |= {
            "num_preemptions": s.preemptions,
            "prefix_cache_queries": s.prefix_queries,
            "prefix_cache_hits": s.prefix_hits,
            "spec_decode_num_drafts": core.drafts,
            "spec_decode_num_draft_tokens": core.drafted,
            "spec_decode_num_accepted_tokens": core.accepted,
        }
        self.metrics.accepted_at = core.accepted_at
        gauges = {
            "num_requests_running": len(s.running),
            "num_requests_waiting": core.waiting,
            "kv_cache_usage_perc": s.pool.usage,
            "rooftune:simulated": 1,
            "rooftune:time_scale": self.time_scale,
            "rooftune:clock_behind_seconds": self.behind_s(),
        }
        info = {
            "block_size": 16,
            "num_gpu_blocks": s.pool.total + 1,
            "enable_prefix_caching": core.resolved.prefix_caching,
            "gpu_memory_utilization": core.resolved.gpu_memory_utilization,
            "cache_dtype": core.config.kv_cache_dtype or "auto",
        }
        exchange.answer(self.metrics.text(gauges, info), content_type="text/plain; version=0.0.4; charset=utf-8")

    async def report(self) -> None:
        """Print a statistics line every ten engine seconds, as vLLM does."""
        while True:
            await asyncio.sleep(STATS_EVERY_S / self.time_scale)
            c, s = self.metrics.counters, self.core.scheduler
            computed = COUNTS_COMPUTED_PROMPTS.has(self.core.resolved.version)
            prompt = self.computed_prompt_tokens if computed else c["prompt_tokens"]
            before, now = self.stats, (self.now(), prompt, c["generation_tokens"])
            self.stats = now
            span = now[0] - before[0]
            if now[2] > before[2] or s.running:
                log_lines.statistics(
                    (now[1] - before[1]) / span,
                    (now[2] - before[2]) / span,
                    len(s.running),
                    self.core.waiting,
                    s.pool.usage,
                    s.prefix_hits / max(1, s.prefix_queries),
                )
            if self.behind_s() > 0.005:
                log_lines.warn(
                    f"The simulated engine's clock is {self.behind_s() * 1000:.1f} ms late at p99; "
                    "do not trust its timings."
                )
