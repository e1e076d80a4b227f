"""The report as an artifact of Prefect: its UI shows neither local pictures nor folded sections."""

from __future__ import annotations

from pathlib import Path

from rooftune.report.page.model import Page, Paragraph, Picture, Section
from rooftune.report.page.to_markdown import markdown
from tasks.report import for_the_ui


def test_pictures_are_paths_and_folded_sections_are_headings(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "front.png").write_bytes(b"")
    inner = Section("Details", (Paragraph("Many."), Section("More", (Paragraph("Most."),), folded=True)), folded=True)
    page = Page("T4", (Picture("figures/front", "What each carries", "Up is better."),), (inner,))
    written = for_the_ui(markdown(page, tmp_path), tmp_path)
    path = tmp_path / "figures" / "front.png"
    lines = [line for line in written.splitlines() if line]
    shown = ["# T4", f"Figure: `{path}`", "*Up is better.*", "### Details", "Many.", "### More", "Most."]
    assert lines == shown
