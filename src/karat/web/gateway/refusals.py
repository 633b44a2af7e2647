"""Every error of karat's as an HTTP status and OpenAI's names for it.

Official clients turn statuses into exception types and retry some of them, so a status says whose
turn it is: 400 the caller's, 429 the caller's or the budget's, 502 and 504 the model's service. The
gateway's own key being refused upstream is no 401 of the caller's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from karat.errors import KaratError, ProviderError, RecipeError, RowError, RunError
from karat.models.budget import BudgetError
from karat.models.endpoint import ModelDownError
from karat.web.gateway.purse import QuotaError

MOST_WORDS = 4000  # characters of a message that are passed on
MOST_DEEP = 64  # lists and mappings within each other
WHOLE = 2**63  # numbers beyond are held by few who read JSON, and not by the ledger
REFUSED = {"row": None, "context": "context_length_exceeded", "content": "content_filter"}
LARGE = 413


class Refused(KaratError):  # noqa: N818 - an answer, which nobody sees as an exception
    """A request that is answered with an error, in no wire format's words.

    `status` is the HTTP status. `kind` is OpenAI's `type` (invalid_request_error,
    authentication_error, permission_error, insufficient_quota, rate_limit_error, timeout_error,
    api_error), `code` a short name for programs, `param` the field that is wrong. `again`: whether
    asking again may help, None where the status says it. `allow` are the methods that an address
    takes, with 405.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
        again: bool | None = None,
        allow: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.status, self.kind, self.code, self.param = status, kind, code, param
        self.retry_after_s, self.again, self.allow = retry_after_s, again, allow


def bad_request(message: str, param: str | None = None, code: str | None = None) -> Refused:
    """What the caller must write otherwise."""
    return Refused(400, "invalid_request_error", message, code=code, param=param)


def check_tree(tree: Any, where: str, param: str | None = None) -> None:
    """Raises: Refused for a schema and the like that cannot be passed on: nested too deeply, or
    with whole numbers of more than 64 bits."""
    waiting = [(tree, 1)]
    while waiting:
        value, deep = waiting.pop()
        if isinstance(value, dict | list):
            if deep > MOST_DEEP:
                raise bad_request(f"{where} is nested more than {MOST_DEEP} deep", param)
            inside = value.values() if isinstance(value, dict) else value
            waiting += [(one, deep + 1) for one in inside]
        elif isinstance(value, int) and not -WHOLE <= value < WHOLE:
            raise bad_request(f"{where} holds a whole number of more than 64 bits", param)


def not_found(name: str, why: str) -> Refused:
    """A model that is not served here."""
    return Refused(
        404,
        "invalid_request_error",
        f"the model '{name[:300]}' cannot be used here: {why}",
        code="model_not_found",
        param="model",
    )


def refused(error: BaseException) -> Refused:
    """What the caller is told of an error; of one that is no error of karat's, nothing."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, ProviderError):
        return _by_provider(error)
    if isinstance(error, ModelDownError):
        return _down(error)
    if isinstance(error, BudgetError):
        words = str(error) if isinstance(error, QuotaError) else "the budget of this model is spent"
        return _told(429, "insufficient_quota", words, code="insufficient_quota", again=False)
    if isinstance(error, RecipeError):
        return bad_request(cut(str(error)))
    if isinstance(error, RowError):
        return _told(502, "api_error", str(error), code="unreadable_answer")
    if isinstance(error, RunError):
        words = "the gateway cannot go on with this; its operator finds why in the log"
        return _told(503, "api_error", words, code="gateway_unavailable")
    if isinstance(error, TimeoutError | asyncio.CancelledError):
        return _told(504, "timeout_error", "no answer within the gateway's time limit", again=False)
    return _told(500, "api_error", "the gateway failed; its operator finds the request's id in the "
                 "log", again=False)  # fmt: skip


def _by_provider(error: ProviderError) -> Refused:
    said = str(error)
    if error.kind == "wait":
        after = error.retry_after_s
        return _told(429, "rate_limit_error", said, code="rate_limit_exceeded", after=after)
    if error.kind in REFUSED:
        code = REFUSED[error.kind]
        status = LARGE if error.status == LARGE else 400
        return _told(status, "invalid_request_error", said, code=code)
    if error.kind == "timeout":
        return _told(504, "timeout_error", said, code="upstream_timeout", again=False)
    # Tried as often as makes sense: a client's own retries would multiply with the gateway's.
    return _told(502, "api_error", said, code="upstream_error", again=False)


def _down(error: ModelDownError) -> Refused:
    cause = error.__cause__
    if isinstance(cause, ProviderError) and cause.status == 404:
        return _told(404, "invalid_request_error", str(cause), code="model_not_found")
    return _told(502, "api_error", str(error), code="upstream_unavailable", again=False)


def _told(
    status: int, kind: str, words: str, *, code: str | None = None, again: bool | None = None,
    after: float | None = None,
) -> Refused:  # fmt: skip
    return Refused(status, kind, cut(words), code=code, again=again, retry_after_s=after)


def cut(words: str) -> str:
    """As much of a message as is passed on."""
    return words if len(words) <= MOST_WORDS else f"{words[:MOST_WORDS]} …"
