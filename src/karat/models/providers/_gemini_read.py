"""Gemini's replies, whole and as events, in karat's own types.

A streamed answer is the same object piece by piece, so both are read by the same lines. Zeros are
left out of its JSON: a count that is missing beside others is 0, not unknown.
Source: Google's API reference, "GenerateContentResponse"; the `google-genai` package 3.4, types.py.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any

from karat.errors import ProviderError
from karat.models.chat import ChatReply, Choice, Delta, TokenLogprob, ToolCall, Usage
from karat.models.providers._gemini_turns import read_call
from karat.models.providers._http import count, parse
from karat.models.providers._text import text

FINISH = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    **dict.fromkeys(
        (
            "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY",
            "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "ESCALATION", "MODEL_ARMOR",
        ),
        "content_filter",
    ),
}  # fmt: skip
WRONG = (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError)


class BlockedError(Exception):
    """The prompt was refused: there is no answer, and the reason stands in its place."""


def read_reply(body: Any) -> ChatReply:
    """The answers. Raises: BlockedError; one of WRONG when there are none."""
    candidates = body.get("candidates")
    if not candidates:
        _raise_if_blocked(body)
        raise TypeError("no candidates")
    choices = [_choice(candidate) for candidate in candidates]
    return ChatReply(choices, usage(body) or Usage(), text(body.get("modelVersion") or ""))


def _choice(candidate: Any) -> Choice:
    said = Choice("", tokens=count(candidate.get("tokenCount")))
    calls: list[ToolCall] = []
    for part in _parts(candidate):
        if "functionCall" in part:
            calls.append(read_call(part, len(calls)))
        elif part.get("thought"):
            said.reasoning += text(part.get("text", ""))
        else:
            said.content += text(part.get("text", ""))
    said.tool_calls = tuple(calls)
    said.finish_reason = finish(candidate.get("finishReason"), bool(calls))
    if candidate.get("logprobsResult"):
        said.logprobs = _logprobs(candidate["logprobsResult"])
    return said


def _parts(candidate: Any) -> list[Any]:
    """Its parts; a candidate that was cut or filtered has none."""
    content = candidate.get("content") or {}
    found = content.get("parts") or []
    if not isinstance(found, list):
        raise TypeError("parts are no list")
    return found


def finish(reason: object, called: bool) -> str:
    """Why it stopped, in karat's words: Gemini stops for a call as for an end."""
    if not isinstance(reason, str):
        return ""
    return "tool_calls" if called and reason == "STOP" else FINISH.get(reason, reason)


def usage(body: Any) -> Usage | None:
    """What was used; None where the body does not say."""
    said = body.get("usageMetadata")
    if not isinstance(said, dict) or not said:
        return None

    def tokens(name: str) -> int:
        return count(said.get(name)) or 0

    thoughts = tokens("thoughtsTokenCount")
    return Usage(
        tokens("promptTokenCount") + tokens("toolUsePromptTokenCount"),
        cached=tokens("cachedContentTokenCount"),
        output=tokens("candidatesTokenCount") + thoughts,
        reasoning=thoughts,
    )


def _logprobs(result: Any) -> list[TokenLogprob]:
    others = result.get("topCandidates") or []
    found = []
    for place, chosen in enumerate(result.get("chosenCandidates") or []):
        top = others[place].get("candidates") or [] if place < len(others) else []
        found.append(TokenLogprob(*_token(chosen), [_token(candidate) for candidate in top]))
    return found


def _token(candidate: Any) -> tuple[str, float]:
    found = float(candidate.get("logProbability", 0.0))
    if not isfinite(found):
        raise ValueError("not a finite number")
    return text(candidate.get("token", "")), found


def _raise_if_blocked(body: Any) -> None:
    feedback = body.get("promptFeedback") or {}
    reason = feedback.get("blockReason")
    if reason:
        said = feedback.get("blockReasonMessage")
        raise BlockedError(f"{text(reason)}{': ' + said if isinstance(said, str) else ''}")


class Reader:
    """Reads the events of one answer."""

    def __init__(
        self,
        told: Callable[[bytes], ProviderError],
        unreadable: Callable[[str, bytes], ProviderError],
        blocked: Callable[[BlockedError], ProviderError],
    ) -> None:
        self._told, self._unreadable, self._blocked = told, unreadable, blocked
        self._calls = 0

    def read(self, event: str, data: bytes) -> list[Delta]:
        """The deltas of one event: the same object as a whole answer, as far as it has come."""
        try:
            body = parse(data)
            body = body[0] if isinstance(body, list) else body
            if body.get("error"):
                raise self._told(data)
            candidates = body.get("candidates") or []
            if not candidates:
                _raise_if_blocked(body)
            found = self._pieces(candidates[0]) if candidates else []
            model, used = text(body.get("modelVersion") or ""), usage(body)
        except BlockedError as blocked:
            raise self._blocked(blocked) from None
        except WRONG as error:
            raise self._unreadable("a piece of an answer", data) from error
        return [*found, Delta(usage=used, served_model=model)]

    def _pieces(self, candidate: Any) -> list[Delta]:
        found = []
        for part in _parts(candidate):
            if "functionCall" in part:
                call = read_call(part, self._calls)
                found.append(Delta(tool=(self._calls, call.id, call.name, call.arguments)))
                self._calls += 1
            elif part.get("thought"):
                found.append(Delta(reasoning=text(part.get("text", ""))))
            else:
                found.append(Delta(content=text(part.get("text", ""))))
        reason = finish(candidate.get("finishReason"), self._calls > 0)
        return [*found, Delta(finish_reason=reason)] if reason else found
