"""The documentation site in headless Chromium: everything it needs is there, and it fits a wide and a narrow window.

Screenshots go to ``ROOFTUNE_SCREENSHOTS``, if that is set: look at them.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[2]
PAGES = sorted(str(p.relative_to(ROOT / "docs").with_suffix(".html")) for p in (ROOT / "docs").rglob("*.md"))
PICTURED = ("index.html", "tutorial.html", "how-to/gpu.html", "reference/command-line.html", "t4.html")
"""Pages of which there are screenshots, and which are also looked at in the dark scheme."""
WIDTHS = (1400, 400)


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without a log."""

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the site, built from a copy of the sources."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "docs", folder / "docs")
    shutil.copy(ROOT / "mkdocs.yml", folder)
    ended = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--clean", "--strict"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder / "site")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_are_whole(site: str, browser: Any, scheme: str, tmp_path: Path) -> None:
    shots = Path(os.environ.get("ROOFTUNE_SCREENSHOTS") or tmp_path)
    wrong: list[str] = []
    for width in WIDTHS:
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.on("console", lambda m: wrong.append(f"console: {m.text}") if m.type == "error" else None)
        page.on("requestfailed", lambda r: wrong.append(f"failed: {r.url}"))
        page.on(
            "request",
            lambda r: wrong.append(f"outside: {r.url}") if not r.url.startswith((site, "data:")) else None,
        )
        for name in PAGES if scheme == "light" else PICTURED:
            answer = page.goto(f"{site}/{name}", wait_until="networkidle")
            assert answer is not None
            assert answer.ok, name
            assert page.locator("h1").first.is_visible()
            if page.evaluate("document.documentElement.scrollWidth > window.innerWidth + 1"):
                wrong.append(f"{name} is wider than {width} pixels")
            if name in PICTURED:
                page.screenshot(path=shots / f"site-{scheme}-{width}-{name.replace('/', '-')}.png")
    assert not wrong, wrong
