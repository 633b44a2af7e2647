"""The bill of one reply: a ledger row for the request, a record for each answer.

Order of truth for the cost: what the provider says it cost, the user's rate, the shipped map, else
unknown, never 0. Shares of tokens and cost add up exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from karat.ledger import Attempt, Record
from karat.models.chat import Usage
from karat.models.orders import Answer, Bought

if TYPE_CHECKING:
    from karat.models.call import Call

CHARACTERS_PER_TOKEN = 4  # for services that report no usage; marked as estimated
REDUCED = "karat-batch"  # reply header: this answer was bought at the batch API's price


def bill(call: Call, bought: Bought, keys: list[bytes]) -> tuple[list[Record], Attempt]:
    """One record per answer, and the attempt that bought them."""
    endpoint, usage, places = call.endpoint, bought.usage, call.places
    answers = bought.answers[: len(places)]
    estimated = usage.input is None
    if usage.input is None:
        usage.input = call.prompt_tokens
    tokens, guessed = _tokens(answers, usage.output)
    usage.output = sum(tokens)
    made = call.record()
    rates = endpoint.reduced if call.reduced else endpoint.rates
    cost: int | None = None
    if usage.cost_nano is not None:
        cost, made.price = usage.cost_nano, "provider"
    elif rates is not None:
        cost = rates.cost_nano(usage, call.started, call.busy_s)
        made.price = rates.version
    made.cost_nano = cost
    made.served = bought.served
    made.samples = len(answers)
    made.prompt_tokens, made.completion_tokens = usage.input, usage.output
    made.cached_tokens, made.cache_write_tokens = usage.cached, usage.cache_write
    made.reasoning_tokens = usage.reasoning
    made.tokens_from = "estimated" if estimated or guessed else "reported"
    made.finish_reason = answers[0].finish_reason if answers else ""
    made.body = call.post.body.decode()
    endpoint.tally.tokens_out += usage.output
    endpoint.tally.answers += len(answers)
    prompt = shares(usage.input, [1] * len(answers))
    costs: Sequence[int | None] = [None] * len(answers)
    if cost is not None:
        costs = shares(cost, tokens)
    records = [
        _record(call, made, keys, answer, place, i, prompt[place], tokens[place], costs[place])
        for place, (i, answer) in enumerate(zip(places, answers, strict=False))
    ]
    return records, made


def abandoned(call: Call) -> Attempt:
    """The ledger row of a request nobody waits for any more; what it cost only the service knows.

    On an asker's own terms it must not be free: a streamed answer counts as far as it was heard,
    any other as its worst case.
    """
    made = call.record("abandoned", 0)
    made.error = made.outcome
    if call.due is None:
        return made
    rates = call.endpoint.rates
    made.prompt_tokens, made.completion_tokens = call.prompt_tokens, call.most
    made.tokens_from, made.cost_nano = "worst", None if rates is None else call.worst_nano
    made.price = "" if rates is None else rates.version
    if call.streamed:
        made.tokens_from = "estimated"
        made.completion_tokens = -(-call.due.heard // CHARACTERS_PER_TOKEN)
        if rates is not None:
            used = Usage(made.prompt_tokens, output=made.completion_tokens)
            made.cost_nano = rates.cost_nano(used, call.started)
    call.settle(made.cost_nano or 0)
    call.due.terms.paid_for(made)
    return made


def _record(
    call: Call, made: Attempt, keys: list[bytes], answer: Answer, place: int, sample: int,
    prompt: int, tokens: int, cost: int | None,
) -> Record:  # fmt: skip
    content = answer.content
    if isinstance(content, str) and not content.isascii():
        content = content.encode("utf-8", "replace").decode()
    asker = call.asker
    return Record(
        keys[sample], made.id, made.kind, made.model, asker.step, asker.row, sample, content,
        answer.finish_reason, answer.more, prompt, tokens, cost, made.started, asker.scope,
    )  # fmt: skip


def _tokens(answers: Sequence[Answer], total: int | None) -> tuple[list[int], bool]:
    """Completion tokens per answer, and whether they had to be estimated."""
    own = [answer.tokens for answer in answers]
    if None not in own:
        return [tokens or 0 for tokens in own], False
    lengths = [len(a.content) + len(a.more or "") for a in answers]
    if total is None:
        return [length // CHARACTERS_PER_TOKEN + 1 for length in lengths], True
    return shares(total, lengths), False


def shares(total: int, weights: Sequence[int]) -> list[int]:
    """`total` split by weight; rounding is carried along, so the shares add up to it."""
    if len(weights) == 1:
        return [total]
    if not any(weights):
        weights = [1] * len(weights)
    whole, given, upto = sum(weights), 0, 0
    found = []
    for weight in weights:
        upto += weight
        share = total * upto // whole - given
        found.append(share)
        given += share
    return found
