"""The bytes of a request, made shortly before it is sent."""

from __future__ import annotations

import json
from urllib.parse import SplitResult

from rooftune.loadgen.summary import LoadOptions
from rooftune.version import __version__
from rooftune.workloads.prompts import DEFAULT_VOCAB, answer_text, prompt_text, prompt_token_ids, said_text
from rooftune.workloads.request_plan import RequestPlan

AGENT = f"rooftune/{__version__}"


class Bodies:
    """Writes the JSON body of each request of a plan."""

    def __init__(self, plan: RequestPlan, options: LoadOptions, *, ignore_eos: bool) -> None:
        self.plan, self.options = plan, options
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
        if self.options.prompt_format == "text":
            return json.dumps(prompt_text(self.plan, i))
        return str(prompt_token_ids(self.plan, i, self._vocab)).replace(" ", "")

    def _messages(self, i: int) -> str:
        """What was said so far. In the place of earlier answers stand words of the planned number, so that the same seed
        gives the same requests whatever is answered."""
        plan = self.plan
        if plan.conversation[i] < 0:
            return json.dumps([{"role": "user", "content": prompt_text(plan, i)}])
        messages = []
        for j in range(i - int(plan.turn[i]), i):
            messages.append({"role": "user", "content": said_text(plan, j)})
            messages.append({"role": "assistant", "content": answer_text(plan, j)})
        return json.dumps([*messages, {"role": "user", "content": said_text(plan, i)}])


def head(url: SplitResult, path: str, key: str | None) -> bytes:
    """The head of every POST, up to the number behind ``content-length``.

    Args:
        url: the server's root.
        path: below it.
        key: API key; None = none is sent.
    """
    host = url.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    lines = [f"POST {url.path.rstrip('/')}{path} HTTP/1.1", f"host: {host}" + (f":{url.port}" if url.port else "")]
    lines += [f"user-agent: {AGENT}", "accept: text/event-stream, application/json", "content-type: application/json"]
    if key:
        lines.append(f"authorization: Bearer {key}")
    return ("\r\n".join(lines) + "\r\ncontent-length: ").encode("latin-1")
