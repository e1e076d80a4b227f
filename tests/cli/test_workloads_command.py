"""``rooftune workloads`` lists what can be named."""

from __future__ import annotations

from pathlib import Path

import pytest


def test_shipped_workloads_and_own_ones_are_listed(rooftune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = rooftune("workloads", "--json").json["workloads"]
    assert {"chat-medium", "rag-medium"} <= {w["name"] for w in shipped}
    own = tmp_path / "workloads" / "chat-low.yaml"
    own.parent.mkdir()
    own.write_text(Path(shipped[0]["file"]).with_name("chat-low.yaml").read_text())
    found = {w["name"]: w["file"] for w in rooftune("workloads", "--json").json["workloads"]}
    assert found.keys() == {w["name"] for w in shipped}
    assert found["chat-low"] == str(own)
    assert "Short questions" in rooftune("workloads").out
