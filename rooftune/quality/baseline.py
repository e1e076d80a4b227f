"""What the baseline's server answers, and how much it differs from itself: the floor of every check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from rooftune.answers.answer import FILE as ANSWERS
from rooftune.answers.answer import Answer, Answers
from rooftune.answers.ask import JsonObject, Prompt, RequestFields
from rooftune.answers.collect import collect
from rooftune.errors import EngineError
from rooftune.quality import measures
from rooftune.quality.score import AT_ONCE, score
from rooftune.quality.scores import Scores

MOST_PROMPTS = 100
"""Prompts of a check; more make the interval narrower and the check longer."""
FREE_AT_ONCE, FREE_AGAIN = 16, 5
"""Requests in flight while answers are collected, and in the second pass, whose batches are composed differently."""
SCORED_AGAIN = 2
SHORT_TOKENS, ENOUGH = 1024, 40
"""Tokens of prompt and answer up to which an answer is scored in any case, and answers that are enough. vLLM computes
the probabilities over the whole vocabulary for all tokens of a prompt in one step: 1024 tokens of a vocabulary of
150,000 take 1.5 GB, in memory that it did not reserve."""
AGAIN, SCORES, SCORES_AGAIN = "answers_again.parquet", "scores.parquet", "scores_again.parquet"
GREEDY, GREEDY_AGAIN, GREEDY_SCORES = "greedy.parquet", "greedy_again.parquet", "greedy_scores.parquet"

P = TypeVar("P", bound=Prompt)
DRAWING = ("top_p", "top_k", "min_p")
"""Fields that say from which tokens one is drawn."""


class GreedyFields:
    """Sampling that takes the most probable token, with everything else as another sampling has it."""

    def __init__(self, sampling: RequestFields) -> None:
        self._sampling = sampling

    def request_fields(self, own: JsonObject | None = None) -> dict[str, object]:
        """Fields of a request."""
        fields = {k: v for k, v in self._sampling.request_fields(own).items() if k not in DRAWING}
        return {**fields, "temperature": 0.0}


@dataclass(frozen=True)
class Asked:
    """What a check asks of every server."""

    prompts: Sequence[Prompt]
    sampling: RequestFields
    max_tokens: int
    keep_texts: bool = False

    @property
    def greedy(self) -> bool:
        """Whether all answers take the most probable token."""
        return all(self.sampling.request_fields(p.extra).get("temperature") == 0 for p in self.prompts)


@dataclass(frozen=True)
class BaselineAnswers:
    """The answers of the baseline, scored twice, and a second set of answers."""

    answers: Answers
    again: Answers
    """The same prompts, answered in batches of another composition."""
    scores: Scores
    scores_again: Scores
    greedy: Answers
    """Greedy answers; ``answers`` where those are greedy."""
    greedy_again: Answers
    greedy_scores: Scores

    def write(self, folder: Path) -> None:
        """Write the files of the baseline's trial folder, besides answers.parquet, which has all answers."""
        self.again.write(folder / AGAIN)
        self.scores.write(folder / SCORES)
        self.scores_again.write(folder / SCORES_AGAIN)
        if self.greedy != self.answers:
            self.greedy.write(folder / GREEDY)
            self.greedy_again.write(folder / GREEDY_AGAIN)
            self.greedy_scores.write(folder / GREEDY_SCORES)

    @staticmethod
    def read(folder: Path) -> BaselineAnswers:
        """Read them again.

        Raises:
            RooftuneError: a file is missing or cut.
        """
        scores, scores_again = Scores.read(folder / SCORES), Scores.read(folder / SCORES_AGAIN)
        answers = only(Answers.read(folder / ANSWERS), {s.key for s in scores})
        again = Answers.read(folder / AGAIN)
        if not (folder / GREEDY).is_file():
            return BaselineAnswers(answers, again, scores, scores_again, answers, again, scores)
        greedy, greedy_again = Answers.read(folder / GREEDY), Answers.read(folder / GREEDY_AGAIN)
        greedy_scores = Scores.read(folder / GREEDY_SCORES)
        return BaselineAnswers(answers, again, scores, scores_again, greedy, greedy_again, greedy_scores)

    @property
    def floor_values(self) -> dict[str, float]:
        """The mean of each measure of the baseline compared with itself."""
        return {
            "top-1 disagreement": measures.disagreement(self.scores_again, self.scores).mean,
            "KL divergence": measures.divergence(self.scores_again, self.scores).mean,
            "ln perplexity ratio": measures.log_perplexity_ratio(self.scores_again, self.scores).mean,
            "ln length ratio": measures.log_length_ratio(self.again, self.answers).mean,
            "lost ends": measures.lost_ends(self.again, self.answers).mean,
            "not greedy": measures.not_greedy(self.greedy_scores).mean,
            "greedy difference": measures.greedy_difference(self.greedy_again, self.greedy).mean,
        }


def chosen(prompts: Sequence[P], most: int = MOST_PROMPTS) -> list[P]:
    """Prompts for a check: each content once, at most ``most``, in an order that does not depend on the file's."""
    distinct = {prompt.key: prompt for prompt in prompts}
    return [distinct[key] for key in sorted(distinct)[:most]]


async def first_answers(url: str, model: str, asked: Asked) -> Answers:
    """The baseline's answers. Prompts that its server refuses are left out.

    Raises:
        NoTokenIds: the server does not return token ids.
        EngineError: it does not answer.
    """
    return await collect(
        url,
        model,
        asked.prompts,
        asked.sampling,
        asked.max_tokens,
        at_once=FREE_AT_ONCE,
        skip_rejected=True,
        keep_texts=asked.keep_texts,
    )


async def scored_twice(url: str, model: str, asked: Asked, answers: Answers) -> BaselineAnswers:
    """The baseline's answers with everything else that checks need.

    Answers without a token are left out, and long ones where there are enough others.

    Raises:
        EngineError: the server returns no log-probabilities of a prompt, or does not answer.
    """
    spoken = _short(_with_tokens(answers))
    scores = await score(url, model, spoken, at_once=AT_ONCE)
    scores_again = await score(url, model, spoken[::-1], at_once=SCORED_AGAIN)
    keys = {s.key for s in scores} & {s.key for s in scores_again}
    if not keys:
        raise EngineError("no answer fits into the context of the baseline's server", "context")
    again = await _again(url, model, asked, asked.sampling, keys)
    keys &= {a.key for a in again}
    first, second, scored = only(answers, keys), only(again, keys), only_scored(scores, keys)
    found = BaselineAnswers(first, second, scored, only_scored(scores_again, keys), first, second, scored)
    return found if asked.greedy else await _with_greedy(url, model, asked, found)


async def _with_greedy(url: str, model: str, asked: Asked, found: BaselineAnswers) -> BaselineAnswers:
    """The same with greedy answers beside those that are drawn."""
    fields = GreedyFields(asked.sampling)
    keys = {a.key for a in found.answers}
    prompts = [p for p in asked.prompts if p.key in keys]
    greedy = await collect(url, model, prompts, fields, asked.max_tokens, at_once=FREE_AT_ONCE, skip_rejected=True)
    again = await _again(url, model, asked, fields, keys)
    scores = await score(url, model, _with_tokens(greedy))
    keys = {s.key for s in scores} & {a.key for a in again}
    return replace(
        found, greedy=only(greedy, keys), greedy_again=only(again, keys), greedy_scores=only_scored(scores, keys)
    )


async def _again(url: str, model: str, asked: Asked, sampling: RequestFields, keys: set[str]) -> Answers:
    """Answers to the same prompts in batches of another composition."""
    prompts = [p for p in asked.prompts if p.key in keys][::-1]
    return await collect(url, model, prompts, sampling, asked.max_tokens, at_once=FREE_AGAIN, skip_rejected=True)


def _with_tokens(answers: Answers) -> list[Answer]:
    return [a for a in answers if a.output_ids]


def _short(answers: list[Answer]) -> list[Answer]:
    """The answers that are short with their prompts; the shortest where few are."""
    by_length = sorted(answers, key=_length)
    return [a for place, a in enumerate(by_length) if _length(a) <= SHORT_TOKENS or place < ENOUGH]


def _length(answer: Answer) -> int:
    return len(answer.prompt_ids) + len(answer.output_ids)


def only(answers: Answers, keys: set[str]) -> Answers:
    """The answers to these prompts, in the order of the keys."""
    return Answers(tuple(sorted((a for a in answers if a.key in keys), key=lambda a: a.key)))


def only_scored(scores: Scores, keys: set[str]) -> Scores:
    """The scores of these answers, in the order of the keys."""
    return Scores(tuple(sorted((s for s in scores if s.key in keys), key=lambda s: s.key)))
