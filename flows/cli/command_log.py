"""The log of the commands: ``logs/rooftune.log`` in rooftune's folder."""

from __future__ import annotations

import logging
from pathlib import Path

from flows.inputs.home import home


def log_file() -> Path:
    """Where the log is."""
    return home() / "logs" / "rooftune.log"


def keep() -> None:
    """Send the records of all loggers to :func:`log_file`, and nowhere else until something else is set up."""
    root = logging.getLogger()
    root.addHandler(_handler())
    root.setLevel(logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)


def write_error(sentence: str, error: BaseException) -> None:
    """Write an error with its traceback to :func:`log_file` and nowhere else, whatever logging has been set up."""
    record = logging.LogRecord(
        "rooftune", logging.ERROR, "", 0, sentence, None, (type(error), error, error.__traceback__)
    )
    handler = _handler()
    handler.emit(record)
    handler.close()


def _handler() -> logging.Handler:
    path = log_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"))
    return handler
