"""`vllm/NAME`: a reward model behind vLLM, started with `--runner pooling`.

Three of its addresses give scores. `/classify` and `/pooling` read one text and give a head's
numbers; `/score` reads a prompt and a response as a pair, as cross-encoders do. All three pass the
numbers through a sigmoid or softmax unless told not to, which flattens good responses into 1.0: so
it is always said, under the field's present name and the one it had before. Conversations are sent
as messages, for the server to write in the model's own template; with `template` karat writes them
and the server adds nothing, which is also the way for servers that know only `input` (0.10). No
truncation is asked for: what is too long is refused.

Source: vllm-project/vllm, vllm/entrypoints/pooling/{classify,pooling,scoring}/protocol.py (shapes;
use_activation; messages, for which add_special_tokens is false unless said),
vllm/entrypoints/openai/protocol.py of 0.10 (`activation`, its former name),
vllm/model_executor/layers/pooler/activations.py (sigmoid for one label, softmax for more, nothing
for problem_type regression), vllm/renderers/params.py (too long: refused), entrypoints/serve/
tokenize/protocol.py (/tokenize).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from karat.errors import RecipeError, RowError
from karat.models.spec import ModelSpec
from karat.models.transport import HttpReply
from karat.models.wire import Post
from karat.rewards.base import UNBOUNDED, Scores
from karat.rewards.chat_text import ChatTemplate, read_template
from karat.rewards.outputs import (
    TOGETHER,
    Comparable,
    Named,
    Outputs,
    body,
    check_extra,
    in_order,
    licence_of,
    outputs,
    root,
    scale_text,
    tree_of,
)
from karat.rewards.places import beside
from karat.rewards.tokens import Seen, seen_in
from karat.row import Message

SERVICE = "vllm"
Shape = Literal["classify", "pooling", "score"]
RESERVED = ("use_activation", "activation", "add_generation_prompt", "add_special_tokens", "task")


class VllmReward:
    """As messages one response a request, since each is a conversation; as text many."""

    def __init__(
        self, spec: ModelSpec, found: Outputs, licence: str, shape: Shape, activation: bool,
        template: ChatTemplate | None,
    ) -> None:  # fmt: skip
        self.spec, self.name = spec, f"vllm/{spec.name}"
        self.outputs = found
        self.attributes, self.within_prompt = found
        self.licence = licence
        self.models: tuple[str, ...] = ()  # none of the recipe's
        self.shape, self.activation, self.template = shape, activation, template
        self.together = 1 if shape != "score" and template is None else TOGETHER
        written = "messages" if template is None else f"template:{template.digest}"
        squashed = "activation" if activation else "raw"
        self.identity = (
            f"vllm {shape} {squashed} {written} {scale_text(found.attributes)} {spec.identity()}"
        )

    @property
    def unserved(self) -> str:
        """What to do where the server knows no such address."""
        return (
            f"the server has no /{self.shape}: start it with --runner pooling (and --convert "
            "classify for a model that is not a classifier by itself), or say another shape"
        )

    def post(self, address: str, prompt: Sequence[Message], responses: Sequence[str]) -> Post:
        raw: dict[str, Any] = {"use_activation": self.activation, "activation": self.activation}
        if self.shape == "score":
            asked: dict[str, Any] = {
                "text_1": self._question(prompt),
                "text_2": list(responses),
            }
        elif self.template is None:
            (response,) = responses
            asked = _conversation(prompt, response)
        else:
            texts = [self.text(prompt, response) for response in responses]
            asked = {"input": texts, "add_special_tokens": False}
        task = {"task": "classify"} if self.shape == "pooling" else {}
        url = f"{root(address)}/{self.shape}"
        return Post(url, body(self.spec, {**asked, **task, **raw}))

    def _question(self, prompt: Sequence[Message]) -> str:
        """A pair's first text. Raises: RowError."""
        if self.template is not None:
            return self.template.render(prompt).removeprefix(
                self.template.bos
            )  # a pair has its own
        if len(prompt) != 1:
            raise RowError(
                "a /score server reads one text and another; say template: the chat template to "
                "write a prompt of several turns with, or shape: classify"
            )
        return prompt[0].content

    def text(self, prompt: Sequence[Message], response: str) -> str:
        """What the model reads, where karat writes it; "" where the server does."""
        if self.template is None:
            return ""
        return self.template.render([*prompt, Message("assistant", response)])

    def read(self, reply: HttpReply, count: int) -> list[Scores]:
        """Raises: ValueError."""
        items = in_order(tree_of(reply)["data"], count)
        return [self.outputs.scores(self._values(item)) for item in items]

    def _values(self, item: dict[str, Any]) -> Any:
        if self.shape == "classify":
            return item["probs"]
        if self.shape == "score":
            return [item["score"]]
        values = item["data"]
        if isinstance(values, list) and values and isinstance(values[0], list):
            if len(values) > 1:
                raise ValueError(
                    f"{len(values)} vectors, one a token: the server does not pool; let it pool "
                    "by the last token, or say shape: classify"
                )
            return values[0]
        return values

    def look(self, address: str, prompt: Sequence[Message], response: str) -> Post | None:
        """Asks how the server writes and cuts this conversation into tokens."""
        if self.shape == "score":
            return None
        if self.template is None:
            asked: dict[str, Any] = _conversation(prompt, response)
        else:
            asked = {"prompt": self.text(prompt, response), "add_special_tokens": False}
        return Post(
            f"{root(address)}/tokenize", body(self.spec, {**asked, "return_token_strs": True})
        )

    def look_otherwise(self, address: str, prompt: Sequence[Message], response: str) -> Post | None:
        """The same in the server's own template, where karat writes another."""
        if self.shape == "score" or self.template is None:
            return None
        asked = {**_conversation(prompt, response), "return_token_strs": True}
        return Post(f"{root(address)}/tokenize", body(self.spec, asked))

    def seen(self, reply: HttpReply) -> Seen:
        """Raises: ValueError."""
        return seen_in(tree_of(reply))


def _conversation(prompt: Sequence[Message], response: str) -> dict[str, Any]:
    turns = [*prompt, Message("assistant", response)]
    return {
        "messages": [{"role": turn.role, "content": turn.content} for turn in turns],
        "add_generation_prompt": False,
        "add_special_tokens": False,
    }


def load(
    name: str, folder: Path, *, shape: Shape = "classify", activation: bool = False,
    template: str | None = None, attributes: Named = None, comparable: Comparable = None,
    licence: str | None = None, spec: ModelSpec,
) -> VllmReward:  # fmt: skip
    """`attributes` name the head's outputs in order, or map each to its [low, high]. `template` is
    a folder with the model's tokenizer_config.json, or a Jinja file, for a server without one.
    `activation: true` asks for the sigmoid or softmax that is else switched off.

    Raises: RecipeError.
    """
    check_extra(spec, RESERVED)
    single = (0.0, 1.0) if activation else UNBOUNDED
    if activation and attributes is None:
        comparable = comparable or "within_prompt"
    found = outputs(attributes, comparable, single)
    if shape == "score" and len(found.attributes) > 1:
        raise RecipeError("attributes: /score gives one number; name one, or say shape: classify")
    read = None if template is None else read_template(beside(folder, template))
    return VllmReward(spec, found, licence_of(spec, licence), shape, activation, read)
