"""Short questions to a server over HTTP: health, models, version, metrics, one completion. Not the load's hot path."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass
from typing import Any

from rooftune.errors import EngineError, InputError, RooftuneError

API_KEY = "OPENAI_API_KEY"


@dataclass(frozen=True)
class Answer:
    """What came back. ``status`` 0 = no HTTP answer at all; ``text`` then says why."""

    status: int
    text: str
    content_type: str = ""

    def json(self) -> Any:
        """The body as JSON, or None."""
        try:
            return json.loads(self.text)
        except ValueError:
            return None


async def ask(url: str, path: str, *, body: dict[str, Any] | None = None, timeout_s: float = 10.0) -> Answer:
    """GET (or POST a JSON body), with the API key from ``OPENAI_API_KEY`` if there is one. Never raises for the network."""
    import aiohttp

    key = os.environ.get(API_KEY)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    limit = aiohttp.ClientTimeout(total=timeout_s)
    try:
        async with (
            aiohttp.ClientSession(timeout=limit, trust_env=not _local(url)) as session,
            session.request(
                "GET" if body is None else "POST", url.rstrip("/") + path, json=body, headers=headers
            ) as answer,
        ):
            raw = await answer.content.read(16 * 2**20)
            return Answer(answer.status, raw.decode(errors="replace"), answer.content_type)
    except asyncio.TimeoutError:
        return Answer(0, f"no answer within {timeout_s:g} s")
    except aiohttp.ClientConnectorError as error:
        return Answer(0, (error.os_error.strerror or str(error.os_error)).lower())
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return Answer(0, str(error) or type(error).__name__)


def _local(url: str) -> bool:
    return any(name in url for name in ("//127.", "//localhost", "//[::1]"))


def base_url(url: str) -> str:
    """A URL as a user may write it (with or without ``/v1``, with a slash at its end) as the server's root.

    Raises:
        InputError: it is no http(s) URL.
    """
    root = url.strip().rstrip("/").removesuffix("/completions").removesuffix("/chat").removesuffix("/v1").rstrip("/")
    if not root.startswith(("http://", "https://")) or len(root) < len("http://x"):
        raise InputError(f"{url!r} is no URL of a server; give one like http://127.0.0.1:8000.")
    return root


def explain(answer: Answer, url: str) -> RooftuneError | None:
    """What is wrong with an answer of an OpenAI-compatible server, in one sentence; None when nothing is."""
    if answer.status == 0:
        return EngineError(f"{url} does not answer ({answer.text}); is the server up and the address right?", "refused")
    if answer.status in (401, 403):
        return EngineError(
            f"{url} refuses us (HTTP {answer.status}); put its key into the environment variable {API_KEY}.", "auth"
        )
    if answer.status == 404:
        return EngineError(f"{url} has no OpenAI-compatible API (HTTP 404); check the address.", "not found")
    if answer.status == 429:
        return EngineError(f"{url} turns requests away (HTTP 429, rate limit); raise its limit or wait.", "rate limit")
    if answer.status >= 400:
        return EngineError(f"{url} answers HTTP {answer.status}: {said(answer)}; see its log.", "http")
    if answer.json() is None:
        what = "an HTML page" if "html" in answer.content_type or answer.text.lstrip()[:1] == "<" else "no JSON"
        return EngineError(f"{url} answers with {what} instead of the OpenAI API; check the address.", "html")
    return None


def said(answer: Answer) -> str:
    """The server's own words about an error, shortened to one line."""
    body = answer.json()
    text: object = answer.text
    if isinstance(body, dict):
        error = body.get("error", body)
        text = error.get("message", error) if isinstance(error, dict) else error
    line = " ".join(str(text).split())
    return line if len(line) <= 160 else line[:159] + "…"


async def one_completion(url: str, model: str, *, timeout_s: float, chat: bool = False) -> Answer:
    """Send the warm-up request: a few tokens. ``chat`` asks ``/v1/chat/completions``."""
    common = {"model": model, "max_tokens": 4, "temperature": 0.0, "stream": False}
    if chat:
        body = {**common, "messages": [{"role": "user", "content": "Say one word."}]}
        return await ask(url, "/v1/chat/completions", body=body, timeout_s=timeout_s)
    return await ask(url, "/v1/completions", body={**common, "prompt": "One word:"}, timeout_s=timeout_s)
