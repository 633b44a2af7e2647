"""What clients send: bodies of the gateway's routes, names of runs, addresses."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from fuzz.promises import named, promise, text_of, typed
from karat.errors import KaratError, ProviderError, RecipeError
from karat.models.chat import ChatRequest
from karat.models.services import check_url
from karat.models.transport import _request
from karat.places import is_remote, is_url, place
from karat.recipefile import LONGEST_NAME, name_of, name_of_file
from karat.web.addresses import query, quoted, run_page
from karat.web.gateway import anthropic_asks, chat_body
from karat.web.gateway.refusals import Refused
from karat.web.shelf import as_slug

_SLUG = re.compile(r"[A-Za-z0-9._~-]*")


def bodies(data: bytes) -> None:
    """A request of the gateway in either format: one of karat's own, or a refusal in words."""
    body = named(lambda: chat_body.read(data), Refused)
    if body is not None:
        asked = named(lambda: chat_body.request_of(body), Refused)
        if asked is not None:
            typed(asked, ChatRequest)
    found: Any = named(lambda: anthropic_asks.read_request(data), KaratError)
    if found is not None:
        typed(found.request, ChatRequest)
        promise(isinstance(found.model, str) and bool(found.model), "a model without a name")


def names(data: bytes) -> None:
    """A text as a recipe's name, a slug, a part of an address, a base_url, a place."""
    text = text_of(data)
    name = named(lambda: name_of(text, "recipe.yaml"), RecipeError)
    if name is not None:
        promise(name not in ("", ".", "..") and not set("/\\\0\n:") & set(name), f"{name!r}")
    _addressed(text)
    if named(lambda: check_url(text) or True, RecipeError):
        _sent(text)
    if is_url(text) and not text.startswith("file:"):
        return  # a store, whose library would be loaded
    found = named(lambda: place(text), RecipeError)
    if found is not None:
        promise(not is_remote(found), "a path that is a URL's")
        stem = named(lambda: name_of_file(found), ValueError)
        if stem and len(stem.encode()) <= LONGEST_NAME:  # no file is called longer
            promise(named(lambda: name_of(stem, "x"), RecipeError) is not None, f"{stem!r}")


def _addressed(text: str) -> None:
    """Whatever a folder or a row is called, its page's address leads to it and nowhere else."""
    slug = as_slug(text, ())
    promise(_SLUG.fullmatch(slug) is not None, f"a slug {slug!r}")
    parts = urlsplit(run_page(slug, f"/row/{quoted(text)}"))
    promise(not parts.netloc and not parts.query and not parts.fragment, "another address")
    whole = text.encode("utf-8", "replace").decode()
    promise(unquote(parts.path.rpartition("/")[2]) == whole, "a part that reads otherwise")
    said = dict(parse_qsl(query(q=text)[1:], keep_blank_values=True))
    promise(said == ({"q": whole} if text else {}), "a query that reads otherwise")


def _sent(url: str) -> None:
    """A base_url that passed the check: one request goes out, to that host, or none."""
    made = named(
        lambda: _request("POST", f"{url.rstrip('/')}/chat/completions", (("a", "b"),)),
        ProviderError,
    )
    if made is None:
        return
    _, head = made
    lines = head.decode("latin-1").split("\r\n")
    promise("\n" not in "".join(lines) and "" not in lines, "a header of the URL's own")
    promise(len(lines[0].split(" ")) == 3, f"a request line {lines[0]!r}")
    promise(sum(line.lower().startswith("host:") for line in lines) == 1, "two hosts")
