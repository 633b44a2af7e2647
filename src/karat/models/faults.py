"""What a reply that is no answer means: the one place where a service's errors are sorted.

Services agree on statuses more than on words, and not on those: an empty account is 429 here and
402 there, a prompt that is too long 400, 413 or 422. Words are looked for only where the status
leaves the sort open.
"""

from __future__ import annotations

import re

from karat.errors import ProviderError

MODEL_STATUS = {401, 402, 403, 404}
PASSING_STATUS = {408, 409, 425}
_NO_CREDIT = re.compile(
    r"insufficient_quota|billing_hard_limit|insufficient.{0,12}(balance|credit|funds)"
    r"|credit balance is too low|out of credits|credits are depleted|payment required|arrearage"
    r"|spend_limit_reached|reached your specified.{0,20}usage limits",
    re.IGNORECASE,
)
_BAD_KEY = re.compile(
    r"(invalid|incorrect|missing|expired)[ _-]?(api|access)?[ _-]?key|api[ _-]?key not valid"
    r"|API_KEY_INVALID|organization has been disabled",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(
    r"context[ _-]?(length|window|size)|maximum.{0,20}(context|tokens)|prompt is too long"
    r"|too many (input )?tokens|(input|prompt).{0,40}(exceeds?|longer than|too long)"
    r"|exceeds? the (maximum|model'?s).{0,30}(length|tokens)|exceed_context_size",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"content[ _-]?(filter|policy|management)|responsible ?ai|moderation|flagged|safety (system|"
    r"policy|setting)|usage policies|prohibited|content_policy_violation|inappropriate",
    re.IGNORECASE,
)


def fault(status: int, said: str, words: str = "", retry_after_s: float | None = None) -> (
    ProviderError
):  # fmt: skip
    """The error for a reply of `status`, its message and whatever else names it (code, type)."""
    text = f"HTTP {status}: {said}"
    kind = _kind(status, f"{words} {said}")
    if kind == "model" and status not in MODEL_STATUS and not 300 <= status < 400:
        status = 402 if _NO_CREDIT.search(f"{words} {said}") else 401
    return ProviderError(text, status, kind=kind, retry_after_s=retry_after_s)


def _kind(status: int, words: str) -> str:
    if status == 429:
        return "model" if _NO_CREDIT.search(words) else "wait"
    if status in PASSING_STATUS or status >= 500:
        return "retry"
    if status in MODEL_STATUS:
        return "content" if status == 403 and _REFUSED.search(words) else "model"
    if 300 <= status < 400:
        return "model"
    if _TOO_LONG.search(words) or status == 413:
        return "context"
    if _REFUSED.search(words):
        return "content"
    if _NO_CREDIT.search(words) or _BAD_KEY.search(words):
        return "model"
    return "row"


def remedy(error: ProviderError) -> str:
    """What a person must do about an error no retry can mend."""
    advice = {
        401: "the key is not accepted; check the variable named in key_env",
        402: "the account has no credit left; top it up and run again",
        403: "the key may not use this model; check its permissions",
        404: "the service knows no such model or address; check model and base_url",
    }.get(error.status, "the address redirects; put its final form into base_url")
    return f"{error}. {advice.capitalize()}"
