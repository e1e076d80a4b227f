"""Opens a log, plain or gzipped, and gives its lines; finds out what kind of log it is."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from rooftune.errors import InputError
from rooftune.workloads.cells import SEPARATORS
from rooftune.workloads.logs.entries import LogFormat

GZIP = b"\x1f\x8b"
OTHER_PACKED = {
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"PK\x03\x04": "zip",
    b"PAR1": "Parquet",
}
RECEIVED = "Received request "
"""What vLLM writes for every request with ``--enable-log-requests``."""
SERVER_WORDS = ("vLLM API server", "vllm.entrypoints", "Avg prompt throughput", "EngineCore")
MESSAGE_KEYS = ("message", "log", "msg", "textPayload", "MESSAGE")
"""Keys under which collectors of logs keep the line that a program wrote."""
KNOWN = (
    "a log of vLLM with --enable-log-requests, JSON lines with requests and answers, or a CSV with a header; "
    "plain or gzipped"
)


@dataclass(frozen=True)
class LogLine:
    """A line with its number, from 1."""

    number: int
    text: str
    ended: bool = True
    """False: the file ends within the line."""


def opened(path: Path) -> IO[str]:
    """The text of a log, unpacked.

    Raises:
        InputError: it is missing, not readable, or packed or coded in a way that is not read.
    """
    try:
        raw = path.open("rb")
        head = raw.read(4096)
        raw.seek(0)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; name {KNOWN}.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}).") from None
    for magic, name in OTHER_PACKED.items():
        if head.startswith(magic):
            raw.close()
            raise InputError(f"{path} is a {name} file; unpack it or convert it to JSON lines or CSV first.")
    if head.startswith(GZIP):
        return io.TextIOWrapper(gzip.GzipFile(fileobj=raw), encoding="utf-8-sig", errors="replace", newline="")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return io.TextIOWrapper(raw, encoding="utf-16", errors="replace", newline="")
    if b"\x00" in head:
        raw.close()
        raise InputError(f"{path} is not a text file; name {KNOWN}.")
    return io.TextIOWrapper(raw, encoding="utf-8-sig", errors="replace", newline="")


def lines(path: Path) -> Iterator[LogLine]:
    """The lines of a log. A gzipped file that is cut gives the lines before the cut."""
    number = 0
    with opened(path) as file:
        try:
            for number, line in enumerate(file, 1):
                ended = line.endswith(("\n", "\r"))
                yield LogLine(number, line.rstrip("\r\n"), ended)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            yield LogLine(number + 1, "", False)


def kind_of(path: Path) -> LogFormat:
    """What kind of log a file is, by its content.

    Raises:
        InputError: it is none that is known.
    """
    first = ""
    served = False
    for line in lines(path):
        text = line.text
        if not first and text.strip():
            first = text.strip()
            if _is_record(first):
                return "openai"
        if RECEIVED in text:
            return "vllm"
        served = served or any(word in text for word in SERVER_WORDS)
    if not first:
        raise InputError(f"{path} is empty; name {KNOWN}.")
    if served:
        raise InputError(
            f"{path} is a log of vLLM without requests; start the server with --enable-log-requests and "
            "VLLM_LOGGING_LEVEL=DEBUG."
        )
    if any(s in first for s in SEPARATORS):
        return "csv"
    raise InputError(f"{path} has no requests; name {KNOWN}.")


def _is_record(text: str) -> bool:
    """Whether a line is JSON that is a request, and not a line of a log that a collector wrapped."""
    if text.startswith("["):
        return text[1:].lstrip()[:1] in ("{", "")
    if not text.startswith("{"):
        return False
    try:
        value = json.loads(text)
    except ValueError:
        return True
    return not isinstance(value, dict) or wrapped_text(value) is None


def wrapped_text(record: dict[str, object]) -> str | None:
    """The line of a program's log inside a JSON record of a collector; None where the record is something else."""
    found = next((record[k] for k in MESSAGE_KEYS if isinstance(record.get(k), str)), None)
    if not isinstance(found, str) or any(k in record for k in ("messages", "prompt", "request", "body")):
        return None
    return found.rstrip("\r\n")
