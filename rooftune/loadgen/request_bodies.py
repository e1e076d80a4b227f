"""The JSON body of each request, made shortly before it is sent."""

from __future__ import annotations

import json

from rooftune.loadgen.summary import LoadOptions
from rooftune.workloads.prompts import DEFAULT_VOCAB, answer_text, prompt_text, prompt_token_ids, said_text
from rooftune.workloads.request_plan import RequestPlan


class RequestBodies:
    """Writes the JSON body of each request of a plan."""

    def __init__(self, plan: RequestPlan, options: LoadOptions, *, ignore_eos: bool) -> None:
        self.plan, self._options = plan, options
        self.chat = options.endpoint == "chat"
        tail = {"temperature": 0.0, "stream": options.stream}
        more = {"ignore_eos": True} if ignore_eos else {}
        usage = {"include_usage": True, **({"continuous_usage_stats": True} if options.continuous_usage else {})}
        streamed = {"stream_options": usage} if options.stream else {}
        self._head = f'{{"model":{json.dumps(options.model)},'
        self._tail = json.dumps({**tail, **more, **streamed}, separators=(",", ":"))[1:]
        self._vocab = options.vocab_size or DEFAULT_VOCAB

    def body(self, i: int) -> bytes:
        """The body of request ``i`` of the plan; the same for the same plan and options."""
        content = f'"messages":{self._messages(i)}' if self.chat else f'"prompt":{self._prompt(i)}'
        return f'{self._head}{content},"max_tokens":{self.plan.output_tokens[i]},{self._tail}'.encode()

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
