"""A JSON schema as Claude's structured outputs take it.

They refuse what they cannot hold a model to, so bounds and lengths become words in the
description: the model may still follow them, and karat checks the answer against the whole schema.
Source: Anthropic's docs, "Structured outputs", "JSON Schema limitations"; the `anthropic` package
2.12, lib/_parse/_transform.py.
"""

from __future__ import annotations

from typing import Any

from karat.models.providers._http import json_text

PLAIN = {"type", "enum", "const", "title", "description", "required"}
FORMATS = {
    "date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid",
}  # fmt: skip


def closed(schema: Any) -> Any:
    """The schema with every object closed and what cannot be enforced said in its description."""
    if not isinstance(schema, dict):
        return schema
    kept: dict[str, Any] = {}
    for name in ("$defs", "definitions"):
        if isinstance(schema.get(name), dict):
            kept[name] = {key: closed(part) for key, part in schema[name].items()}
    if "$ref" in schema:
        return {**kept, "$ref": schema["$ref"]}
    words: dict[str, Any] = {}
    for name, value in schema.items():
        if name in kept or name == "additionalProperties":
            continue
        if name in PLAIN or (name == "format" and value in FORMATS):
            kept[name] = value
        elif name == "properties" and isinstance(value, dict):
            kept[name] = {key: closed(part) for key, part in value.items()}
        elif name == "items":
            kept[name] = closed(value)
        elif name in ("anyOf", "oneOf", "allOf") and isinstance(value, list):
            kept["anyOf" if name == "oneOf" else name] = [closed(part) for part in value]
        elif name == "minItems" and value in (0, 1):
            kept[name] = value
        else:
            words[name] = value
    if schema.get("type") == "object" or "properties" in schema:
        kept["additionalProperties"] = False
    if words:
        said = ", ".join(f"{name}: {json_text(value)}" for name, value in words.items())
        kept["description"] = f"{kept.get('description', '')}\n\n{{{said}}}".strip()
    return kept
