"""All generated pages by file name, and which of the written ones are not current."""

from __future__ import annotations

from pathlib import Path

from docpages import audit_checks, command_line, environment, python_face, run_files, yaml_files

FOLDER = "docs/reference"


def pages() -> dict[str, str]:
    """File name below docs/reference -> content."""
    return {
        "command-line.md": command_line.page(),
        "environment.md": environment.page(),
        "workload-file.md": yaml_files.workload_page(),
        "playbook-file.md": yaml_files.playbook_page(),
        "audit-checks.md": audit_checks.page(),
        "parquet.md": run_files.parquet_page(),
        "json.md": run_files.json_page(),
        "metrics.md": run_files.metrics_page(),
        "python.md": python_face.page(),
    }


def outdated(folder: Path) -> list[str]:
    """Names of the generated pages that are missing, differ from the code, or have no code any more."""
    wanted = pages()
    written = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.md")}
    return sorted(name for name in wanted.keys() | written.keys() if wanted.get(name) != written.get(name))
