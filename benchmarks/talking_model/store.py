"""Makes the talking model once for each version of its sources, and keeps it in the user's cache folder."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from rooftune.errors import RooftuneError

ROOT = Path(__file__).parents[2]
MAKE = "benchmarks.talking_model.make"


@dataclass(frozen=True)
class TalkingModels:
    """Folders of the models and files of prompts."""

    folder: Path

    @property
    def model(self) -> Path:
        """The trained model."""
        return self.folder / "model"

    @property
    def draft(self) -> Path:
        """A smaller model with the same tokenizer, which learned from the same text."""
        return self.folder / "draft"

    @property
    def random(self) -> Path:
        """The smaller model with random weights."""
        return self.folder / "random"

    @property
    def spoilt(self) -> Path:
        """The trained model with noise in one layer."""
        return self.folder / "spoilt"

    @property
    def deep(self) -> Path:
        """The trained model with layers that change nothing, whose steps take longer."""
        return self.folder / "deep"

    @property
    def int8(self) -> Path:
        """The trained model with weights and activations in INT8."""
        return self.folder / "int8"

    @property
    def fp8(self) -> Path:
        """The trained model with weights and activations in FP8."""
        return self.folder / "fp8"

    @property
    def adapter(self) -> Path:
        """A LoRA adapter that answers each question with ``prompts.ADAPTER_ANSWER``."""
        return self.folder / "adapter"

    @property
    def questions(self) -> Path:
        """Prompts that the model answers from memory."""
        return self.folder / "questions.jsonl"

    @property
    def repeated(self) -> Path:
        """Prompts whose answers repeat them."""
        return self.folder / "repeated.jsonl"

    @property
    def prompts(self) -> Path:
        """Questions and texts to repeat."""
        return self.folder / "prompts.jsonl"

    @property
    def conversations(self) -> Path:
        """Conversations of three questions with recorded answers."""
        return self.folder / "conversations.jsonl"


def talking_models(vllm_python: str) -> TalkingModels:
    """The models, made now (three to six minutes on two processors) or found in the cache.

    Args:
        vllm_python: interpreter that has vLLM, and so torch, transformers and tokenizers.

    Raises:
        RooftuneError: they could not be made.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rooftune" / "talking-model"
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / _run(vllm_python, "--key").strip()
    with (cache / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            unfinished = folder.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            _run(vllm_python, str(unfinished))
            unfinished.rename(folder)
    return TalkingModels(folder)


def _run(vllm_python: str, word: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        [vllm_python, "-m", MAKE, word], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RooftuneError(f"{vllm_python} could not make the talking model: {last}")
    return done.stdout
