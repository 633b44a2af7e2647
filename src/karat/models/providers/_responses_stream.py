"""A streamed response: its events to deltas.

Pieces of thoughts are joined as a whole response's are, with an empty line between two parts, so
that an answer reads the same streamed or not.
Source: the `openai` package 3.54, types/responses/response_stream_event.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from karat.models.chat import Delta
from karat.models.providers._http import parse
from karat.models.providers._openai_asks import read_usage
from karat.models.providers._text import text

if TYPE_CHECKING:
    from karat.models.providers.responses import Responses

TEXT = ("response.output_text.delta", "response.refusal.delta")
THOUGHTS = ("response.reasoning_summary_text.delta", "response.reasoning_text.delta")
ARGUMENTS = "response.function_call_arguments"
ENDED = ("response.completed", "response.incomplete")
REASONS = {"max_output_tokens": "length"}  # incomplete_details.reason, where karat's word differs


class Reader:
    """Reads the events of one answer."""

    def __init__(self, provider: Responses) -> None:
        self._provider = provider
        self._refused = False
        self._calls: dict[int, int] = {}  # output_index → place among the calls
        self._written: set[int] = set()  # calls whose arguments came in pieces
        self._part: tuple[Any, ...] | None = None  # of the thoughts, the last one seen

    def read(self, event: str, data: bytes) -> list[Delta]:
        if data.strip() == b"[DONE]":
            return []
        try:
            body = parse(data)
            kind = str(body.get("type") or event)
            if kind == "error":
                raise self._provider.told(body.get("error") or body)
            if kind == "response.failed":
                raise self._provider.told(body["response"].get("error"))
            return self._read(kind, body)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise self._provider.unreadable("a piece of a response", data) from error

    def _read(self, kind: str, body: Any) -> list[Delta]:
        if kind in TEXT:
            self._refused |= kind == TEXT[1]
            return [Delta(content=text(body["delta"]))]
        if kind in THOUGHTS:
            return [Delta(reasoning=self._gap(kind, body) + text(body["delta"]))]
        if kind == "response.output_item.added" and body["item"].get("type") == "function_call":
            return self._call(body["output_index"], body["item"])
        if kind == f"{ARGUMENTS}.delta":
            self._written.add(body["output_index"])
            return [Delta(tool=(self._calls[body["output_index"]], "", "", text(body["delta"])))]
        if kind == f"{ARGUMENTS}.done" and body["output_index"] not in self._written:
            place = self._calls[body["output_index"]]
            return [Delta(tool=(place, "", "", text(body["arguments"])))]
        return [self._end(body["response"])] if kind in ENDED else []

    def _gap(self, kind: str, body: Any) -> str:
        part = (kind, body["output_index"], body.get("summary_index", body.get("content_index")))
        before, self._part = self._part, part
        return "" if before in (None, part) else "\n\n"

    def _call(self, index: int, item: Any) -> list[Delta]:
        place = self._calls.setdefault(index, len(self._calls))
        return [Delta(tool=(place, text(item["call_id"]), text(item["name"]), ""))]

    def _end(self, response: Any) -> Delta:
        return Delta(
            finish_reason=finish_reason(response, self._refused, bool(self._calls)),
            usage=read_usage(response.get("usage"), self._provider.service),
            served_model=str(response.get("model") or ""),
        )


def finish_reason(body: Any, refused: bool, called: bool) -> str:
    """Why the answer ended. Raises: ValueError where it has not."""
    status = body.get("status") or "completed"
    if status == "incomplete":
        reason = (body.get("incomplete_details") or {}).get("reason") or "incomplete"
        return REASONS.get(reason, str(reason))
    if status != "completed":
        raise ValueError(f"status {status}")
    if refused:
        return "content_filter"
    return "tool_calls" if called else "stop"
