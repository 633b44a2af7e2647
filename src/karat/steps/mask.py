"""mask: personal data and secrets taken out of a row's texts, the rest left as it is.

A filter drops a row for one telephone number in it; this puts a label in its place and keeps the
row. What is found is what `filters: pii` finds. The row keeps its id, so that what was bought for
it stays paid.
"""

from __future__ import annotations

from typing import Literal

from karat.context import Context
from karat.curation.pii import KINDS, Kind, find, masked
from karat.row import Message, Row
from karat.step import step

# What nobody owns. Source: RFC 2606 (example.com), RFC 5737 (192.0.2.1), numbers kept for fiction
# (+1 202 555 0100), the test card and IBAN that banks' own documentation shows.
EXAMPLES: dict[Kind, str] = {
    "key": "YOUR_API_KEY",
    "email": "name@example.com",
    "iban": "DE89 3704 0044 0532 0130 00",
    "card": "4242 4242 4242 4242",
    "ip": "192.0.2.1",
    "phone": "+1 202 555 0100",
}
WHAT = Literal["prompt", "response"]


@step
async def mask(
    row: Row,
    ctx: Context,
    *,
    kinds: list[Kind] = list(KINDS),  # noqa: B006  read only
    on: list[WHAT] = ["prompt", "response"],  # noqa: B006  read only
    replace: Literal["label", "example"] = "label",
) -> Row:
    """Puts a label in place of keys, email addresses, IBANs, cards, IP addresses and telephones.

    `replace: label` writes `[EMAIL]`; `example` writes one that nobody owns, as
    name@example.com, so that a model does not learn to write labels. Every turn of the prompt and
    every response is gone through. Put it before `respond` or `grade`: a score belongs to the text
    that was graded. What holds for examples already (example.com, 555 numbers, test cards, private
    addresses) stays.

    Source: replacing by reserved addresses: FineWeb (2406.17557) §3.6.
    """

    def label(kind: Kind) -> str:
        ctx.count(kind)
        return EXAMPLES[kind] if replace == "example" else f"[{kind.upper()}]"

    def clean(text: str) -> str:
        finds = find(text, kinds)
        return masked(text, finds, label) if finds else text

    if "prompt" in on:
        row.messages = [Message(turn.role, clean(turn.content)) for turn in row.messages]
    for response in row.responses if "response" in on else ():
        response.content = clean(response.content)
    return row


@mask.rule
def _rule(*, kinds: list[str], on: list[str], **_: object) -> str | None:
    for name, values in (("kinds", kinds), ("on", on)):
        if not values:
            return f"{name} is empty; name at least one, or leave it out for all"
    return None
