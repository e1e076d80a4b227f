"""The capacity flow through Prefect: a real server, a Markdown artifact, and a retry that goes on from the steps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rooftune.errors import InputError

pytestmark = [pytest.mark.usefixtures("prefect")]
SMALL = """\
name: small
arrivals: {process: poisson, rate_per_s: 30}
prompt_tokens: {distribution: fixed, value: 32}
output_tokens: {distribution: uniform, low: 4, high: 16}
duration_s: 30
slo: {ttft_ms: 3000, tpot_ms: 60, share: 0.9}
"""


@pytest.mark.slow
async def test_the_flow_measures_and_shows_the_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    from flows.capacity import capacity

    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(SMALL)
    options = {"workload": "small.yaml", "flags": ["quantization=awq_marlin"], "precision": "15%", "time_scale": 8.0}
    found = await capacity(**options)
    folder = Path(found.folder)
    assert folder.parent == Path("artifacts/capacity")
    assert found.low_per_s < found.rate_per_s < found.high_per_s
    saved = json.loads((folder / "capacity.json").read_text())
    assert saved["rate_per_s"] == found.rate_per_s
    assert (folder / "figures" / "attainment.png").is_file()
    async with get_client() as client:
        key = ArtifactFilter(key=ArtifactFilterKey(any_=["capacity-small"]))
        (artifact,) = await client.read_artifacts(artifact_filter=key)
    assert artifact.description == found.sentence
    assert "# Capacity of small" in str(artifact.data)

    again = await capacity(**options, save=found.folder)
    assert again.rate_per_s == pytest.approx(found.rate_per_s), "all steps were there already"


@pytest.mark.slow
async def test_the_flow_counts_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.capacity import capacity

    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(SMALL)
    found = await capacity(workload="small.yaml", flags=["quantization=awq_marlin"], precision="15%", time_scale=8.0,
                           users=60, think_time_s=1.0)  # fmt: skip
    assert found.per == "users"
    assert found.users
    assert found.rate_per_s > 0
    saved = json.loads((Path(found.folder) / "capacity.json").read_text())
    assert saved["users"] == found.users
    assert saved["workload"]["arrivals"] == {"process": "closed", "concurrency": 60, "think_s": 1.0}
    assert found.sentence.startswith(f"small: one server carries {found.users} users")


async def test_bad_input_fails_before_a_server_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.capacity import capacity

    monkeypatch.chdir(tmp_path)
    (tmp_path / "none.yaml").write_text(SMALL.replace("slo:", "# slo:"))
    with pytest.raises(InputError, match="has no SLO"):
        await capacity(workload="none.yaml")
    assert not (tmp_path / "artifacts").exists()
