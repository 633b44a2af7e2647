"""The bill of one reply: a journal record per answer, tokens and cost split so that they add up."""

from __future__ import annotations

from collections.abc import Sequence

from karat.journal import Record
from karat.models.chat import ChatReply
from karat.models.endpoint import Call
from karat.models.spec import Price

CHARACTERS_PER_TOKEN = 4  # for services that report no usage; marked as estimated


def bill(call: Call, reply: ChatReply, samples: Sequence[int], keys: list[bytes]) -> list[Record]:
    """One record per answer; the request's tokens and cost split so that they add up exactly."""
    choices = reply.choices[: len(samples)]
    tokens, estimated = _split(reply, len(choices))
    prompt_tokens = reply.prompt_tokens
    if prompt_tokens is None:
        prompt_tokens, estimated = len(call.body) // CHARACTERS_PER_TOKEN, True
    costs = _costs(call.endpoint.price, prompt_tokens, tokens)
    made = []
    call.endpoint.tally.tokens_out += sum(tokens)
    call.endpoint.tally.answers += len(tokens)
    for place, (sample, choice) in enumerate(zip(samples, choices, strict=False)):
        paid_in = prompt_tokens if place == 0 else 0
        made.append(
            Record(
                key=keys[sample],
                request=keys[samples[0]],
                kind="chat",
                model=call.endpoint.spec.model,
                step=call.step,
                scope=call.scope,
                row=call.row,
                sample=sample,
                content=choice.content.encode("utf-8", "replace").decode(),
                finish_reason=choice.finish_reason,
                prompt_tokens=paid_in,
                completion_tokens=tokens[place],
                estimated=estimated,
                cost_nano=costs[place],
                latency_ms=call.latency_ms,
                queue_ms=call.queue_ms,
                retries=call.retries,
                started=call.started,
                body=call.body.decode() if place == 0 else None,
            )
        )
    return made


def _costs(price: Price | None, prompt_tokens: int, tokens: list[int]) -> list[int | None]:
    """Each answer's share of the bill; the prompt is the first one's."""
    if price is None:
        return [None] * len(tokens)
    shares: list[int | None] = []
    booked = upto = 0
    for count in tokens:  # rounding carried along: the shares add up to the request's cost
        upto += count
        total = price.cost_nano(prompt_tokens, upto)
        shares.append(total - booked)
        booked = total
    return shares


def _split(reply: ChatReply, count: int) -> tuple[list[int], bool]:
    """Completion tokens per answer, and whether they had to be estimated."""
    choices = reply.choices[:count]
    own = [choice.tokens for choice in choices]
    if all(tokens is not None for tokens in own):
        return [tokens or 0 for tokens in own], False
    if reply.completion_tokens is None:
        return [len(c.content) // CHARACTERS_PER_TOKEN + 1 for c in choices], True
    lengths = [len(choice.content) + 1 for choice in choices]
    total, shares, given = reply.completion_tokens, [], 0
    for place in range(count):  # rounding carried along: the shares add up to the total
        upto = round(total * sum(lengths[: place + 1]) / sum(lengths))
        shares.append(upto - given)
        given = upto
    return shares, False
