"""Versions of vLLM, and the releases that have something.

The rules of this room were read in the Python sources of the releases in :data:`READ`. A rule that differs between two
neighbours of that list changed somewhere between them; where release notes or a pull request name the release, the rule
says so and is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from packaging.version import InvalidVersion, Version

from rooftune.errors import InputError

READ = ("0.11", "0.15", "0.19", "0.23", "0.29", "0.32", "0.33")
"""Releases whose sources were read: 0.11.0, 0.15.1, 0.19.1, 0.23.0, 0.29.0, 0.32.0 and 0.33.0."""


@cache
def version(text: str) -> Version:
    """An engine version as a comparable value; a text that is not a version is treated as the newest."""
    try:
        return Version(text)
    except InvalidVersion:
        return Version("9999")


@cache
def parse_version(text: str) -> Version:
    """An engine version that a user named. Raises InputError when the text is not one."""
    try:
        return Version(text)
    except InvalidVersion:
        raise InputError(f"{text!r} is not a vLLM version; give one like 0.15.1 or 0.32.0.") from None


def between(engine_version: str, since: str | None, until: str | None) -> bool:
    """Whether ``since <= engine_version <= until``; ``until`` '0.31' includes 0.31.2."""
    found = version(engine_version)
    if since is not None and found < version(since):
        return False
    if until is None:
        return True
    last = version(until)
    return found <= last or found.release[: len(last.release)] == last.release


def unread(engine: Version) -> str:
    """What is uncertain about a release whose sources were not read; empty for one that was read."""
    found = engine.release[:2]
    if any(found == _pair(release) for release in READ):
        return ""
    older = [release for release in READ if _pair(release) < found]
    newer = [release for release in READ if _pair(release) > found]
    if not older or not newer:
        nearest = newer[0] if newer else older[-1]
        return f"the sources of vLLM {engine} were not read; the rules are those of {nearest}"
    return (
        f"the sources of vLLM {engine} were not read; where {older[-1]} and {newer[0]} differ, release notes decide, "
        f"else the behaviour of {older[-1]} is assumed"
    )


@dataclass(frozen=True)
class Releases:
    """The releases that have something, by major and minor number: from ``since`` to ``until``, both included.

    Where a bound is a release of :data:`READ`, the releases between it and the nearest one without the thing were not
    read. ``before`` and ``after`` name that nearest release where it is not the neighbour in the list. Any other bound
    is exact.
    """

    since: str | None = None
    until: str | None = None
    before: str | None = None
    after: str | None = None

    def has(self, engine: Version) -> bool | None:
        """Whether that version has it; None = the sources of that version were not read and its neighbours differ."""
        found = engine.release[:2]
        if self.since is not None and found < _pair(self.since):
            return None if self.missing_before and found > _pair(self.missing_before) else False
        if self.until is not None and found > _pair(self.until):
            return None if self.missing_after and found < _pair(self.missing_after) else False
        return True

    @property
    def missing_before(self) -> str | None:
        """The last release known to lack it before ``since``."""
        at = READ.index(self.since) if self.since in READ else 0
        return self.before or (READ[at - 1] if at else None)

    @property
    def missing_after(self) -> str | None:
        """The first release known to lack it after ``until``."""
        at = READ.index(self.until) + 1 if self.until in READ else len(READ)
        return self.after or (READ[at] if at < len(READ) else None)


@cache
def _pair(release: str) -> tuple[int, ...]:
    return Version(release).release[:2]
