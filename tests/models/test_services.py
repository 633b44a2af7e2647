"""The services karat ships, and those a user adds."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from karat.errors import RecipeError
from karat.models.chat import ChatRequest
from karat.models.providers._decisions import FORMATS
from karat.models.services import SHIPPED, Service, own_services, parse_service, shipped
from karat.models.spec import parse_model, wires

HOSTED = [name for name, service in shipped().items() if not service.local]
LOCAL = ["vllm", "sglang", "ollama", "lmstudio", "llamacpp"]


def test_who_is_shipped():
    assert set(shipped()) == {
        "openai", "azure", "anthropic", "google", "nvidia", "n1n", "openrouter", "together",
        "fireworks", "groq", "deepseek", "mistral", "xai", "cohere", "huggingface", *LOCAL,
        "embedded", "anyllm",
    }  # fmt: skip


@pytest.mark.parametrize("name", HOSTED)
def test_a_hosted_service_is_reached_encrypted_and_has_a_key(name):
    service = shipped()[name]
    assert all(key.isupper() and key.isidentifier() for key in service.key_env)
    if service.base_url is not None:
        assert urlsplit(service.base_url).scheme == "https"
        assert not service.base_url.endswith("/")


def test_only_azure_must_be_told_where_it_is():
    assert [name for name in HOSTED if shipped()[name].base_url is None] == ["azure"]


@pytest.mark.parametrize("name", LOCAL)
def test_a_local_server_needs_no_key_and_is_on_this_machine(name):
    service = shipped()[name]
    assert service.local
    assert urlsplit(service.base_url).hostname == "127.0.0.1"


@pytest.mark.parametrize("name", shipped())
def test_what_a_service_says_of_itself_holds_together(name):
    service = shipped()[name]
    assert service.title
    assert service.n or service.max_n is None
    assert "n" not in service.refuses
    assert "seed" not in service.refuses
    assert set(service.thinking_refuses) <= set(ChatRequest.__struct_fields__)
    assert not (service.cost and service.cost_ticks)
    for path in (service.embeddings, service.rerank, service.decisions):
        form, _, where = path.rpartition(":")
        assert path == "" or where.startswith(("/", "../"))
        assert form in ("", *FORMATS)


@pytest.mark.parametrize("name", shipped())
def test_every_service_speaks_a_format_that_karat_has(name):
    assert shipped()[name].wire in wires()


def test_every_entry_says_where_its_facts_come_from():
    blocks = SHIPPED.read_text(encoding="utf-8").split("\n[")[1:]
    before = SHIPPED.read_text(encoding="utf-8").split("\n[")[:-1]
    for block, ahead in zip(blocks, before, strict=True):
        comment = ahead.rsplit("\n\n", 1)[-1]
        assert comment.startswith("#"), f"[{block.partition(']')[0]} has no source"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (3, "write its base_url and key_env as a mapping"),
        ({"base_ur": "x"}, "no key 'base_ur'; did you mean 'base_url'?"),
        ({"schema": "xml"}, "Invalid enum value 'xml'"),
        ({"max_n": 0}, "max_n"),
        ({"refuses": ["temprature"]}, "did you mean 'temperature'?"),
        ({"thinking_refuses": ["x"]}, "refuses 'x', which no request has"),
    ],
)
def test_a_mistake_in_a_service_is_named(value, said):
    with pytest.raises(RecipeError, match="provider 'mine'") as caught:
        parse_service("mine", value)
    assert said in str(caught.value)


def test_one_key_variable_may_be_written_alone():
    service = parse_service("mine", {"base_url": "http://h/v1", "key_env": "MINE"})
    assert service == Service(base_url="http://h/v1", key_env=("MINE",))
    assert not service.local


def test_services_of_ones_own(tmp_path):
    file = tmp_path / "config.toml"
    assert own_services(file) == {}
    file.write_text('[providers.mine]\nbase_url = "http://h/v1"\nn = false\n', encoding="utf-8")
    assert own_services(file) == {"mine": Service(base_url="http://h/v1", n=False)}
    assert parse_model("mine/m", own_services(file)).offered_by().n is False


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[providers\n", "cannot be read"),
        ("[provider.mine]\n", "write [providers.NAME] tables"),
        ("providers = 3\n", "write [providers.NAME] tables"),
        ("[providers.mine]\nbase = 1\n", "no key 'base'"),
    ],
)
def test_a_mistake_in_the_file_names_the_file(tmp_path, text, said):
    file = tmp_path / "config.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        own_services(file)
    assert str(file) in str(caught.value)
    assert said in str(caught.value)
