"""``rooftune up``, a run through its deployment, and what a person sees of it in Prefect's UI, in headless Chromium.

Screenshots go to a folder that the test names at its end (or to ``ROOFTUNE_SCREENSHOTS``): look at them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import live_run
import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(400)]
ROOT = Path(__file__).parents[2]


def environment(folder: Path) -> dict[str, str]:
    found = live_run.environment(folder, "")
    del found["PREFECT_API_URL"]
    return found


def rooftune(folder: Path, *words: str) -> Any:
    """Run a command in the checkout with separate state; return its JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli.app", *words, "--json"],
        cwd=ROOT,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Server, deployments and worker, and one finished run."""
    from flows.service.local import free_port

    folder = tmp_path_factory.mktemp("up")
    about = rooftune(folder, "up", "--port", str(free_port()))
    try:
        about["run"] = deployed_run(folder, about["api"])
        about["shots"] = Path(os.environ.get("ROOFTUNE_SCREENSHOTS") or folder / "screenshots")
        about["shots"].mkdir(parents=True, exist_ok=True)
        yield about
    finally:
        assert rooftune(folder, "down") == {"ended": True}
        assert live_run.until(lambda: not live_run.left(folder), live_run.LEFT_S), live_run.left(folder)


def deployed_run(folder: Path, api: str) -> str:
    """Run optimize/chat-medium through the worker, on a tiny workload; the id of the flow run."""
    set_to = {
        "workload": live_run.write_tiny(folder),
        "time_scale": 8,
        "budget": "15s",
        "artifacts": folder / "artifacts",
    }
    words = [w for k, v in set_to.items() for w in ("-p", f"{k}={v}")]
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "deployment", "run", "optimize/chat-medium", *words, "--watch"],
        cwd=ROOT,
        env={**environment(folder), "PREFECT_API_URL": api},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(folder.glob("artifacts/tiny/*/report.md"))
    found = re.search(r"UUID: (\S+)", done.stdout)
    assert found
    return found[1]


@pytest.fixture(scope="module")
def page(stack: dict[str, Any], browser: Any) -> Any:
    """A page of a headless Chromium."""
    return browser.new_page(viewport={"width": 1500, "height": 1100})


def seen(page: Any, stack: dict[str, Any], path: str, name: str, *words: str) -> None:
    """Open a page of the UI, wait until each of these words is on it, keep a picture."""
    page.goto(stack["ui"] + path, wait_until="networkidle")
    for word in words:
        page.get_by_text(word).first.wait_for(timeout=30_000)
    picture(page, stack, name)


def picture(page: Any, stack: dict[str, Any], name: str) -> None:
    """Keep a picture of the page, once it has come to rest."""
    page.wait_for_timeout(1000)
    page.screenshot(path=str(stack["shots"] / f"{name}.png"))
    print(f"picture: {stack['shots'] / name}.png")


def test_the_run(page: Any, stack: dict[str, Any]) -> None:
    seen(page, stack, f"/runs/flow-run/{stack['run']}", "run", "Completed", "simulated", "T4", "tiny", "chat-medium")
    page.get_by_text("Subflow Runs", exact=True).first.click()
    for name in ("trial 0: baseline 1", "probe ", "report "):
        page.get_by_text(name).first.wait_for(timeout=30_000)
    page.get_by_text("Artifacts", exact=True).first.click()
    for name in ("verdicts-tiny", "report-tiny"):
        page.get_by_text(name).first.wait_for(timeout=30_000)
    picture(page, stack, "run-artifacts")


def test_its_artifacts(page: Any, stack: dict[str, Any]) -> None:
    seen(page, stack, "/artifacts", "artifacts", "verdicts-tiny", "report-tiny", "load-baseline")
    for name, word in (("report", "What to deploy"), ("verdicts", "baseline")):
        page.goto(f"{stack['ui']}/artifacts/key/{name}-tiny", wait_until="networkidle")
        page.get_by_role("link", name=re.compile("^[0-9a-f]{8}$")).first.click()
        page.wait_for_url("**/artifacts/artifact/**")
        page.get_by_text(word).first.wait_for(timeout=30_000)
        picture(page, stack, name)


def test_the_nightly_schedule(page: Any, stack: dict[str, Any]) -> None:
    seen(page, stack, "/deployments", "deployments", "chat-medium")
    page.get_by_placeholder("Search deployments").fill("nightly")  # the list shows ten deployments per page
    for word in ("nightly", "At 02:00 AM every day"):
        page.get_by_text(word).first.wait_for(timeout=30_000)
    assert page.get_by_text("chat-medium").count() == 0
    picture(page, stack, "nightly")


def test_the_queue_of_the_machine(page: Any, stack: dict[str, Any]) -> None:
    seen(page, stack, "/concurrency-limits", "limits", ":host")
