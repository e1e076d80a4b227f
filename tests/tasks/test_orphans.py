"""Which runs' processes are gone."""

from __future__ import annotations

import datetime as dt
import os
import socket
import subprocess
import sys

from tasks.orphans import gone, this_process

NOW = dt.datetime.now(dt.timezone.utc)


def ended_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_process_that_lives_is_not_gone() -> None:
    assert not gone(str(os.getpid()), NOW)
    assert not gone(this_process(), NOW)
    assert not gone(this_process(), None)


def test_a_process_that_ended_is_gone() -> None:
    assert gone(str(ended_pid()), NOW)
    assert gone(f"{socket.gethostname()}:{ended_pid()}", NOW)


def test_the_number_may_have_gone_to_another_process() -> None:
    assert gone(str(os.getpid()), NOW - dt.timedelta(days=30))


def test_nothing_is_said_of_other_hosts() -> None:
    assert not gone(f"some-other-host:{ended_pid()}", NOW)
    assert not gone("kubernetes-job-uid", NOW)
