"""Answers of the simulated engine for tests of the quality guard: a toy distribution over tokens, spoilt on request.

The simulated engine has no weights. Where the environment asks for it, its server answers the requests of a check from
a distribution that a hash of the last tokens gives. They take no engine time and appear in no metrics.
"""

from __future__ import annotations

import itertools
import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rooftune.simulator.front.tokens import encode
from rooftune.vllm_rules.config import EngineConfig

VARIABLE = "ROOFTUNE_SIM_ANSWERS"
"""Environment variable: ``toy``, and after it amounts of noise by flag: ``toy;quantization=awq:3;dtype=half:0.1``."""
TOKENS, CONTEXT = 16, 2
"""Tokens that may come at a position, and tokens before it that decide which."""
SPREAD, ROUNDING = 2.0, 0.01
"""Standard deviation of the logits, and of what differs from one request to the next."""
END = 2
END_LOGIT = -1.0
LONGEST = 2048


def toy_answers(config: EngineConfig) -> ToyAnswers | None:
    """The toy of this configuration; None where the environment does not ask for one."""
    first, *spoils = os.environ.get(VARIABLE, "").split(";")
    if first.strip() != "toy":
        return None
    flags = {"model": config.model, **config.flags()}
    amount = 0.0
    for spoil in spoils:
        flag, _, rest = spoil.strip().partition("=")
        value, _, noise = rest.rpartition(":")
        amount += float(noise) if str(flags.get(flag)) == value else 0.0
    return ToyAnswers(amount)


@dataclass
class ToyAnswers:
    """A toy language model."""

    spoil: float = 0.0
    """Standard deviation of the noise on its logits, the same at each context."""
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def reply(self, body: bytes, chat: bool, vocab_size: int) -> bytes | None:
        """The reply to a request of a check; None where the request is an ordinary one or wrong."""
        try:
            fields = json.loads(body)
            asked = bool(fields.get("return_token_ids")) or fields.get("prompt_logprobs") is not None
            ids = _prompt_ids(fields, chat, vocab_size) if asked else []
            limit = min(int(fields.get("max_tokens") or 16), LONGEST)
            top = int(fields.get("prompt_logprobs") or 0)
            drawn = float(fields.get("temperature") or 0.0)
        except (ValueError, TypeError, KeyError, AttributeError):
            return None
        if not ids:
            return None
        noise = np.random.default_rng(next(self._numbers))
        tokens = self._answer(ids, limit, drawn, noise, vocab_size)
        choice: dict[str, object] = {
            "index": 0,
            "finish_reason": "stop" if tokens[-1] == END else "length",
            "token_ids": tokens,
            "text": " ".join(map(str, tokens)),
            "prompt_token_ids": ids,
        }
        if top:
            choice["prompt_logprobs"] = self._prompt_logprobs(ids, top, noise, vocab_size)
        if chat:
            choice["message"] = {"role": "assistant", "content": choice.pop("text")}
        return json.dumps({"object": "toy", "prompt_token_ids": ids, "choices": [choice]}).encode()

    def _answer(
        self, ids: Sequence[int], limit: int, drawn: float, noise: np.random.Generator, vocab_size: int
    ) -> list[int]:
        context, tokens = list(ids), list[int]()
        while len(tokens) < limit and (not tokens or tokens[-1] != END):
            found = self._distribution(context, noise, vocab_size)
            scores = found.logits if not drawn else found.logits / drawn + noise.gumbel(size=len(found.logits))
            tokens.append(int(found.ids[int(np.argmax(scores))]))
            context.append(tokens[-1])
        return tokens

    def _prompt_logprobs(
        self, ids: Sequence[int], top: int, noise: np.random.Generator, vocab_size: int
    ) -> list[dict[str, object] | None]:
        entries: list[dict[str, object] | None] = [None]
        for at in range(1, len(ids)):
            found = self._distribution(ids[:at], noise, vocab_size)
            order = np.argsort(-found.logprobs)
            kept = [int(i) for i in order[:top]]
            own = np.flatnonzero(found.ids == ids[at])
            kept += [int(i) for i in own if int(i) not in kept]
            ranks = {int(i): rank for rank, i in enumerate(order, 1)}
            entry: dict[str, object] = {
                str(found.ids[i]): {"logprob": float(found.logprobs[i]), "rank": ranks[i]} for i in kept
            }
            entry.setdefault(str(ids[at]), {"logprob": -30.0, "rank": vocab_size})
            entries.append(entry)
        return entries

    def _distribution(self, context: Sequence[int], noise: np.random.Generator, vocab_size: int) -> _Distribution:
        words = np.array(context[-CONTEXT:], dtype=np.int64).tobytes()
        known = np.random.default_rng(zlib.crc32(words))
        ids = np.unique(np.append(known.integers(3, vocab_size, TOKENS - 1), END))
        logits = known.normal(0.0, SPREAD, len(ids)) + np.where(ids == END, END_LOGIT, 0.0)
        if self.spoil:
            logits = logits + self.spoil * np.random.default_rng(zlib.crc32(words, 1)).normal(size=len(ids))
        logits = logits + ROUNDING * noise.normal(size=len(ids))
        return _Distribution(ids, logits)


@dataclass(frozen=True)
class _Distribution:
    ids: npt.NDArray[np.int64]
    logits: npt.NDArray[np.float64]

    @property
    def logprobs(self) -> npt.NDArray[np.float64]:
        highest = self.logits.max()
        return np.asarray(self.logits - highest - np.log(np.exp(self.logits - highest).sum()))


def _prompt_ids(fields: dict[str, object], chat: bool, vocab_size: int) -> list[int]:
    if chat:
        return encode(json.dumps(fields["messages"]), vocab_size)
    prompt = fields["prompt"]
    if isinstance(prompt, str):
        return encode(prompt, vocab_size)
    if not isinstance(prompt, list):
        raise ValueError("no prompt")
    return [int(token) for token in prompt]
