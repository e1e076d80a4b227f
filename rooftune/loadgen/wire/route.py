"""Which way a request takes to the server, and the head that it carries."""

from __future__ import annotations

import urllib.request
from urllib.parse import SplitResult, urlsplit

from rooftune.engines.urls import is_local
from rooftune.version import __version__

USER_AGENT = f"rooftune/{__version__}"
ACCEPT = "text/event-stream, application/json"


def api_path(endpoint: str) -> str:
    """The path of the API below the server's root."""
    return "/v1/chat/completions" if endpoint == "chat" else "/v1/completions"


def uses_plain_sockets(url: str) -> bool:
    """Whether plain sockets reach the server: the scheme is ``http`` and the environment names no proxy for it."""
    return urlsplit(url).scheme == "http" and proxy_for(url) is None


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for this URL. A server on this machine never gets one."""
    parts = urlsplit(url)
    if is_local(url) or urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    return urllib.request.getproxies().get(parts.scheme)


def request_head(url: SplitResult, path: str, key: str | None) -> bytes:
    """The head of every POST, up to the value of ``content-length``.

    Args:
        url: the server's root.
        path: the path below it.
        key: API key; None sends none.
    """
    host = url.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    lines = [f"POST {url.path.rstrip('/')}{path} HTTP/1.1", f"host: {host}" + (f":{url.port}" if url.port else "")]
    lines += [f"user-agent: {USER_AGENT}", f"accept: {ACCEPT}", "content-type: application/json"]
    if key:
        lines.append(f"authorization: Bearer {key}")
    return ("\r\n".join(lines) + "\r\ncontent-length: ").encode("latin-1")
