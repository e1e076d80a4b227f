"""Reads the requests of a vLLM server's log.

Every version writes ``Received request ID: …``. Until 0.11.0 the line has the prompt and its token ids. Later versions
write them at level DEBUG, as ``Request ID details: …``. Answers are there with ``--enable-log-outputs``.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rooftune.formatting import quantity
from rooftune.workloads.logs.entries import LoggedRequest, LogReading
from rooftune.workloads.logs.files import LogLine, lines, wrapped_text
from rooftune.workloads.logs.moments import iso_seconds, seconds_of, short_seconds

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_STAMP = re.compile(r"(?:INFO|DEBUG)\s+(\d\d-\d\d \d\d:\d\d:\d\d(?:[.,]\d+)?)")
_LITERAL = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
_SAID = re.compile(
    r"(?P<received>Received request )|(?P<details>Request \S+ details: )|(?P<body>Request \S+ JSON body: )"
    r"|(?P<answer>Generated response )|(?P<aborted>Request \S+ aborted\.|Aborted request)"
)
"""What a line is about: the first of these, because a prompt may have any of the others in it."""
_RECEIVED = re.compile(r"Received request (\S+?): (.*)", re.DOTALL)
_DETAILS = re.compile(r"Request (\S+) details: (.*)", re.DOTALL)
_BODY = re.compile(r"Request (\S+) JSON body: (\{.*)", re.DOTALL)
_ANSWER = re.compile(
    rf"Generated response (\S+?)( \(streaming delta\)| \(streaming complete\))?: output: ({_LITERAL}|None)(.*)",
    re.DOTALL,
)
_ANSWER_IDS = re.compile(r"Generated response (\S+?)( \(streaming \w+\))? details: output_token_ids: (\[[^\]]*\])")
_PROMPT = re.compile(rf"\bprompt: ({_LITERAL}|None)")
_IDS = re.compile(r"prompt_token_ids: (\[[^\]]*\])")
_OUTPUT_IDS = re.compile(r"output_token_ids: (\[[^\]]*\])")
_LIMIT = re.compile(r"\bmax_tokens=(\d+)")
_ADAPTER = re.compile(r"lora_request: LoRARequest\(.*?(?:lora_)?name=('[^']*'|\"[^\"]*\")")
_ADAPTER_PATH = re.compile(r"lora_request: LoRARequest\(.*?lora_path=('[^']*'|\"[^\"]*\")")
_STREAMED = re.compile(r"<streaming_complete: (\d+) tokens>")
CUT_SHARE, CUT_LEAST = 0.2, 3
"""Share and number of the prompts of the greatest length from which the log seems to have cut them."""
JSON_TIMES = ("asctime", "timestamp", "time", "@timestamp", "ts", "date")


@dataclass
class _Answer:
    """What the log says of one answer."""

    text: str = ""
    tokens: int | None = None
    """By the server's own count."""
    ids: int = 0
    """Token ids seen in pieces of the answer."""
    pieces: int = 0
    ended: bool = False
    """The last piece has been logged. vLLM leaves it out where it has no text: then it is the token that ends."""

    def length(self, most: int | None) -> int | None:
        """Its tokens: as counted, else by the ids or the pieces; None where only the text is there."""
        seen = self.ids or self.pieces
        if self.tokens is not None or not seen:
            return self.tokens
        found = seen + (self.pieces > 0 and not self.ended)
        return min(found, most) if most else found


class _Reader:
    """Reads a log line by line."""

    def __init__(self) -> None:
        self.reading = LogReading("vllm")
        self.by_id: dict[str, LoggedRequest] = {}
        self.answers: dict[str, _Answer] = {}
        self.prompts: dict[str, LoggedRequest] = {}
        """Details that came before their request."""
        self.bodies: dict[str, dict[str, object]] = {}
        self.aborted = 0

    def take(self, line: LogLine) -> None:
        """Take one line."""
        text, at = line.text, None
        if text.startswith("{"):
            text, at = _unwrapped(text)
        if "equest" not in text and "Generated response" not in text:
            return
        text = _COLOUR.sub("", text)
        said = _SAID.search(text)
        if said is None:
            return
        about = text[said.start() :]
        if said["received"]:
            self._request(line, about, at if at is not None else _time(text))
        elif said["details"] and (details := _DETAILS.match(about)) is not None:
            _fill(self.prompts.setdefault(details[1], LoggedRequest(line.number)), details[2])
        elif said["body"] and (body := _BODY.match(about)) is not None:
            self._body(body[1], body[2])
        elif said["answer"]:
            self._answer(about)
        else:
            self.aborted += bool(said["aborted"])

    def _request(self, line: LogLine, text: str, at: float | None) -> None:
        found = _RECEIVED.match(text)
        if found is None or "lora_request: " not in found[2]:
            self.reading.skip(line.number, "the file ends within it" if not line.ended else "not a whole request line")
            return
        name, rest = found[1], found[2]
        if "SamplingParams(" not in rest:
            self.reading.skip(line.number, "not a generation (embedding, beam search or tokenisation)")
        elif name in self.by_id:
            self.reading.skip(line.number, "its request id occurs before")
        else:
            entry = self.prompts.pop(name, None) or LoggedRequest(line.number)
            entry.line = line.number
            rest = _fill(entry, rest)
            limit, adapter, path = _LIMIT.search(rest), _ADAPTER.search(rest), _ADAPTER_PATH.search(rest)
            entry.max_tokens = int(limit[1]) if limit else None
            entry.adapter = str(ast.literal_eval(adapter[1])) if adapter else ""
            entry.adapter_path = str(ast.literal_eval(path[1])) if path else ""
            entry.at = at
            self.by_id[name] = entry
            self.reading.requests.append(entry)

    def _body(self, name: str, text: str) -> None:
        try:
            body = json.loads(text)
        except ValueError:
            return  # cut by --max-log-len
        if isinstance(body, dict):
            self.bodies[name] = body

    def _answer(self, text: str) -> None:
        if (ids := _ANSWER_IDS.match(text)) is not None:
            self.answers.setdefault(ids[1], _Answer()).ids += _count(ids[3])
            return
        found = _ANSWER.match(text)
        if found is None:
            return
        answer, said = self.answers.setdefault(found[1], _Answer()), _literal(found[3])
        delta = found[2] is not None and "delta" in found[2]
        if delta:
            answer.pieces += 1
            answer.ended = not found[4].endswith("finish_reason: None")
        if (ids := _OUTPUT_IDS.search(found[4])) is not None:
            answer.ids += _count(ids[1])
        counted = _STREAMED.fullmatch(said)
        if counted:
            answer.tokens = int(counted[1])
        elif not delta:
            answer.text = said

    def end(self) -> LogReading:
        """Put together what was read."""
        for name, entry in self.by_id.items():
            body = self.bodies.get(_bare(name)) or self.bodies.get(name)
            if body is not None and isinstance(body.get("messages"), list):
                entry.messages = [m for m in body["messages"] if isinstance(m, dict)]  # type: ignore[attr-defined]
            answer = self.answers.get(name)
            if answer is not None:
                entry.answer, entry.output_tokens = answer.text, answer.length(entry.max_tokens)
        self._notes()
        return self.reading

    def _notes(self) -> None:
        entries, notes = self.reading.requests, self.reading.notes
        pieced = sum(a.pieces > 0 for a in self.answers.values())
        if pieced:
            notes.append(
                f"the lengths of {quantity(pieced, 'streamed answer')} are counted in the pieces that the log has, "
                "which leave out tokens without text"
            )
        if self.aborted:
            notes.append(f"clients aborted {quantity(self.aborted, 'request')}, which the workload keeps")
        if entries and not any(e.text or e.token_ids for e in entries):
            notes.append(
                "the log has no prompts: vLLM writes them with --enable-log-requests at VLLM_LOGGING_LEVEL=DEBUG "
                "(until 0.11.0 at INFO)"
            )
        for what, sizes in (("token ids", [len(e.token_ids) for e in entries if e.token_ids]),
                            ("characters", [len(e.text) for e in entries if not e.token_ids and e.text])):  # fmt: skip
            longest = max(sizes, default=0)
            equal = sizes.count(longest)
            if longest > 1 and equal >= max(CUT_LEAST, CUT_SHARE * len(sizes)):
                notes.append(
                    f"{equal:,} of {len(sizes):,} prompts have exactly {longest:,} {what}, which none exceeds: the "
                    "server may have cut them (--max-log-len), and they may be longer"
                )


def read_vllm_log(path: Path) -> LogReading:
    """The requests of a server's log, in the order in which they arrived."""
    return read_vllm_lines(lines(path))


def read_vllm_lines(found: Iterable[LogLine]) -> LogReading:
    """The requests of the lines of a server's log."""
    reader = _Reader()
    for line in found:
        reader.take(line)
    return reader.end()


def _unwrapped(text: str) -> tuple[str, float | None]:
    """The line inside a collector's JSON record, and the time of the record."""
    try:
        record = json.loads(text)
    except ValueError:
        return text, None
    inner = wrapped_text(record) if isinstance(record, dict) else None
    if inner is None:
        return text, None
    value = next((record[k] for k in JSON_TIMES if k in record), None)
    try:
        return inner, None if value is None else seconds_of(value, "time")
    except ValueError:
        return inner, None


def _time(text: str) -> float | None:
    """The time of a line: of the collector in front of it, which has fractions, or vLLM's own."""
    if (precise := iso_seconds(text)) is not None:
        return precise
    stamp = _STAMP.search(text)
    return short_seconds(stamp[1]) if stamp else None


def _fill(entry: LoggedRequest, rest: str) -> str:
    """Take the prompt and its token ids from the text of a line; return what follows the prompt."""
    prompt = _PROMPT.match(rest)
    if prompt is not None:
        entry.text = _literal(prompt[1]) or entry.text
        rest = rest[prompt.end() :]
    ids = _IDS.search(rest)
    if ids is not None:
        entry.token_ids = [int(word) for word in ids[1].strip("[]").split(",") if word.strip().isdigit()]
        entry.prompt_tokens = len(entry.token_ids) or None
    return rest


def _literal(text: str) -> str:
    """The text of a literal as ``repr`` wrote it; empty for None."""
    if text == "None":
        return ""
    try:
        return str(ast.literal_eval(text))
    except (ValueError, SyntaxError):
        return text[1:-1]


def _count(ids: str) -> int:
    return sum(1 for word in ids.strip("[]").split(",") if word.strip())


def _bare(name: str) -> str:
    """The id that a client or vLLM gave, without what vLLM adds to it."""
    return re.sub(r"^(?:chatcmpl|cmpl|resp)-|-\d+$", "", name)
