"""Buying through a batch API: what it costs, and what becomes of what it does not answer."""

from __future__ import annotations

import pytest
from asking import ask, ledger, request, with_client
from batch_server import BatchServer
from batching import FULL_NANO, KINDS, hurry, numbered, states, warned

import karat
from karat.errors import ProviderError, RecipeError, RunError
from karat.models import batch_clerk
from karat.models.asks import EmbedRequest
from karat.models.endpoint import Asker
from karat.models.spec import parse_model


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    hurry(monkeypatch)


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def text_of(body):
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else content[0]["text"]


def is_one_of(*numbers):
    wanted = {f"q{i}" for i in numbers}
    return lambda body: text_of(body) in wanted


# --- what it is for ----------------------------------------------------------------------------


def test_300_requests_go_out_as_one_batch_at_half_the_price(journal, kind):
    with BatchServer(kind, seconds=0.2) as server:
        found = ask(journal, server.model(), *numbered(300))
        assert server.calls["create"] == 1
        assert server.calls["direct"] == 0
        again = ask(journal, server.model(), *numbered(300))
        assert (again, server.calls["create"]) == (found, 1)
        assert len(server.executed) == 300
        assert set(server.executed.values()) == {1}
        assert server.files == {}  # the input is deleted
    assert len({answer.content for (answer,) in found}) == 300
    attempts = ledger(journal, table="attempts")
    assert {a["cost_nano"] for a in attempts} == {FULL_NANO // 2}
    assert {a["price"] for a in attempts} == {"recipe batch"}
    assert sum(row["cost_nano"] for row in ledger(journal)) == 300 * FULL_NANO // 2
    assert states(journal) == ["done"]


def test_each_answer_goes_to_its_own_question(journal):
    """By the same answers as without a batch."""
    with BatchServer("openai") as server:
        in_batch = ask(journal, server.model(), *numbered(20, n=3))
        direct = ask(journal.with_name("direct"), server.model(batch=False), *numbered(20, n=3))
        assert server.calls["direct"] == 60
    texts = [[[a.content for a in answers] for answers in found] for found in (in_batch, direct)]
    assert texts[0] == texts[1]


def test_samples_without_a_seed_have_equal_bodies_and_are_all_bought(journal):
    with BatchServer("anthropic") as server:
        (answers,) = ask(journal, server.model(), request(n=5))
        assert list(server.executed.values()) == [5]
        (more,) = ask(journal, server.model(), request(n=8))
    assert len({answer.content for answer in more}) == 8
    assert [a.content for a in more[:5]] == [a.content for a in answers]


def test_what_a_batch_may_hold_is_not_exceeded(journal, kind, monkeypatch):
    desk = {"openai": "OpenAIDesk", "anthropic": "AnthropicDesk"}[kind]
    module = pytest.importorskip(f"karat.models._batch_{kind}")
    monkeypatch.setattr(getattr(module, desk), "most_requests", 4)
    with BatchServer(kind) as server:
        ask(journal, server.model(), *numbered(10))
        assert sorted(made["size"] for made in server.batches.values()) == [2, 4, 4]
        monkeypatch.setattr(getattr(module, desk), "most_requests", 100)
        monkeypatch.setattr(getattr(module, desk), "most_bytes", 2000)
        ask(journal, server.model(), *(request(f"{i}" + 500 * "x") for i in range(5)))
        assert sorted(made["size"] for made in server.batches.values()) == [1, 2, 2, 2, 4, 4]


def test_budgets_reserve_the_full_price_and_book_the_reduced_one(journal):
    worst = 243_000  # half the body's length in tokens read, 7 written
    with BatchServer("openai") as server:
        model = server.model(budget_usd=4 * worst / 1e9)
        requests = [request("q" * 10 + str(i), max_tokens=7) for i in range(6)]
        ask(journal, model, *requests)
        assert [made["size"] for made in server.batches.values()] == [4, 2]
    assert sum(a["cost_nano"] for a in ledger(journal, table="attempts")) == 3 * FULL_NANO


def test_streams_and_embeddings_of_a_batch_model_are_direct(journal):
    with BatchServer("openai") as server:

        async def work(client):
            return await client.embed("m", EmbedRequest(("a", "b")), Asker("embed", "row"))

        assert with_client(journal, server.model(), work).shape == (2, 2)
        assert (server.calls["direct"], server.calls["create"]) == (1, 0)


def test_a_plan_shows_the_reduced_price(make_recipe):
    model = BatchServer("openai", url="http://h/v1").model()
    (_, reduced), (_, full) = (
        karat.plan(make_recipe({**model, "batch": b})) for b in (True, False)
    )
    assert reduced.cost_usd == pytest.approx(full.cost_usd / 2)
    assert reduced.cost_usd > 0
    assert parse_model(model).width(4) == 10_000


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"model": "openrouter/x/y"}, "openrouter offers no batch API"),
        ({"model": "openai/x", "base_url": "http://h/v1"}, "your own server offers no batch API"),
        ({"model": "openai/x", "wire": "responses"}, "over the responses wire"),
        ({"model": "vllm/x"}, "vllm offers no batch API that karat can reach; leave batch out"),
        ({"model": "openai/x", "stream": True}, "a batch is no stream"),
    ],
)
def test_a_batch_in_vain_is_refused_before_anything_is_spent(model, words):
    with pytest.raises(RecipeError, match=words):
        parse_model({**model, "batch": True}).check_written()


# --- what fails --------------------------------------------------------------------------------


def test_a_refused_request_fails_its_row_and_no_other(journal, kind):
    with BatchServer(kind, status=lambda body: 400 if is_one_of(3)(body) else 200) as server:
        found, warnings = warned(journal, server.model(), *numbered(6))
        assert server.calls["direct"] == 0
    assert isinstance(found[3], ProviderError)
    assert (found[3].status, found[3].kind) == (400, "row")
    assert "no good" in str(found[3])
    assert all(len(answers) == 1 for i, answers in enumerate(found) if i != 3)
    assert warnings == []
    assert states(journal) == ["done"]


def test_what_fails_for_a_while_in_a_batch_is_tried_again_directly(journal, kind):
    ill = True

    def status(body):
        return (529 if kind == "anthropic" else 500) if ill and is_one_of(1)(body) else 200

    def script(what, number):
        nonlocal ill
        ill &= what != "direct"

    with BatchServer(kind, status=status, script=script) as server:
        found, warnings = warned(journal, server.model(), *numbered(3))
        assert (server.calls["create"], server.calls["direct"]) == (1, 1)
    assert all(len(answers) == 1 for answers in found)
    costs = sorted(a["cost_nano"] for a in ledger(journal, table="attempts") if not a["error"])
    assert costs == [FULL_NANO // 2, FULL_NANO // 2, FULL_NANO]
    assert any("failed in a batch" in text for text in warnings)


@pytest.mark.parametrize("how", ["expires", "loses"])
def test_what_a_batch_does_not_answer_is_bought_directly(journal, kind, how):
    with BatchServer(kind, **{how: is_one_of(0, 4)}) as server:
        found, warnings = warned(journal, server.model(), *numbered(6))
        assert (server.calls["create"], server.calls["direct"]) == (1, 2)
        assert set(server.executed.values()) == {1}
    assert all(len(answers) == 1 for answers in found)
    costs = sorted(a["cost_nano"] for a in ledger(journal, table="attempts"))
    assert costs == [FULL_NANO // 2] * 4 + [FULL_NANO] * 2
    (text,) = warnings
    assert "left 2 of 6 requests unanswered" in text
    assert states(journal) == ["done"]


def test_a_batch_that_fails_validation_is_bought_directly(journal):
    with BatchServer("openai", invalid=("invalid_json_line", "line 1 is wrong")) as server:
        _, (text,) = warned(journal, server.model(), *numbered(3))
        assert (server.calls["create"], server.calls["direct"]) == (1, 3)
    assert "line 1 is wrong" in text
    assert states(journal) == ["done"]


def test_a_full_queue_is_met_with_smaller_batches(journal):
    with BatchServer("openai", invalid=("token_limit_exceeded", "too many tokens")) as server:

        def script(what, number):
            if what == "create" and number == 3:
                server.invalid = None

        server.behaviour["script"] = script
        found, warnings = warned(journal, server.model(), *numbered(8))
        assert server.calls["direct"] == 0
        assert [made["size"] for made in server.batches.values()][:3] == [8, 4, 4]
        assert set(server.executed.values()) == {1}
        assert len(server.executed) == 8
    assert warnings == []
    assert all(len(answers) == 1 for answers in found)


@pytest.mark.parametrize("status", [429, 500])
@pytest.mark.parametrize("what", ["upload", "create", "look", "results"])
def test_a_service_that_refuses_for_a_moment_is_asked_again(journal, kind, what, status):
    def script(asked, number):
        ill = asked == what and number <= 2
        return (status, {"error": {"message": "not now"}}) if ill else None

    with BatchServer(kind, script=script) as server:
        found, warnings = warned(journal, server.model(), *numbered(3))
        assert server.calls["direct"] == 0
        assert (len(server.batches), set(server.executed.values())) == (1, {1})
    assert all(len(answers) == 1 for answers in found)
    assert warnings == []


def test_a_batch_created_unheard_is_found_and_not_created_again(journal, kind):
    with BatchServer(kind, unheard="create") as server:
        found, warnings = warned(journal, server.model(), *numbered(3))
        assert (server.calls["create"], server.calls["direct"]) == (1, 0)
        assert set(server.executed.values()) == {1}
    assert all(len(answers) == 1 for answers in found)
    assert warnings == []


def test_a_refusal_for_good_is_bought_directly(journal, kind):
    def script(what, number):
        return (403, {"error": {"message": "no batches for you"}}) if what == "create" else None

    with BatchServer(kind, script=script) as server:
        _, (text,) = warned(journal, server.model(), *numbered(3))
        assert server.calls["direct"] == 3
    assert "no batches for you" in text
    assert states(journal) == ["done"]


def test_a_batch_the_service_forgot_is_bought_directly(journal, kind):
    with BatchServer(kind) as server:

        def script(what, number):
            return (404, {"error": {"message": "gone"}}) if what == "look" else None

        server.behaviour["script"] = script
        _, (text,) = warned(journal, server.model(), *numbered(3))
        assert server.calls["direct"] == 3
    assert "the service knows it no more" in text


def test_a_batch_that_never_ends_is_cancelled_then_bought_directly(journal, kind, monkeypatch):
    monkeypatch.setattr(batch_clerk, "OVERDUE_S", (0.3, 0.8))
    with BatchServer(kind, seconds=60) as server:
        _, (text,) = warned(journal, server.model(), *numbered(3))
        assert (len(server.cancelled), server.calls["direct"]) == (1, 3)
    assert "did not end in time" in text


def test_an_outage_stops_the_run_and_the_next_one_picks_the_batch_up(journal, kind, monkeypatch):
    monkeypatch.setattr(batch_clerk, "OUTAGE_S", 0.3)
    ill = True

    def script(what, number):
        return (503, {"error": {"message": "down"}}) if ill and what == "look" else None

    with BatchServer(kind, script=script) as server:
        found, _ = warned(journal, server.model(), *numbered(3))
        assert all(isinstance(error, RunError) for error in found)
        ill = False
        ask(journal, server.model(), *numbered(3))
        assert (len(server.batches), set(server.executed.values())) == (1, {1})
