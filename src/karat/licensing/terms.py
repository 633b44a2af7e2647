"""The table of licence terms: what is to be done, by whichever name a licence is written.

Files spell a licence in their own ways (`CC BY 4.0`, `cc-by-4.0`, an address) and several at once
(`MIT AND Apache-2.0`, `Apache-2.0 + Groq terms`). Each is looked up by itself; what the table does
not know stays unknown, with the words it was written in.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from pathlib import Path
from typing import Literal

import msgspec
import yaml

from karat.models.rights import STRICTNESS, Training

FILE = Path(__file__).with_name("terms.yaml")
Kind = Literal[
    "attribution", "share_alike", "notice_file", "name_prefix", "built_with", "model_terms",
    "non_commercial", "no_competing", "user_limit", "revenue_limit", "use_policy", "use_limits",
    "keep_marks", "host_terms", "ask_first", "read_terms",
]  # fmt: skip
Part = Literal["text", "output", "grades"]  # what a source gave: rows, words, or scores
Group = Literal[
    "free", "notice", "cc_share_alike", "odbl", "cdla_sharing", "non_commercial", "nc_share_alike",
    "never",
]  # fmt: skip
# How licences are written that do not say which: nothing follows from them.
SAYS_NOTHING = frozenset(
    ("", "unknown", "other", "none", "null", "n/a", "unspecified", "custom", "not stated")
)
AT_ONCE = 4096  # licences remembered: a file may have another one in each row
LONGEST = 200  # characters of a licence's name: what is longer is a text, not a name


class Duty(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something to do. `value`: words that a name begins with, or that have to be shown."""

    kind: Kind
    text: str
    on: tuple[Part, ...] = ("text", "output", "grades")
    value: str = ""


class Terms(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One licence, or the terms of one service; see terms.yaml."""

    id: str
    title: str
    names: tuple[str, ...]
    training: Training
    text: Group
    output: Group = "free"
    reaches: bool = False
    duties: tuple[Duty, ...] = ()
    url: str
    source: str
    checked: str = ""


class Dataset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A dataset of the Hub that is known by its name."""

    name: str
    by: str
    licence: str


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file."""

    licences: tuple[Terms, ...]
    datasets: tuple[Dataset, ...]


@cache
def table() -> Table:
    """The terms."""
    # As text alone: YAML would read `yes` as true and a date as a date.
    tree = yaml.load(FILE.read_bytes(), getattr(yaml, "CBaseLoader", yaml.BaseLoader))
    return msgspec.convert(tree, Table, strict=False)


def dataset(name: str) -> Dataset | None:
    """What is known of a dataset of the Hub."""
    return _datasets().get(name.lower())


def find(name: str) -> Terms | None:
    """The terms of one licence, however it is spelled; None where the table has none."""
    return _names().get(_plain(name))


@lru_cache(AT_ONCE)
def find_all(licence: str) -> tuple[tuple[str, Terms | None], ...]:
    """(name, terms) of every licence in what was written, as `MIT AND Llama Community License`.

    All hold together, but `A OR B` is a choice, and the one that asks less is taken. What says
    nothing, such as `other`, gives a name without terms; so does a choice inside brackets.
    """
    whole = find(licence)
    if whole is not None:
        return ((whole.title, whole),)
    for mark in (r"\s\+\s|;\s*", r"\s+OR\s+", r"\s+AND\s+|,\s+"):
        parts = [part.strip() for part in re.split(mark, licence.strip()) if part.strip()]
        if len(parts) < 2:
            continue
        if "OR" in mark:
            if "(" in licence:
                break
            return min((find_all(part) for part in parts), key=_weight)
        return tuple(dict.fromkeys(one for part in parts for one in find_all(part)))
    return ((_cut(licence.strip()), None),)


def _weight(found: tuple[tuple[str, Terms | None], ...]) -> tuple[int, int, str]:
    """How much a choice asks: one that is not known, more than any that is."""
    ranks = [STRICTNESS.index(terms.training if terms else "no") for _, terms in found]
    duties = sum(len(terms.duties) if terms else 0 for _, terms in found)
    return max(ranks), duties, found[0][0]


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[:LONGEST]}…"


def _plain(name: str) -> str:
    """One spelling: small letters, no blanks, `https`, no ending of an address."""
    text = re.sub(r"[\s_]+", "-", name.strip().lower())
    if text.startswith(("http://", "https://")):
        text = re.sub(r"^http:", "https:", text).replace("://www.", "://")
        return re.sub(r"/?(?:legalcode|deed)?(?:\.[a-z]{2})?/?$", "", text)
    text = re.sub(r"^creative-commons-", "cc-", text)
    ported = r"(?:-international|-unported|-generic|-[a-z]{2})?"
    return re.sub(rf"^(cc-[a-z-]+?)-v?(\d\.\d){ported}$", r"\1-\2", text)


@cache
def _names() -> dict[str, Terms]:
    found = {_plain(name): one for one in table().licences for name in (*one.names, one.id)}
    return {name: one for name, one in found.items() if name not in SAYS_NOTHING}


@cache
def _datasets() -> dict[str, Dataset]:
    return {one.name.lower(): one for one in table().datasets}
