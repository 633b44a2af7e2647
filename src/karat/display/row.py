"""A row as a notebook shows it: its turns, every response with its scores, why it was dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from karat.display import shown

if TYPE_CHECKING:
    from karat.row import Row

MOST = 50  # responses, and turns
MARKS = {True: "kept", False: "", None: ""}


def row_parts(row: Row) -> str:
    """The whole piece of HTML."""
    parts = [shown.paragraph(shown.bold(f"row {row.id}"), shown.small(row.source))]
    for message in row.messages[-MOST:]:
        parts += [shown.paragraph(shown.small(message.role)), shown.whole(message.content)]
    if row.dropped is not None:
        parts.append(shown.paragraph(shown.bold("dropped:"), row.dropped))
    if row.responses:
        parts.append(_responses(row))
    if row.meta:
        text = orjson.dumps(row.meta, default=str, option=orjson.OPT_NON_STR_KEYS)
        parts.append(shown.paragraph(shown.small(f"meta: {text.decode()}", 600)))
    return shown.fragment(*parts)


def _responses(row: Row) -> shown.Html:
    keys = list(dict.fromkeys(key for one in row.responses for key in one.scores))
    rows = [
        [
            shown.whole(one.content), one.model or "the file", MARKS[one.kept],
            *(shown.score(one.scores.get(key)) for key in keys),
        ]
        for one in row.responses[:MOST]
    ]  # fmt: skip
    head = [shown.count(len(row.responses), "response"), "by", "", *keys]
    return shown.table(head, rows, "---" + "n" * len(keys))
