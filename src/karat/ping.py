"""One real call of a model, to see that it answers, how fast, and what that costs.

It goes through the very client a run uses, over a journal that is thrown away: what is shown is
what a run's ledger would say. Nothing is tried twice; a model's fallbacks are called as well, each
by itself, since a run would learn only of the first that is up.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec

from karat.errors import KaratError, ProviderError, RecipeError, did_you_mean
from karat.journal import look_up, open_journal
from karat.ledger import Attempt
from karat.models import catalogue
from karat.models.budget import Budget
from karat.models.chat import ChatRequest, Completion
from karat.models.client import Client
from karat.models.endpoint import Asker
from karat.models.rights import Rights
from karat.models.spec import ModelSpec, parse_model
from karat.overrides import override
from karat.reachable import recipe_models
from karat.row import Message

PROMPT = "Say hello in five words."
MAX_TOKENS = 64
MAX_TOKENS_THINKING = 4096  # thoughts count into it, and some formats want 1,024 for them alone
POLL_S = 0.02
ADVICE = {
    "wait": "too many requests just now, or none allowed to this key; wait a little",
    "retry": "the service is in trouble; try again later",
    "timeout": "it is slow or hangs; raise timeout_s, or look at the server",
    "connection": "the connection broke; is base_url right, and the server well?",
    "unreadable": "it does not speak this format; check base_url and wire",
    "row": "it does not take this request; change what --set says",
    "context": "its context is too small for the answer asked for; lower max_tokens",
    "content": "it refuses the content of this request",
}


class Pinged(msgspec.Struct):
    """What came of it: an answer, or `error` in words. `attempt` is the ledger's row, None where
    nothing was sent. `label` is the name asked for, `name+1` of a fallback."""

    label: str
    model: str
    max_tokens: int
    rights: Rights
    answer: Completion | None = None
    attempt: Attempt | None = None
    error: str = ""


def ping(
    model: str, recipe: str | Path | None = None, overrides: Sequence[str] = ()
) -> list[Pinged]:
    """Calls `provider/name`, or a model that `recipe` names, then each of its fallbacks.

    `overrides` change the model (`temperature=0.2`, `base_url=http://…`), or with a recipe a value
    of it (`models.teacher.temperature=0.2`). Raises: RecipeError when it is not to be understood.
    """
    spec = _spec(model, recipe, overrides)
    spec.check_written()
    return asyncio.run(_ping_all(model, spec))


def _spec(model: str, recipe: str | Path | None, overrides: Sequence[str]) -> ModelSpec:
    ours = [text for text in overrides if not (recipe and text.startswith("models."))]
    value: Any = model
    if recipe is not None:
        found = recipe_models(recipe, [text for text in overrides if text not in ours])
        if model in found:
            value = found[model]
        elif "/" not in model:
            raise RecipeError(f"{recipe} has no model '{model}'; {did_you_mean(model, found)}")
    elif "/" not in model:
        raise RecipeError(f"'{model}' is no provider/name; a recipe's own names need --recipe FILE")
    if not ours:
        return parse_model(value)
    if isinstance(value, ModelSpec):
        value = msgspec.to_builtins(value)
    tree: dict[str, Any] = {"models": {"it": value}, "steps": []}
    for text in ours:
        override(tree, f"models.it.{text}")
    return parse_model(tree["models"]["it"])


async def _ping_all(label: str, spec: ModelSpec) -> list[Pinged]:
    return [
        await _ping(f"{label}+{number}" if number else label, one)
        for number, one in enumerate(spec.route())
    ]


async def _ping(label: str, spec: ModelSpec) -> Pinged:
    """Streamed, so that the first token's time is known; never by batch, which takes a day."""
    spec = msgspec.structs.replace(spec, fallbacks=(), stream=True, batch=False, attempts=1)
    most = spec.max_tokens or (MAX_TOKENS_THINKING if _thinks(spec) else MAX_TOKENS)
    made = Pinged(label, spec.model, most, spec.rights())
    request = ChatRequest((Message("user", PROMPT),), 1, max_tokens=most)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.sqlite"
        error: KaratError | None = None
        try:
            spec.check()
            made.answer = await _once(spec, path, request)
        except KaratError as failure:
            error = failure
        made.attempt = _attempt(path)
    if made.answer is None:
        made.error = _words(spec, made.attempt, error)
    return made


def _thinks(spec: ModelSpec) -> bool:
    """Whether the answer may begin with thoughts, as far as anybody says."""
    if spec.reasoning is not None:
        return spec.reasoning != "none"
    card = catalogue.card(spec.seller, spec.name)
    return card is not None and bool(card.reasoning)


async def _once(spec: ModelSpec, path: Path, request: ChatRequest) -> Completion | None:
    """The answer; None when the service told us to wait. Raises: ProviderError, RunError."""
    journal = open_journal(path)
    client = Client({"it": spec}, journal, Budget(None))
    asked = asyncio.ensure_future(client.chat("it", request, Asker("ping", "")))
    try:
        # The client would sit out a hundred refusals, as a run should; here one is the answer.
        while not asked.done() and not client.endpoint("it").tally.retries:
            await asyncio.wait([asked], timeout=POLL_S)
        return (await asked)[0] if asked.done() else None
    finally:
        asked.cancel()
        with suppress(asyncio.CancelledError, KaratError):
            await asked
        await client.close()
        await journal.close()


def _attempt(path: Path) -> Attempt | None:
    """The ledger's row of the last attempt."""
    names = Attempt.__struct_fields__
    rows = look_up(path, f"SELECT {', '.join(names)} FROM attempts ORDER BY started DESC LIMIT 1")
    return Attempt(*rows[0]) if rows else None


def _words(spec: ModelSpec, attempt: Attempt | None, error: KaratError | None) -> str:
    """What went wrong and what to do about it."""
    said = str(error) if error is not None else attempt.message if attempt is not None else ""
    kind = attempt.error if attempt is not None else ""
    if (error is None or isinstance(error, ProviderError)) and kind in ADVICE:
        said = f"{said}: {ADVICE[kind]}"
    if attempt is not None and attempt.status == 404:
        names = (name for name in catalogue.shelf(spec.seller).entries if name != spec.name)
        near = get_close_matches(spec.name, names, n=3, cutoff=0.6)
        if near:
            said = f"{said}. It is known to have {', '.join(near)}"
    return said
