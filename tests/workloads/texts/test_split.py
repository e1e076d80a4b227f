"""The split of prompts by a hash, and the keys that it is made by."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rooftune.workloads.texts.prompt_text import (
    CONFIRM_SHARE,
    PromptText,
    key_of,
    part_of,
    split_prompts,
)

TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30), unique=True, max_size=40)


def prompts(texts: list[str]) -> list[PromptText]:
    return [PromptText(key_of(t, None), t) for t in texts]


def parts(texts: list[str]) -> dict[str, str]:
    return {t: part_of(key_of(t, None)) for t in texts}


@given(texts=TEXTS, more=TEXTS, order=st.randoms())
def test_other_prompts_and_their_order_move_nothing(texts: list[str], more: list[str], order: object) -> None:
    before = split_prompts(prompts(texts))
    together = [*more, *texts]
    order.shuffle(together)  # type: ignore[attr-defined]
    after = split_prompts(prompts(together))
    if before.divided:
        assert after.divided
        assert {p.key for p in before.search} <= {p.key for p in after.search}
        assert {p.key for p in before.confirm} <= {p.key for p in after.confirm}


@given(texts=TEXTS)
def test_the_parts_are_the_whole_and_have_nothing_in_common(texts: list[str]) -> None:
    found = split_prompts(prompts(texts))
    if found.divided:
        assert not {p.key for p in found.search} & {p.key for p in found.confirm}
        assert sorted(p.key for p in (*found.search, *found.confirm)) == sorted(p.key for p in prompts(texts))
    else:
        assert found.search == found.confirm == tuple(prompts(texts))


def test_a_third_is_for_the_confirmation() -> None:
    found = [part_of(key_of(f"prompt number {i}", None)) for i in range(3000)]
    assert abs(found.count("confirm") / 3000 - CONFIRM_SHARE) < 0.03


def test_the_parts_are_the_same_on_every_machine() -> None:
    """Runs are resumed elsewhere, and reports of different days are compared."""
    assert parts(["How do I boil an egg?", "Name a river.", "Count to ten.", "Hi", "Why?", "Set a timer."]) == {
        "How do I boil an egg?": "search",
        "Name a river.": "search",
        "Count to ten.": "confirm",
        "Hi": "search",
        "Why?": "search",
        "Set a timer.": "search",
    }


def test_a_text_is_what_one_message_of_a_user_is() -> None:
    assert key_of("a", None) == key_of(None, [{"role": "user", "content": "a"}])
    assert key_of("a", None) == key_of(None, [{"content": "a", "role": "user"}])


def test_everything_that_is_sent_is_in_the_key() -> None:
    from rooftune.workloads.texts.prompt_text import Turn

    user = [{"role": "user", "content": "a"}]
    keys = {
        key_of("a", None),
        key_of("b", None),
        key_of(None, [{"role": "system", "content": "s"}, *user]),
        key_of("a", None, tools=[{"type": "function"}]),
        key_of("a", None, [Turn(({"role": "user", "content": "more"},))]),
    }
    assert len(keys) == 5


def test_prompts_that_occur_twice_stay_together() -> None:
    twice = prompts(["a", "b", "c", "d", "e", "f", "a", "b", "c"])
    found = split_prompts(twice)
    assert len(found.search) + len(found.confirm) == (9 if found.divided else 18)
