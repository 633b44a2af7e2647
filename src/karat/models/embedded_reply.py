"""OpenAI's bodies around what an embedded model answers."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import msgspec

from karat.models.llama import Answer, Choice
from karat.models.transport import HttpReply


def reply(
    name: str, request: dict[str, Any], choices: list[Choice], prompt_tokens: int, *, raw: bool
) -> HttpReply:
    """OpenAI's body, of a chat or of `raw` text. Each choice also has its own `tokens`, which
    OpenAI's format cannot say."""
    written = sum(choice.tokens for choice in choices)
    said = [
        {
            "index": index,
            **(
                {"text": choice.content}
                if raw
                else {"message": {"role": "assistant", "content": choice.content}}
            ),
            "finish_reason": choice.finish_reason,
            "tokens": choice.tokens,
            **({"logprobs": {"content": choice.logprobs}} if choice.logprobs is not None else {}),
        }
        for index, choice in enumerate(choices)
    ]
    digest = hashlib.blake2b(msgspec.json.encode(request), digest_size=12).hexdigest()
    body = {
        "id": f"cmpl-{digest}" if raw else f"chatcmpl-{digest}",
        "object": "text_completion" if raw else "chat.completion",
        "created": int(time.time()),
        "model": name,
        "choices": said,
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": written,
            "total_tokens": prompt_tokens + written,
        },
    }
    return _json(200, body)


def failed(answer: Answer) -> HttpReply:
    error = answer.error or {}
    code = error.get("code")
    return _json(code if isinstance(code, int) else 500, {"error": error})


def refuse(status: int, message: str) -> HttpReply:
    error = {"code": status, "message": message, "type": "invalid_request_error"}
    return _json(status, {"error": error})


def _json(status: int, body: object) -> HttpReply:
    return HttpReply(status, {"content-type": "application/json"}, msgspec.json.encode(body))
