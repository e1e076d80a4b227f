"""The HTTP side of the client: connections, streams and their parsing.

Import from here only. The modules inside are private to this package; ``tests/loadgen/test_wall.py`` checks it.
"""

from rooftune.loadgen.wire.exchange import Exchange
from rooftune.loadgen.wire.response import Response
from rooftune.loadgen.wire.sender import Sender, open_sender
from rooftune.loadgen.wire.timer import Timer

__all__ = ["Exchange", "Response", "Sender", "Timer", "open_sender"]
