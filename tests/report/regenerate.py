"""Write golden.md anew after a wanted change of the report; read the difference before committing it."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

if __name__ == "__main__":
    from test_report import GOLDEN, make_run

    from rooftune.report.markdown import write_report

    with tempfile.TemporaryDirectory() as folder:
        GOLDEN.write_text(write_report(make_run(Path(folder))).read_text(encoding="utf-8"), encoding="utf-8")
