"""Which runs have a process that has ended."""

from __future__ import annotations

import datetime as dt
import os
import socket
import subprocess
import sys

from tasks.orphans import has_ended, this_process

NOW = dt.datetime.now(dt.timezone.utc)


def ended_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_process_that_lives_is_not_has_ended() -> None:
    assert not has_ended(str(os.getpid()), NOW)
    assert not has_ended(this_process(), NOW)
    assert not has_ended(this_process(), None)


def test_a_process_that_ended_is_has_ended() -> None:
    assert has_ended(str(ended_pid()), NOW)
    assert has_ended(f"{socket.gethostname()}:{ended_pid()}", NOW)


def test_the_number_may_have_gone_to_another_process() -> None:
    assert has_ended(str(os.getpid()), NOW - dt.timedelta(days=30))


def test_nothing_is_said_of_other_hosts() -> None:
    assert not has_ended(f"some-other-host:{ended_pid()}", NOW)
    assert not has_ended("kubernetes-job-uid", NOW)
