"""Fields that the bodies of several routes share: the model, the terms of sampling, the stream.

Null is what it is where a field is left out. A field that no body names is refused by its name.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

MOST_N = 128
MOST_TURNS = 100_000
Text = Annotated[str, msgspec.Meta(min_length=1)]
Whole = Annotated[int, msgspec.Meta(ge=1, lt=2**31)]
Seed = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]


def only(*values: Any) -> msgspec.Meta:
    """What of a field's values is not refused, for the OpenAPI document: the route says so itself,
    in words of its own."""
    return msgspec.Meta(extra_json_schema={"enum": [*values]})


def texts(most: int) -> msgspec.Meta:
    """As `only`: a text or up to so many, none of them empty."""
    one = {"type": "string", "minLength": 1}
    several = {"type": "array", "items": one, "minItems": 1, "maxItems": most}
    return msgspec.Meta(extra_json_schema={"allOf": [{"anyOf": [one, several]}]})


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Sampled(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What chat and completions are asked with."""

    model: Text
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=MOST_N)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    max_tokens: Whole | None = None
    stop: str | list[str] | None = None
    seed: Seed | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    # Of servers of one's own (vLLM, llama.cpp, SGLang), which clients send as extra fields.
    top_k: Whole | None = None
    min_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    # A hint that changes no answer, and what is read only to be refused in words.
    user: Any = None
    logit_bias: Annotated[dict[str, float] | None, only({}, None)] = None

    @property
    def stops(self) -> tuple[str, ...]:
        """Where an answer ends."""
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @property
    def counts(self) -> bool:
        """Whether a stream ends with what was used."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)
