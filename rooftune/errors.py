"""The errors that end a command: one sentence with the cause and the way out, and an exit code."""

from __future__ import annotations


class RooftuneError(Exception):
    """The command ran and failed. The message is one sentence for the user; no traceback is shown."""

    exit_code = 1


class InputError(RooftuneError):
    """The input is wrong: unknown name, wrong type, contradiction. Exit code 2."""

    exit_code = 2


class EngineError(RooftuneError):
    """A server could not be started, died, or never answered.

    ``kind`` is the failure class (``oom``, ``port``, ``flag``, ``dtype``, ``hang``, ``died`` ...), ``evidence``
    the log lines that show it.
    """

    def __init__(self, message: str, kind: str = "unknown", evidence: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.kind = kind
        self.evidence = evidence

    def __reduce__(self) -> tuple[type, tuple[str, str, tuple[str, ...]]]:
        return (type(self), (str(self), self.kind, self.evidence))


def nearest(word: str, known: list[str]) -> str:
    """Return ``' (did you mean X?)'`` for the nearest known name, or an empty string."""
    import difflib

    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""
