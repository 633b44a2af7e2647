"""A toy reward model, and what every loopback server of scores around it shares.

It was trained on one chat template and says what it makes of the tokens that reach it: a quality it
recognises, and a ripple that depends on every token. Read in its own format the quality shows; read
in another, with a BOS too many, it drowns. So whatever a server does to a text before the model
sees it shows in the scores, as with real ones.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web
from server import Server

BOS, EOS = "<|begin|>", "<|end|>"
SYSTEM = "You are a helpful assistant."
TURNS = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
TEMPLATE = "{{ bos_token }}" + TURNS
# As Qwen2.5's: a system prompt of its own where the conversation has none.
SMUGGLING = (
    "{{ bos_token }}{% if messages[0].role != 'system' %}<|system|>" + SYSTEM + "<|end|>{% endif %}"
) + TURNS
OTHER = "{% for m in messages %}### {{ m.role }}:\n{{ m.content }}\n\n{% endfor %}"
_TOKEN = re.compile(r"<\|\w+\|>|\w+|[^\w\s]|\s+")

Quality = Callable[[str, str], float]


def plain_quality(question: str, answer: str) -> float:
    """Longer is better, up to a point: enough for tests of the wire."""
    return min(3.0, len(answer) / 40)


def write_tokenizer(folder: Path, template: str = TEMPLATE, **more: Any) -> Path:
    """A model's folder, as a hub has it."""
    folder.mkdir(exist_ok=True)
    config = {"bos_token": BOS, "eos_token": {"content": EOS}, "chat_template": template, **more}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def tokens_of(text: str, add_bos: bool) -> list[str]:
    return [*([BOS] if add_bos else []), *_TOKEN.findall(text)]


def number_of(token: str) -> int:
    return int.from_bytes(hashlib.sha256(token.encode()).digest()[:3], "little")


class Toy:
    """The model: a head's raw numbers for a sequence of tokens."""

    def __init__(
        self, quality: Quality = plain_quality, labels: int = 1, flat: bool = False
    ) -> None:
        self.quality, self.labels, self.flat = quality, labels, flat

    def logits(self, tokens: Sequence[str]) -> list[float]:
        if self.flat:
            return [0.7] * self.labels
        text = "".join(tokens)
        noise = hashlib.sha256(text.encode()).digest()
        ripple = [(noise[i] - 127.5) / 127.5 for i in range(self.labels)]
        if not self.reads(tokens):
            return [3 * wave for wave in ripple]
        before, _, answer = text.rpartition("<|assistant|>")
        question = before.rpartition("<|user|>")[2].removesuffix(EOS)
        quality = self.quality(question, answer.removesuffix(EOS))
        return [3 * quality + 0.1 * wave + place for place, wave in enumerate(ripple)]

    def reads(self, tokens: Sequence[str]) -> bool:
        """Whether it is in the format it was trained on: one BOS, turns with marks."""
        return (
            tuple(tokens[:2]) != (BOS, BOS)
            and tokens[0] == BOS
            and "<|user|>" in tokens
            and "<|assistant|>" in tokens
        )


class ScoreServer(Server):
    """`fault(number, body)` names what goes wrong with a request, counted from 1: prose, nan, null,
    missing, count, scale, 500, 429; `toy` is the model, `max_len` its context in tokens, `cuts`
    (right or left) where longer texts are cut in silence; `drifts`: a score depends on its place
    in a batch; `noise`: on what was graded before, by so much, as half precision does."""

    def __init__(self, **behaviour: Any) -> None:
        super().__init__(**behaviour)
        self.toy: Toy = behaviour.get("toy", Toy())
        self.max_len: int = behaviour.get("max_len", 10**6)
        self.cuts: str = behaviour.get("cuts", "")
        self.graded: list[str] = []  # every text the model has seen

    paths = ("/{path:.*}",)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        path = request.path
        self.requests.append({"body": body, "headers": dict(request.headers), "path": path})
        limited = self._fault(len(self.requests), body)
        if limited is not None:
            return limited
        answer = {f"/{p}": getattr(self, f"at_{p.replace('/', '_')}") for p in self.serves}.get(
            path
        )
        if answer is None:
            return web.json_response({"detail": "Not Found"}, status=404)
        wrong = self.behaviour.get("fault")
        name = wrong(len(self.requests), body) if wrong and "tokenize" not in path else None
        if name in ("500", "429"):
            said = {"error": {"message": "out of memory" if name == "500" else "slow down"}}
            return web.json_response(said, status=int(name), headers={"retry-after": "0"})
        if name == "prose":
            return web.Response(body=b"I would give this response a solid 4 out of 5.")
        try:
            return web.json_response(self.spoil(answer(body), name))
        except RefusalError as refusal:
            return web.json_response(refusal.tree, status=refusal.status)

    serves: tuple[str, ...] = ()

    def spoil(self, tree: Any, fault: str | None) -> Any:
        """The reply with its scores gone wrong."""
        raise NotImplementedError

    def model_scores(self, sequences: Sequence[Sequence[str]]) -> list[list[float]]:
        found = []
        for place, tokens in enumerate(sequences):
            kept = tokens[: self.max_len] if self.cuts == "right" else tokens
            kept = kept[-self.max_len :] if self.cuts == "left" else kept
            self.graded.append("".join(kept))
            logits = self.toy.logits(kept)
            drift = place if self.behaviour.get("drifts") else 0
            noise = self.behaviour.get("noise", 0.0) * (len(self.graded) % 7 - 3)
            found.append([value + drift + noise for value in logits])
        return found


class RefusalError(Exception):
    def __init__(self, status: int, tree: Any) -> None:
        super().__init__(tree)
        self.status, self.tree = status, tree


def spoiled(values: list[float], fault: str | None) -> list[Any]:
    if fault == "nan":
        return [math.nan for _ in values]
    if fault == "null":
        return [None for _ in values]
    if fault == "missing":
        return values[:-1]
    if fault == "scale":
        return [value + 1e6 for value in values]
    return values
