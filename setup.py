"""Build step of the wheel: copies workloads/ and prefect.yaml into the package, so that an installed rooftune has them.

Everything else is in pyproject.toml. An editable install reads both from the checkout (``rooftune/shipped.py``).
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


class BuildWithShippedFiles(build_py):
    """``build_py``, into an empty folder, plus the files that users read outside of the package."""

    def run(self) -> None:
        if self.editable_mode:
            super().run()
            return
        shutil.rmtree(self.build_lib, ignore_errors=True)  # modules that have moved since must not get into the wheel
        super().run()
        shipped = Path(self.build_lib) / "rooftune" / "shipped"
        (shipped / "workloads").mkdir(parents=True)
        shutil.copy2(ROOT / "prefect.yaml", shipped)
        for pattern in ("*.yaml", "*.json", "*.csv", "*.txt", "*.jsonl"):
            for path in sorted((ROOT / "workloads").glob(pattern)):
                shutil.copy2(path, shipped / "workloads")


setup(cmdclass={"build_py": BuildWithShippedFiles})
