"""Makes a tiny Llama with random weights and its tokenizer, without a network, for tests with a real vLLM.

``make_tiny_model`` runs this file with the interpreter that has vLLM, because transformers and tokenizers are
installed there. The output of the model is noise, but it exercises the same code as a large one: scheduler, KV
cache, sampling, HTTP.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SHAPE: dict[str, Any] = {
    "vocab_size": 4096,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
SMALL: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_key_value_heads": 4,
}
"""Changes to ``SHAPE``: 82 million parameters, so that a step on a CPU costs more than its bookkeeping."""
SPECIAL = ["<s>", "</s>", "<pad>"]
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def make_tiny_model(folder: Path, vllm_python: str, changes: dict[str, Any] | None = None) -> Path:
    """Write config, weights (about 8 MB, bfloat16) and tokenizer into ``folder`` unless they exist.

    Args:
        folder: where the model goes.
        vllm_python: interpreter that has vLLM.
        changes: changes to ``SHAPE``, for example ``SMALL``.

    Raises:
        RooftuneError: the interpreter failed, for example for lack of transformers; the message contains its last line.
    """
    from rooftune.errors import RooftuneError

    if (folder / "complete").is_file():
        return folder
    command = [vllm_python, str(Path(__file__).resolve()), str(folder), json.dumps(changes or {})]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RooftuneError(
            f"{vllm_python} could not make the tiny model: {last}; check that it has transformers and tokenizers."
        )
    return folder


def _tokenizer(folder: Path) -> None:
    import pydoc_data.topics  # text that every CPython has

    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast  # type: ignore[import-not-found,unused-ignore]

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=SHAPE["vocab_size"],
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(pydoc_data.topics.topics.values(), trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=SPECIAL[0],
        eos_token=SPECIAL[1],
        pad_token=SPECIAL[2],
        model_max_length=SHAPE["max_position_embeddings"],
    )
    wrapped.chat_template = CHAT_TEMPLATE
    wrapped.save_pretrained(folder)


def _model(folder: Path, shape: dict[str, Any]) -> None:
    import torch  # type: ignore[import-not-found,unused-ignore]
    from transformers import LlamaConfig, LlamaForCausalLM  # type: ignore[import-not-found,unused-ignore]

    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**shape)).to(torch.bfloat16).save_pretrained(folder)


def main(folder: Path, changes: dict[str, Any]) -> None:
    """Entry point, run by the interpreter that has vLLM."""
    folder.mkdir(parents=True, exist_ok=True)
    shape = {**SHAPE, **changes}
    if "head_dim" not in changes:
        shape["head_dim"] = shape["hidden_size"] // shape["num_attention_heads"]
    _tokenizer(folder)
    _model(folder, shape)
    (folder / "complete").write_text(json.dumps(shape) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.path.pop(0)  # the folder of this file, whose module names could hide those of libraries
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
