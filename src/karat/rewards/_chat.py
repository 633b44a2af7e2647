"""What a chat template writes that no message says, and how to have it without.

A template made for chatting may open every conversation with a system prompt of its own, a date in
it perhaps. A reward model trained without it then grades texts unlike any it has seen, and the
scores look sound. Only whoever knows how the model was trained can say which is right, so a recipe
must: `system: keep`, or `system: drop`.

Source: the templates of Qwen2.5-Instruct ("You are Qwen, created by Alibaba Cloud …") and
Llama-3.1-Instruct ("Cutting Knowledge Date: December 2023 …", put into a given system prompt too).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from karat.errors import RecipeError, RowError
from karat.rewards._checkpoint import Checkpoint
from karat.rewards.chat_text import ChatTemplate
from karat.row import Message

# Llama's own value where its template knows no date; else the same text would score differently
# every day.
FIXED = {"date_string": "26 Jul 2024"}
_USER, _SYSTEM, _ANSWER = "Karatuserturn", "Karatsystemturn", "Karatassistantturn"
_MARKUP = re.compile(r"<[^<>\s]{1,40}>|\[/?[A-Z_]{2,20}\]")


class Cut(NamedTuple):
    """How rendered conversations begin, how they should, and the words that should not be there."""

    begins: str
    instead: str
    added: str


class _Parts(NamedTuple):
    """What a template writes around messages: before the first user turn, before any user turn
    (None where that cannot be told), before a given system prompt ("" where it takes none)."""

    head: str
    opening: str | None
    before_system: str


def cuts(source: str, tokens: Mapping[str, str], where: str) -> list[Cut]:
    """What a template adds before the messages: without a system prompt, and before a given one.

    Raises: RecipeError for a template that cannot be used.
    """
    if "strftime_now" in source and "date_string" not in source:
        raise RecipeError(
            "its chat template writes today's date, so the same text would score differently "
            "tomorrow: save a copy without it and name that in `template:`"
        )
    template = ChatTemplate(source, {**tokens, **FIXED}, None, where)
    template.check()
    parts = _parts(template)
    bos = template.bos if parts.head.startswith(template.bos) else ""
    if parts.opening is None or not parts.head.endswith(parts.opening):
        words = _words(parts.head, tokens, ignore=("user", "human"))
        return [Cut("", "", words)] if words else []
    found = []
    begins = parts.head.removesuffix(parts.opening)
    if words := _words(begins.removeprefix(bos), tokens):
        found.append(Cut(begins, bos, words))
    role = bos + parts.opening.replace("user", "system")
    more = parts.before_system.removeprefix(role)
    if more != parts.before_system and (words := _words(more, tokens)):
        found.append(Cut(parts.before_system, role, words))
    return found


def without(template: str, found: list[Cut]) -> str:
    """The template, its output cut. Raises: RecipeError where it cannot be."""
    for cut in found:
        if not cut.begins:
            raise RecipeError(
                f"its chat template adds a system prompt ({cut.added!r}) in a way karat cannot cut "
                "out: save a copy without it and name that in `template:`"
            )
    if not found:
        return template
    # The first line break and `+` keep jinja from trimming the template where it is put in.
    text = "{% set karat_text %}\n" + template.removesuffix("\n") + "{%+ endset %}"
    for cut in found:
        size = len(cut.begins)
        begins = f"karat_text[:{size}] == {cut.begins!a}"
        shorter = f"({cut.instead!a} ~ karat_text[{size}:])"
        text += "{% set karat_text = " + f"{shorter} if {begins} else karat_text" + " %}"
    return text + "{{ karat_text }}"


def template_of(found: Checkpoint, folder: Path, path: str | None, system: str | None) -> str:
    """The chat template to use: the model's own, or the file `path` of `folder`.

    Of a system prompt that it adds by itself `system` says what becomes: keep, drop, or None where
    nobody said. Raises: RecipeError.
    """
    if path is None:
        text = found.template()
    else:
        try:
            text = (folder / path).read_text(encoding="utf-8")
        except OSError as error:
            raise RecipeError(f"template '{path}': {error.strerror or error}") from None
    if text is None:
        raise RecipeError(
            "its tokenizer has no chat template: write the one it was trained with to a file and "
            "name that in `template:`"
        )
    added = cuts(text, found.special_tokens(), path or found.name)
    if added and system is None:
        said = " … ".join(cut.added for cut in added)
        raise RecipeError(
            f"its chat template adds a system prompt that no row has: {said!r}. Say `system: keep` "
            "if the model was trained with it, `system: drop` if not"
        )
    return without(text, added) if system == "drop" else text


def _parts(template: ChatTemplate) -> _Parts:
    user, answer = Message("user", _USER), Message("assistant", _ANSWER)
    try:
        text = template.render([user, answer, Message("user", f"{_USER}2"), answer])
        end = template.render([user, answer]).partition(_ANSWER)[2]
    except RowError as error:
        raise RecipeError(str(error)) from None
    head, _, rest = text.partition(_USER)
    between = rest.partition(_ANSWER)[2].partition(f"{_USER}2")[0]
    opening = between.removeprefix(end) if between.startswith(end) else None
    try:
        before, given, _ = template.render([Message("system", _SYSTEM), user, answer]).partition(
            _SYSTEM
        )
    except RowError:  # some refuse the role; a row that has it is told so when it comes
        before, given = "", ""
    return _Parts(head, opening, before if given else "")


def _words(text: str, tokens: Mapping[str, str], ignore: tuple[str, ...] = ()) -> str:
    """The words in a text beside its markup; empty where there are none."""
    for token in sorted(tokens.values(), key=len, reverse=True):
        text = text.replace(token, " ")
    words = _MARKUP.sub(" ", text).split()
    kept = [word for word in words if word.strip(":#*").lower() not in ignore]
    return " ".join(kept) if any(map(str.isalnum, "".join(kept))) else ""
