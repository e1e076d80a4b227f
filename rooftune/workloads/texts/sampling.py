"""How answers are drawn: the ``sampling`` of a workload, and the fields of a request that follow from it."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, JsonValue, field_validator

from rooftune.workloads.strict import Strict

OWN_FIELDS = (
    *("model", "prompt", "messages", "max_tokens", "max_completion_tokens", "stream", "stream_options", "ignore_eos"),
    *("n", "best_of", "echo"),
)
"""Fields of a request that the load sets, or that would change what one request costs."""


class Sampling(Strict):
    """Sampling of all requests. What is not given is as the prompt's own record says, else the server's default."""

    temperature: float | None = Field(
        default=None, ge=0, le=2, description="0 is greedy; default: as the prompt's record says, else 0"
    )
    top_p: float | None = Field(default=None, gt=0, le=1, description="share of probability that is drawn from")
    top_k: int | None = Field(default=None, ge=-1, description="most probable tokens that are drawn from; -1 = all")
    seed: int | None = Field(default=None, ge=0, lt=2**63, description="seed of the server's draws for each request")
    extra_body: dict[str, JsonValue] = Field(
        default_factory=dict, description="further fields of each request, such as min_p or stop"
    )
    chat_template_kwargs: dict[str, JsonValue] | None = Field(
        default=None, description="arguments of the chat template, such as enable_thinking"
    )
    response_format: dict[str, JsonValue] | None = Field(default=None, description="structured output, as in the API")
    tools: list[dict[str, JsonValue]] | None = Field(
        default=None, description="tools that the model may call, as in the API"
    )

    @field_validator("extra_body")
    @classmethod
    def _not_ours(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        ours = [name for name in value if name in OWN_FIELDS]
        if ours:
            raise ValueError(f"{', '.join(ours)} cannot be set here, because the load sets it")
        return value

    @property
    def greedy(self) -> bool:
        """Whether every answer takes the most probable token, unless a prompt's own record says otherwise."""
        return self.extra_body.get("temperature", self.temperature) in (None, 0)

    def request_fields(self, own: Mapping[str, object] | None = None) -> dict[str, object]:
        """What goes into the body of a request.

        Args:
            own: fields of the prompt's own record (``PromptText.extra``). What the workload names comes first.
        """
        named = self.model_dump(mode="json", exclude={"extra_body"}, exclude_none=True)
        return {"temperature": 0.0, **(own or {}), **named, **self.extra_body}
