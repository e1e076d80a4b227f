"""Refusals: one sentence that names the key, what it means, and the way out."""

from __future__ import annotations

from rooftune.errors import InputError

WAY_OUT = "measure the model instead: `rooftune optimize` with --engine vllm or --engine endpoint needs no model facts"


def not_modelled(model: str, key: str, meaning: str) -> InputError:
    """The refusal of a model with layers whose costs rooftune does not model yet."""
    return InputError(f"{model}: {key} means {meaning}, which rooftune does not model yet; {WAY_OUT}.")


def not_understood(model: str, key: str, value: object) -> InputError:
    """The refusal of a model with a key that may change what its layers cost."""
    text = repr(value)
    shown = text if len(text) <= 60 else text[:57] + "..."
    return InputError(
        f"{model}: rooftune does not know what the key {key} = {shown} changes in the layers, and does not guess; "
        f"{WAY_OUT}, or set the key to null if it costs neither time nor memory."
    )
