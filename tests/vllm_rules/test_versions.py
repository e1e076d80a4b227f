"""Versions: bounds of a range, and releases that were not read."""

from __future__ import annotations

import pytest

from rooftune.errors import InputError
from rooftune.vllm_rules.versions import Releases, between, parse_version, unread, version


@pytest.mark.parametrize(
    ("version", "since", "until", "holds"),
    [
        ("0.31.2", None, "0.31", True),
        ("0.32.0", None, "0.31", False),
        ("0.14.1", "0.14", None, True),
        ("0.13.9", "0.14", None, False),
        ("0.15.1", None, None, True),
    ],
)
def test_version_bounds(version: str, since: str | None, until: str | None, holds: bool) -> None:
    assert between(version, since, until) is holds


@pytest.mark.parametrize(
    ("releases", "there", "unknown", "missing"),
    [
        (Releases(since="0.19"), ["0.19.0", "0.19.1", "0.33.0", "1.0"], ["0.16.0", "0.18.2"], ["0.15.1", "0.11.0"]),
        (Releases(until="0.23"), ["0.11.0", "0.23.9"], ["0.24.0", "0.28.1"], ["0.29.0", "0.32.0"]),
        (Releases(since="0.20"), ["0.20.0", "0.23.0"], [], ["0.19.1"]),
        (Releases(since="0.29", until="0.29"), ["0.29.0"], ["0.24.0", "0.30.0"], ["0.23.0", "0.32.0"]),
        (Releases(until="0.23", after="0.24"), ["0.23.0"], [], ["0.24.0"]),
        (Releases(), ["0.1", "9.9"], [], []),
    ],
)
def test_a_release_that_was_not_read_is_not_guessed(
    releases: Releases, there: list[str], unknown: list[str], missing: list[str]
) -> None:
    assert [releases.has(version(v)) for v in there] == [True] * len(there)
    assert [releases.has(version(v)) for v in unknown] == [None] * len(unknown)
    assert [releases.has(version(v)) for v in missing] == [False] * len(missing)


def test_pre_releases_and_local_builds_have_what_their_release_has() -> None:
    assert Releases(since="0.32").has(version("0.32.0rc1")) is True
    assert Releases(since="0.32").has(version("0.32.0+cpu")) is True
    assert Releases(since="0.32").has(version("not a version")) is True


def test_a_version_that_a_user_names_is_checked() -> None:
    with pytest.raises(InputError, match="not a vLLM version"):
        parse_version("newest")


@pytest.mark.parametrize(
    ("release", "words"),
    [("0.32.1", ""), ("0.26.0", "where 0.23 and 0.29 differ"), ("0.9.0", "those of 0.11"), ("0.40.0", "those of 0.33")],
)
def test_a_release_that_was_not_read_says_what_is_assumed(release: str, words: str) -> None:
    assert words in unread(version(release))
    assert bool(words) == bool(unread(version(release)))
