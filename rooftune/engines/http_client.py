"""Single HTTP requests to a server: health, models, version, metrics, one completion. The load does not use them."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass
from typing import Any

from rooftune.engines.urls import is_local
from rooftune.errors import EngineError, RooftuneError
from rooftune.formatting import shortened

API_KEY = "OPENAI_API_KEY"
MAX_MESSAGE = 160


@dataclass(frozen=True)
class HttpReply:
    """The reply to one request. ``status`` 0 means that there was none; ``text`` then says why."""

    status: int
    text: str
    content_type: str = ""

    def json(self) -> Any:
        """The body as JSON; None when it is not JSON."""
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError):
            return None

    def error_message(self) -> str:
        """The server's error message, shortened to one line."""
        body = self.json()
        text: object = self.text
        if isinstance(body, dict):
            error = body.get("error", body)
            text = error.get("message", error) if isinstance(error, dict) else error
        return shortened(" ".join(str(text).split()), MAX_MESSAGE)


def key_headers() -> dict[str, str]:
    """Headers with the API key of the environment; none without a key."""
    key = os.environ.get(API_KEY)
    return {"Authorization": f"Bearer {key}"} if key else {}


async def request(url: str, path: str, *, body: dict[str, Any] | None = None, timeout_s: float = 10.0) -> HttpReply:
    """GET, or POST a JSON body, with the API key from ``OPENAI_API_KEY`` if it is set. Errors become replies."""
    import aiohttp

    limit = aiohttp.ClientTimeout(total=timeout_s)
    method = "GET" if body is None else "POST"
    try:
        async with (
            aiohttp.ClientSession(timeout=limit, trust_env=not is_local(url)) as session,
            session.request(method, url.rstrip("/") + path, json=body, headers=key_headers()) as reply,
        ):
            raw = await reply.content.read(16 * 2**20)
            return HttpReply(reply.status, raw.decode(errors="replace"), reply.content_type)
    except asyncio.TimeoutError:
        return HttpReply(0, f"no reply within {timeout_s:g} s")
    except aiohttp.ClientConnectorError as error:
        return HttpReply(0, (error.os_error.strerror or str(error.os_error)).lower())
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return HttpReply(0, str(error) or type(error).__name__)


def api_error(reply: HttpReply, url: str) -> RooftuneError | None:
    """What is wrong with a reply of an OpenAI-compatible server, in one sentence; None when nothing is."""
    status = reply.status
    if status == 0:
        return EngineError(f"{url} does not answer ({reply.text}); start the server or correct the address.", "refused")
    if status in (401, 403):
        return EngineError(
            f"{url} denies access (HTTP {status}); set its key in the environment variable {API_KEY}.", "auth"
        )
    if status == 404:
        return EngineError(f"{url} has no OpenAI-compatible API (HTTP 404); check the address.", "not found")
    if status == 429:
        return EngineError(f"{url} rejects requests (HTTP 429, rate limit); raise its limit or wait.", "rate limit")
    if status >= 400:
        return EngineError(f"{url} answers HTTP {status}: {reply.error_message()}; see its log.", "http")
    if reply.json() is None:
        html = "html" in reply.content_type or reply.text.lstrip()[:1] == "<"
        what = "an HTML page" if html else "text that is not JSON"
        return EngineError(f"{url} answers with {what} instead of the OpenAI API; check the address.", "html")
    return None


async def warm_up_completion(
    url: str, model: str, *, timeout_s: float, chat: bool = False, tokens: int = 4
) -> HttpReply:
    """Request a few tokens. ``chat`` asks ``/v1/chat/completions``."""
    common = {"model": model, "max_tokens": tokens, "temperature": 0.0, "stream": False}
    if chat:
        body = {**common, "messages": [{"role": "user", "content": "Say one word."}]}
        return await request(url, "/v1/chat/completions", body=body, timeout_s=timeout_s)
    return await request(url, "/v1/completions", body={**common, "prompt": "One word:"}, timeout_s=timeout_s)
