"""Write the golden files again after an intended change of an export. Read the difference before you commit it."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

if __name__ == "__main__":
    from made_export import made_run

    from rooftune.export.deployment import deployment_of
    from rooftune.export.formats import FORMATS, exported, write_exported
    from rooftune.report.run_data import read_run

    with tempfile.TemporaryDirectory() as folder:
        files = exported(deployment_of(read_run(made_run(Path(folder)))), FORMATS)
    for old in (HERE / "golden").glob("*"):
        old.unlink()
    write_exported(files, HERE / "golden")
