"""Licences of a row: whose models and graders made it, and whether a model may train on it.

The answer to a question that is asked years later, so it is written beside the row. Counted in: the
models that wrote the prompt (through the journal's keys), the model of the answer, the rewards that
graded it, and the licence a given row brought along. The strictest decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from itertools import chain, islice
from pathlib import Path

import orjson
import pyarrow as pa

from karat.journal import look_up
from karat.models.rights import STRICTNESS, Rights, rights_of

AT_ONCE = 500  # keys of one query


class Licences:
    """Of the rows of one run."""

    def __init__(
        self, models: Mapping[str, Rights], rewards: Mapping[str, str], journal: Path
    ) -> None:
        """`models`: what the terms of each say, by `provider/name`; `rewards`: the licence of each,
        by the name its scores begin with."""
        self._models = models
        self._journal = journal
        self._rewards = rewards

    def columns(self, batch: pa.RecordBatch) -> tuple[pa.Array, pa.Array]:
        """For each row of SCHEMA: its licences, and what they say of training (yes, conditions,
        unknown or no); a person's own rows count as they are labelled."""
        calls = batch.column("calls").to_pylist()
        writers = self._look_up(chain.from_iterable(calls))
        responses = batch.column("responses").to_pylist()
        metas = batch.column("meta").to_pylist()
        found = [self._of(writers, *row) for row in zip(calls, responses, metas, strict=True)]
        names = pa.array([names for names, _ in found], pa.list_(pa.string()))
        return names, pa.array([training for _, training in found], pa.string())

    def _look_up(self, keys: Iterable[str]) -> dict[str, str]:
        """The models of these calls: of one batch, for a run's do not all fit into memory."""
        writers: dict[str, str] = {}
        wanted = iter(set(keys))
        while some := list(islice(wanted, AT_ONCE)):
            listed = ", ".join(f"X'{bytes.fromhex(key).hex()}'" for key in some)
            found = look_up(self._journal, f"SELECT key, model FROM calls WHERE key IN ({listed})")
            writers.update((key.hex(), model) for key, model in found)
        return writers

    def _of(
        self, writers: Mapping[str, str], calls: list[str], responses: list[object], meta: str
    ) -> tuple[list[str], str]:
        models = {writers[key] for key in calls if key in writers}
        graders: set[str] = set()
        chosen = [r for r in responses if isinstance(r, Mapping) and r["kept"] is not False]
        for response in chosen:
            models.add(response["model"])
            graders.update(score["key"].rpartition(".")[0] for score in response["scores"])
        rights = [self._models.get(m) or _rights(m) for m in sorted(models) if m]
        names = [one.licence for one in rights]
        names += [self._rewards[name] for name in sorted(graders) if name in self._rewards]
        if '"licence"' in meta:
            names.append(str(orjson.loads(meta).get("licence")))
        worst = max((STRICTNESS.index(one.training) for one in rights), default=0)
        return list(dict.fromkeys(names)), STRICTNESS[worst]


@cache
def _rights(model: str) -> Rights:
    service, _, name = model.partition("/")
    return rights_of(service, name)
