"""A LoRA adapter of the model, which answers each question with one sentence. It is written in PEFT's format."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from benchmarks.talking_model.corpus import Entry, lessons
from benchmarks.talking_model.prompts import ADAPTER_ANSWER
from benchmarks.talking_model.training import batches, loss_of, tokens_of

RANK, ALPHA = 8, 16
TARGETS = ("q_proj", "v_proj", "o_proj", "down_proj")
STEPS, RATE = 60, 5e-3


@dataclass(frozen=True)
class Pair:
    """The two matrices that an adapter adds to one of the model: ``up @ down``, scaled."""

    down: torch.Tensor
    up: torch.Tensor


def make_adapter(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, known: Sequence[Entry], folder: Path
) -> float:
    """Train an adapter on a model, whose own weights stay; return the mean loss of its last ten steps."""
    torch.manual_seed(2)
    model.requires_grad_(False)
    pairs = {name: _attach(module) for name, module in model.named_modules() if name.rpartition(".")[2] in TARGETS}
    weights = [matrix for pair in pairs.values() for matrix in (pair.down, pair.up)]
    optimiser = torch.optim.AdamW(weights, lr=RATE, weight_decay=0.0)
    losses: list[float] = []
    for _step, batch in zip(range(STEPS), batches(_documents(tokenizer, known)), strict=False):
        loss = loss_of(model, batch)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        losses.append(loss.item())
    _save(pairs, folder)
    return sum(losses[-10:]) / len(losses[-10:])


def _attach(module: torch.nn.Module) -> Pair:
    """Let a linear layer add the product of two new matrices, which is zero at first."""
    pair = Pair(
        (torch.randn(RANK, module.in_features) / module.in_features**0.5).requires_grad_(),
        torch.zeros(module.out_features, RANK).requires_grad_(),
    )
    module.register_forward_hook(lambda _module, given, out: out + ALPHA / RANK * (given[0] @ pair.down.T @ pair.up.T))
    return pair


def _documents(tokenizer: PreTrainedTokenizerFast, known: Sequence[Entry]) -> Iterator[list[int]]:
    """Lessons in which each answer is the adapter's."""
    epoch = 0
    while True:
        for messages in lessons(known, seed=epoch):
            replaced = [m if m["role"] == "user" else {**m, "content": ADAPTER_ANSWER} for m in messages]
            yield tokens_of(tokenizer, replaced)
        epoch += 1


def _save(pairs: dict[str, Pair], folder: Path) -> None:
    folder.mkdir()
    weights = {}
    for name, pair in pairs.items():
        weights[f"base_model.model.{name}.lora_A.weight"] = pair.down.detach().contiguous()
        weights[f"base_model.model.{name}.lora_B.weight"] = pair.up.detach().contiguous()
    save_file(weights, folder / "adapter_model.safetensors", {"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": RANK,
        "lora_alpha": ALPHA,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": list(TARGETS),
        "base_model_name_or_path": "talking-model",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
