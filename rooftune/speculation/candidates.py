"""Which speculative configurations are worth a look, from a replay of recorded answers and from the models at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from packaging.version import Version

from rooftune.speculation.acceptance import Acceptance
from rooftune.speculation.known import KnownDraft
from rooftune.speculation.ngram import NgramProposer
from rooftune.speculation.replay import replay_all
from rooftune.speculation.sessions import Proposer, Recorded
from rooftune.speculation.suffix import SuffixProposer
from rooftune.vllm_rules.speculation import HAS_SCHEDULES, SCHEDULE, has_method

P = TypeVar("P", bound=Proposer)
LENGTHS = range(1, 8)
LOOKUPS = ((2, 4), (3, 6))
"""``prompt_lookup_min`` and ``prompt_lookup_max``: short matches draft often, long ones are accepted more often."""
SUFFIX_LENGTHS = (4, 24)
TOKEN_COSTS = (0.02, 0.1, 0.3)
"""What a drafted token costs, as a share of a decode step: where a step waits for the weights, between, and where it is
bound by arithmetic. Of all lengths, the best one at each is worth a look."""
SCHEDULE_UP_TO = (8, 32)
"""Requests in a step up to which a schedule has the long and the middle length."""
LAST_BATCH = 4096
SCHEDULED = ("ngram", "draft_model", "eagle", "eagle3", "mtp")
"""Methods that take a schedule in every release that has schedules."""
MODEL_LENGTHS = (1, 3, 5)
"""Lengths of drafts that a model makes: their acceptance is not known before a trial."""
FEWEST_ANSWERS = 8
"""Recorded answers from which a replay decides."""


@dataclass(frozen=True)
class DraftModel:
    """A model that drafts for another: a small model, or a head that reads the large one's hidden states."""

    model: str
    """A folder or hub id; empty for heads that are part of the model itself."""
    method: str
    """draft_model, eagle, eagle3 or mtp."""


def replayed_drafts(answers: Sequence[Recorded], engine: Version, *, cuda: bool, streams: int = 1) -> list[KnownDraft]:
    """The n-gram and suffix configurations that are best at some load, with their acceptance.

    Args:
        cuda: whether the n-gram proposer on the GPU is there.
        streams: answers at a time in the replay of suffix decoding.
    """
    if len(answers) < FEWEST_ANSWERS:
        return []
    source = f"replayed over {len(answers):,} recorded answers"
    found = []
    proposers = [NgramProposer(k, *lookup) for lookup in LOOKUPS for k in LENGTHS]
    ngram = dict(zip(proposers, replay_all(answers, proposers), strict=True))
    for method in ("ngram", *(("ngram_gpu",) if cuda and has_method("ngram_gpu", engine) else ())):
        found += [KnownDraft.of(_ngram(method, p), ngram[p], source) for p in best_at_each_cost(ngram)]
    if has_method("suffix", engine):
        proposals = [SuffixProposer(length) for length in SUFFIX_LENGTHS]
        suffix = dict(zip(proposals, replay_all(answers, proposals, streams=streams), strict=True))
        for proposer in best_at_each_cost(suffix):
            asked = {"method": "suffix", "num_speculative_tokens": proposer.length}
            found.append(KnownDraft.of(asked, suffix[proposer], source))
    return found


def best_at_each_cost(found: Mapping[P, Acceptance]) -> list[P]:
    """The best one at each cost of a drafted token, the longest first; none that drafts nothing useful."""
    chosen = dict.fromkeys(
        max(found, key=lambda p: found[p].tokens_per_step / (1 + cost * found[p].per_step.drafted))
        for cost in TOKEN_COSTS
    )
    return [p for p in chosen if found[p].tokens_per_step > 1]


def _ngram(method: str, proposer: NgramProposer) -> dict[str, object]:
    return {
        "method": method,
        "num_speculative_tokens": proposer.length,
        "prompt_lookup_min": proposer.shortest,
        "prompt_lookup_max": proposer.longest,
    }


def model_drafts(models: Sequence[DraftModel], engine: Version) -> list[dict[str, object]]:
    """Configurations with the drafting models at hand."""
    found: list[dict[str, object]] = []
    for draft in models:
        if has_method(draft.method, engine) is False:
            continue
        named: dict[str, object] = {"model": draft.model} if draft.model else {}
        found += [{"method": draft.method, **named, "num_speculative_tokens": length} for length in MODEL_LENGTHS]
    return found


def schedules(configurations: Sequence[Mapping[str, object]], engine: Version) -> list[dict[str, object]]:
    """For each proposer that has several lengths: one configuration whose drafts get shorter as the batch grows."""
    if not HAS_SCHEDULES.has(engine):
        return []
    lengths: dict[str, set[int]] = {}
    longest: dict[str, Mapping[str, object]] = {}
    for asked in configurations:
        if asked["method"] not in SCHEDULED:
            continue
        rest = {k: v for k, v in asked.items() if k != "num_speculative_tokens"}
        tokens = asked["num_speculative_tokens"]
        assert isinstance(tokens, int)
        key = repr(sorted(rest.items()))
        lengths.setdefault(key, set()).add(tokens)
        if tokens == max(lengths[key]):
            longest[key] = asked
    found = []
    for key, asked in longest.items():
        of_key = sorted(lengths[key], reverse=True)
        if len(of_key) > 1:
            found.append({**asked, SCHEDULE: _falling(of_key)})
    return found


def _falling(lengths: Sequence[int]) -> list[list[int]]:
    """The longest drafts for small batches, the shortest for large ones."""
    middle, last = lengths[len(lengths) // 2], lengths[-1]
    small, medium = SCHEDULE_UP_TO
    return [[1, small, lengths[0]], [small + 1, medium, middle], [medium + 1, LAST_BATCH, last]]


def label_of(asked: Mapping[str, object]) -> str:
    """A configuration in words: 'n-gram speculation of 3 tokens (lookup 2 to 4)'."""
    names = {
        "ngram": "n-gram speculation", "ngram_gpu": "n-gram speculation on the GPU", "suffix": "suffix decoding",
        "draft_model": "draft model", "eagle": "EAGLE", "eagle3": "EAGLE 3", "mtp": "MTP",
    }  # fmt: skip
    method = str(asked.get("method"))
    model = str(asked.get("model") or "").rstrip("/").rsplit("/", 1)[-1]
    falling = asked.get(SCHEDULE)
    lengths = "/".join(str(entry[2]) for entry in falling) if isinstance(falling, list) else ""
    tokens = f"{lengths} tokens by batch size" if lengths else f"{asked.get('num_speculative_tokens')} tokens"
    lookup = (
        f", lookup {asked['prompt_lookup_min']} to {asked['prompt_lookup_max']}" if "prompt_lookup_min" in asked else ""
    )
    return f"{names.get(method, method)}{f' {model}' if model else ''} ({tokens}{lookup})"
