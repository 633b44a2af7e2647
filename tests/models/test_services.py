"""The services karat ships, and those a user adds."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from karat.errors import RecipeError
from karat.models.chat import ChatRequest
from karat.models.providers._decisions import FORMATS
from karat.models.services import (
    SHIPPED,
    Service,
    own_services,
    parse_service,
    read_headers,
    shipped,
)
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
        ({"schema": "xml"}, "schema: expected one of json_object, json_schema, prompt, got 'xml'"),
        ({"max_n": 0}, "max_n"),
        ({"refuses": ["temprature"]}, "did you mean 'temperature'?"),
        ({"thinking_refuses": ["x"]}, "refuses 'x', which no request has"),
        ({7: "x"}, "no key '7'"),
        ({"refuses": "top_k"}, "write a list: [top_k]"),
        ({"rpm": 0}, "rpm: expected int >= 1"),
        ({"base_url": 7}, "base_url: expected str"),
        ({"base_url": "ftp://h"}, "must begin with http:// or https://"),
        ({"extra": {"a": float("nan")}}, "extra.a: must be a finite number"),
        ({"headers": {"x y": "1"}}, "no header can hold"),
        ({"headers": {"x": "1\n2"}}, "no header can hold"),
    ],
)
def test_a_mistake_in_a_service_is_named(value, said):
    with pytest.raises(RecipeError, match="provider 'mine'") as caught:
        parse_service("mine", value)
    assert said in str(caught.value)


@pytest.mark.parametrize("name", [7, "a/b", "", "a b"])
def test_a_provider_is_called_so_that_models_can_name_it(name):
    with pytest.raises(RecipeError, match="its name must be text"):
        parse_service(name, {"base_url": "http://h/v1"})


@pytest.mark.parametrize(
    "value",
    [
        {"base_url": "http://me:hunter2@h/v1"},
        {"base_url": "http://h/v1?key=hunter2"},
        {"base_url": "http://h/v1#hunter2"},
        {"headers": {"Authorization": "hunter2"}},
        {"headers": {"x-gateway-key": "hunter2"}},
        {"headers": {"X-Auth-Token": "hunter2"}},
        {"headers": {"x-any": "Bearer hunter2"}},
        {"headers": {"x-any": "sk-hunter2"}},
        {"extra": {"api_key": "hunter2"}},
    ],
)
def test_no_secret_of_a_service_gets_into_files(value):
    with pytest.raises(RecipeError, match=r"provider 'mine'.*would land in files") as caught:
        parse_service("mine", value)
    assert "hunter2" not in str(caught.value)
    given = {"base_url": "http://h/v1", **value}
    with pytest.raises(RecipeError, match="would land in files"):  # as a resolved recipe has it
        parse_model({"model": "mine/m", "service": given}).check_written()


@pytest.mark.parametrize(
    "headers",
    [{"HTTP-Referer": "https://h", "X-Title": "t"}, {"openai-organization": "org-1"},
     {"x-key": "$MINE"}, {"Authorization": "Basic ${MINE}"}],
)  # fmt: skip
def test_headers_that_hold_no_secret_are_as_they_are(headers):
    assert parse_service("mine", {"headers": headers}).headers == headers


def test_a_header_is_read_from_the_environment(monkeypatch):
    monkeypatch.delenv("MINE", raising=False)
    service = parse_service("mine", {"headers": {"X-Key": "a ${MINE}", "x-cost": "5$"}})
    with pytest.raises(RecipeError, match="variable MINE"):
        read_headers(service)
    monkeypatch.setenv("MINE", "hunter2\n")
    assert read_headers(service) == ({"x-key": "a hunter2", "x-cost": "5$"}, ["hunter2"])
    monkeypatch.setenv("MINE", "hunt\ner")
    with pytest.raises(RecipeError, match="cannot be sent"):
        read_headers(service)


@pytest.mark.parametrize(
    ("model", "seller"),
    [
        ({"model": "openai/x", "base_url": "https://integrate.api.nvidia.com/v1"}, "nvidia"),
        ({"model": "openai/x", "base_url": "https://api.openai.com/v1"}, "openai"),
        ({"model": "openai/x", "base_url": "https://me.openai.azure.com/openai/v1"}, "azure"),
        ({"model": "openai/x", "base_url": "http://127.0.0.1:8000/v1"}, "vllm"),
        ({"model": "groq/x", "base_url": "https://proxy.example/v1"}, "groq"),
        ("nim/x", "nvidia"), ("mine/x", "mine"), ("groq/x", "groq at h"),
    ],
)  # fmt: skip
def test_prices_and_terms_are_those_of_the_address(model, seller):
    """A vendor's address under another name has the vendor's terms; a vendor's name somewhere else
    has not its prices."""
    own = {
        "nim": Service(base_url="https://integrate.api.nvidia.com/v1", key_env=("K",)),
        "mine": Service(base_url="https://h/v1", key_env=("K",)),
    }
    if model == "groq/x":
        own["groq"] = own["mine"]
    assert parse_model(model, own).seller == seller


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
