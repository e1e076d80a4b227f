"""A server for the client's benchmark: streams responses on a beat of 20 ms, one token per chunk, and records its
sends.

``python -m benchmarks.loadgen.stub PORT LOG [lazy]``. With ``lazy`` it sleeps between the beats, up to a millisecond
too long, and records no single requests. One thread with plain sockets sends ready-made bytes and spends a few
microseconds per chunk, so that the clients are the bottleneck. On SIGTERM it writes what it did to LOG (JSON): CPU
time, lateness, and one row per request.
"""

from __future__ import annotations

import json
import select
import signal
import socket
import sys
import time
from array import array
from typing import Any

TOKENS, GAP_S, SLOTS = 128, 0.02, 20
MODEL = "stub"
EVENT = (
    'data: {"id":"cmpl-7e6f1d2c3b4a59687","object":"text_completion","created":1764000000,"model":"stub",'
    '"choices":[{"index":0,"text":"%s","logprobs":null,"finish_reason":%s,"stop_reason":null,"token_ids":null}],'
    '"usage":null}\n\n'
)
CHAT_EVENT = (
    'data: {"id":"chatcmpl-7e6f1d2c3b4a5968","object":"chat.completion.chunk","created":1764000000,"model":"stub",'
    '"choices":[{"index":0,"delta":{"content":"%s"},"logprobs":null,"finish_reason":%s,"token_ids":null}],'
    '"usage":null}\n\n'
)
USAGE = (
    'data: {"id":"cmpl-7e6f1d2c3b4a59687","object":"%s","created":1764000000,"model":"stub","choices":[],'
    '"usage":{"prompt_tokens":%d,"total_tokens":%d,"completion_tokens":%d}}\n\n'
)
WORDS = (" the", " of", " a", " model", " is", ",", " which", "\\n", " weights", " batch", " and", ".", " \\u00e9t\\u00e9", " to", " attention", " memory")  # fmt: skip
"""Sixteen texts in their JSON form, with different lengths, one newline and one with escapes."""
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
METRICS = '# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{engine="0"} %d.0\n'


def chunk(text: str) -> bytes:
    """One chunk of a chunked body."""
    data = text.encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


class Script:
    """The bytes of one kind of response, token by token."""

    def __init__(self, chat: bool) -> None:
        event, kind = (CHAT_EVENT, "chat.completion.chunk") if chat else (EVENT, "text_completion")
        self.middle = [chunk(event % (word, "null")) for word in WORDS]
        usage = USAGE % (kind, 8, 8 + TOKENS, TOKENS)
        self.last = chunk(event % (" end", '"length"')) + chunk(usage) + chunk("data: [DONE]\n\n") + b"0\r\n\r\n"


class Stub:
    """Accepts connections, reads requests, and streams responses in twenty slots of a millisecond each."""

    def __init__(self, port: int, lazy: bool = False) -> None:
        self.lazy = lazy
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", port))
        self.listener.listen(4096)
        self.listener.setblocking(False)
        self.poll = select.epoll()
        self.poll.register(self.listener.fileno(), select.EPOLLIN)
        self.open: dict[int, tuple[socket.socket, bytearray]] = {}
        self.slots: list[list[tuple[Any, ...]]] = [[] for _ in range(SLOTS)]
        self.scripts = (Script(False), Script(True))
        self.rows: list[tuple[float, array[float]]] = []
        self.late = array("f")
        self.running, self.sent, self.over = 0, 0, False
        self.busy_s = 0.0

    def serve(self) -> None:
        """Until SIGTERM, serve one slot per millisecond, and read what clients send in between."""
        began = time.monotonic()
        slot = 0
        while not self.over:
            due = began + (slot + 1) * GAP_S / SLOTS
            for fd, _ in self.poll.poll(0):
                self.readable(fd)
            while (left := due - time.monotonic()) > 0:  # epoll sleeps whole milliseconds, which is a slot, so spin
                for fd, _ in self.poll.poll(left if self.lazy else 0):
                    self.readable(fd)
            self.late.append(-left)
            self.beat(slot % SLOTS)
            self.busy_s += time.monotonic() - due + left
            slot += 1

    def beat(self, slot: int) -> None:
        """Send the next token of every stream in this slot."""
        over = False
        clock = time.monotonic
        for send, times, note, script in self.slots[slot]:
            note(clock())
            count = len(times)
            try:
                if count < TOKENS:
                    send(script.middle[count & 15])
                    continue
                send(script.last)
            except OSError:
                del times[:]
            over = True
        self.sent += len(self.slots[slot])
        if over:
            kept = [s for s in self.slots[slot] if 0 < len(s[1]) < TOKENS]
            self.running -= len(self.slots[slot]) - len(kept)
            self.slots[slot] = kept

    def readable(self, fd: int) -> None:
        """Accept a connection, or read bytes of a request."""
        if fd == self.listener.fileno():
            while True:
                try:
                    sock, _ = self.listener.accept()
                except BlockingIOError:
                    return
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.open[sock.fileno()] = (sock, bytearray())
                self.poll.register(sock.fileno(), select.EPOLLIN)
        sock, buffer = self.open[fd]
        try:
            data = sock.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.poll.unregister(fd)
            del self.open[fd]
            sock.close()
            return
        buffer += data
        self.request(sock, buffer)

    def request(self, sock: socket.socket, buffer: bytearray) -> None:
        """Respond when the request is complete."""
        stop = buffer.find(b"\r\n\r\n")
        if stop < 0:
            return
        head = bytes(buffer[:stop]).lower()
        at = head.find(b"content-length:")
        size = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if b"expect: 100-continue" in head and len(buffer) == stop + 4:
            sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if len(buffer) < stop + 4 + size:
            return
        del buffer[: stop + 4 + size]
        if head.startswith(b"post") and b"completions" in head[:60]:
            times = array("d")
            if not self.lazy:
                self.rows.append((time.monotonic(), times))
            self.running += 1
            sock.send(HEAD)
            now_slot = int(time.monotonic() * 1000) % SLOTS
            self.slots[now_slot].append((sock.send, times, times.append, self.scripts[b"chat" in head[:60]]))
            return
        self.plain(sock, head)

    def plain(self, sock: socket.socket, head: bytes) -> None:
        """Serve health, models and metrics."""
        body, kind = b"{}", "application/json"
        if b"/models" in head[:60]:
            card = {
                "id": MODEL,
                "object": "model",
                "created": 1,
                "owned_by": "stub",
                "root": MODEL,
                "max_model_len": 8192,
            }
            body = json.dumps({"object": "list", "data": [card]}).encode()
        elif b"/metrics" in head[:60]:
            body, kind = (METRICS % self.running).encode(), "text/plain; version=0.0.4"
        sock.send(f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)

    def report(self) -> dict[str, Any]:
        """What the stub did. ``requests`` has the arrival and the time of every chunk in monotonic seconds."""
        late = sorted(self.late)
        return {
            "busy_s": self.busy_s,
            "chunks": self.sent,
            "late_p99_ms": late[int(0.99 * (len(late) - 1))] * 1000 if late else 0.0,
            "requests": [[at, *times] for at, times in self.rows],
        }


def main() -> None:
    """Serve, then write the log."""
    stub = Stub(int(sys.argv[1]), lazy=len(sys.argv) > 3)
    signal.signal(signal.SIGTERM, lambda *_: setattr(stub, "over", True))
    stub.serve()
    with open(sys.argv[2], "w", encoding="utf-8") as log:
        json.dump(stub.report(), log)


if __name__ == "__main__":
    main()
