"""Why each change helped or did not: what the server and the client show before and after it."""

from __future__ import annotations

from rooftune.report.markup import joined
from rooftune.report.page.model import Section, bullets, section, text
from rooftune.report.run.explanation import why
from rooftune.report.run.naming import COMPOSED, Names
from rooftune.report.run_data import RunData


def _titled(names: Names, id: str) -> str:
    words = names.meanings.get(id, "")
    return f"**{names.plain(id)}**" + (f" ({words})" if words else "")


def reasons_section(run: RunData, names: Names) -> Section | None:
    """One entry per explanation. Of configurations that a search made, only the best of each phase have one."""
    found: dict[str, list[str]] = {}
    search = run.decision.search
    bests = {run.decision.incumbent, *(p.option for p in (search.phases if search is not None else []))}
    for p in run.measured:
        if p.id != "baseline" and (p.id in bests or COMPOSED not in p.id):
            found.setdefault(names.shorten(why(run, p)), []).append(_titled(names, p.id))
    note = ""
    if run.by_capacity:
        note = "Each configuration ran near its own capacity, so figures before and after belong to different rates."
    items = [f"{joined(ids)}: {words}" for words, ids in found.items() if words]
    return section("Why each change helped or did not", text(note), bullets(items), folded=True) if items else None
