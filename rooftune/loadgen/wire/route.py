"""Which way a request goes: over plain sockets, or through aiohttp where TLS or a proxy lies between."""

from __future__ import annotations

import urllib.request
from urllib.parse import urlsplit

from rooftune.errors import InputError
from rooftune.loadgen.summary import LoadOptions


def path_of(options: LoadOptions) -> str:
    """The path of the API below the server's root."""
    return "/v1/chat/completions" if options.endpoint == "chat" else "/v1/completions"


def direct(url: str) -> bool:
    """Whether plain sockets reach the server: ``http`` and no proxy for it in the environment."""
    return urlsplit(url).scheme == "http" and proxy_for(url) is None


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for this URL; never one for this machine itself."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if here(url):
        return None
    if urllib.request.proxy_bypass(host):
        return None
    return urllib.request.getproxies().get(parts.scheme)


def here(url: str) -> bool:
    """Whether the server runs on this machine."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def checked(url: str) -> str:
    """The server's root without ``/v1`` and slash at its end.

    Raises:
        InputError: it is no http(s) URL.
    """
    from rooftune.engines.ask import base_url

    root = base_url(url)
    try:
        parts = urlsplit(root)
        valid = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid:
        raise InputError(f"{url!r} is no URL of a server; give one like http://127.0.0.1:8000.")
    return root
