"""The answers that a file of prompts has, as token ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rooftune.answers.answer import Answer, Answers
from rooftune.workloads.texts.prompt_text import Message, PromptText

Encode = Callable[[str], Sequence[int]]
EncodeChat = Callable[[Sequence[Message]], Sequence[int]]


def recorded_answers(prompts: Sequence[PromptText], text: Encode, chat: EncodeChat, *, as_chat: bool) -> Answers:
    """The answers that a file of prompts has, as token ids: of each prompt, and of each turn of a conversation.

    Args:
        text: token ids of a text.
        chat: token ids of messages, up to where the answer begins.
        as_chat: prompts are sent as messages.
    """
    return Answers(tuple(a for p in prompts for a in _answers(p, text, chat, as_chat)))


def _answers(prompt: PromptText, text: Encode, chat: EncodeChat, as_chat: bool) -> Iterator[Answer]:
    messages = list(prompt.as_messages())
    asked = text(prompt.text) if prompt.text is not None and not as_chat else chat(messages)
    answer = prompt.answer
    for number, turn in enumerate((None, *prompt.turns)):
        if turn is not None:
            if not answer:
                return  # what follows would have another history than the server's
            messages += [turn.after or {"role": "assistant", "content": answer}, *turn.messages]
            asked, answer = chat(messages), turn.answer
        if answer:
            yield Answer(f"{prompt.key}/{number}", tuple(asked), tuple(text(answer)), "stop", answer)
