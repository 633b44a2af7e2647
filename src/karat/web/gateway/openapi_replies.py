"""What the gateway answers, as JSON schemas: replies, the events of streams, errors.

The routes put these together as plain mappings, since nothing is quicker, so there is no type to
take them from: tests hold real answers, whole and streamed, against what stands here.
"""

from __future__ import annotations

from typing import Any

from karat.web.gateway.anthropic_replies import KINDS

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}
NULL: Schema = {"type": "null"}
TYPES = (
    "invalid_request_error", "authentication_error", "permission_error", "insufficient_quota",
    "rate_limit_error", "timeout_error", "api_error",
)  # fmt: skip
DONE = "[DONE]"


def ref(name: str) -> Schema:
    """A component by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def mapping(fields: Schema, optional: Schema | None = None, words: str = "") -> Schema:
    """An object that holds all `fields`, and perhaps the `optional` ones."""
    made: Schema = {
        "type": "object", "properties": {**fields, **(optional or {})}, "required": list(fields)
    }  # fmt: skip
    return {**made, "description": words} if words else made


def or_null(schema: Schema) -> Schema:
    """This, or null."""
    return {"anyOf": [schema, NULL]}


def some(schema: Schema) -> Schema:
    """A list of these."""
    return {"type": "array", "items": schema}


def const(value: str) -> Schema:
    """This text and no other."""
    return {"const": value, "type": "string"}


def event(payloads: list[Schema], *, named: bool = False, ends: bool = False) -> Schema:
    """One server-sent event, whose data is the JSON of one of `payloads`. `named`: it says in
    `event` which; `ends`: the last one is `[DONE]`."""
    data: Schema = {
        "type": "string", "contentMediaType": "application/json",
        "contentSchema": {"anyOf": payloads},
    }  # fmt: skip
    if ends:
        data = {"anyOf": [const(DONE), data]}
    return mapping({"event": TEXT, "data": data} if named else {"data": data})


# --- OpenAI's ------------------------------------------------------------------------------------

_COST = {**or_null(NUMBER), "description": "US dollars; null where no price is known"}
_CALL = mapping(
    {
        "id": TEXT,
        "type": const("function"),
        "function": mapping({"name": TEXT, "arguments": {**TEXT, "description": "JSON"}}),
    },
    {"index": COUNT},
)
_CALL_PIECE = mapping(
    {"index": COUNT, "function": mapping({"arguments": TEXT}, {"name": TEXT})},
    {"id": TEXT, "type": const("function")},
)
_TOKEN = mapping({"token": TEXT, "logprob": NUMBER, "bytes": or_null(some(COUNT))})
_LOGPROBS = mapping(
    {"content": some(mapping({**_TOKEN["properties"], "top_logprobs": some(ref("TokenLogprob"))}))},
    {"refusal": NULL},
)
_WHY = {**TEXT, "description": "stop, length, tool_calls, content_filter, or the service's own"}
_HEAD = {"id": TEXT, "created": WHOLE, "model": TEXT}
_CHAT_CHOICE = mapping(
    {
        "index": COUNT,
        "message": mapping(
            {"role": const("assistant"), "content": or_null(TEXT)},
            {"refusal": NULL, "tool_calls": some(_CALL), "reasoning_content": TEXT},
        ),
        "logprobs": or_null(_LOGPROBS),
        "finish_reason": _WHY,
    }
)
_DELTA = mapping(
    {},
    {
        "role": const("assistant"),
        "content": TEXT,
        "reasoning_content": TEXT,
        "tool_calls": some(_CALL_PIECE),
    },
)
_CHAT_PIECE = mapping(
    {"index": COUNT, "delta": _DELTA, "finish_reason": or_null(_WHY)}, {"logprobs": _LOGPROBS}
)
_TEXT_CHOICE = mapping({"index": COUNT, "text": TEXT, "logprobs": NULL, "finish_reason": _WHY})
_SCALE = {**some(NUMBER), "minItems": 2, "maxItems": 2}
_ATTRIBUTES = {
    "type": "object",
    "additionalProperties": mapping(
        {
            "scale": {**or_null(_SCALE), "description": "its ends; null where it has none"},
            "comparable": {"enum": ["anywhere", "within_prompt"]},
        }
    ),
}
_SCORES = {"type": "object", "additionalProperties": NUMBER}

OPENAI: dict[str, Schema] = {
    "Usage": mapping(
        {"prompt_tokens": COUNT, "completion_tokens": COUNT, "total_tokens": COUNT,
         "cost_usd": _COST},
        {"prompt_tokens_details": mapping({"cached_tokens": COUNT}),
         "completion_tokens_details": mapping({"reasoning_tokens": COUNT})},
    ),
    "TokenLogprob": _TOKEN,
    "ChatCompletion": mapping(
        {**_HEAD, "object": const("chat.completion"), "choices": some(_CHAT_CHOICE),
         "usage": ref("Usage")},
        words="With a reward's name as the model, `logprobs` hold its attributes and their scores.",
    ),
    "ChatCompletionChunk": mapping(
        {**_HEAD, "object": const("chat.completion.chunk"), "choices": some(_CHAT_PIECE)},
        {"usage": or_null(ref("Usage"))},
    ),
    "TextCompletion": mapping(
        {**_HEAD, "object": const("text_completion"), "choices": some(_TEXT_CHOICE),
         "usage": ref("Usage")},
    ),
    "TextCompletionChunk": mapping(
        {**_HEAD, "object": const("text_completion"), "choices": some(_TEXT_CHOICE)},
        {"usage": ref("Usage")},
    ),
    "Embeddings": mapping(
        {
            "object": const("list"), "model": TEXT,
            "data": some(mapping({
                "object": const("embedding"), "index": COUNT,
                "embedding": {"anyOf": [some(NUMBER), TEXT], "description": "numbers, or with "
                              "encoding_format base64 their float32, little-endian, in base64"},
            })),
            "usage": mapping({"prompt_tokens": COUNT, "total_tokens": COUNT, "cost_usd": _COST}),
        }
    ),
    "Rewards": mapping(
        {
            "object": const("list"), "model": TEXT, "attributes": _ATTRIBUTES,
            "data": some(mapping({
                "object": const("reward"), "index": COUNT,
                "scores": {**or_null(_SCORES), "description": "null where it has none to give"},
            })),
            "usage": ref("Usage"),
        },
        words="Scores by attribute, one mapping a response, with the scale of each attribute.",
    ),
    "Model": mapping(
        {"id": TEXT, "object": const("model"), "created": WHOLE, "owned_by": TEXT},
        {"type": const("reward"), "attributes": _ATTRIBUTES, "licence": TEXT},
    ),
    "Models": mapping({"object": const("list"), "data": some(ref("Model"))}),
    "Error": mapping(
        {
            "error": mapping({
                "message": TEXT, "type": {"enum": list(TYPES)},
                "param": {**or_null(TEXT), "description": "the field that is wrong"},
                "code": {**or_null(TEXT), "description": "a short name for programs"},
            })
        }
    ),
}  # fmt: skip


# --- Anthropic's ---------------------------------------------------------------------------------

_INPUT = {"type": "object"}
_COUNTED = {
    "input_tokens": COUNT, "output_tokens": COUNT, "cache_read_input_tokens": COUNT,
    "cache_creation_input_tokens": COUNT,
}  # fmt: skip
_BLOCK = {
    "anyOf": [
        mapping({"type": const("text"), "text": TEXT}),
        mapping({"type": const("thinking"), "thinking": TEXT, "signature": TEXT}),
        mapping({"type": const("tool_use"), "id": TEXT, "name": TEXT, "input": _INPUT}),
    ]
}
_CHANGE = {
    "anyOf": [
        mapping({"type": const("text_delta"), "text": TEXT}),
        mapping({"type": const("thinking_delta"), "thinking": TEXT}),
        mapping({"type": const("input_json_delta"), "partial_json": TEXT}),
    ]
}
_STOPPED = {"stop_reason": or_null(TEXT), "stop_sequence": NULL}
_WRONG = mapping({
    "type": {"enum": sorted({*KINDS.values(), "api_error"})}, "message": TEXT
})  # fmt: skip
_MESSAGE = {
    "id": TEXT, "type": const("message"), "role": const("assistant"), "model": TEXT,
    "content": some(_BLOCK), **_STOPPED,
}  # fmt: skip

ANTHROPIC: dict[str, Schema] = {
    "Message": mapping({**_MESSAGE, "usage": mapping({**_COUNTED, "cost_usd": _COST})}),
    "MessageEvent": {
        "anyOf": [
            mapping({"type": const("message_start"),
                     "message": mapping({**_MESSAGE, "usage": mapping(_COUNTED)})}),
            mapping({"type": const("content_block_start"), "index": COUNT,
                     "content_block": _BLOCK}),
            mapping({"type": const("content_block_delta"), "index": COUNT, "delta": _CHANGE}),
            mapping({"type": const("content_block_stop"), "index": COUNT}),
            mapping({"type": const("message_delta"), "delta": mapping(_STOPPED),
                     "usage": mapping({**_COUNTED, "cost_usd": _COST})}),
            mapping({"type": const("message_stop")}),
            mapping({"type": const("error"), "error": _WRONG, "request_id": TEXT}),
        ]
    },
    "MessagesError": mapping(
        {"type": const("error"), "error": _WRONG, "request_id": or_null(TEXT)}
    ),
}  # fmt: skip

PLAIN: dict[str, Schema] = {
    "Health": mapping({"status": const("ok")}),
    "PlainError": mapping({"error": mapping({"message": TEXT})}),
}
