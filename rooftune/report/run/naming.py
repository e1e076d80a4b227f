"""A short name for every configuration: its place in the progression instead of a list of its changes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from rooftune.report.run.changes import meaning
from rooftune.report.run.merit import merit
from rooftune.report.run_data import RunData

RECOMMENDED = "recommended"
COMPOSED = "+"
"""In the id of a configuration that a search made of several changes."""
ID_CHARACTERS = r"[A-Za-z0-9_+-]|\.[a-z0-9]"
"""What continues an id; a full stop at the end of a sentence does not."""


@dataclass(frozen=True)
class Names:
    """Short names by id. Candidates of a playbook keep their id.

    A name alone says too little, so prose has ``explained`` names and a table has a column with the changes.
    """

    by_id: Mapping[str, str]
    meanings: Mapping[str, str] = field(default_factory=dict)
    """What each configuration is; the baseline and ``recommended`` need no entry, because the page begins with them."""

    def plain(self, id: str) -> str:
        """The short name."""
        return self.by_id.get(id, id)

    def of(self, id: str) -> str:
        """The short name in code style."""
        return f"`{self.plain(id)}`"

    def explained(self, id: str) -> str:
        """The short name in code style, and what it is: '`medium-term-3` (`--max-num-seqs 128`)'."""
        words = self.meanings.get(id, "")
        return f"{self.of(id)} ({words})" if words else self.of(id)

    def shorten(self, text: str) -> str:
        """A text with short names instead of ids."""
        return self._replaced(text, self.by_id)

    def explain(self, text: str) -> str:
        """A text with short names instead of ids, each with what it is."""
        return self._replaced(text, {id: self.explained(id) for id in self.by_id})

    def _replaced(self, text: str, words: Mapping[str, str]) -> str:
        ids = sorted((i for i in self.by_id if COMPOSED in i and i in text), key=len, reverse=True)
        if not ids:
            return text
        any_id = "|".join(map(re.escape, ids))
        return re.sub(rf"(?<![A-Za-z0-9._+-])(?:{any_id})(?!{ID_CHARACTERS})", lambda m: words[m[0]], text)


class FirstMentions:
    """Names of one section: explained where they come first, short after that."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._seen: set[str] = set()

    def of(self, id: str) -> str:
        """The name for the next place in the section."""
        first = id not in self._seen
        self._seen.add(id)
        return self._names.explained(id) if first else self._names.of(id)


def names_of(run: RunData) -> Names:
    """Names of all configurations of a run.

    The best of a search is ``recommended``. Others have the name of their phase and their place in it, best first.
    """
    found = {c.id: c.id for c in run.plan.candidates}
    places: dict[str, int] = {}
    composed = [c for c in run.measured if COMPOSED in c.id]
    for candidate in sorted(composed, key=lambda c: -merit(run, c.id)):
        if candidate.id == run.decision.incumbent:
            found[candidate.id] = RECOMMENDED
        else:
            places[candidate.phase] = places.get(candidate.phase, 0) + 1
            found[candidate.id] = f"{candidate.phase}-{places[candidate.phase]}"
    by_id = {**_unmeasured(run, found), **found}
    known = ("baseline", RECOMMENDED)
    return Names(by_id, {id: meaning(run, id) for id, name in by_id.items() if name not in known})


def _unmeasured(run: RunData, known: Mapping[str, str]) -> dict[str, str]:
    """Names of configurations that only the search knows."""
    search = run.decision.search
    if search is None:
        return {}
    front = [row.option for row in search.front if row.option not in known]
    found = {option: f"front-{place}" for place, option in enumerate(front, 1)}
    found |= {p.option: f"{p.phase}-best" for p in search.phases if p.option not in {**found, **known}}
    if search.same_answers and search.same_answers not in {**found, **known}:
        found[search.same_answers] = "same-answers"
    return found
