"""The architecture facts of a model that cost time and memory."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ModelFacts(BaseModel):
    """A decoder-only transformer, as its config.json describes it. Counts are of the whole model, not per GPU."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    architecture: str
    layers: int
    hidden_size: int
    intermediate_size: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    max_position: int
    tied_embeddings: bool = False
    sliding_window: int | None = Field(default=None, description="tokens that a layer looks back at most; None = all")
    sliding_layers: int | None = Field(default=None, description="layers with the window; None = all of them")
    experts: int = Field(default=1, description="number of experts of a mixture; 1 = dense")
    experts_per_token: int = 1
    shared_expert_intermediate_size: int = 0
    dense_layers: int = Field(default=0, description="layers of a mixture that have one plain MLP instead of experts")
    dense_intermediate_size: int = 0
    gated_mlp: bool = True
    dtype: str = "float16"
    quantization: str | None = Field(default=None, description="of the checkpoint: None, 'awq', 'gptq', 'fp8', 'int8'")
    group_size: int = Field(default=128, description="weights that share a scale; -1 = a whole column")
    weight_bits: int | None = Field(
        default=None, description="bits of a quantised weight where the method leaves a choice"
    )
    hub_ids: dict[str, str] = Field(default_factory=dict, description="hub id by quantisation: {'none': …, 'awq': …}")
    source: str = ""

    @property
    def attention_parameters(self) -> int:
        """Weights of the four attention projections of all layers."""
        q_out = 2 * self.hidden_size * self.heads * self.head_dim
        kv = 2 * self.hidden_size * self.kv_heads * self.head_dim
        return self.layers * (q_out + kv)

    @property
    def mlp_parameters(self) -> int:
        """Weights of the MLP blocks of all layers, all experts counted."""
        router = self.hidden_size * self.experts if self.experts > 1 else 0
        sparse = self.layers - self.dense_layers
        return self._mlp(self.experts) + sparse * router

    def _mlp(self, experts: int) -> int:
        """Weights of the MLP blocks of all layers with this many experts each."""
        per_unit = (3 if self.gated_mlp else 2) * self.hidden_size
        width = experts * self.intermediate_size + self.shared_expert_intermediate_size
        dense = self.dense_layers * per_unit * self.dense_intermediate_size
        return (self.layers - self.dense_layers) * per_unit * width + dense

    @property
    def linear_parameters(self) -> int:
        """Weights in the layers' matrices (what quantisation shrinks)."""
        return self.attention_parameters + self.mlp_parameters

    @property
    def embedding_parameters(self) -> int:
        """Weights of one embedding table (the LM head has as many)."""
        return self.vocab_size * self.hidden_size

    @property
    def parameters(self) -> int:
        """All weights, norms left out."""
        tables = 1 if self.tied_embeddings else 2
        return self.linear_parameters + tables * self.embedding_parameters

    @property
    def active_linear_parameters(self) -> int:
        """Weights in the layers' matrices that one token goes through."""
        return self.attention_parameters + self._mlp(self.experts_per_token)

    @property
    def windowed_layers(self) -> int:
        """Layers that look back at most ``sliding_window`` tokens."""
        if not self.sliding_window:
            return 0
        return self.layers if self.sliding_layers is None else self.sliding_layers

    def attended(self, context: float) -> float:
        """Tokens that a token at this context looks at, as the mean over the layers (sliding windows are shorter)."""
        if not self.sliding_window or context <= self.sliding_window:
            return context
        share = self.windowed_layers / self.layers
        return share * self.sliding_window + (1 - share) * context

    def kv_bytes_per_token(self, bytes_per_value: float = 2.0) -> float:
        """Bytes of KV cache that one token takes over all layers: 2 · layers · kv_heads · head_dim · bytes."""
        return 2 * self.layers * self.kv_heads * self.head_dim * bytes_per_value
