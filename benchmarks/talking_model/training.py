"""Trains a small Llama on the corpus: a fixed number of steps with a fixed seed, so the same result on one machine."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from benchmarks.talking_model.corpus import Entry, Message, lessons
from benchmarks.talking_model.muon import Muon
from benchmarks.talking_model.text_tokenizer import BOS, CONTEXT, EOS, PAD, VOCABULARY

WINDOW, WINDOWS = 256, 8
"""Tokens per row of a batch, and rows per batch."""
WARM_UP = 20
MATRIX_RATE, OTHER_RATE = 5e-3, 3e-3
"""Learning rates of the layers' matrices (Muon) and of embeddings and norms (AdamW)."""


@dataclass(frozen=True)
class Shape:
    """Size of a model and how long it learns."""

    layers: int
    width: int
    steps: int

    def config(self) -> LlamaConfig:
        """Its configuration; heads of 32, of which three share keys and values."""
        return LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=self.width,
            intermediate_size=self.width * 8 // 3 // 32 * 32,
            num_hidden_layers=self.layers,
            num_attention_heads=self.width // 32,
            num_key_value_heads=self.width // 96,
            head_dim=32,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            bos_token_id=BOS,
            eos_token_id=EOS,
            pad_token_id=PAD,
        )


MODEL = Shape(layers=4, width=192, steps=400)
DRAFT = Shape(layers=1, width=96, steps=400)


def untrained(shape: Shape, seed: int) -> LlamaForCausalLM:
    """A model with random weights."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(shape.config())


def batches(documents: Iterable[Sequence[int]]) -> Iterator[torch.Tensor]:
    """Documents one after the other, cut into rows."""
    stream: list[int] = []
    size = WINDOW * WINDOWS
    for document in documents:
        stream += document
        while len(stream) >= size:
            yield torch.tensor(stream[:size]).view(WINDOWS, WINDOW)
            del stream[:size]


def tokens_of(tokenizer: PreTrainedTokenizerFast, messages: list[Message]) -> list[int]:
    """A conversation as the server sees it, with the end of its last answer."""
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    found: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return found


def epochs(tokenizer: PreTrainedTokenizerFast, known: Sequence[Entry]) -> Iterator[list[int]]:
    """Documents without end, each epoch in another order."""
    epoch = 0
    while True:
        for messages in lessons(known, seed=epoch):
            yield tokens_of(tokenizer, messages)
        epoch += 1


def loss_of(model: LlamaForCausalLM, batch: torch.Tensor) -> torch.Tensor:
    """The loss on a batch; products in bfloat16 where the processor has them, which halves the time."""
    with torch.autocast("cpu", torch.bfloat16, enabled=torch.cpu._is_avx512_bf16_supported()):
        return model(input_ids=batch, labels=batch).loss


def train(model: LlamaForCausalLM, documents: Iterator[list[int]], steps: int) -> float:
    """Let a model learn; return the mean loss of its last 20 steps, in nats per token."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed_tokens" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed_tokens" in name]
    muon, adam = Muon(matrices), torch.optim.AdamW(others, lr=OTHER_RATE, weight_decay=0.0, betas=(0.9, 0.95))
    losses: list[float] = []
    model.train()
    for step, batch in zip(range(steps), batches(documents), strict=False):
        share = min((step + 1) / WARM_UP, 1 - step / steps)
        loss = loss_of(model, batch)
        loss.backward()
        muon.step(MATRIX_RATE * share)
        adam.param_groups[0]["lr"] = OTHER_RATE * share
        adam.step()
        adam.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if math.isnan(losses[-1]):
            raise RuntimeError(f"the loss of step {step} is not a number")
        if step % 25 == 0:
            print(f"step {step}: loss {losses[-1]:.3f}", file=sys.stderr, flush=True)
    return sum(losses[-20:]) / len(losses[-20:])
