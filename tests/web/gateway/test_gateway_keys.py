"""Virtual keys: who may ask what for how much, and what is kept of a key."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading

import pytest
from click.testing import CliRunner
from conftest import wait_for
from gated import ASK, PRICE, ask, gated, made, refusal, using
from later import later
from wired import Upstream, Wired

from karat.cli import main
from karat.errors import RecipeError
from karat.models.spec import parse_model
from karat.web.gateway import keys
from karat.web.gateway.config import Config, KeyTerms, load
from karat.web.gateway.engine import Gateway

openai = later("openai")

TOKEN = "t" * 32


@pytest.fixture(scope="module")
def service():
    with Upstream() as made:
        yield made


@pytest.fixture
def wired(tmp_path, service):
    models = {"loop": service.model(price=PRICE), "free": service.model()}
    with Wired(tmp_path, models) as made:
        yield made


def test_once_there_is_a_key_every_request_must_bring_one(wired):
    assert ask(wired, "anything").choices
    secret = made(wired)
    for wrong in ("anything", secret[:-1], f"{secret}x", secret.upper(), "x" * 50_000):
        assert refusal(wired, wrong, openai.AuthenticationError).code == "invalid_api_key"
    assert ask(wired, secret).choices
    with using(wired, "wrong", default_headers={"x-api-key": secret}) as client:
        assert client.api_key == "wrong"
        with pytest.raises(openai.AuthenticationError):  # one that is wrong is not made good
            client.models.list()
    steps = [("key:local",), ("key:team",)]
    wait_for(lambda: wired.ledger("step") == steps)


def test_a_key_that_is_taken_away_or_over_holds_no_more(wired):
    secret, other = made(wired), made(wired, "other", days=1e-9)
    assert ask(wired, secret).choices
    assert refusal(wired, other, openai.AuthenticationError).code == "invalid_api_key"
    keys.remove(wired.gateway.run.path, "team")
    assert refusal(wired, secret, openai.AuthenticationError).code == "invalid_api_key"
    keys.remove(wired.gateway.run.path, "other")
    # No door opens because the last key went.
    assert refusal(wired, "anything", openai.AuthenticationError).status_code == 401


def test_the_servers_token_is_a_key_without_limits(tmp_path):
    with gated(tmp_path, token=TOKEN) as (_, wired, _):
        assert refusal(wired, "any", openai.AuthenticationError).status_code == 401
        assert ask(wired, TOKEN).choices
        secret = made(wired)
        assert ask(wired, secret).choices
        steps = [("key:token",), ("key:team",)]
        wait_for(lambda: wired.ledger("step") == steps)


def test_only_its_digest_is_kept_for_its_owners_eyes(tmp_path):
    secret = keys.add(tmp_path, "team", budget_usd=2, models=("a", "b/*"), days=3)
    kind, _, noise = secret.partition("-karat-")
    assert kind == "sk"
    assert len(noise) >= 43  # 32 bytes in base64
    file = tmp_path / keys.FILE
    assert file.stat().st_mode & 0o777 == 0o600
    text = file.read_text()
    assert noise not in text
    (one,) = json.loads(text)["keys"]
    assert one["sha256"] == hashlib.sha256(secret.encode()).hexdigest()
    assert (one["budget_usd"], one["models"]) == (2, ["a", "b/*"])
    assert one["expires"] - one["created"] == pytest.approx(3 * 86_400)


def test_a_key_is_its_whole_digest_and_no_part_of_it(wired):
    secret = made(wired)
    assert ask(wired, secret).choices
    digest, file = keys.digest_of(secret), wired.gateway.run.path / keys.FILE
    for place in (0, 31, 63):  # of 64 digits
        other = digest[:place] + ("0" if digest[place] != "0" else "1") + digest[place + 1 :]
        file.write_text(file.read_text().replace(digest, other))
        assert refusal(wired, secret, openai.AuthenticationError).code == "invalid_api_key"
        file.write_text(file.read_text().replace(other, digest))
        assert ask(wired, secret).choices


def test_what_one_key_bought_is_no_others_to_find(wired):
    def bought(secret: str) -> str:
        with using(wired, secret) as client:
            use = {"x-karat-cache": "use"}
            raw = client.chat.completions.with_raw_response.create(**ASK, extra_headers=use)
            return raw.headers["x-karat-cache"]

    first = made(wired)
    assert [bought(one) for one in (first, made(wired, "other"), first)] == ["miss", "miss", "hit"]
    keys.remove(wired.gateway.run.path, "team")
    assert bought(made(wired)) == "miss"  # somebody else's, by the same name


def test_keys_made_at_the_same_time_are_all_there(tmp_path):
    found = []
    threads = [
        threading.Thread(target=lambda i=i: found.append(keys.add(tmp_path, f"key{i}")))
        for i in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {one.name for one in keys.read(tmp_path / keys.FILE)} == {f"key{i}" for i in range(12)}
    assert len(set(found)) == 12


@pytest.mark.parametrize("name", ["", "a b", "../x", "local", "token", "x" * 65, "a\nb"])
def test_names_that_no_key_can_have(tmp_path, name):
    with pytest.raises(RecipeError):
        keys.add(tmp_path, name)
    assert not (tmp_path / keys.FILE).exists()


def test_a_file_that_cannot_be_read_is_said_so(tmp_path):
    (tmp_path / keys.FILE).write_text("{")
    with pytest.raises(RecipeError, match="damaged"):
        keys.Keyring(tmp_path, {}, lambda *_: 0)


def test_while_it_cannot_be_read_nobody_gets_in(wired):
    secret = made(wired)
    file = wired.gateway.run.path / keys.FILE
    whole = file.read_bytes()
    file.write_bytes(whole[:-9])
    error = refusal(wired, secret, openai.InternalServerError)
    assert (error.status_code, error.code) == (503, "keys_unreadable")
    assert str(file) not in error.message
    file.write_bytes(whole)
    assert ask(wired, secret).choices


def test_a_key_uses_only_its_models(wired):
    secret = made(wired, models=("loop", "embedded/*"))
    assert ask(wired, secret).choices
    for name in ("free", "nothing", "openai/loop"):  # whether there is one is not told either
        error = refusal(wired, secret, openai.PermissionDeniedError, model=name)
        assert (error.status_code, error.code) == (403, "model_not_allowed")
    with using(wired, secret) as client:
        names = [one.id for one in client.models.list()]
        assert names[0] == "loop"
        assert all(name == "loop" or name.startswith("embedded/") for name in names)
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("free")


# --- the config and the command line -------------------------------------------------------------


def test_a_config_names_models_and_keys(tmp_path, monkeypatch, service):
    monkeypatch.setenv("TEAM_KEY", "k" * 40)
    path = tmp_path / "serve.yaml"
    path.write_text(
        f"models: {{loop: {{model: openai/loop, base_url: '{service.url}'}}}}\n"
        "keys: {team: {key_env: TEAM_KEY, models: [loop]}}\nbudget_usd: 5\n"
    )
    config = load(path)
    assert (list(config.models), config.budget_usd) == (["loop"], 5)
    gateway = Gateway(tmp_path / "runs", config)
    try:
        assert gateway.caller("k" * 40).name == "team"
        assert not gateway.caller("k" * 40).may_use("other")
    finally:
        asyncio.run(gateway.close())


def test_a_recipes_budget_is_not_the_servers(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "models: {m: embedded/smollm2-135m}\nbudget_usd: 5\nsteps: [topics: {model: m}]\n"
    )
    config = load(path)
    assert (list(config.models), config.budget_usd) == (["m"], None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("modles: {}", "did you mean 'models'"),
        ("models: []", "a mapping"),
        ("models: {a: nobody/x}", "nobody/x"),
        ("keys: {a: {}}", "key_env"),
        ("keys: {a: {key_env: NOT_THERE}}", "NOT_THERE is not set"),
        ("keys: {local: {key_env: LONG}}", "own name"),
        ("keys: {a: {key_env: SHORT}}", "32 characters"),
        ("models: {a: embedded/smollm2-135m}\nrewards: {a: embedded/helpsteer2}", "rename one"),
    ],
)
def test_a_config_that_is_wrong_is_said_so(tmp_path, monkeypatch, text, words):
    monkeypatch.setenv("SHORT", "abc")
    monkeypatch.setenv("LONG", "l" * 40)
    path = tmp_path / "serve.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=words):
        Gateway(tmp_path, load(path))
    assert asyncio.run(_opens(tmp_path))  # and nothing is left locked


async def _opens(folder):
    gateway = Gateway(folder, Config({"m": parse_model("embedded/smollm2-135m")}))
    await gateway.close()
    return True


def test_a_secret_of_a_config_is_not_shown(monkeypatch):
    monkeypatch.setenv("SHORT", "abc-secret")
    with pytest.raises(RecipeError) as caught:
        KeyTerms("SHORT").secret()
    assert "abc-secret" not in str(caught.value)


def karat(*words):
    """(exit status, stdout, stderr) of a command."""
    done = CliRunner().invoke(main, [str(word) for word in words])
    return done.exit_code, done.stdout, done.stderr


def test_the_commands(tmp_path):
    where = ("--runs", tmp_path)
    more = ("--budget", "5", "--models", "a, b/*", "--expires", "30")
    code, out, said = karat("key", "add", "team", *more, *where)
    assert (code, out[:9], "cannot be shown again" in said) == (0, "sk-karat-", True)
    code, out, _ = karat("key", "list", *where)
    assert (code, out.splitlines()[1].split()[:4]) == (0, ["team", "$0.0000", "$5", "a,b/*"])
    (one,) = json.loads(karat("key", "list", "--json", *where)[1])
    assert (one["name"], one["spent_usd"], one["models"]) == ("team", 0, ["a", "b/*"])
    assert "sha256" not in one
    code, _, said = karat("key", "remove", "taem", *where)
    assert (code, said) == (2, "error: no key 'taem'; did you mean 'team'?\n")
    karat("key", "add", "other", *where)
    assert karat("key", "remove", "other", *where) == (0, "The key 'other' is gone.\n", "")
    code, out, said = karat("key", "remove", "team", *where)
    assert (code, out) == (0, "The key 'team' is gone.\n")
    assert "running and had a key goes on asking for one" in said
    assert "started now asks for none" in said
    out = karat("key", "list", *where)[1]
    assert out.startswith("No keys any more")
    assert "started now asks for none" in out
    assert "No keys yet" in karat("key", "list", "--runs", tmp_path / "other")[1]


@pytest.mark.parametrize("option", ["--budget=0", "--budget=-1", "--budget=nan", "--expires=0",
                                    "--models=,"])  # fmt: skip
def test_options_that_make_no_key(tmp_path, option):
    code, out, said = karat("key", "add", "team", option, "--runs", tmp_path)
    assert (code, out) == (2, "")
    assert said.startswith("error: --")
