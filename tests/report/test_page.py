"""The three forms of a page: Markdown, HTML and the summary for a terminal, of the same blocks."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
import reading

from rooftune.report.page.alignment import right_columns
from rooftune.report.page.inline import as_html, as_text
from rooftune.report.page.model import (
    Bullets,
    Code,
    Fact,
    Facts,
    Page,
    Paragraph,
    Picture,
    Section,
    Table,
    section,
    table,
    text,
)
from rooftune.report.page.style import DARK, LIGHT, PAIRS, RULES, Palette, style_sheet
from rooftune.report.page.svg import inlined
from rooftune.report.page.to_html import html
from rooftune.report.page.to_markdown import markdown
from rooftune.report.page.to_terminal import summary

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
DRAWN = """<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "x">
<svg xmlns="http://www.w3.org/2000/svg" width="90pt" height="40pt" version="1.1">
<metadata>made by a tool</metadata><script>alert(1)</script>
<defs><path id="dot" d="M0 0"/></defs>
<g id="axes" clip-path="url(#clip)"><use href="#dot" x="1"><title>6.74 requests/s</title></use></g></svg>
"""
PAGE = Page(
    "chat on a T4",
    (
        Paragraph("**Simulated.** No GPU ran.", "warning"),
        Paragraph("Which is best?"),
        Paragraph("One T4 carries 6.74 requests/s.", "answer"),
        Facts((Fact("How sure", "over 2 trials, `a<b` & c"), Fact("Cost", "$0.15"))),
    ),
    (
        Section(
            "What to deploy",
            (
                Table(("Flag", "Gain"), (("`--max-num-seqs`", "+4.0 %"), ("`--a|b`", "−0.5 %")), "The change"),
                Picture("figures/front", "What each carries", "Up is better."),
                Picture("figures/missing", "Never drawn"),
                Code("python -m vllm \\\n  --port 8000", "the start command"),
            ),
            summary=True,
        ),
        Section(
            "Method",
            (
                Bullets(("one", "two")),
                Section("Details", (Paragraph("Nobody reads this."), Section("More", (Code("x"),))), folded=True),
            ),
        ),
    ),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "front.png").write_bytes(PIXEL)
    return tmp_path


def test_markdown_has_every_block(folder: Path) -> None:
    words = markdown(PAGE, folder)
    assert words.startswith("# chat on a T4\n\n> **Simulated.** No GPU ran.\n")
    assert "**One T4 carries 6.74 requests/s.**" in words
    assert "- **How sure**: over 2 trials" in words
    assert "## What to deploy" in words
    assert "| --- | ---: |" in words, "numbers are aligned to the right"
    assert "`--a\\|b`" in words
    assert "![What each carries](figures/front.png)\n\n*Up is better.*" in words
    assert "missing" not in words
    assert "```bash\npython -m vllm \\\n  --port 8000\n```" in words
    assert "<details>\n<summary>Details</summary>\n\nNobody reads this." in words
    assert "\n\n\n" not in words


def test_html_is_well_formed_accessible_and_of_one_file(folder: Path) -> None:
    page = reading.parsed(html(PAGE, folder))
    reading.check_accessible(page)
    assert [e.text for e in page.of("h1", "h2", "h3", "h4")] == [
        "chat on a T4", "What to deploy", "Method", "Details", "More"
    ]  # fmt: skip
    assert [e.text for e in page.of("summary")] == ["Details"]
    assert len(page.of("img")) == 1
    assert "a<b & c" in page.of("dd")[0].text, "text is never HTML"
    assert page.of("nav")[0].attributes["aria-label"]


def test_the_command_can_be_copied_and_read_without_scripts(folder: Path) -> None:
    written = html(PAGE, folder)
    page = reading.parsed(written)
    assert not page.of("button"), "the button appears with the script that serves it"
    (box,) = [e for e in page.elements if e.attributes.get("class") == "command"]
    assert box.attributes["data-label"] == "the start command"
    assert box.text == "python -m vllm \\\n  --port 8000"
    assert 'createElement("button")' in written
    assert "beforeprint" in written, "paper shows what is folded"


def test_a_figure_that_was_drawn_as_svg_is_part_of_the_page(folder: Path) -> None:
    (folder / "figures" / "front.svg").write_text(DRAWN)
    page = reading.parsed(html(PAGE, folder))
    reading.check_accessible(page)
    (drawn,) = page.of("svg")
    assert drawn.attributes["aria-label"] == "What each carries"
    assert drawn.attributes["viewbox"] == "0 0 90 40", "it scales with the page"
    assert drawn.attributes["style"] == "width:108px"
    assert "6.74 requests/s" in page.of("title")[-1].text, "values are shown under the pointer"
    assert not page.of("img", "metadata")


def test_ids_of_a_figure_belong_to_it() -> None:
    drawn = inlined(DRAWN, "front", "words")
    assert set(re.findall(r'\bid="([^"]+)"', drawn)) == {"front-dot", "front-axes"}
    assert 'href="#front-dot"' in drawn
    assert "url(#clip)" in drawn, "a reference to something outside stays"
    assert "script" not in drawn
    assert inlined("no figure", "x", "y") == ""


def test_the_terminal_shows_the_summary_alone() -> None:
    words = summary(PAGE, 80)
    assert words.startswith("chat on a T4\n\nSimulated. No GPU ran.\n")
    for shown in ("One T4 carries 6.74 requests/s.", "How sure  over 2 trials, a<b & c", "What to deploy", "+4.0 %"):
        assert shown in words
    for hidden in ("Nobody reads this", "Method", "figures/front", "**", "`"):
        assert hidden not in words
    assert "\x1b[" not in words
    assert "\x1b[" in summary(PAGE, 80, colours=True)


def test_long_columns_of_a_table_are_below_it_on_a_terminal() -> None:
    long = "--max-num-batched-tokens 512, --kv-cache-dtype fp8, --max-num-seqs 96"
    block = table("t", ["Name", "Changes", "Rate"], [["baseline", "–", "1"], ["best", f"`{long}`", "2"]])
    words = summary(Page("p", (block,), ()), 100)
    lines = words.splitlines()
    assert max(map(len, lines)) <= 100
    assert any(line.split() == ["best", "2"] for line in lines)
    assert f"Changes:\n  best  {long}" in words


def test_numbers_are_on_the_right_and_texts_that_begin_with_one_are_not() -> None:
    cells = ["+1.1 % (−3.4 to +5.8 %)", "−0.9 % (−6.2 to +4.7 %) compared with `recommended`.", "--max-num-seqs 8", "–"]
    found = [right_columns(Table(("n", "x"), (("a", cell), ("b", "7")), "t"))[1] for cell in cells]
    assert found == [True, False, False, True]


def test_every_command_keeps_its_lines_on_a_narrow_terminal() -> None:
    command = "python -m vllm.entrypoints.openai.api_server \\\n  --served-model-name " + "x" * 60
    assert command in summary(Page("p", (Code(command, "c"),), ()), 40)


def test_sections_and_tables_leave_out_what_is_empty() -> None:
    assert section("Empty", None, text("", ""), table("t", ["a"], [])) is None
    found = section("Some", text("One.", "", "Two."), None)
    assert found == Section("Some", (Paragraph("One. Two."),))
    assert table("t", ["a", "b", "c"], [["1", "", "–"], ["2", "x", ""]]).head == ("a", "b")


def test_a_section_is_found_by_its_heading() -> None:
    assert PAGE.section("Details").folded
    with pytest.raises(KeyError):
        PAGE.section("nothing")


@pytest.mark.parametrize(
    ("source", "words", "shown"),
    [
        ("`a_b` and **`c` d**", "a_b and c d", "<code>a_b</code> and <strong><code>c</code> d</strong>"),
        ("see [the page](x.md)", "see the page", 'see <a href="x.md">the page</a>'),
        ("<b>2 * 3 * 4</b>", "<b>2 * 3 * 4</b>", "&lt;b&gt;2 * 3 * 4&lt;/b&gt;"),
    ],
)
def test_inline_marks(source: str, words: str, shown: str) -> None:
    assert as_text(source) == words
    assert as_html(source) == shown


def luminance(colour: str) -> float:
    """Relative luminance by WCAG 2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_computed_as_wcag_does() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize(("letters", "background"), PAIRS)
def test_letters_are_readable_on_their_background(palette: Palette, letters: str, background: str) -> None:
    assert contrast(getattr(palette, letters), getattr(palette, background)) >= 4.5


def test_every_colour_of_the_rules_is_of_the_palette() -> None:
    used = set(re.findall(r"var\(--([a-z]+)\)", RULES))
    assert used == set(vars(LIGHT))
    assert set(re.findall(r"#[0-9a-fA-F]{3,6}\b", RULES)) <= {"#fff"}, "pixels have a white background"
    colours = {pair[0] for pair in PAIRS} | {pair[1] for pair in PAIRS}
    assert used - colours == {"line"}, "lines are decoration; everything else is in a pair"


def test_the_style_has_light_dark_paper_and_narrow() -> None:
    sheet = style_sheet()
    for words in ("prefers-color-scheme:dark", "@media print", "max-width:40rem", "focus-visible"):
        assert words in sheet
    assert sheet.count("{") == sheet.count("}")
    assert "url(" not in sheet


def test_a_table_that_is_too_wide_breaks_its_head_and_no_word_of_its_cells() -> None:
    head = ("Phase", "Best configuration", "Changes from the baseline", "Goodput (requests/s)")
    costs = ("Cost per million output tokens (USD)", "Median E2EL (ms)", "Verdict")
    rows = (
        ("medium-term", "recommended", "as before", "1.98", "0.680", "11,118", "3 candidates measured, none better"),
    )
    words = summary(Page("p", (Table((*head, *costs), rows, "t"),), ()), 110)
    assert max(map(len, words.splitlines())) <= 110
    assert {"medium-term", "recommended", "candidates", "configuration", "Verdict"} <= set(words.split())
