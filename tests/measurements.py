"""A pytest plugin: a run in which every real measurement was skipped fails.

Tests with the marker ``measurement`` measure a real server and skip when the machine is too busy for that. One of
them may skip; if all of them do, nothing was verified and the run must not be green.
"""

from __future__ import annotations

import pytest

MARKER = "measurement"
NOTHING_MEASURED = "every real measurement was skipped, so this run verified none; free the machine and run it again"


class Measurements:
    """Counts the measurements of a session."""

    def __init__(self) -> None:
        self.passed = self.failed = self.skipped = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test with the marker by its outcome."""
        if MARKER not in report.keywords:
            return
        if report.skipped:
            self.skipped += 1
        elif report.failed:
            self.failed += 1
        elif report.when == "call":
            self.passed += 1

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the session if measurements were selected and none was made."""
        if self.nothing_measured and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say how many measurements were made."""
        if self.passed or self.failed or self.skipped:
            made = f"real measurements: {self.passed} made, {self.skipped} skipped"
            terminalreporter.write_line(f"{made}; {NOTHING_MEASURED}" if self.nothing_measured else made)

    @property
    def nothing_measured(self) -> bool:
        """Whether measurements were selected and all of them skipped."""
        return bool(self.skipped) and not self.passed and not self.failed


def pytest_configure(config: pytest.Config) -> None:
    """Register the counter once."""
    config.addinivalue_line("markers", f"{MARKER}: see tests/measurements.py")
    if not config.pluginmanager.has_plugin("measurements"):
        config.pluginmanager.register(Measurements(), "measurements")
