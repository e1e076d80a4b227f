"""The way through a server's front, from the shipped constants."""

from __future__ import annotations

from rooftune.simulator.runs import ServerPath
from rooftune.simulator.steptime.constants import Constants


def server_path(constants: Constants) -> ServerPath:
    """HTTP, tokenizer and event loop as they were measured beside the trials that the constants were fitted to."""
    c = constants.path
    return ServerPath(
        inbound_s=c["inbound_ms"] / 1e3,
        request_s=c["request_ms"] / 1e3,
        prompt_token_s=c["prompt_token_us"] / 1e6,
        outbound_s=c["outbound_ms"] / 1e3,
    )
