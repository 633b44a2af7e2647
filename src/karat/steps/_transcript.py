"""A conversation as one text inside a prompt, and the templates that take one.

What users and models wrote goes into templates whose own lines part turns; here it is kept from
doing the same. Turns are set apart by an empty line, never joined: a published implementation of
this recipe runs them into each other, so that no reader can tell who said what.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from karat.context import Context
from karat.row import Message
from karat.templates import turns

SPEAKERS = {"user": "User", "assistant": "Assistant"}
_TURN = re.compile(r"(?m)^(?=--- (?:user|assistant)[ \t]*$)")


def transcript(messages: Sequence[Message]) -> str:
    """The turns of user and assistant, each behind its speaker's name."""
    said = [(SPEAKERS.get(m.role), m.content.strip()) for m in messages]
    return "\n\n".join(f"{speaker}: {content}" for speaker, content in said if speaker)


def ask_about(ctx: Context, template: str, **values: Any) -> list[Message]:
    """The template's turns; no text among the values can add one."""
    guarded = {k: _TURN.sub(" ", v) if isinstance(v, str) else v for k, v in values.items()}
    return turns(ctx.render(template, **guarded))
