"""Tokens of texts: by a tokenizer file, by a server, and estimated where there is neither."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from web_app import served

from rooftune.engines.prompt_lengths import encoder_for, with_lengths
from rooftune.errors import InputError
from rooftune.workloads.draw import draw
from rooftune.workloads.texts.encoders import Encoder, Estimate, FromServer, from_folder
from tests.workloads.texts.test_text_workloads import numbered, talk, workload

USER = {"role": "user", "content": "one two three"}


def model_with_tokenizer(folder: Path) -> Path:
    """A model folder whose tokenizer has one token for each word, and one that begins every text."""
    tokenizers = pytest.importorskip("tokenizers")
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing

    words = ["<s>", "<unk>", "user", "assistant", "one", "two", "three", "question", "number", "about", "the", "river"]
    made = tokenizers.Tokenizer(WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = Whitespace()
    made.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    model = folder / "model"
    model.mkdir()
    made.save(str(model / "tokenizer.json"))
    (model / "config.json").write_text("{}")
    return model


def test_a_model_folder_counts_with_its_own_tokenizer(tmp_path: Path) -> None:
    found = from_folder(model_with_tokenizer(tmp_path))
    assert found is not None
    assert list(found.text("one two three")) == [0, 4, 5, 6]
    more = [
        USER,
        {"role": "assistant", "content": "one"},
        {"role": "user", "content": [{"type": "text", "text": "two"}]},
    ]
    assert len(found.chat(more)) == len(found.chat([USER])) + (1 + 1 + 3) + (1 + 1 + 3)
    assert found.words == "the tokenizer in model"


TEMPLATE = (
    "{{ bos_token }} {% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
    "user {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant{% endif %}"
)


@pytest.mark.parametrize("place", ["file", "config", "named"])
def test_messages_are_counted_in_the_models_own_template(tmp_path: Path, place: str) -> None:
    model = model_with_tokenizer(tmp_path)
    config: dict[str, object] = {"bos_token": {"content": "one"}}
    if place == "file":
        (model / "chat_template.jinja").write_text(TEMPLATE)
    else:
        named = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": TEMPLATE}]
        config["chat_template"] = named if place == "named" else TEMPLATE
    (model / "tokenizer_config.json").write_text(json.dumps(config))
    found = from_folder(model)
    assert found is not None
    assert list(found.chat([USER])) == [4, 2, 4, 5, 6, 3], "bos, user, three words, assistant"
    assert len(found.chat([{"role": "tool", "content": "one"}])) > 3, "what the template refuses is estimated"


@pytest.mark.parametrize("template", ["{% for %}", "{{ messages[9].content }}", "{{ ''.__class__.__mro__ }}"])
def test_a_template_that_cannot_be_used_is_estimated(tmp_path: Path, template: str) -> None:
    model = model_with_tokenizer(tmp_path)
    plain = from_folder(model)
    (model / "chat_template.jinja").write_text(template)
    found = from_folder(model)
    assert found is not None
    assert plain is not None
    assert list(found.chat([USER])) == list(plain.chat([USER]))


def test_a_folder_without_a_tokenizer_has_none(tmp_path: Path) -> None:
    assert from_folder(tmp_path) is None


def test_a_broken_tokenizer_is_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match=r"tokenizer\.json is not a tokenizer"):
        from_folder(tmp_path)


def test_which_tokenizer_counts(tmp_path: Path) -> None:
    model = model_with_tokenizer(tmp_path)
    assert encoder_for(str(model)).source == "tokenizer"
    assert encoder_for(str(model / "config.json")).source == "tokenizer"
    assert isinstance(encoder_for(str(model), simulated=True), Estimate)
    assert isinstance(encoder_for("llama-2-7b"), Estimate)
    assert isinstance(encoder_for("llama-2-7b", "http://127.0.0.1:9"), Estimate), "nobody is there"


def test_lengths_of_a_tokenizer_replace_the_estimate(tmp_path: Path) -> None:
    model = model_with_tokenizer(tmp_path)
    begun = workload(tmp_path, numbered(5))
    counted = with_lengths(begun, encoder_for(str(model)), tmp_path / "lengths.json")
    plan = draw(counted)
    assert (plan.counted, set(plan.prompt_tokens.tolist())) == ("tokenizer", {7})
    assert draw(begun).counted == "estimate"


def test_lengths_of_another_file_or_api_are_not_used(tmp_path: Path) -> None:
    begun = workload(tmp_path, numbered(5))
    counted = with_lengths(begun, Marked(), tmp_path / "lengths.json")
    assert draw(counted).counted == "server"
    chat = counted.model_copy(update={"endpoint": "chat"})
    assert draw(chat).counted == "estimate"
    assert counted.prompts is not None
    other = workload(tmp_path, numbered(6)).with_part("all", counted.prompts.lengths)
    assert draw(other).counted == "estimate"


class Marked(Estimate):
    """An estimate with the name of another source."""

    source = "server"


@contextlib.asynccontextmanager
async def tokenizing() -> AsyncIterator[str]:
    """A server whose tokens are the words."""

    async def tokenize(request: web.Request) -> web.Response:
        asked = await request.json()
        assert asked["model"] == "m"
        words = asked["prompt"].split() if "prompt" in asked else ["<s>", *asked["messages"][0]["content"].split()]
        return web.json_response({"count": len(words), "tokens": [len(w) for w in words]})

    app = web.Application()
    app.router.add_post("/tokenize", tokenize)
    async with served(app) as url:
        yield url


async def test_a_server_counts_with_its_template() -> None:
    async with tokenizing() as url:
        found: Encoder = FromServer(url, "m")
        assert list(await asyncio.to_thread(found.text, "one two three")) == [3, 3, 5]
        assert len(await asyncio.to_thread(found.chat, [USER])) == 4
        chosen = await asyncio.to_thread(encoder_for, "m", url)
        assert chosen.source == "server"


async def test_a_server_that_does_not_tokenize() -> None:
    with pytest.raises(InputError, match="/tokenize does not answer with tokens"):
        await asyncio.to_thread(FromServer("http://127.0.0.1:9", "m").text, "a")


def test_conversations_are_counted_turn_by_turn(tmp_path: Path) -> None:
    model = model_with_tokenizer(tmp_path)
    begun = workload(tmp_path, [talk("one", "two three", answer="one two")])
    plan = draw(with_lengths(begun, encoder_for(str(model)), tmp_path / "lengths.json"))
    opening = 2 + 3 + 1 + 3
    assert plan.prompt_tokens[:2].tolist() == [opening, opening + 3 + (3 + 3 + 1 + 3)]
