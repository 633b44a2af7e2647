"""A request in Anthropic's words as karat's own: what `/v1/messages` was asked.

The format holds more than any other model takes: images, documents, tools that Anthropic runs. What
karat cannot ask a model is refused by name, before anything is spent; only hints that change no
answer are passed over (a user's id, cache marks, a service tier).
Source: the `anthropic` package 2.12, types/message_create_params.py and the blocks it names;
Anthropic's API reference, "Messages", version 2023-06-01 (which has temperature, top_p, top_k).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import orjson

from karat.errors import RecipeError
from karat.models.chat import ChatRequest, Tool, ToolCall, Turn
from karat.models.providers._anthropic_models import SHARES
from karat.row import Message
from karat.web.gateway.fields import MOST_TURNS, Whole
from karat.web.gateway.refusals import check_tree
from karat.wording import explain

Text = Annotated[str, msgspec.Meta(min_length=1)]
Blocks = str | list[dict[str, Any]]
CHOICES = {"auto": "auto", "none": "none", "any": "required"}
# Thoughts are the model's own: no other format takes them back, and none needs them.
_PASSED_OVER = ("thinking", "redacted_thinking")


class _Effort(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: dict[str, Any] | None = None


class _Thinking(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["enabled", "adaptive", "disabled"]
    budget_tokens: Whole | None = None
    display: Literal["summarized", "omitted"] | None = None


class _Said(msgspec.Struct, forbid_unknown_fields=True):
    role: Literal["user", "assistant", "system"]
    content: Blocks


class _Tool(msgspec.Struct):
    name: Text
    input_schema: dict[str, Any]
    description: str = ""


class _Choice(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["auto", "any", "tool", "none"]
    name: str = ""
    disable_parallel_tool_use: bool = False


class Body(msgspec.Struct, forbid_unknown_fields=True):
    model: Text
    messages: Annotated[
        list[_Said], msgspec.Meta(max_length=MOST_TURNS, extra_json_schema={"minItems": 1})
    ]
    max_tokens: Whole
    system: Blocks = ""
    stream: bool = False
    temperature: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    top_k: Whole | None = None
    stop_sequences: list[Text] = []
    tools: list[dict[str, Any]] = []
    tool_choice: _Choice | None = None
    thinking: _Thinking | None = None
    output_config: _Effort = _Effort()
    # Hints that change no answer; none goes further than here.
    metadata: Any = None
    cache_control: Any = None
    service_tier: Literal["auto", "standard_only"] = "auto"
    speed: Literal["standard"] | None = None


class Asked(NamedTuple):
    """What was asked of which model; `thoughts`: whether its thoughts were asked for, too."""

    model: str
    request: ChatRequest
    stream: bool
    thoughts: bool


def read_request(data: bytes) -> Asked:
    """Raises: RecipeError and Refused, in words for whoever wrote the request."""
    try:
        tree = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise RecipeError(f"the body is no JSON: {error}") from None
    try:
        body = msgspec.convert(tree, Body)
    except RecursionError:
        raise RecipeError("the request is nested too deeply") from None
    except msgspec.ValidationError as error:
        raise RecipeError(explain(str(error), tree, Body, "{}")) from None
    if not body.messages:
        raise RecipeError("messages is empty; send at least one of the user")
    if body.messages[-1].role == "assistant":
        raise RecipeError(
            "messages: the last one is the assistant's own; models here answer, they do not go on "
            "with a text. End with a message of the user"
        )
    schema = body.output_config.format
    thinking = body.thinking
    return Asked(
        body.model,
        ChatRequest(
            tuple(_conversation(body)), 1, body.temperature, body.top_p, body.max_tokens,
            tuple(body.stop_sequences), top_k=body.top_k,
            schema=None if schema is None else _schema(schema), tools=_tools(body.tools),
            tool_choice=_choice(body), reasoning=_effort(body),
        ),
        body.stream,
        thinking is not None and thinking.type != "disabled" and thinking.display != "omitted",
    )  # fmt: skip


# --- the conversation ----------------------------------------------------------------------------


def _conversation(body: Body) -> Iterator[Message]:
    system = _texts(body.system, "system")
    if system:
        yield Message("system", system)
    for place, said in enumerate(body.messages):
        where = f"messages.{place}"
        if isinstance(said.content, str):
            yield Message(said.role, said.content)
        elif said.role == "user":
            yield from _of_user(said.content, where)
        elif said.role == "assistant":
            yield _of_assistant(said.content, where)
        else:
            yield Message("system", _texts(said.content, where))


def _texts(content: Blocks, where: str) -> str:
    """Blocks of one turn as one text, a paragraph each. Raises: RecipeError."""
    if isinstance(content, str):
        return content
    blocks = enumerate(content)
    return "\n\n".join(_text(block, f"{where}.content.{place}") for place, block in blocks)


def _text(block: Mapping[str, Any], where: str) -> str:
    kind = block.get("type")
    if kind != "text":
        raise RecipeError(f"{where}: blocks of type {kind!r} are not supported here; send text")
    return _string(block, "text", where)


def _string(block: Mapping[str, Any], key: str, where: str) -> str:
    value = block.get(key)
    if not isinstance(value, str):
        raise RecipeError(f"{where}.{key} must be text")
    return value


def _of_user(content: Sequence[Mapping[str, Any]], where: str) -> Iterator[Message]:
    """Results of tools first, wherever they stood: that is where every other format has them."""
    if not content:
        raise RecipeError(f"{where}.content is empty; send at least one block")
    texts: list[str] = []
    for place, block in enumerate(content):
        at = f"{where}.content.{place}"
        if block.get("type") == "tool_result":
            found = block.get("content") or ""
            if not isinstance(found, str | list):
                raise RecipeError(f"{at}.content must be text or a list of blocks")
            result = _texts(found, at)
            # No other format can say that a tool failed but in the text.
            said = f"Error: {result}" if block.get("is_error") is True else result
            yield Turn("tool", said, tool_call_id=_string(block, "tool_use_id", at))
        else:
            texts.append(_text(block, at))
    if texts:
        yield Message("user", "\n\n".join(texts))


def _of_assistant(content: Sequence[Mapping[str, Any]], where: str) -> Message:
    texts: list[str] = []
    calls: list[ToolCall] = []
    for place, block in enumerate(content):
        at, kind = f"{where}.content.{place}", block.get("type")
        if kind == "tool_use":
            given = block.get("input")
            if not isinstance(given, dict):
                raise RecipeError(f"{at}.input must be a mapping")
            check_tree(given, f"{at}.input", "messages")
            name, call = _string(block, "name", at), _string(block, "id", at)
            calls.append(ToolCall(call, name, orjson.dumps(given).decode()))
        elif kind not in _PASSED_OVER:
            texts.append(_text(block, at))
    text = "".join(texts)  # what a model wrote is one text, however it was cut
    return Turn("assistant", text, tool_calls=tuple(calls)) if calls else Message("assistant", text)


# --- what else there is to say -------------------------------------------------------------------


def _schema(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of output_config.format. Raises: RecipeError."""
    schema = wanted.get("schema")
    if wanted.get("type") != "json_schema" or not isinstance(schema, dict):
        raise RecipeError("output_config.format must be {type: json_schema, schema: {…}}")
    check_tree(schema, "output_config.format.schema", "output_config")
    return schema


def _tools(offered: Sequence[dict[str, Any]]) -> tuple[Tool, ...]:
    """The caller's own tools. Raises: RecipeError for one that Anthropic's servers run."""
    found = []
    for place, tree in enumerate(offered):
        if tree.get("type") not in (None, "custom"):
            raise RecipeError(
                f"tools.{place}: {tree['type']!r} is run by Anthropic's servers, not by a gateway; "
                "offer tools of your own (name, description, input_schema)"
            )
        try:
            tool = msgspec.convert(tree, _Tool)
        except msgspec.ValidationError as error:
            why = explain(str(error), tree, _Tool, "{}")
            raise RecipeError(f"tools.{place}: {why}") from None
        check_tree(tool.input_schema, f"tools.{place}.input_schema", "tools")
        found.append(Tool(tool.name, tool.description, tool.input_schema))
    return tuple(found)


def _choice(body: Body) -> str:
    choice = body.tool_choice
    if choice is None:
        return ""
    if choice.disable_parallel_tool_use:
        raise RecipeError(
            "tool_choice.disable_parallel_tool_use: not every model here can be held to one call; "
            "leave it out and take the first"
        )
    if choice.type == "tool":
        names = [tree.get("name") for tree in body.tools]
        if choice.name not in names:
            raise RecipeError(f"tool_choice: no tool '{choice.name}' in tools")
        return choice.name
    return CHOICES[choice.type]


def _effort(body: Body) -> str | None:
    """How much to think, in karat's words; None leaves it to the model.

    `max` is the most there is elsewhere, xhigh. A number of tokens is the effort whose share of
    max_tokens is nearest. Thinking without an effort is at Anthropic's default, high.
    """
    effort, thinking = body.output_config.effort, body.thinking
    said = "xhigh" if effort == "max" else effort
    if thinking is None:
        return said
    if thinking.type == "disabled":
        return "none"
    if thinking.type == "adaptive" or said is not None:
        return said or "high"
    if thinking.budget_tokens is None:
        raise RecipeError("thinking: say budget_tokens, or type: adaptive")
    if thinking.budget_tokens >= body.max_tokens:
        raise RecipeError("thinking.budget_tokens counts into max_tokens, and must be below it")
    share = thinking.budget_tokens / body.max_tokens
    return min(SHARES, key=lambda name: abs(SHARES[name] - share))
