"""What models write: lists, JSON, verdicts. And templates, which come with models and recipes."""

from __future__ import annotations

import json
import sys
from functools import cache
from typing import Any

from fuzz.files import folder
from fuzz.promises import named, promise, text_of
from karat.curation.lists import LONGEST_ITEM, parse_list
from karat.errors import RecipeError, RowError
from karat.models.loose_json import read_values
from karat.models.structured import Invalid, parse_answer
from karat.rewards.chat_text import ChatTemplate
from karat.rewards.genrm import HELPFULNESS, RANKING, read_judgement, read_pair
from karat.rewards.questions import PROMPTS, material
from karat.row import Message
from karat.templates import render, turns

GRADES: dict[str, Any] = {
    "type": "object",
    "properties": {
        "reasoning": {"type": "string"},
        "helpfulness": {"type": "integer", "minimum": 0, "maximum": 4},
        "better": {"type": "string", "enum": ["A", "B", "tie"]},
    },
    "required": ["helpfulness"],
    "additionalProperties": False,
}
LONGEST_TEXT = 20_000_000  # characters of a rendered template: far above what any is for
# What a template must never do. CPython's own names of audit events.
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.remove", "os.rename",
             "os.mkdir", "os.rmdir", "os.putenv", "os.kill", "os.link", "os.symlink", "os.truncate",
             "os.chmod", "subprocess.", "socket.", "shutil.", "ctypes.", "pty.")  # fmt: skip


def lists(data: bytes) -> None:
    """A list out of a model's answer."""
    text = text_of(data)
    for cut in (False, True):
        items = parse_list(text, cut=cut)
        promise(all(0 < len(item) <= LONGEST_ITEM for item in items), "an empty or endless item")
        promise(len({item.casefold() for item in items}) == len(items), "an item twice")
        promise(items[:1] == parse_list(text, 1, cut=cut), "a limit that is another list")
        for item in items:
            item.encode()  # half a character would fit no file


def judged(data: bytes) -> None:
    """A judge's reply: JSON in whatever it is wrapped in, and the forms of generative rewards."""
    text = text_of(data)
    for finish in ("stop", "length"):
        found = named(lambda finish=finish: parse_answer(text, GRADES, finish), Invalid)
        if found is not None:
            promise(0 <= found.value["helpfulness"] <= 4, "a grade out of its scale")
            json.dumps(found.value, allow_nan=False).encode()
        pair = named(lambda finish=finish: read_pair(text, finish), ValueError)
        if pair is not None:
            inside = HELPFULNESS[0] <= min(pair.score_1, pair.score_2)
            inside = inside and max(pair.score_1, pair.score_2) <= HELPFULNESS[1]
            promise(inside and RANKING[0] <= pair.ranking <= RANKING[1], f"{pair} out of its scale")
        said = named(lambda finish=finish: read_judgement(text, finish), ValueError)
        promise(said in (None, 0.0, 1.0), f"a judgement of {said}")
    for values in read_values(text):
        promise(isinstance(values, list), "values that are no list")


def shown(data: bytes) -> None:
    """A row's text in a prompt: it stands there to the letter, and is run by nobody."""
    text = text_of(data)
    piece = text.strip()
    asked = [Message("user", text), Message("assistant", "Sure.")]
    with watched():
        made = material(PROMPTS / "judge_material.md", asked, [("response", text)])
    promise(made.count(piece) >= 2, "a text that is not shown as it was written")
    body = "".join(message.content for message in turns(made))
    promise(isinstance(body, str), "turns that are no text")


def templated(data: bytes) -> None:
    """A template that somebody else wrote, as a prompt's and as a model's chat template."""
    source = text_of(data).encode("utf-8", "replace").decode()
    path = folder() / "template.md"
    path.write_text(source, encoding="utf-8", newline="")
    values = {"text": "{{ 7 * 7 }}", "n": 3, "items": ["a", "b"], "row": {"prompt": "p"}}
    with watched():
        made = named(lambda: render(path, **values), RecipeError)
    promise(made is None or len(made) <= LONGEST_TEXT, "a prompt without end")
    with watched():
        chat = named(lambda: ChatTemplate(source, {"bos_token": "<s>"}, None, "here"), RecipeError)
        if chat is None:
            return
        asked = [Message("user", "{{ 7 * 7 }}"), Message("assistant", "49?")]
        made = named(lambda: chat.render(asked), RowError)
        named(chat.check, RecipeError)
    promise(made is None or len(made) <= LONGEST_TEXT, "a conversation without end")


class watched:  # noqa: N801  (it reads as a verb)
    """While it lasts, code that reaches for the machine is noted, and told at its end."""

    heard: list[str] | None = None

    def __enter__(self) -> None:
        _listen()
        watched.heard = []

    def __exit__(self, *_: object) -> None:
        heard, watched.heard = watched.heard, None
        promise(not heard, f"a template reached {heard}")


@cache
def _listen() -> None:
    """Once in a process: hooks stay to its end."""
    sys.addaudithook(_hear)


def _hear(event: str, args: tuple[Any, ...]) -> None:
    if watched.heard is None:
        return
    writes = event == "open" and isinstance(args[1], str) and set("wax+") & set(args[1])
    if writes or event.startswith(FORBIDDEN):
        watched.heard.append(f"{event} {args!r}"[:300])
