"""What can be asked from here: who is contacted, what is said of keys, what recipes name."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from karat import reachable
from karat.errors import RecipeError
from karat.models.services import Service, shipped
from karat.models.spec import parse_model
from karat.reachable import find_models, reach, recipe_models, resolve

KEY = "sk-secret-0123456789"
VLLM = {"object": "list", "data": [{"id": "Qwen/Qwen3-8B", "max_model_len": 40960}]}


@contextmanager
def listing(body=VLLM, status=200, slow_s=0.0, trickle_s=0.0):
    """A server with one reply to every GET, and the requests it got as (path, headers)."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append((self.path, dict(self.headers)))
            time.sleep(slow_s)
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            with suppress(OSError):  # whoever asked may have gone
                for place in range(0, len(data), 10):
                    self.wfile.write(data[place : place + 10])
                    time.sleep(trickle_s)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def nothing_near():
    """An address on this machine where nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}/v1"


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No keys, no config.toml, and none of the user's servers."""
    for service in shipped().values():
        for name in service.key_env:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    far = {name: service for name, service in shipped().items() if service.key_env}
    known = {**far, "embedded": shipped()["embedded"]}
    monkeypatch.setattr(reachable, "shipped", lambda: known)
    return known


def own(tmp_path, text):
    (tmp_path / "config" / "karat").mkdir(parents=True)
    (tmp_path / "config" / "karat" / "config.toml").write_text(text)


def by_name(found):
    return {one.name: one for one in found}


def test_hosted_services_are_not_contacted_unasked(alone, monkeypatch):
    monkeypatch.setattr(reachable, "LOOPBACK", ())
    with listing() as (url, seen):
        alone["openai"] = Service(base_url=url, key_env=("OPENAI_API_KEY",))
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        (one,) = [x for x in reach() if x.name == "openai"]
        assert (one.ready, one.offers, one.said) == (True, None, "key in OPENAI_API_KEY")
        assert seen == []
        (one,) = [x for x in reach(ask=True) if x.name == "openai"]
        assert [offer.name for offer in one.offers] == ["Qwen/Qwen3-8B"]
        ((path, headers),) = seen
        assert path == "/v1/models"
        assert headers["authorization"] == f"Bearer {KEY}"
        assert KEY not in repr(one)


def test_without_a_key_a_hosted_service_is_not_asked_at_all(alone, monkeypatch):
    monkeypatch.setattr(reachable, "LOOPBACK", ())
    with listing() as (url, seen):
        alone.clear()
        alone["openai"] = Service(base_url=url, key_env=("OPENAI_API_KEY",))
        (one,) = reach(ask=True)
        assert (one.ready, one.said, seen) == (False, "no key: OPENAI_API_KEY", [])


def test_any_of_several_variables_holds_the_key(monkeypatch):
    assert by_name(reach())["google"].said == "no key: GEMINI_API_KEY or GOOGLE_API_KEY"
    monkeypatch.setenv("GEMINI_API_KEY", "  ")
    monkeypatch.setenv("GOOGLE_API_KEY", KEY)
    google = by_name(reach())["google"]
    assert (google.key, google.ready) == ("GOOGLE_API_KEY", True)


def test_a_running_server_says_what_it_serves(alone, nothing_near):
    with listing() as (url, _):
        alone["vllm"] = Service(base_url=url)
        alone["ollama"] = Service(base_url=nothing_near)
        found = by_name(reach())
    assert (found["vllm"].ready, found["vllm"].said) == (True, "running")
    assert (found["ollama"].ready, found["ollama"].said) == (False, "not running")
    (known,) = find_models("qwen3", [found["vllm"], found["ollama"]])
    assert (known.model, known.card.context, known.price) == ("vllm/Qwen/Qwen3-8B", 40960, None)
    assert known.ready


def test_slow_servers_are_asked_together_and_given_up(alone, monkeypatch):
    monkeypatch.setattr(reachable, "LOCAL_S", 0.5)
    with listing(slow_s=1.5) as (url, seen):
        for name in ("vllm", "sglang", "ollama", "llamacpp"):
            alone[name] = Service(base_url=url)
        began = time.perf_counter()
        found = by_name(reach())
        took = time.perf_counter() - began
        assert {found[n].said for n in ("vllm", "ollama")} == {"no answer within 0.5 s"}
        assert len(seen) == 4
        assert took < 1.5  # one after another two seconds


def test_a_list_that_trickles_in_is_given_up_too(alone, monkeypatch):
    monkeypatch.setattr(reachable, "LOCAL_S", 0.2)
    with listing(trickle_s=0.1) as (url, _):
        alone["vllm"] = Service(base_url=url)
        assert by_name(reach())["vllm"].said == "no answer within 0.2 s"


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, b"<html>hello</html>", "with no list of models"),
        (200, b'{"data": null}', "with no list of models"),
        (404, b"not here", "HTTP 404"),
        (401, b'{"error": {"message": "who are you"}}', "who are you"),
    ],
)
def test_what_answers_otherwise_is_said(alone, status, body, said):
    with listing(body, status) as (url, _):
        alone["vllm"] = Service(base_url=url)
        one = by_name(reach())["vllm"]
    assert said in one.said
    assert (one.ready, one.offers) == (False, None)


def test_a_key_that_a_service_echoes_is_hidden(alone, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with listing({"error": {"message": f"bad key {KEY}"}}, 401) as (url, _):
        alone["openai"] = Service(base_url=url, key_env=("OPENAI_API_KEY",))
        one = by_name(reach())["openai"]
    assert "bad key" in one.said
    assert KEY not in repr(one)


def test_a_key_no_header_can_carry_is_said(alone, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-\u2026")
    with listing() as (url, seen):
        alone["openai"] = Service(base_url=url, key_env=("OPENAI_API_KEY",))
        one = by_name(reach())["openai"]
    assert "characters that no key has" in one.said
    assert (one.ready, seen) == (False, [])


def test_ones_own_services_come_first(tmp_path, nothing_near):
    port = nothing_near.rpartition(":")[2]
    own(
        tmp_path,
        f'[providers.corp]\nbase_url = "http://127.0.0.1:{port}"\n'
        '[providers.groq]\nbase_url = "https://groq.corp.example/v1"\nkey_env = "CORP_KEY"\n',
    )
    found = reach()
    assert [(one.name, one.own) for one in found[:3]] == [
        ("corp", True), ("groq", True), ("openai", False)
    ]  # fmt: skip
    assert found[0].address == f"http://127.0.0.1:{port}"
    assert by_name(found)["groq"].said == "no key: CORP_KEY"
    assert len([one for one in found if one.name == "groq"]) == 1


def test_a_server_of_ones_own_has_no_vendors_price(tmp_path):
    with listing({"data": [{"id": "gpt-5"}]}) as (url, _):
        own(tmp_path, f'[providers.openai]\nbase_url = "{url}"\n')
        found = reach()
    (known,) = find_models("openai", found)
    assert (known.model, known.price, known.ready) == ("openai/gpt-5", None, True)


def test_a_broken_config_is_named(tmp_path):
    own(tmp_path, "[providers.corp]\nbase_ur = 'http://x'\n")
    with pytest.raises(RecipeError, match=r"config\.toml.*base_url"):
        reach()


def test_models_are_found_by_part_of_their_name(monkeypatch):
    monkeypatch.setenv("GROQ_API_KEY", KEY)
    services = reach()
    llamas = find_models("LLAMA-3.3", services)
    assert all("llama-3.3" in known.model.lower() for known in llamas)
    assert {"groq", "openrouter"} <= {known.model.partition("/")[0] for known in llamas}
    ready = [known.ready for known in llamas]
    assert ready == sorted(ready, reverse=True)
    assert {k.model.partition("/")[0] for k in llamas if k.ready} == {"groq"}
    assert {k.model.partition("/")[0] for k in find_models("openai", services)} == {"openai"}
    (dated,) = (k for k in find_models("gpt-5-2025-08-07", services) if k.model == "openai/gpt-5")
    assert (dated.price.input, dated.price.output, dated.price.cached) == (1.25, 10.0, 0.125)
    assert (dated.rights.training, dated.card.tools) == ("no", True)
    assert find_models("no-such-model", services) == []


def test_a_list_brings_its_own_prices_and_rights(alone, monkeypatch):
    monkeypatch.setenv("OPENROUTER_API_KEY", KEY)
    entry = {"id": "lab/new-1", "context_length": 9000, "is_trainable_text": False,
             "pricing": {"prompt": "0.0000005", "completion": "0.000002"}}  # fmt: skip
    with listing({"data": [entry]}) as (url, _):
        alone["openrouter"] = Service(base_url=url, key_env=("OPENROUTER_API_KEY",))
        found = [one for one in reach() if one.name == "openrouter"]
    (known,) = find_models("", found)
    assert (known.price.input, known.price.output) == (0.5, 2.0)
    assert known.price_from == "openrouter's own list"
    assert (known.rights.training, known.card.context) == ("no", 9000)


RECIPE = """
models:
  small: embedded/smollm2-135m
  teacher:
    - {model: openai/gpt-5, key_env: NOT_SET}
    - {model: openai/mine, base_url: "http://127.0.0.1:1/v1", price: {input: 1, output: 2}}
steps:
  - topics: {model: teacher, n: 2}
  - respond: {models: [small, groq/llama-3.3-70b-versatile]}
"""


def test_a_recipes_models_are_resolved_whether_or_not_they_can_be_called(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(RECIPE)
    found = {known.label: known for known in resolve(recipe_models(path))}
    assert list(found) == ["small", "teacher", "teacher+1", "groq/llama-3.3-70b-versatile"]
    assert found["teacher"].note.startswith("the key variable NOT_SET is not set")
    own_server = found["teacher+1"]
    assert (own_server.ready, own_server.price_from) == (True, "recipe")
    assert (own_server.price.input, own_server.address) == (1, "http://127.0.0.1:1/v1")
    assert own_server.rights.licence != found["teacher"].rights.licence
    assert "GROQ_API_KEY" in found["groq/llama-3.3-70b-versatile"].note
    changed = recipe_models(path, ["models.small.temperature=0.5"])
    assert changed["small"].temperature == 0.5


def test_a_recipe_that_names_no_such_model_is_refused(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(RECIPE.replace("model: teacher", "model: teecher"))
    with pytest.raises(RecipeError, match=r"step 1.*did you mean 'teacher'"):
        recipe_models(path)


def test_a_model_of_ones_own_service_is_resolved_there(tmp_path):
    own(tmp_path, '[providers.corp]\nbase_url = "http://10.0.0.1/v1"\nkey_env = "CORP_KEY"\n')
    (known,) = resolve({"m": parse_model("corp/x")})
    assert "CORP_KEY" in known.note
