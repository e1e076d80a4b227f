"""The flags of the installed engine, as its own help lists them."""

from __future__ import annotations

from rooftune.engines.interpreter import Installed
from rooftune.knobs.installed import engine_flags
from rooftune.vllm_rules.flag_entries import registry
from rooftune.vllm_rules.versions import parse_version


def test_the_installed_engine_lists_the_flags_of_the_registry_and_no_other_release(vllm: Installed) -> None:
    found, engine = engine_flags(vllm.python), parse_version(vllm.version)
    releases = {name: flag.releases.has(engine) for name, flag in registry().items()}
    assert {name for name, has in releases.items() if has} <= found
    assert not found & {name for name, has in releases.items() if has is False}
