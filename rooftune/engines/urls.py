"""Addresses of servers: one spelling of the root, and whether the server runs on this machine."""

from __future__ import annotations

from urllib.parse import urlsplit

from rooftune.errors import InputError


def server_root(url: str) -> str:
    """The root of a server. Users may write its URL with ``/v1``, with the path of an endpoint, or with a slash at the
    end.

    Raises:
        InputError: it is not an http(s) URL.
    """
    root = url.strip().rstrip("/").removesuffix("/completions").removesuffix("/chat").removesuffix("/v1").rstrip("/")
    try:
        parts = urlsplit(root)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid:
        raise InputError(f"{url!r} is not the URL of a server; give one like http://127.0.0.1:8000.")
    return root


def is_local(url: str) -> bool:
    """Whether the server runs on this machine."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")
