"""A conversation as Anthropic's messages: the system text apart, everything else in blocks.

Results of tools are the user's there, and all results of one turn's calls must stand in the one
turn that follows it.
Source: Anthropic's API reference, "Messages"; the `anthropic` package 2.12,
types/message_create_params.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from karat.models.chat import Tool, Turn
from karat.models.providers._http import arguments_of
from karat.row import Message

CHOICES = {"auto": "auto", "none": "none", "required": "any"}
ANSWER = "karat_answer"  # the tool that carries an answer with a schema to an early model


def conversation(messages: Sequence[Message]) -> tuple[str, list[dict[str, Any]]]:
    """The system text and the turns.

    Only what stands before the first turn is the system text; a system message further on stays
    where it is, which 4.8 and later take. Raises: ProviderError for a call of unreadable arguments.
    """
    system: list[str] = []
    turns: list[dict[str, Any]] = []
    for message in messages:
        if message.role == "system" and not turns:
            system.append(message.content)
            continue
        role = "user" if message.role == "tool" else message.role
        blocks = _blocks(message)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    for turn in turns:
        if len(turn["content"]) == 1 and turn["content"][0]["type"] == "text":
            turn["content"] = turn["content"][0]["text"]
    return "\n\n".join(system), turns


def _blocks(message: Message) -> list[dict[str, Any]]:
    if not isinstance(message, Turn):
        return [{"type": "text", "text": message.content}]
    if message.tool_call_id:
        return [
            {
                "type": "tool_result",
                "tool_use_id": message.tool_call_id,
                "content": message.content,
            }
        ]
    blocks: list[dict[str, Any]] = []
    if message.content or not message.tool_calls:  # a block must not be empty
        blocks.append({"type": "text", "text": message.content})
    for call in message.tool_calls:
        arguments = arguments_of(call)
        blocks.append({"type": "tool_use", "id": call.id, "name": call.name, "input": arguments})
    return blocks


def tools(offered: Sequence[Tool], choice: str) -> dict[str, Any]:
    """The fields that offer tools."""
    if not offered:
        return {}
    found: dict[str, Any] = {"tools": [_tool(tool) for tool in offered]}
    if choice in CHOICES:
        found["tool_choice"] = {"type": CHOICES[choice]}
    elif choice:
        found["tool_choice"] = {"type": "tool", "name": choice}
    return found


def _tool(tool: Tool) -> dict[str, Any]:
    described = {"description": tool.description} if tool.description else {}
    return {"name": tool.name, **described, "input_schema": tool.parameters or {"type": "object"}}


def answer_tool(schema: dict[str, Any]) -> dict[str, Any]:
    """The fields that make an early model answer by a schema: the one tool it must call."""
    described = "Gives the answer. Call it once, with the whole answer."
    tool = {"name": ANSWER, "description": described, "input_schema": schema}
    return {"tools": [tool], "tool_choice": {"type": "tool", "name": ANSWER}}
