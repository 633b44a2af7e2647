"""OpenAI's words: how it says an error, what was used, why an answer ended.

Source: the `openai` package 3.57, _exceptions.py (what clients make of a body), types/
completion_usage.py; OpenAI's API reference, "Error codes".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from karat.web.gateway.door import Wire, dumps, event
from karat.web.gateway.engine import Figures
from karat.web.gateway.refusals import Refused, bad_request

S = TypeVar("S")
DONE = b"data: [DONE]\n\n"


def _error(refused: Refused) -> dict[str, Any]:
    said = {"message": str(refused), "type": refused.kind, "param": refused.param}
    return {"error": {**said, "code": refused.code}}


WIRE = Wire(
    body=lambda refused, _: dumps(_error(refused)),
    event=lambda refused, _: event(_error(refused)),
)


def usage_of(figures: Figures) -> dict[str, Any]:
    """The usage of an answer, with what it cost beside the tokens (null: nobody knows)."""
    prompt, written = figures.prompt_tokens, figures.completion_tokens
    made: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": prompt + written,
    }
    if figures.cached_tokens:
        made["prompt_tokens_details"] = {"cached_tokens": figures.cached_tokens}
    if figures.reasoning_tokens:
        made["completion_tokens_details"] = {"reasoning_tokens": figures.reasoning_tokens}
    made["cost_usd"] = figures.cost_usd
    return made


def reader(kind: type[S]) -> Callable[[bytes], S]:
    """Reads a body as this type; what does not fit is refused with its place. Raises: Refused."""
    decoder = msgspec.json.Decoder(kind)

    def read(body: bytes) -> S:
        try:
            return decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _misfit(str(error)) from None
        except RecursionError:
            raise bad_request("the request is nested too deeply") from None

    return read


def _misfit(said: str) -> Refused:
    """msgspec's words with the field they are about: `Expected `int`, got `str` - at `$.n``."""
    words, _, place = said.partition(" - at `$")
    place = place.rstrip("`").lstrip(".")
    if words.startswith("Object contains unknown field"):
        name = words.split("`")[1]
        field = f"{place}.{name}" if place else name
        return bad_request(
            f"'{field}' is not supported by this gateway; leave it out", field,
            "unsupported_parameter",
        )  # fmt: skip
    if words.startswith("Object missing required field"):
        name = words.split("`")[1]
        field = f"{place}.{name}" if place else name
        return bad_request(f"'{field}' is missing", field, "missing_required_parameter")
    return bad_request(f"{place}: {words}" if place else words, place or None, "invalid_value")


def ended(finish_reason: str) -> str:
    """Why an answer ended; who writes nothing has stopped."""
    return finish_reason or "stop"
