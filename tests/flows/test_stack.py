"""Processes that outlive their command are ended by pid, with their children, and no others are touched."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from flows.service.stack import Daemon, end, launch

FAMILY = (
    "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
    "print('up', flush=True); time.sleep(600)"
)


def started(tmp_path: Path, script: str) -> Daemon:
    log = tmp_path / "log"
    daemon = launch([sys.executable, "-c", script], log, {})
    deadline = time.monotonic() + 120
    while "up" not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    return daemon


def test_the_whole_family_ends(tmp_path: Path) -> None:
    daemon = started(tmp_path, FAMILY)
    family = psutil.Process(daemon.pid).children()
    assert daemon.alive()
    assert len(family) == 1
    assert end(daemon, grace_s=0.5)
    assert not daemon.alive()
    assert not psutil.pid_exists(family[0].pid) or family[0].status() == psutil.STATUS_ZOMBIE
    assert end(daemon) is False


def test_a_deaf_process_is_killed(tmp_path: Path) -> None:
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    daemon = started(tmp_path, deaf)
    assert end(daemon, grace_s=0.2)
    assert not daemon.alive()


def test_another_process_with_the_same_number_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as other:
        assert end(Daemon(pid=other.pid, created=0.0)) is False
        assert other.poll() is None
        other.kill()


def test_ctrl_c_is_not_ignored_although_our_shell_did(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        asked = "import signal; print('up', signal.getsignal(2) is signal.default_int_handler, flush=True)"
        daemon = started(tmp_path, asked)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert "up True" in (tmp_path / "log").read_text()
    end(daemon)
