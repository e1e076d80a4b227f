"""Shapes of layers: attention and MLP, each for a number of layers that are shaped the same."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class AttentionLayers(BaseModel):
    """Layers whose attention has the same shape."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    count: int
    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int | None = Field(default=None, description="values of a V head where it differs from ``head_dim``")
    window: int | None = Field(default=None, description="tokens that a layer looks back at most; None = all")
    kv_projections: int = Field(default=2, description="K and V; 1 where V is K, 0 where an earlier layer has both")
    holds_kv: bool = Field(default=True, description="False: the layer reads the KV cache of an earlier layer")
    output_gate: bool = Field(default=False, description="a gate as wide as the heads' output")

    @property
    def v_dim(self) -> int:
        """Values of a V head."""
        return self.value_dim or self.head_dim

    def weights(self, hidden: int) -> int:
        """Weights of the projections of one layer."""
        query = self.heads * self.head_dim
        output = self.heads * self.v_dim * (2 if self.output_gate else 1)
        key_value = (0, self.kv_heads * self.head_dim, self.kv_heads * (self.head_dim + self.v_dim))
        return hidden * (query + output + key_value[self.kv_projections])

    def attended(self, context: float) -> float:
        """Tokens that a token at this context looks at."""
        return min(context, self.window) if self.window else context

    def kv_bytes(self, bytes_per_value: float, tensor_parallel: int = 1) -> float:
        """Bytes of K and V of one token in these layers on one GPU: heads are split, each GPU has at least one."""
        heads = max(self.kv_heads / tensor_parallel, 1)
        return self.count * heads * (self.head_dim + self.v_dim) * bytes_per_value

    def flops_per_pair(self) -> float:
        """FLOPs of one query-key pair in these layers: two for each value of K and of V, in every query head."""
        return 2.0 * self.count * self.heads * (self.head_dim + self.v_dim)

    def causal_pairs(self, tokens: float) -> float:
        """Query-key pairs of a prompt in one layer under causal attention."""
        if not self.window or tokens <= self.window:
            return tokens * tokens / 2
        return tokens * self.window - self.window * self.window / 2


class MlpLayers(BaseModel):
    """Layers whose MLP has the same shape: a plain MLP, experts, or both side by side."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    count: int
    width: int = Field(default=0, description="of the plain MLP; 0 = none")
    shared_width: int = Field(default=0, description="of all shared experts together; 0 = none")
    experts: int = Field(default=0, description="number of experts; 0 = none")
    experts_per_token: int = 0
    expert_width: int = 0
    gated: bool = Field(default=True, description="three matrices; False: two")

    @property
    def matrices(self) -> int:
        """Matrices of one MLP or expert."""
        return 3 if self.gated else 2
