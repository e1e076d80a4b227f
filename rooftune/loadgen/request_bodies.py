"""The JSON body of each request, made shortly before it is sent."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from rooftune.loadgen.summary import LoadOptions
from rooftune.workloads.prompts import DEFAULT_VOCAB, answer_text, prompt_text, prompt_token_ids, said_text
from rooftune.workloads.request_plan import RequestPlan
from rooftune.workloads.texts.prompt_text import Message, PromptText
from rooftune.workloads.texts.sampling import Sampling


class RequestBodies:
    """Writes the JSON body of each request of a plan."""

    def __init__(self, plan: RequestPlan, options: LoadOptions, sampling: Sampling, *, ignore_eos: bool) -> None:
        self.plan, self._options, self._sampling = plan, options, sampling
        self.chat = options.endpoint == "chat"
        more = {"ignore_eos": True} if ignore_eos else {}
        usage = {"include_usage": True, **({"continuous_usage_stats": True} if options.continuous_usage else {})}
        streamed = {"stream_options": usage} if options.stream else {}
        self._fixed = {"stream": options.stream, **more, **streamed}
        self._heads = [f'{{"model":{json.dumps(name)},' for name in (options.model, *plan.adapters)]
        """Begin of a body: for the model, then for each adapter."""
        self._tail = self._tail_with({})
        self._vocab = options.vocab_size or DEFAULT_VOCAB
        planned = plan.max_tokens is None or options.ends == "planned"
        self.limits = plan.output_tokens if planned or plan.max_tokens is None else plan.max_tokens
        """The most tokens of each answer."""

    def _tail_with(self, own: Mapping[str, object]) -> str:
        """The end of a body: sampling, with fields of a prompt's own record, and how the answer is sent."""
        fields = {**self._sampling.request_fields(own), **self._fixed}
        return json.dumps(fields, separators=(",", ":"))[1:]

    def body(self, i: int, answers: Sequence[str] = ()) -> bytes:
        """The body of request ``i`` of the plan.

        Args:
            i: the request.
            answers: what the server answered to the earlier turns of its conversation; needed for real texts only.
        """
        tail, prompt = self._tail, self._text_of(i)
        if prompt is None:
            content = f'"messages":{self._messages(i)}' if self.chat else f'"prompt":{self._prompt(i)}'
        else:
            content = self._content(prompt, i, answers)
            tail = self._tail_with(prompt.extra) if prompt.extra else tail
        head = self._heads[0 if self.plan.adapter is None else self.plan.adapter[i] + 1]
        return f'{head}{content},"max_tokens":{self.limits[i]},{tail}'.encode()

    def _text_of(self, i: int) -> PromptText | None:
        plan = self.plan
        return None if plan.prompts is None or plan.prompt is None else plan.prompts[plan.prompt[i]]

    def _content(self, prompt: PromptText, i: int, answers: Sequence[str]) -> str:
        """A real text with its history, and the salt that keeps this pass through the prompts apart from others."""
        plan = self.plan
        salt = "" if plan.salt is None else f',"cache_salt":"{plan.seed}-{plan.salt[i]}"'
        if prompt.text is not None and not self.chat:
            return f'"prompt":{json.dumps(prompt.text)}{salt}'
        messages: list[Message] = list(prompt.as_messages())
        for turn, answer in zip(prompt.turns[: plan.turn[i]], answers, strict=True):
            messages.append(turn.after or {"role": "assistant", "content": answer})
            messages += turn.messages
        return f'"messages":{json.dumps(messages)}{salt}'

    def _prompt(self, i: int) -> str:
        if self._options.prompt_format == "text":
            return json.dumps(prompt_text(self.plan, i))
        return str(prompt_token_ids(self.plan, i, self._vocab)).replace(" ", "")

    def _messages(self, i: int) -> str:
        """The conversation so far. Earlier answers are replaced by the planned number of words, so that a seed always
        yields the same requests."""
        plan = self.plan
        if plan.conversation[i] < 0:
            return json.dumps([{"role": "user", "content": prompt_text(plan, i)}])
        messages = []
        for j in range(i - int(plan.turn[i]), i):
            messages.append({"role": "user", "content": said_text(plan, j)})
            messages.append({"role": "assistant", "content": answer_text(plan, j)})
        return json.dumps([*messages, {"role": "user", "content": said_text(plan, i)}])
