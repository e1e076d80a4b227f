"""Write the golden reports and the reference pictures again after an intended change of the report.

Read the difference and look at the pictures before you commit them.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

if __name__ == "__main__":
    import made_capacity_run
    from reference_pictures import write_references
    from test_report import GOLDEN, golden_run

    from rooftune.report.page.to_terminal import summary
    from rooftune.report.writing import summary_page

    for golden, write in ((GOLDEN, golden_run), (made_capacity_run.GOLDEN, made_capacity_run.write_capacity_report)):
        with tempfile.TemporaryDirectory() as folder:
            run = write(Path(folder))
            golden.write_text(run.report.read_text(encoding="utf-8"), encoding="utf-8")
            if golden == made_capacity_run.GOLDEN:
                made_capacity_run.GOLDEN_SUMMARY.write_text(summary(summary_page(run), 110), encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        write_references(Path(folder))
