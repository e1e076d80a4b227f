"""What a test takes for the work of others on the machine."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import psutil

from benchmarks.other_work import OtherWork

SPIN = "import time\nend = time.process_time() + 2\nwhile time.process_time() < end: pass"
LEFT_ALONE = """
import subprocess, sys
quiet = subprocess.DEVNULL
print(subprocess.Popen([sys.executable, '-c', sys.argv[1]], start_new_session=True, stdout=quiet, stderr=quiet).pid)
"""


def test_what_a_test_started_is_its_own_work() -> None:
    watched = OtherWork()
    subprocess.run([sys.executable, "-c", SPIN], check=True)
    assert watched.own_s() >= 2
    assert 0 <= watched.share() <= 1.1


def test_a_process_whose_parent_has_ended_is_own_work_only_if_it_is_named() -> None:
    """As the server's supervisor, whose parent may be the test or not."""
    started = subprocess.run(
        [sys.executable, "-c", LEFT_ALONE, SPIN], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    other = psutil.Process(int(started))
    plain, named = OtherWork(), OtherWork([other.pid])
    most = 0.0
    with contextlib.suppress(psutil.Error):
        while other.is_running() and other.status() != psutil.STATUS_ZOMBIE:
            most = max(most, named.own_s() - plain.own_s())
    assert most > 1
