"""A conversation as Gemini's contents: the system text apart, everything else in parts.

Gemini 3 signs its calls and wants the signature back with the call. karat's calls have an id and no
signature, so the id carries both: `id~signature`.
Source: Google's API reference, "Content", "FunctionCall", "FunctionResponse"; its docs, "Thought
signatures" (which name the stand-in for calls that another model made).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from karat.models.chat import Tool, ToolCall, Turn
from karat.models.providers._http import arguments_of, json_text, parse, refused
from karat.row import Message, digest

ROLES = {"user": "user", "assistant": "model", "tool": "user"}
MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
UNSIGNED = "skip_thought_signature_validator"
BETWEEN = "~"  # in no id and in no base64


def conversation(
    messages: Sequence[Message], *, signed: bool = False
) -> tuple[str, list[dict[str, Any]]]:
    """The system text and the contents. Raises: ProviderError for what the format has not."""
    system: list[str] = []
    contents: list[dict[str, Any]] = []
    names: dict[str, str] = {}  # of the calls so far, by id
    for message in messages:
        if message.role == "system" and not contents:
            system.append(message.content)
            continue
        if message.role not in ROLES:
            raise refused(f"Gemini has no '{message.role}' message within a conversation")
        role, parts = ROLES[message.role], _parts(message, names, signed)
        if contents and contents[-1]["role"] == role:
            contents[-1]["parts"] += parts
        else:
            contents.append({"role": role, "parts": parts})
    return "\n\n".join(system), contents


def _parts(message: Message, names: dict[str, str], signed: bool) -> list[dict[str, Any]]:
    if not isinstance(message, Turn):
        return [{"text": message.content}]
    if message.tool_call_id:
        return [_response(message, names)]
    parts: list[dict[str, Any]] = []
    if message.content or not message.tool_calls:
        parts.append({"text": message.content})
    for place, call in enumerate(message.tool_calls):
        names[call.id] = call.name
        made, _, signature = call.id.partition(BETWEEN)
        asked = {"id": made, "name": call.name, "args": arguments_of(call)}
        part: dict[str, Any] = {"functionCall": asked}
        if signature or (signed and place == 0):  # the first of several calls holds it for all
            part["thoughtSignature"] = signature or UNSIGNED
        parts.append(part)
    return parts


def _response(message: Turn, names: dict[str, str]) -> dict[str, Any]:
    name = names.get(message.tool_call_id)
    if name is None:
        raise refused(f"a tool's result answers no call: '{message.tool_call_id[:40]}'")
    try:
        said = parse(message.content.encode("utf-8", "surrogatepass"))
    except ValueError:
        said = None
    response = said if isinstance(said, dict) else {"output": message.content}
    made = message.tool_call_id.partition(BETWEEN)[0]
    return {"functionResponse": {"id": made, "name": name, "response": response}}


def read_call(part: dict[str, Any], place: int) -> ToolCall:
    """A call Gemini made, its `place` among the others. Raises: TypeError, KeyError."""
    found, signature = part["functionCall"], part.get("thoughtSignature")
    name, arguments = found["name"], json_text(found.get("args") or {})
    made = found.get("id") or f"call_{place}_{digest(name, arguments, size=4).hex()}"
    if not isinstance(made, str) or not isinstance(name, str):
        raise TypeError("not a call")
    signed = isinstance(signature, str) and signature
    return ToolCall(f"{made}{BETWEEN}{signature}" if signed else made, name, arguments)


def tools(offered: Sequence[Tool], choice: str) -> dict[str, Any]:
    """The fields that offer tools."""
    if not offered:
        return {}
    found: dict[str, Any] = {"tools": [{"functionDeclarations": [_tool(tool) for tool in offered]}]}
    if choice in MODES:
        found["toolConfig"] = {"functionCallingConfig": {"mode": MODES[choice]}}
    elif choice:
        only = {"mode": "ANY", "allowedFunctionNames": [choice]}
        found["toolConfig"] = {"functionCallingConfig": only}
    return found


def _tool(tool: Tool) -> dict[str, Any]:
    written: dict[str, Any] = {"name": tool.name}
    if tool.description:
        written["description"] = tool.description
    if tool.parameters:
        written["parametersJsonSchema"] = tool.parameters
    return written
