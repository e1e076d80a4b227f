"""The HTML report in headless Chromium: light, dark, narrow, on paper, by keyboard, with and without scripts.

Screenshots go to ``ROOFTUNE_SCREENSHOTS`` (or to a folder that the test prints): look at them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))

import made_capacity_run

pytestmark = [pytest.mark.browser, pytest.mark.slow]
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_capacity_run.write_capacity_report(tmp_path_factory.mktemp("page")).path / "report.html"


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(os.environ.get("ROOFTUNE_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def opened(browser: Any, report: Path, **options: Any) -> Any:
    """The report with these settings; requests to elsewhere and errors of scripts fail the test."""
    context = browser.new_context(**options)
    page = context.new_page()
    page.on("pageerror", lambda error: pytest.fail(f"a script failed: {error}"))
    page.on("request", lambda request: request.url.startswith(("file:", "data:")) or pytest.fail(request.url))
    page.goto(report.as_uri())
    return page


def kept(page: Any, shots: Path, name: str) -> None:
    page.screenshot(path=str(shots / f"report-{name}.png"), full_page=True)
    print(f"picture: {shots / f'report-{name}.png'}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_reader(browser: Any, report: Path, shots: Path, scheme: str) -> None:
    page = opened(browser, report, color_scheme=scheme, viewport={"width": 1300, "height": 1000})
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 22, 27)"}[scheme]
    assert page.evaluate(OVERFLOW) <= 0
    kept(page, shots, scheme)


def test_a_narrow_screen_scrolls_tables_only(browser: Any, report: Path, shots: Path) -> None:
    page = opened(browser, report, viewport={"width": 390, "height": 800})
    assert page.evaluate(OVERFLOW) <= 0
    kept(page, shots, "narrow")


def test_the_answer_and_the_command_are_near_the_top(browser: Any, report: Path) -> None:
    page = opened(browser, report, viewport={"width": 1300, "height": 1000})
    assert page.locator(".answer").bounding_box()["y"] < 400
    assert page.locator(".command").first.bounding_box()["y"] < 2000


def test_details_open_by_keyboard_and_the_command_is_copied(browser: Any, report: Path) -> None:
    page = opened(browser, report, viewport={"width": 1300, "height": 1000})
    details = page.locator("details").first
    assert details.get_attribute("open") is None
    details.locator("summary").focus()
    page.keyboard.press("Enter")
    assert details.get_attribute("open") is not None
    button = page.get_by_role("button", name="Copy the start command")
    button.focus()
    page.keyboard.press("Enter")
    page.get_by_text("Copied").or_(page.get_by_text("Selected")).first.wait_for(timeout=3_000)


def test_without_scripts_everything_is_there(browser: Any, report: Path) -> None:
    page = opened(browser, report, java_script_enabled=False)
    assert page.locator("button").count() == 0
    assert "--quantization awq_marlin" in page.locator(".command code").inner_text()
    page.locator("summary").first.click()
    assert page.locator("details[open]").count() == 1


def test_paper_is_light_and_shows_what_is_folded(browser: Any, report: Path, shots: Path) -> None:
    page = opened(browser, report, color_scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.pdf(
        path=str(shots / "report.pdf"), format="A4", margin=dict.fromkeys(("top", "bottom", "left", "right"), "12mm")
    )
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0
