"""An order for scores from a server: what the client buys, retries, prices and journals.

One answer is one response's scores, under a key of its own: a response graded once is not graded
again, whatever step or run asks. A reply that cannot be read, or whose scores cannot be right, is
a broken reply like any other: asked for again, then a failed row, never a score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

import orjson

from karat.errors import ProviderError
from karat.models.chat import ChatRequest, Usage
from karat.models.orders import Answer, Bought
from karat.models.providers._http import count
from karat.models.transport import HttpReply
from karat.models.wire import Post, Provider
from karat.rewards.base import Remote, Scale, Scores
from karat.row import Message, digest

SLACK = 0.25  # of a scale's width: a regression passes its labels' ends now and then
MOST = 3.4e38  # beyond it nothing is a float32, which heads compute in; squares of more overflow


class ScoreOrder:
    """The scores of n responses to one prompt."""

    kind = "score"
    sampled: ChatRequest | None = None  # nothing is drawn

    def __init__(self, reward: Remote, prompt: Sequence[Message], responses: Sequence[str]) -> None:
        self.reward, self.prompt, self.responses = reward, prompt, responses
        self.size, self.together = len(responses), reward.together

    def keys(self, identity: str) -> list[bytes]:
        return score_keys(f"{identity} {self.reward.identity}", self.prompt, self.responses)

    def post(self, provider: Provider, places: Sequence[int], *, stream: bool = False) -> Post:
        texts = [self.responses[place] for place in places]
        return self.reward.post(provider.address, self.prompt, texts)

    def read(self, provider: Provider, places: Sequence[int], reply: HttpReply) -> Bought:
        try:
            found = self.reward.read(reply, len(places))
            if len(found) != len(places):
                raise ValueError(f"{len(found)} scores for {len(places)} responses")
            for scores in found:
                check_scores(self.reward.attributes, scores)
        except (
            ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError,
        ) as error:  # fmt: skip
            said = provider.quote(reply.body.decode("utf-8", "replace"), 300)
            why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise ProviderError(f"{why}: {said!r}", 200, kind="unreadable") from error
        answers = [Answer(orjson.dumps(scores).decode(), tokens=0) for scores in found]
        return Bought(answers, Usage(_tokens(reply.body), output=0))

    def most_tokens(self, count: int, default: int) -> int:
        return 0


def score_keys(identity: str, prompt: Sequence[Message], responses: Sequence[str]) -> list[bytes]:
    """The journal key of each response's scores."""
    base = orjson.dumps([(m.role, m.content) for m in prompt])
    return [digest(identity, base, response) for response in responses]


def check_scores(attributes: Mapping[str, Scale], scores: Scores) -> None:
    """Raises: ValueError for an attribute that is missing, no number, or far out of its scale."""
    for name, (low, high) in attributes.items():
        value = scores.get(name)
        if value is None:
            raise ValueError(f"it gives no score for {name}")
        if isinstance(value, bool) or not isfinite(value) or abs(value) > MOST:
            raise ValueError(f"its {name} is {value}, which is no score")
        slack = SLACK * (high - low) if isfinite(high - low) else 0.0
        if not low - slack <= value <= high + slack:
            raise ValueError(f"its {name} of {value:g} is out of the scale {low:g} to {high:g}")


def _tokens(body: bytes) -> int | None:
    """Prompt tokens a server says it used; None where it does not say."""
    try:
        tree = orjson.loads(body)
        if isinstance(tree, list):  # SGLang tells of each text by itself
            counts = [count(one["meta_info"]["prompt_tokens"]) for one in tree]
        else:
            counts = [count(tree["usage"]["prompt_tokens"])]
    except (ValueError, TypeError, LookupError):
        return None
    known = [one for one in counts if one is not None]
    return sum(known) if known and len(known) == len(counts) else None
