"""The faults. Each function spoils one response; its name is the path that selects it."""

from __future__ import annotations

import asyncio

from tests.faults.server import DONE, END, HEAD, STALL_S, Answering, chunk, event, fault, usage, whole


@fault
async def good(a: Answering) -> None:
    await a.stream(whole(a.asked))


@fault
async def good_chat(a: Answering) -> None:
    role = (
        b'data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
    )
    tokens = [event(f" w{i}", chat=True) for i in range(a.asked - 1)]
    await a.stream([role, *tokens, event(" end", "length", chat=True), usage(a.asked), DONE])


@fault
async def four_tokens_a_chunk(a: Answering) -> None:
    """What vLLM does with ``--stream-interval 4``; not a fault."""
    middle = [event(" a b c d") for _ in range(a.asked // 4 - 1)]
    await a.stream([*middle, event(" a b c d", "length"), usage(a.asked), DONE])


@fault
async def last_token_prints_nothing(a: Answering) -> None:
    """An end-of-sequence token that the server hides (``ignore_eos``) still counts; not a fault."""
    await a.stream([*whole(a.asked)[:-3], event("", "length"), usage(a.asked), DONE])


@fault
async def closes_at_once(a: Answering) -> None:
    a.close()


@fault
async def resets_at_once(a: Answering) -> None:
    a.reset()


@fault
async def closes_mid_stream(a: Answering) -> None:
    await a.send(HEAD + b"".join(chunk(e) for e in whole(a.asked)[:3]))
    a.close()


@fault
async def resets_mid_stream(a: Answering) -> None:
    await a.send(HEAD + b"".join(chunk(e) for e in whole(a.asked)[:3]))
    await asyncio.sleep(0.05)
    a.reset()


@fault
async def half_a_chunk(a: Answering) -> None:
    await a.send(HEAD + chunk(event()) + chunk(event())[:40])
    a.close()


@fault
async def half_an_event(a: Answering) -> None:
    await a.send(HEAD + chunk(event()) + chunk(event()[:40]) + END)


@fault
async def stalls_before_head(a: Answering) -> None:
    await asyncio.sleep(STALL_S)


@fault
async def stalls_mid_stream(a: Answering) -> None:
    await a.send(HEAD + b"".join(chunk(e) for e in whole(a.asked)[:3]))
    await asyncio.sleep(STALL_S)


@fault
async def byte_by_byte(a: Answering) -> None:
    body = HEAD + b"".join(chunk(e) for e in whole(a.asked)) + END
    for i in range(len(body)):
        a.writer.write(body[i : i + 1])
        if i % 16 == 0:
            await asyncio.sleep(0)
            await a.writer.drain()


@fault
async def headers_byte_by_byte_for_ever(a: Answering) -> None:
    await a.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await a.send(b"x-more: 1\r\n"[:1])
        await asyncio.sleep(0.01)


@fault
async def endless_headers(a: Answering) -> None:
    await a.send(b"HTTP/1.1 200 OK\r\n")
    while not a.writer.is_closing():
        await a.send(b"x-more: " + b"1" * 4000 + b"\r\n")


@fault
async def bad_utf8(a: Answering) -> None:
    events = whole(a.asked)
    await a.stream([events[0], events[1], events[2].replace(b" w2", b" \xff\xfe"), *events[3:]])


@fault
async def wrong_json(a: Answering) -> None:
    events = whole(a.asked)
    await a.stream([events[0], events[1], events[2].replace(b'"choices"', b"choices"), *events[3:]])


@fault
async def quote_in_text(a: Answering) -> None:
    """Looks like the other events but for a quote that ends the text too early."""
    events = whole(a.asked)
    await a.stream(
        [events[0], events[1], events[2].replace(b" w2", b'","x":"'), events[3].replace(b" w3", b'a"b'), *events[4:]]
    )


@fault
async def other_shape(a: Answering) -> None:
    await a.stream([b'data: {"answer":"hello"}\n\n', DONE])


@fault
async def no_object(a: Answering) -> None:
    await a.stream([event(), b"data: 42\n\n", DONE])


@fault
async def no_done(a: Answering) -> None:
    await a.stream(whole(a.asked)[:-1])


@fault
async def no_usage(a: Answering) -> None:
    await a.stream([*whole(a.asked)[:-2], DONE])


@fault
async def no_token(a: Answering) -> None:
    await a.stream([usage(0), DONE])


@fault
async def empty_body(a: Answering) -> None:
    await a.stream([])


@fault
async def error_event(a: Answering) -> None:
    error = b'{"message":"CUDA error: an illegal memory access","type":"InternalServerError","code":500}'
    error = b'data: {"error":' + error + b"}\n\n"
    await a.stream([*whole(a.asked)[:3], error, DONE])


@fault
async def named_error_event(a: Answering) -> None:
    await a.stream([*whole(a.asked)[:3], b'event: error\ndata: {"message":"overloaded"}\n\n', DONE])


@fault
async def aborted(a: Answering) -> None:
    await a.stream([event(), event(" x", "abort"), usage(2), DONE])


@fault
async def http_429(a: Answering) -> None:
    await a.plain("429 Too Many Requests", b'{"error":{"message":"slow down"}}', "Retry-After: 7")


@fault
async def http_429_without_retry_after(a: Answering) -> None:
    await a.plain("429 Too Many Requests", b"")


@fault
async def http_503(a: Answering) -> None:
    await a.plain("503 Service Unavailable", b"no healthy upstream", "Retry-After: 1", kind="text/plain")


@fault
async def http_503_without_retry_after(a: Answering) -> None:
    await a.plain("503 Service Unavailable", b"")


@fault
async def http_500_in_bursts(a: Answering) -> None:
    if a.nth % 4 < 2:
        await a.plain("500 Internal Server Error", b'{"error":{"message":"EngineCore encountered an issue"}}')
    else:
        await a.stream(whole(a.asked))


@fault
async def http_401(a: Answering) -> None:
    await a.plain("401 Unauthorized", b'{"error":"Unauthorized"}')


@fault
async def http_400(a: Answering) -> None:
    await a.plain("400 Bad Request", b'{"object":"error","message":"max_tokens is too large","code":400}')


@fault
async def html(a: Answering) -> None:
    await a.plain("200 OK", b"<html><body>Welcome to nginx</body></html>", kind="text/html")


@fault
async def html_502(a: Answering) -> None:
    await a.plain("502 Bad Gateway", b"<html>502</html>", kind="text/html")


@fault
async def redirect(a: Answering) -> None:
    await a.plain("307 Temporary Redirect", b"", "location: /elsewhere/v1/completions")


@fault
async def huge_event(a: Answering) -> None:
    await a.send(HEAD)
    with_ten_mb = event("x" * 10 * 2**20)
    await a.send(chunk(with_ten_mb))
    await a.send(b"".join(chunk(e) for e in whole(a.asked)) + END)


@fault
async def huge_chunk_of_many_events(a: Answering) -> None:
    """Ten megabytes in one chunk; all of it is valid, and far more tokens than were asked."""
    await a.stream([event() * 80_000, *whole(a.asked)])


@fault
async def endless_stream(a: Answering) -> None:
    await a.send(HEAD)
    while not a.writer.is_closing():
        await a.send(b"".join(chunk(event(f" {i}")) for i in range(200)))


@fault
async def endless_event(a: Answering) -> None:
    await a.send(HEAD)
    while not a.writer.is_closing():
        await a.send(chunk(b"data: " + b"x" * 60_000))


@fault
async def comments_for_ever(a: Answering) -> None:
    await a.send(HEAD)
    while not a.writer.is_closing():
        await a.send(chunk(b": ping\n\n"))
        await asyncio.sleep(0.01)


@fault
async def length_too_small(a: Answering) -> None:
    body = b"".join(whole(a.asked))
    await a.send(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n%b" % (len(body) - 40, body)
    )


@fault
async def length_too_large(a: Answering) -> None:
    body = b"".join(whole(a.asked))
    await a.send(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n%b" % (len(body) + 40, body)
    )
    a.close()


@fault
async def length_no_number(a: Answering) -> None:
    await a.send(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: many\r\n\r\n" + b"".join(whole(a.asked))
    )


@fault
async def bad_chunk_size(a: Answering) -> None:
    await a.send(HEAD + chunk(event()) + b"zz\r\n" + event() + b"\r\n" + END)


@fault
async def chunk_longer_than_it_says(a: Answering) -> None:
    data = event()
    await a.send(HEAD + chunk(event()) + b"%x\r\n%b\r\n" % (len(data) - 5, data) + END)


@fault
async def no_http(a: Answering) -> None:
    await a.send(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")


@fault
async def keeps_then_resets(a: Answering) -> None:
    """The first request on a connection is answered well; the next one meets a reset."""
    if a.nth_here:
        a.reset()
    else:
        await a.stream(whole(a.asked))


@fault
async def whole_json(a: Answering) -> None:
    await a.plain(
        "200 OK",
        b'{"choices":[{"text":" hi","finish_reason":"length"}],"usage":{"prompt_tokens":5,"completion_tokens":1}}',
    )


@fault
async def json_error_with_200(a: Answering) -> None:
    await a.plain("200 OK", b'{"error":{"message":"no such model"}}')


@fault
async def continue_first(a: Answering) -> None:
    """Not a fault: an informational answer before the real one."""
    await a.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    await a.stream(whole(a.asked))


@fault
async def without_length(a: Answering) -> None:
    """Not a fault: HTTP/1.0 style, the end of the connection is the end of the answer."""
    await a.send(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n" + b"".join(whole(a.asked))
    )
    a.close()


@fault
async def more_after_the_end(a: Answering) -> None:
    """A whole answer with bytes behind its end: the answer counts, the connection does not serve again."""
    await a.stream(whole(a.asked), END + b"HTTP/1.1 408 Request Timeout\r\n\r\n")
