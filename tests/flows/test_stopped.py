"""``optimize`` stopped by a signal under load: it ends, says how to go on, and leaves no engine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOFTUNE = Path(sys.executable).with_name("rooftune")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order(number: signal.Signals, prefect: str, tmp_path: Path) -> None:
    words = [str(ROOFTUNE), "optimize", "chat-low", "--artifacts", "here", "--time-scale", "2"]
    with (tmp_path / "said").open("wb") as said:
        flow = subprocess.Popen(words, stdout=said, stderr=said, cwd=tmp_path, env=os.environ.copy())
    server = None
    deadline = time.monotonic() + 60
    while server is None and time.monotonic() < deadline and flow.poll() is None:
        found = list(tmp_path.glob("here/*/*/trials/*/*/server.json"))
        server = json.loads(found[0].read_text()) if found else None
        time.sleep(0.1)
    assert server is not None, (tmp_path / "said").read_text()
    time.sleep(1)
    flow.send_signal(number)
    assert flow.wait(30) == 130
    lines = (tmp_path / "said").read_text().splitlines()
    (run,) = tmp_path.glob("here/chat-low/2*")
    assert lines == [
        "rooftune: stopped, nothing is left running; go on with: rooftune optimize chat-low --resume "
        f"here/chat-low/{run.name}"
    ]
    assert not psutil.pid_exists(server["server_pid"])
    assert not psutil.pid_exists(server["supervisor_pid"])
