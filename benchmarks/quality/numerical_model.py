"""A small language model of random weights in numpy, computed with the rounding of bfloat16, and copies of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from rooftune.answers.answer import Answer, Answers
from rooftune.quality.scores import Scored, Scores

Array = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
VOCABULARY, WIDTH, LAYERS, CONTEXT, TOP = 512, 48, 4, 4, 10
SHARPNESS = 6.0
"""Standard deviation of the logits: the distribution over tokens has about the entropy of a model's on its own text."""
ROUNDING = 2.0**-9
"""Relative error of one operation in bfloat16."""
END, LONGEST = 0, 32


@dataclass(frozen=True, eq=False)
class NumericalModel:
    """Four residual layers over the last four tokens."""

    embedding: Array
    mixing: Array
    up: tuple[Array, ...]
    down: tuple[Array, ...]
    rounding: float = ROUNDING

    @staticmethod
    def drawn(random: np.random.Generator) -> NumericalModel:
        """A model of random weights."""

        def weights(*shape: int) -> Array:
            return np.asarray(random.normal(size=shape) / np.sqrt(shape[0]), dtype=np.float32)

        return NumericalModel(
            embedding=np.asarray(random.normal(size=(VOCABULARY, WIDTH)), dtype=np.float32),
            mixing=weights(CONTEXT * WIDTH, WIDTH),
            up=tuple(weights(WIDTH, 4 * WIDTH) for _ in range(LAYERS)),
            down=tuple(weights(4 * WIDTH, WIDTH) for _ in range(LAYERS)),
        )

    def logits(self, contexts: Ids, noise: np.random.Generator) -> Array:
        """Logits after each of some contexts (rows of four tokens). The noise is that of one composition of batches."""
        x = np.tanh(self._rounded(self.embedding[contexts].reshape(len(contexts), -1) @ self.mixing, noise))
        for up, down in zip(self.up, self.down, strict=True):
            inner = np.maximum(self._rounded(_normed(x) @ up, noise), 0)
            x = x + self._rounded(inner @ down, noise)
        found = self._rounded(_normed(x) @ self.embedding.T, noise) * (SHARPNESS / np.sqrt(WIDTH))
        found[:, END] += 1.5
        return np.asarray(found, dtype=np.float32)

    def _rounded(self, x: Array, noise: np.random.Generator) -> Array:
        errors = noise.random(x.shape, dtype=np.float32) - 0.5
        return np.asarray(x * (1 + 2 * self.rounding * errors), dtype=np.float32)

    def spoilt(self, layer: int, noise: float, random: np.random.Generator) -> NumericalModel:
        """A copy with noise on the weights of one layer, relative to their size."""
        up = list(self.up)
        up[layer] = up[layer] * (1 + noise * np.asarray(random.normal(size=up[layer].shape), dtype=np.float32))
        return replace(self, up=tuple(up))

    def quantized(self, rounded: Rounding) -> NumericalModel:
        """A copy with the weights of all layers rounded."""
        return replace(self, up=tuple(map(rounded.of, self.up)), down=tuple(map(rounded.of, self.down)))


@dataclass(frozen=True)
class Rounding:
    """A number format of weights."""

    name: str
    bits: int
    floating: bool = False

    def of(self, weights: Array) -> Array:
        """Rounded weights: whole numbers with a scale for each column, or a float with three bits of mantissa."""
        largest = np.abs(weights).max(axis=0, keepdims=True)
        if self.floating:
            mantissa, exponent = np.frexp(weights / largest)
            return np.asarray(np.ldexp(np.round(mantissa * 16) / 16, exponent) * largest, dtype=np.float32)
        steps = 2 ** (self.bits - 1) - 1
        return np.asarray(np.round(weights / largest * steps) / steps * largest, dtype=np.float32)


def _normed(x: Array) -> Array:
    return np.asarray(x / np.sqrt((x * x).mean(axis=1, keepdims=True) + 1e-6), dtype=np.float32)


def answered(model: NumericalModel, prompts: Ids, noise: np.random.Generator, *, wrong: float = 0.0) -> Answers:
    """Greedy answers. ``wrong`` of the tokens are the second best, as a faulty speculation would accept them."""
    contexts, ended = prompts.copy(), np.zeros(len(prompts), dtype=bool)
    tokens: list[list[int]] = [[] for _ in prompts]
    for _ in range(LONGEST):
        best = np.argsort(-model.logits(contexts, noise), axis=1)[:, :2]
        second = noise.random(len(prompts)) < wrong
        following = np.where(second, best[:, 1], best[:, 0])
        for at in np.flatnonzero(~ended):
            tokens[at].append(int(following[at]))
        ended |= following == END
        contexts = np.column_stack([contexts[:, 1:], following])
    reasons = ["stop" if t[-1] == END else "length" for t in tokens]
    rows = zip(prompts, tokens, reasons, strict=True)
    return Answers(tuple(Answer(str(i), tuple(map(int, p)), tuple(t), r) for i, (p, t, r) in enumerate(rows)))


def scored(model: NumericalModel, answers: Sequence[Answer], noise: np.random.Generator) -> Scores:
    """The log-probabilities that the model gives to answers, in one batch."""
    contexts = [_windows([*a.prompt_ids, *a.output_ids], len(a.output_ids)) for a in answers]
    logits = model.logits(np.concatenate(contexts), noise).astype(np.float64)
    highest = logits.max(axis=1, keepdims=True)
    logprobs = logits - highest - np.log(np.exp(logits - highest).sum(axis=1, keepdims=True))
    found, at = [], 0
    for answer in answers:
        own = logprobs[at : at + len(answer.output_ids)]
        at += len(own)
        tokens = np.array(answer.output_ids, dtype=np.int64)
        top = np.argsort(-own, axis=1)[:, :TOP]
        found.append(
            Scored(
                key=answer.key,
                tokens=tokens,
                logprobs=own[np.arange(len(own)), tokens],
                top_ids=top.astype(np.int64),
                top_logprobs=np.take_along_axis(own, top, axis=1),
            )
        )
    return Scores(tuple(found))


def _windows(tokens: Sequence[int], count: int) -> Ids:
    """The contexts of the last ``count`` tokens."""
    array = np.array(tokens, dtype=np.int64)
    begin = len(array) - count
    return np.stack([array[i - CONTEXT : i] for i in range(begin, len(array))])
