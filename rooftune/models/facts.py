"""The architecture facts of a model that cost time and memory."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from rooftune.models.layers import AttentionLayers, MlpLayers

Part = Literal["attention", "mlp", "shared_experts", "experts", "router", "other"]
PARTS: tuple[Part, ...] = ("attention", "mlp", "shared_experts", "experts", "router", "other")
"""Kinds of matrices in the layers. ``other``: matrices beside attention and MLP, such as Gemma's per-layer inputs."""


class StoredApart(BaseModel):
    """Weights that are not stored as the checkpoint's quantisation says."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    part: Part | Literal["lm_head"]
    share: float = Field(description="of the part's weights")
    bits: float = Field(description="bits of one weight with its share of scales")


class ModelFacts(BaseModel):
    """A decoder-only transformer, as its config.json describes it. Counts are of the whole model, not per GPU."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    architecture: str
    hidden_size: int
    vocab_size: int
    max_position: int
    attention: tuple[AttentionLayers, ...] = Field(min_length=1, description="layers by the shape of their attention")
    mlp: tuple[MlpLayers, ...] = Field(description="layers by the shape of their MLP")
    tied_embeddings: bool = False
    lookup_parameters: int = Field(default=0, description="tables beside the embedding, of which a token reads one row")
    other_parameters: int = Field(default=0, description="matrices of the layers that are neither attention nor MLP")
    vision_parameters: int = Field(default=0, description="the vision tower, which text does not pass through")
    dtype: str = "float16"
    quantization: str | None = Field(default=None, description="of the checkpoint: None, 'awq', 'gptq', 'fp8', 'int8'")
    group_size: int = Field(default=128, description="weights that share a scale; -1 = a whole column")
    quantization_method: str | None = Field(default=None, description="quant_method of the checkpoint, where known")
    fp8_block: int | None = Field(
        default=None, description="side of the blocks of an FP8 checkpoint that share a scale; None = no blocks"
    )
    weight_bits: int | None = Field(
        default=None, description="bits of a quantised weight where the method leaves a choice"
    )
    stored_apart: tuple[StoredApart, ...] = Field(default=(), description="weights that the quantisation leaves out")
    kv_cache_dtype: str | None = Field(default=None, description="type of KV cache that the checkpoint asks for")
    hub_ids: dict[str, str] = Field(default_factory=dict, description="hub id by quantisation: {'none': …, 'awq': …}")
    notes: tuple[str, ...] = Field(default=(), description="what is not in these facts, one clause each")
    source: str = ""

    @property
    def layers(self) -> int:
        """Number of layers."""
        return sum(a.count for a in self.attention)

    @property
    def heads(self) -> int:
        """Query heads of a layer; where layers differ, the fewest."""
        return min(a.heads for a in self.attention)

    @property
    def kv_heads(self) -> int:
        """KV heads of a layer; where layers differ, the fewest."""
        return min(a.kv_heads for a in self.attention)

    @property
    def head_dim(self) -> int:
        """Values of a head; where layers differ, the most."""
        return max(a.head_dim for a in self.attention)

    @property
    def sliding_window(self) -> int | None:
        """Tokens that a layer with a window looks back; None where no layer has one. The smallest where they differ."""
        return min((a.window for a in self.attention if a.window), default=None)

    @property
    def windowed_layers(self) -> int:
        """Layers that look back at most ``sliding_window`` tokens."""
        return sum(a.count for a in self.attention if a.window)

    @property
    def experts(self) -> int:
        """Experts of a mixture's layer; 1 = no mixture."""
        return max((m.experts for m in self.mlp), default=0) or 1

    @property
    def experts_per_token(self) -> int:
        """Experts that a token goes through; 1 = no mixture."""
        return max((m.experts_per_token for m in self.mlp), default=0) or 1

    @property
    def intermediate_size(self) -> int:
        """Width of one expert, or of the MLP where there are no experts."""
        return max((m.expert_width for m in self.mlp), default=0) or max((m.width for m in self.mlp), default=0)

    def weights(self, part: Part, *, active_only: bool = False) -> int:
        """Weights of one kind of matrices over all layers; ``active_only``: those that one token goes through."""
        h = self.hidden_size
        if part == "attention":
            return sum(a.count * a.weights(h) for a in self.attention)
        if part == "mlp":
            return sum(m.count * m.matrices * h * m.width for m in self.mlp)
        if part == "shared_experts":
            return sum(m.count * m.matrices * h * m.shared_width for m in self.mlp)
        if part == "experts":
            chosen = ((m, m.experts_per_token if active_only else m.experts) for m in self.mlp)
            return sum(m.count * m.matrices * h * m.expert_width * n for m, n in chosen)
        if part == "router":
            return sum(m.count * h * m.experts for m in self.mlp)
        return self.other_parameters

    @property
    def attention_parameters(self) -> int:
        """Weights of the attention projections of all layers."""
        return self.weights("attention")

    @property
    def mlp_parameters(self) -> int:
        """Weights of the MLP blocks of all layers, all experts included."""
        return sum(self.weights(part) for part in ("mlp", "shared_experts", "experts", "router"))

    @property
    def linear_parameters(self) -> int:
        """Weights in the layers' matrices (what quantisation shrinks)."""
        return sum(self.weights(part) for part in PARTS)

    @property
    def active_linear_parameters(self) -> int:
        """Weights in the layers' matrices that one token goes through."""
        return sum(self.weights(part, active_only=True) for part in PARTS)

    @property
    def embedding_parameters(self) -> int:
        """Weights of one embedding table (the LM head has the same number)."""
        return self.vocab_size * self.hidden_size

    @property
    def table_parameters(self) -> int:
        """Weights of embedding, LM head and other tables."""
        return (1 if self.tied_embeddings else 2) * self.embedding_parameters + self.lookup_parameters

    @property
    def parameters(self) -> int:
        """All weights of the language model; norms, biases and the vision tower are left out."""
        return self.linear_parameters + self.table_parameters

    @property
    def active_parameters(self) -> int:
        """Weights that one token goes through, embedding and LM head included."""
        return self.active_linear_parameters + (1 if self.tied_embeddings else 2) * self.embedding_parameters

    def kv_bytes_per_token(self, bytes_per_value: float = 2.0, tensor_parallel: int = 1) -> float:
        """Bytes of KV cache that one token takes on one GPU over all layers, as long as no window has passed it."""
        return sum(a.kv_bytes(bytes_per_value, tensor_parallel) for a in self.attention if a.holds_kv)

    def kv_bytes_at(self, context: float, bytes_per_value: float = 2.0, tensor_parallel: int = 1) -> float:
        """Bytes of KV cache that a sequence of this length needs on one GPU: layers with a window stop growing."""
        held = (a for a in self.attention if a.holds_kv)
        return sum(a.attended(context) * a.kv_bytes(bytes_per_value, tensor_parallel) for a in held)

    def stored_as(self, quantization: str | None) -> ModelFacts:
        """These facts with all layers' matrices in another quantisation."""
        if quantization == self.quantization:
            return self
        other = {"quantization": quantization, "quantization_method": None, "weight_bits": None, "stored_apart": ()}
        return self.model_copy(update=other)
