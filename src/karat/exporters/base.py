"""What all exporters share: the accepted rows a few at a time, and files that are whole.

An export is made anew from accepted.parquet each time, in its order, so the same run gives the same
bytes. A file with nothing in it is not written: no loader opens one. Where rows say in `meta.split`
to which part of the data they belong, each part gets a file of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import msgspec
import orjson

from karat import parquet, places
from karat.errors import RunError
from karat.row import SPLITS, Message, Row
from karat.stage import BATCH_ROWS, read_meta
from karat.table import SCHEMA, from_batch


class Exported(msgspec.Struct):
    """What an export wrote: files by name, lines in them, and what it left out by reason."""

    files: dict[str, Path] = {}
    rows: int = 0
    left_out: dict[str, int] = {}

    def leave_out(self, reason: str) -> None:
        self.left_out[reason] = self.left_out.get(reason, 0) + 1


def accepted_rows(path: Path) -> Iterator[Row]:
    """The rows of accepted.parquet in file order, without the columns made for looking at."""
    with parquet.Parts(path) as file:
        for batch in file.iter_batches(BATCH_ROWS, columns=SCHEMA.names):
            yield from from_batch(batch.select(SCHEMA.names))


def ranking(path: Path) -> tuple[str | None, str]:
    """The score that chose among the answers, or None and why there is none.

    It is what the last `reject` ranked by; failing that, the only `*.reward` score in the file.
    """
    chosen = read_meta(path).get("ranking")
    if isinstance(chosen, str):
        return chosen, ""
    column = "responses.list.element.scores.list.element.key"
    rewards: set[str] = set()
    with parquet.Parts(path) as file:
        for batch in file.iter_batches(columns=[column]):
            keys = batch.column(0).flatten().field("scores").flatten().field("key")
            rewards |= {key for key in keys.unique().to_pylist() if key.endswith(".reward")}
    if len(rewards) == 1:
        return rewards.pop(), ""
    found = f"{len(rewards)} rewards graded the answers" if rewards else "no reward graded them"
    return None, f"no score to rank answers by: no reject step chose, and {found}"


class Paired(msgspec.Struct):
    """One of a row's pairs as the step `pairs` writes them into `meta.pairs`; places in responses,
    the scores that made it."""

    chosen: Annotated[int, msgspec.Meta(ge=0)]
    rejected: Annotated[int, msgspec.Meta(ge=0)]
    chosen_reward: float
    rejected_reward: float


def paired(row: Row) -> list[Paired]:
    """The pairs of a row; none where `meta.pairs` is a field of the user's own and means something
    else."""
    try:
        pairs = msgspec.convert(row.meta.get("pairs", []), list[Paired])
    except msgspec.ValidationError:
        return []
    last = max((max(pair.chosen, pair.rejected) for pair in pairs), default=-1)
    return pairs if last < len(row.responses) else []


def turns(messages: list[Message]) -> list[dict[str, str]]:
    """Messages as trainers read them."""
    return [{"role": message.role, "content": message.content} for message in messages]


def answer(content: str) -> list[dict[str, str]]:
    """One assistant turn, as a list: a string would not match the prompt's shape."""
    return [{"role": "assistant", "content": content}]


class Lines:
    """A file of lines, as a rule JSONL, under way beside its final name. Raises: RunError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._beside = path.with_name(f".{path.name}.tmp")

    def __enter__(self) -> Lines:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self._beside.open("wb", buffering=2**20)
        except OSError as error:
            raise self._cannot(error) from error
        return self

    def write(self, line: dict[str, Any]) -> None:
        self.put(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))

    def put(self, line: bytes) -> None:
        """Writes a line of another format, with its end."""
        try:
            self._stream.write(line)
        except OSError as error:
            raise self._cannot(error) from error
        self.count += 1

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self._stream.close()
            if error is None and self.count:
                self._beside.replace(self.path)
            elif error is None:
                self.path.unlink(
                    missing_ok=True
                )  # an earlier run's, which says what is no longer so
        except OSError as failed:
            raise self._cannot(failed) from failed
        finally:
            self._beside.unlink(missing_ok=True)

    def _cannot(self, error: OSError) -> RunError:
        reason, remedy = places.shown(error), places.remedy(error)
        return RunError(f"cannot write {self.path}: {reason}; {remedy} and run again")


def files_of(name: str) -> tuple[str, ...]:
    """What an export of that name may write: one file, or one for each part of the data."""
    return (name, *(_part_of(name, split) for split in SPLITS))


def write_parts(
    accepted: Path, target: Path, whole: str, lines: Callable[[Row, Exported], Iterator[Any]]
) -> Exported:
    """Writes what `lines` makes of every row: into `target`, called `whole` in the report; or,
    where any row is of a part, into a file a part ("trl-sft.train.jsonl").

    A row that is of no part where others are is left out: nothing says that it is not nearly the
    same as a row of the test part.
    """
    made = Exported()
    names = {"": target}
    if _is_split(accepted):
        names = {split: target.with_name(_part_of(target.name, split)) for split in SPLITS}
    with ExitStack() as stack:
        files = {split: stack.enter_context(Lines(path)) for split, path in names.items()}
        for row in accepted_rows(accepted):
            part = "" if "" in files else split_of(row)
            if part not in files:
                made.leave_out("no split")
                continue
            for line in lines(row, made):
                files[part].write(line)
    made.files = {split or whole: file.path for split, file in files.items() if file.count}
    made.rows = sum(file.count for file in files.values())
    return made


def split_of(row: Row) -> str:
    """The part of the data that a row is of; empty for none, or a word of the user's own."""
    part = row.meta.get("split")
    return part if part in SPLITS else ""


def _is_split(path: Path) -> bool:
    with parquet.Parts(path) as file:
        for batch in file.iter_batches(columns=["meta"]):
            for text in batch.column("meta").to_pylist():
                if '"split"' in text and orjson.loads(text).get("split") in SPLITS:
                    return True
    return False


def _part_of(name: str, split: str) -> str:
    stem, dot, ending = name.rpartition(".")
    return f"{stem}.{split}{dot}{ending}"
