"""Licences of a row: whose models and graders made it, and whether a model may train on it.

The answer to a question that is asked years later, so it is written beside the row. Counted in: the
models that wrote the prompt (through the journal's keys), the model of the answer, the rewards that
graded it, and the licence a given row brought along. The strictest decides. Of a row that was
dropped before one was chosen, all answers count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from itertools import chain, islice
from typing import Any

import orjson
import pyarrow as pa

from karat.journal import Address, look_up
from karat.models.rights import (
    STRICTNESS,
    UNKNOWN_MODEL,
    Rights,
    Training,
    find_rule,
    rights_of,
    table,
)

AT_ONCE = 500  # keys of one query
LONGEST = 500  # characters of a licence: a file may have a whole text there


class Licences:
    """Of the rows of one run."""

    def __init__(
        self, models: Mapping[str, Rights], rewards: Mapping[str, str], journal: Address
    ) -> None:
        """`models`: what the terms of each say, by `provider/name`; `rewards`: the licence of each,
        by the name its scores begin with."""
        self._models = models
        self._journal = journal
        self._rewards = rewards

    def columns(self, batch: pa.RecordBatch) -> tuple[pa.Array, pa.Array]:
        """For each row of SCHEMA: its licences, and what they say of training (yes, conditions,
        unknown or no); a person's own rows count as they are labelled.

        A prompt without any answer is its writer's: yes where it was given, for nothing in it is a
        model's, and unknown where it was made and the journal does not say by whom.
        """
        wanted = ("calls", "responses", "meta", "source")
        listed = [batch.column(name).to_pylist() for name in wanted]
        writers = self._look_up(chain.from_iterable(listed[0]))
        found = [self._of(writers, *row) for row in zip(*listed, strict=True)]
        names = pa.array([names for names, _ in found], pa.list_(pa.string()))
        return names, pa.array([training for _, training in found], pa.string())

    def _look_up(self, keys: Iterable[str]) -> dict[str, str]:
        """The models of these calls: of one batch, for a run's do not all fit into memory."""
        writers: dict[str, str] = {}
        wanted = iter(set(keys))
        while some := list(islice(wanted, AT_ONCE)):
            sql = f"SELECT key, model FROM calls WHERE key IN ({', '.join('?' * len(some))})"
            found = look_up(self._journal, sql, *map(bytes.fromhex, some))
            writers.update((key.hex(), model) for key, model in found)
        return writers

    def _of(
        self, writers: Mapping[str, str], calls: list[str], responses: list[dict[str, Any]],
        meta: str, source: str,
    ) -> tuple[list[str], str]:  # fmt: skip
        models = {writers[key] for key in calls if key in writers}
        given: set[str] = set()
        graders: set[str] = set()
        chosen = [one for one in responses if one["kept"] is not False]
        for response in chosen or responses:
            (models if response["call"] else given).add(response["model"])
            graders.update(score["key"].rpartition(".")[0] for score in response["scores"])
        models.update(_edited_of(meta))
        rights = [self._models.get(m) or called_rights(m) for m in sorted(models) if m]
        rights += [given_rights(m) for m in sorted(given) if m]
        names = [one.licence for one in rights]
        names += [self._rewards[name] for name in sorted(graders) if name in self._rewards]
        if (stated := stated_licence(meta)) is not None:
            names.append(stated)
        nobody: Training = "yes" if responses or source in ("given", "human") else "unknown"
        said = [one.training for one in rights] or [nobody]
        return list(dict.fromkeys(names)), max(said, key=STRICTNESS.index)


def _edited_of(meta: str) -> list[str]:
    """The model whose answer a person edited: its terms hold for the words that are left of it."""
    if '"edited"' not in meta:
        return []
    edited = orjson.loads(meta).get("edited")
    model = edited.get("of") if isinstance(edited, dict) else None
    return [model] if isinstance(model, str) else []


def stated_licence(meta: str) -> str | None:
    """The licence that a row's meta names, as karat or as American files spell the field."""
    if '"licen' not in meta:
        return None
    found = orjson.loads(meta)
    stated = found.get("licence")
    return text_of(found.get("license") if stated is None else stated)


def text_of(licence: object) -> str | None:
    """A licence in one line of text, as UTF-8 can hold it; those of a list hold together. None
    where there is none, `other` where it is no text."""
    if isinstance(licence, list):
        licence = " AND ".join(one for one in licence if isinstance(one, str) and one.strip())
    if licence is None or licence == "":
        return None
    text = licence[:LONGEST] if isinstance(licence, str) else "other"
    return " ".join(text.encode("utf-8", "replace").decode().split()) or None


@cache
def called_rights(model: str) -> Rights:
    """What the terms say of a model that was called, as `service/name`."""
    service, _, name = model.partition("/")
    return rights_of(service, name)


@cache
def given_rights(model: str) -> Rights:
    """What the terms say of a model that a file names as the writer of an answer. Before its name
    there may be the organisation that made it, or a service that served it, or nothing."""
    first, _, name = model.partition("/")
    rule = find_rule(model)
    served = any(first in service.names for service in table().service)
    if served and (rule is None or first.lower() not in rule.by):
        return rights_of(first, name)
    if rule is None:
        return UNKNOWN_MODEL
    return Rights(rule.licence, rule.training, rule.note, rule.source)
