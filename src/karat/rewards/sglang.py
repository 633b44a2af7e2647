"""`sglang/NAME`: a reward model behind SGLang, started with `--is-embedding`.

Its `/classify` gives a head's numbers as they are. (`/v1/classify` is another thing: it puts them
through a softmax, which makes every reward of one output 1.0.) It takes text and applies no chat
template, so karat writes it, from the model's own files. Its tokenizer then puts a BOS before any
text; where the template begins with one, karat takes that off, or the model would read two.

Source: sgl-project/sglang, python/sglang/srt/entrypoints/http_server.py (/classify, /tokenize),
entrypoints/openai/serving_classify.py (the softmax), managers/tokenizer_manager.py (special tokens
are added; a text that is too long is refused, or cut under --allow-auto-truncate), docs/
supported_models/reward_models.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from karat.errors import RecipeError
from karat.models.spec import ModelSpec
from karat.models.transport import HttpReply
from karat.models.wire import Post
from karat.rewards.base import Scores
from karat.rewards.chat_text import ChatTemplate, read_template
from karat.rewards.outputs import (
    TOGETHER,
    Comparable,
    Named,
    Outputs,
    body,
    check_extra,
    licence_of,
    outputs,
    root,
    scale_text,
    tree_of,
)
from karat.rewards.places import beside
from karat.rewards.tokens import Seen, seen_in
from karat.row import Message

SERVICE = "sglang"
RESERVED = ("text", "input_ids")


class SglangReward:
    """`keep_bos`: the text keeps the BOS its template writes."""

    together = TOGETHER
    unserved = (
        "the server has no /classify: start SGLang with --is-embedding, and write base_url without "
        "a path or with /v1 at its end"
    )

    def __init__(
        self, spec: ModelSpec, found: Outputs, licence: str, template: ChatTemplate, keep_bos: bool
    ) -> None:
        self.spec, self.name = spec, f"sglang/{spec.name}"
        self.outputs = found
        self.attributes, self.within_prompt = found
        self.licence = licence
        self.models: tuple[str, ...] = ()  # none of the recipe's
        self.template, self.keep_bos = template, keep_bos
        bos = "bos" if keep_bos else "no-bos"
        self.identity = (
            f"sglang template:{template.digest} {bos} {scale_text(found.attributes)} "
            f"{spec.identity()}"
        )

    def text(self, prompt: Sequence[Message], response: str) -> str:
        """What is sent: the conversation, without the BOS that the server puts before it."""
        written = self.template.render([*prompt, Message("assistant", response)])
        bos = self.template.bos
        return written if self.keep_bos or not bos else written.removeprefix(bos)

    def post(self, address: str, prompt: Sequence[Message], responses: Sequence[str]) -> Post:
        texts = [self.text(prompt, response) for response in responses]
        return Post(f"{root(address)}/classify", body(self.spec, {"text": texts}))

    def read(self, reply: HttpReply, count: int) -> list[Scores]:
        """Raises: ValueError."""
        items = tree_of(reply)
        items = [items] if isinstance(items, dict) else items
        if len(items) != count:
            raise ValueError(f"{len(items)} results for {count} responses")
        return [self.outputs.scores(item["embedding"]) for item in items]

    def look(self, address: str, prompt: Sequence[Message], response: str) -> Post | None:
        """Asks how the server cuts this text into tokens, its BOS among them."""
        asked = {"prompt": self.text(prompt, response), "add_special_tokens": True}
        return Post(f"{root(address)}/tokenize", body(self.spec, asked))

    def seen(self, reply: HttpReply) -> Seen:
        """Raises: ValueError."""
        return seen_in(tree_of(reply))


def load(
    name: str, folder: Path, *, template: str | None = None, keep_bos: bool | None = None,
    attributes: Named = None, comparable: Comparable = None, licence: str | None = None,
    spec: ModelSpec,
) -> SglangReward:  # fmt: skip
    """`template` is a folder with the model's tokenizer_config.json, that file, or a Jinja file.
    `keep_bos` leaves the template's BOS in the text, for a tokenizer that adds none; unless said,
    it is kept where tokenizer_config.json says add_bos_token: false. `attributes` name the head's
    outputs in order, or map each to its [low, high]. Raises: RecipeError.
    """
    check_extra(spec, RESERVED)
    if template is None:
        raise RecipeError(
            "template: SGLang applies no chat template to what it grades; name the folder with the "
            "model's tokenizer_config.json, or its chat template as a Jinja file"
        )
    read = read_template(beside(folder, template))
    keep = read.adds_bos is False if keep_bos is None else keep_bos
    found = outputs(attributes, comparable)
    return SglangReward(spec, found, licence_of(spec, licence), read, keep)
