"""``python -m rooftune.loadgen.recover FOLDER``: join the parts of a killed load into requests.parquet and
ticks.parquet."""

from __future__ import annotations

import sys
from pathlib import Path

from rooftune.errors import InputError, RooftuneError
from rooftune.loadgen.parts import parts_folder, recover


def main(arguments: list[str]) -> int:
    """Entry point; returns the exit code."""
    try:
        if len(arguments) != 1 or not parts_folder(Path(arguments[0])).is_dir():
            raise InputError(
                "name one trial folder that contains parts/, for example artifacts/chat-low/RUN/trials/baseline/1."
            )
        print(f"{recover(Path(arguments[0])):,} requests in {Path(arguments[0]) / 'requests.parquet'}")
    except RooftuneError as error:
        print(f"rooftune: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
