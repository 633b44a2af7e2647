"""A conversation as the text that a reward model reads: the model's own chat template, filled in.

Servers that are sent plain text apply no template, and a reward model that reads another one's
format scores noise without a complaint. So the template is taken from the model's own files and
rendered as transformers does it, sandboxed and its work counted, since it is code from a hub. One
thing is left out on purpose: the clock. Templates that write today's date fall back to the date
they were made with, and a text scores the same tomorrow.

Source: transformers 5.23, utils/chat_template_utils.py (environment, filters, special tokens as
variables) and tokenization_utils_base.py (chat_template.jinja beside tokenizer_config.json).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError, meta, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser

from karat.errors import RecipeError, RowError
from karat.row import Message, digest
from karat.templates import Sandbox

CONFIG = "tokenizer_config.json"
TEMPLATE = "chat_template.jinja"
TOKENS = (
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token",
)  # fmt: skip


PROMPT_MARK, ANSWER_MARK = "karat asks", "karat answers"


class ChatTemplate:
    """`digest` tells two of them apart; `bos` is the token a text begins with, "" where the model
    has none; `adds_bos` whether the model's tokenizer puts one before any text, None: not said."""

    def __init__(
        self, source: str, tokens: Mapping[str, str], adds_bos: bool | None, where: str
    ) -> None:
        self.tokens, self.adds_bos, self.where = dict(tokens), adds_bos, where
        self.bos = self.tokens.get("bos_token", "")
        self.digest = digest(source, json.dumps(self.tokens, sort_keys=True), size=8).hex()
        self._environment = _environment()
        try:
            self._template = self._environment.from_string(source)
        except TemplateSyntaxError as error:
            raise RecipeError(f"template {where}: line {error.lineno}: {error}") from None
        except Exception as error:  # nested too deep for Jinja, or for Python
            raise RecipeError(f"template {where}: {error or type(error).__name__}") from None

    def render(self, messages: Sequence[Message]) -> str:
        """The conversation's text. Raises: RowError for one the template does not take."""
        turns = [{"role": m.role, "content": m.content} for m in messages]
        self._environment.begin(turns)
        try:
            return self._template.render(
                messages=turns, add_generation_prompt=False, tools=None, documents=None,
                **self.tokens,
            )  # fmt: skip
        except Exception as error:  # a template is code: it may raise whatever Python has
            why = str(error) or type(error).__name__
            raise RowError(f"the chat template does not take this conversation: {why}") from None

    def check(self) -> None:
        """Raises: RecipeError when it does not write what it is given."""
        tried = [Message("user", f"{PROMPT_MARK}?"), Message("assistant", f"{ANSWER_MARK}.")]
        try:
            text = self.render(tried)
        except RowError as error:
            raise RecipeError(f"template {self.where}: {error}") from None
        if text.find(PROMPT_MARK) < 0 or text.find(ANSWER_MARK) < text.find(PROMPT_MARK):
            raise RecipeError(
                f"template {self.where}: of a question and its answer it writes {text!r}; it must "
                "hold both, in this order: name the chat template the reward model was trained with"
            )


def read_template(path: Path) -> ChatTemplate:
    """The template in a model's folder, its tokenizer_config.json, or a Jinja file.

    Raises: RecipeError.
    """
    try:
        found = _read(path)
    except OSError as error:
        raise RecipeError(f"template: cannot read {path}: {error.strerror or error}") from None
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError) as error:
        raise RecipeError(f"template: {path} is no {CONFIG}: {error}") from None
    found.check()
    return found


def _read(path: Path) -> ChatTemplate:
    if path.is_dir():
        beside = path / TEMPLATE
        path = beside if beside.is_file() else path / CONFIG
    if path.name == CONFIG:
        config = json.loads(path.read_text(encoding="utf-8"))
        source = _source(config.get("chat_template"))
        beside = path.with_name(TEMPLATE)
        if source is None and beside.is_file():
            source = beside.read_text(encoding="utf-8")
        if source is None:
            raise RecipeError(
                f"template: {path} has no chat_template; name a Jinja file with the one the model "
                "was trained with"
            )
        return ChatTemplate(source, _tokens(config), config.get("add_bos_token"), str(path))
    source = path.read_text(encoding="utf-8")
    config_file = path.with_name(CONFIG)
    if config_file.is_file():
        config = json.loads(config_file.read_text(encoding="utf-8"))
        return ChatTemplate(source, _tokens(config), config.get("add_bos_token"), str(path))
    try:
        used = meta.find_undeclared_variables(_environment().parse(source))
    except TemplateSyntaxError as error:
        raise RecipeError(f"template {path}: line {error.lineno}: {error}") from None
    for name in TOKENS:
        if name in used:  # it would be left out of the text without a word
            raise RecipeError(
                f"template: {path} writes the model's {name}, which is in its {CONFIG}: put that "
                "file beside it"
            )
    return ChatTemplate(source, {}, None, str(path))


def _source(value: Any) -> str | None:
    """A config's template; of several, the one called default."""
    if isinstance(value, list):
        named = {one["name"]: one["template"] for one in value}
        value = named.get("default")
    return value if isinstance(value, str) else None


def _tokens(config: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    for name in TOKENS:
        value = config.get(name)
        content = value.get("content") if isinstance(value, dict) else value
        if isinstance(content, str):
            found[name] = content
    return found


class _Generation(Extension):
    """`{% generation %}` marks what a trainer learns from; here it changes nothing."""

    tags = {"generation"}  # noqa: RUF012  (Jinja's own name for it)

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> Sandbox:
    made = Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
    made.filters["tojson"] = made.counted("tojson", _tojson)
    made.globals["raise_exception"] = _refuse
    return made


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: int | None = None,
    separators: tuple[str, str] | None = None, sort_keys: bool = False,
) -> str:  # fmt: skip
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _refuse(message: str) -> None:
    raise TemplateError(message)
