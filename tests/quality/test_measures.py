"""Differences between two servers' answers, against values computed by hand and by full distributions."""

from __future__ import annotations

from math import log
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_scores import answer, answers, entry, one, scores

from rooftune.errors import EngineError, RooftuneError
from rooftune.quality import measures
from rooftune.quality.scores import Scored, Scores, scored_of


def test_kl_of_two_distributions_over_the_same_tokens() -> None:
    base = one("a", [1], [{1: 0.7, 2: 0.2, 3: 0.1}])
    ours = one("a", [1], [{1: 0.5, 2: 0.3, 3: 0.2}])
    by_hand = 0.7 * log(0.7 / 0.5) + 0.2 * log(0.2 / 0.3) + 0.1 * log(0.1 / 0.2)
    assert measures.kl(ours, base)[0] == pytest.approx(by_hand, abs=1e-9)


def test_tokens_outside_of_the_shared_ones_are_one_bucket() -> None:
    base = one("a", [1], [{1: 0.6, 2: 0.2, 4: 0.1}])
    ours = one("a", [1], [{1: 0.6, 3: 0.25, 4: 0.1}])
    by_hand = 0.3 * log(0.3 / 0.3)
    assert measures.kl(ours, base)[0] == pytest.approx(by_hand, abs=1e-9)


def test_the_answers_own_token_counts_although_it_is_not_among_the_best() -> None:
    base = one("a", [1], [{1: 0.9, 2: 0.05}], k=1)
    ours = scored_of("a", [1], [None, entry({7: 0.8, 1: 0.001})], 1, "http://x")
    by_hand = 0.9 * log(0.9 / 0.001) + 0.1 * log(0.1 / 0.999)
    assert measures.kl(ours, base)[0] == pytest.approx(by_hand, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.0, 3.0))
def test_kl_is_a_lower_bound_of_that_of_the_full_distributions(seed: int, noise: float) -> None:
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (5, 30))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    changed = logits + noise * random.normal(size=logits.shape)
    q = np.exp(changed) / np.exp(changed).sum(axis=1, keepdims=True)
    tokens = p.argmax(axis=1)
    found = measures.kl(_cut(tokens, q), _cut(tokens, p))
    full = (p * np.log(p / q)).sum(axis=1)
    assert (found >= -1e-9).all()
    assert (found <= full + 1e-9).all()


def _cut(tokens: np.ndarray, p: np.ndarray, k: int = 8) -> Scored:
    order = np.argsort(-p, axis=1)[:, :k]
    rows = np.arange(len(p))
    return Scored("a", tokens, np.log(p[rows, tokens]), order, np.log(np.take_along_axis(p, order, axis=1)))


def test_disagreement_and_perplexity_by_prompt() -> None:
    base = scores(one("a", [1, 2], [{1: 0.8, 2: 0.2}, {2: 0.9, 1: 0.1}]), one("b", [1], [{1: 0.6, 2: 0.4}]))
    ours = scores(one("a", [1, 2], [{2: 0.6, 1: 0.4}, {2: 0.9, 1: 0.1}]), one("b", [1], [{1: 0.6, 2: 0.4}]))
    assert measures.disagreement(ours, base).sums.tolist() == [1, 0]
    assert measures.disagreement(ours, base).mean == pytest.approx(1 / 3), "each token counts once"
    assert measures.log_perplexity_ratio(ours, base).sums == pytest.approx([log(0.8 / 0.4), 0.0])


def test_free_answers() -> None:
    base = answers(answer("a", [1, 2, 3]), answer("b", [1, 2]), answer("c", [5], "length"))
    ours = answers(answer("a", [1, 2, 9, 9, 9, 9, 9]), answer("b", [1, 2], "length"), answer("c", [5]))
    assert measures.log_length_ratio(ours, base).sums == pytest.approx([log(8 / 4), 0, 0])
    assert measures.lost_ends(ours, base).sums.tolist() == [0, 1, -1]
    assert measures.greedy_difference(ours, base).sums == pytest.approx([5 / 7, 0, 0])


def test_tokens_that_are_not_the_most_probable_ones() -> None:
    own = scores(one("a", [1, 2], [{1: 0.8, 2: 0.2}, {1: 0.9, 2: 0.1}]))
    assert measures.not_greedy(own).mean == 0.5


def test_a_token_with_no_probability_stays_finite() -> None:
    ours = scored_of("a", [1], [None, {"1": {"logprob": float("-inf")}, "2": {"logprob": 0.0}}], 2, "http://x")
    assert np.isfinite(measures.kl(ours, one("a", [1], [{1: 0.9, 2: 0.1}]))).all()


@pytest.mark.parametrize("entries", [None, [], [None], [None, None], [None, {"x": 1}], [None, {"1": 0.5}], "text"])
def test_replies_without_log_probabilities_are_one_sentence(entries: object) -> None:
    with pytest.raises(EngineError, match="prompt_logprobs"):
        scored_of("a", [1], entries, 2, "http://x")


def test_scores_are_written_and_read_again(tmp_path: Path) -> None:
    made = scores(one("a", [1, 2], [{1: 0.5, 2: 0.5}, {2: 1.0}]), one("b", [3], [{3: 0.9, 4: 0.1}]))
    made.write(tmp_path / "scores.parquet")
    read = Scores.read(tmp_path / "scores.parquet")
    assert [s.key for s in read] == ["a", "b"]
    for ours, theirs in zip(read, made, strict=True):
        assert ours.tokens.tolist() == theirs.tokens.tolist()
        assert ours.top_ids.tolist() == theirs.top_ids.tolist()
        assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-5)
    (tmp_path / "scores.parquet").write_bytes(b"junk")
    with pytest.raises(RooftuneError, match="score the answers again"):
        Scores.read(tmp_path / "scores.parquet")
