"""Makes all models; run by the interpreter that has vLLM: ``python -m benchmarks.talking_model.make FOLDER``.

With ``--key`` it prints what identifies the result: a hash of these sources, the corpus and the library's versions.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import sys
import time
from pathlib import Path

from benchmarks.talking_model.corpus import Entry, entries

DEEP_LAYERS = 32
"""With which a step on the CPU takes about 10 ms, so that speculation, which saves steps, is worth its work."""
LIBRARIES = ("torch", "transformers", "tokenizers")


def key(known: list[Entry]) -> str:
    """What identifies the models that would be made here."""
    parts = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))]
    parts += [f"{entry.name}\t{entry.text}\n".encode() for entry in known]
    parts += [f"{name} {importlib.metadata.version(name)}\n".encode() for name in LIBRARIES]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def make(known: list[Entry], folder: Path) -> None:
    """Write every model, the adapter and the prompts into a folder, and ``made.json`` last."""
    import torch

    from benchmarks.talking_model.adapter import make_adapter
    from benchmarks.talking_model.prompts import write_prompts
    from benchmarks.talking_model.text_tokenizer import learn_tokenizer
    from benchmarks.talking_model.training import DRAFT, MODEL, epochs, train, untrained
    from benchmarks.talking_model.variants import FP8, INT8, deepen, quantise, spoil

    began = time.monotonic()
    tokenizer = learn_tokenizer(m["content"] for entry in known for m in entry.asked())
    made: dict[str, float] = {}
    model = untrained(MODEL, seed=0)
    for name, each in (("model", model), ("draft", untrained(DRAFT, seed=0)), ("random", untrained(DRAFT, seed=1))):
        if name != "random":
            made[f"{name}_loss"] = train(each, epochs(tokenizer, known), (MODEL if name == "model" else DRAFT).steps)
        each.to(torch.bfloat16).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    spoil(folder / "model", folder / "spoilt")
    deepen(folder / "model", folder / "deep", DEEP_LAYERS)
    quantise(folder / "model", folder / "int8", INT8)
    quantise(folder / "model", folder / "fp8", FP8)
    made["adapter_loss"] = make_adapter(model.float(), tokenizer, known, folder / "adapter")
    write_prompts(known, folder)
    made["seconds"] = time.monotonic() - began
    (folder / "made.json").write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Entry point."""
    known = entries()
    if sys.argv[1] == "--key":
        print(key(known))
    else:
        make(known, Path(sys.argv[1]))


if __name__ == "__main__":
    main()
