"""Write golden.md again after an intended change of the report. Read the difference before you commit it."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

if __name__ == "__main__":
    from test_report import GOLDEN, golden_run

    with tempfile.TemporaryDirectory() as folder:
        GOLDEN.write_text(golden_run(Path(folder)).report.read_text(encoding="utf-8"), encoding="utf-8")
