"""The check of one candidate: its server scores the baseline's answers and answers the same prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rooftune.answers.answer import Answer, Answers
from rooftune.answers.collect import collect
from rooftune.evidence.records.quality import MeasureName
from rooftune.quality import measures
from rooftune.quality.baseline import FREE_AT_ONCE, Asked, BaselineAnswers, GreedyFields, only, only_scored
from rooftune.quality.per_prompt import AboveFloor, PerPrompt
from rooftune.quality.score import score
from rooftune.quality.scores import Scores

Differences = dict[MeasureName, AboveFloor]

TEACHER_FORCED: dict[MeasureName, Callable[[Scores, Scores], PerPrompt]] = {
    "top-1 disagreement": measures.disagreement,
    "KL divergence": measures.divergence,
    "ln perplexity ratio": measures.log_perplexity_ratio,
}
FREE: dict[MeasureName, Callable[[Sequence[Answer], Sequence[Answer]], PerPrompt]] = {
    "ln length ratio": measures.log_length_ratio,
    "lost ends": measures.lost_ends,
}


async def differences(
    url: str, model: str, asked: Asked, baseline: BaselineAnswers, *, speculates: bool = False
) -> Differences:
    """The measures of a candidate.

    Args:
        url: of the candidate's server.
        model: name to send in requests.
        asked: what the baseline was asked.
        baseline: what it answered.
        speculates: also check that greedy answers are those that the model finds most probable.

    Raises:
        EngineError: the server returns no token ids or log-probabilities, or does not answer.
    """
    scored = await score(url, model, baseline.answers)
    free = await _answers(url, model, asked, baseline.answers)
    keys = {s.key for s in scored} & {a.key for a in free}
    found = of_scores(
        only_scored(scored, keys), only_scored(baseline.scores, keys), only_scored(baseline.scores_again, keys)
    )
    found |= of_answers(only(free, keys), only(baseline.answers, keys), only(baseline.again, keys))
    return found | (await _speculation(url, model, asked, baseline, free) if speculates else {})


def of_scores(ours: Scores, baseline: Scores, again: Scores) -> Differences:
    """The teacher-forced measures: both servers score the baseline's answers."""
    return {
        name: AboveFloor(measure(ours, baseline), measure(again, baseline)) for name, measure in TEACHER_FORCED.items()
    }


def of_answers(ours: Answers, baseline: Answers, again: Answers) -> Differences:
    """The measures of free answers: their length, and whether they end by themselves."""
    return {name: AboveFloor(measure(ours, baseline), measure(again, baseline)) for name, measure in FREE.items()}


async def _speculation(url: str, model: str, asked: Asked, baseline: BaselineAnswers, free: Answers) -> Differences:
    """Greedy answers under speculation: those of the model alone, up to rounding."""
    greedy = free if asked.greedy else await _answers(url, model, asked, baseline.greedy, greedy=True)
    own = await score(url, model, [a for a in greedy if a.output_ids])
    keys = {s.key for s in own} & {s.key for s in baseline.greedy_scores}
    theirs, again = only(baseline.greedy, keys), only(baseline.greedy_again, keys)
    return of_speculation(only_scored(own, keys), only_scored(baseline.greedy_scores, keys)) | {
        "greedy difference": AboveFloor(
            measures.greedy_difference(only(greedy, keys), theirs), measures.greedy_difference(again, theirs)
        )
    }


def of_speculation(own: Scores, baseline: Scores) -> Differences:
    """How each server's greedy answers follow what it finds most probable."""
    return {"not greedy": AboveFloor(measures.not_greedy(own), measures.not_greedy(baseline))}


async def _answers(url: str, model: str, asked: Asked, known: Answers, *, greedy: bool = False) -> Answers:
    """The server's own answers to the prompts that the baseline answered."""
    keys = {a.key for a in known}
    prompts = [p for p in asked.prompts if p.key in keys]
    fields = GreedyFields(asked.sampling) if greedy else asked.sampling
    return await collect(url, model, prompts, fields, asked.max_tokens, at_once=FREE_AT_ONCE, skip_rejected=True)
