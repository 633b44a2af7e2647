"""read: rows out of JSONL, JSON, CSV, Parquet or a Hugging Face dataset.

A file is somebody else's work: lines break, columns have other names, answers and ratings are
already there. What the columns say is kept, and a record that makes no row goes on as a dropped row
with its place in the file, so that the report counts it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from karat import places
from karat.context import Context
from karat.errors import KaratError, RecipeError, RunError
from karat.forecast import Forecast
from karat.row import Ids, Row, canonical, digest
from karat.step import DatasetName, InputPath, Positive, step
from karat.steps._files import as_json, count_rows, input_files, read_files
from karat.steps._json import Record
from karat.steps._mapping import resolve
from karat.steps._neighbours import alike, grouped
from karat.steps._shapes import Mapping, Parts, parse
from karat.steps._turns import UnusableError

if TYPE_CHECKING:
    from karat.recipe import Recipe

__all__ = ["count_rows", "input_files", "read"]

SAMPLES = 100  # records looked at before columns are settled: JSONL may leave some out of a line
SAMPLE_BYTES = 2**20
COLUMNS = ("prompt", "messages", "system", "response", "responses", "scores", "model", "keep")
SNIPPET = 500  # characters of an unusable record that are kept

Source = Literal["given", "human", "synthetic"]


@step
def read(
    ctx: Context,
    *,
    path: InputPath | None = None,
    glob: str | None = None,
    dataset: DatasetName | None = None,
    split: str = "train",
    config: str | None = None,
    revision: str | None = None,
    prompt: str | list[str] | None = None,
    messages: str | None = None,
    system: str | None = None,
    response: str | None = None,
    responses: str | list[str] | None = None,
    scores: list[str] | None = None,
    model: str | None = None,
    source: Source = "given",
    licence: str | None = None,
    keep: list[str] | None = None,
    group: bool = False,
    limit: Positive | None = None,
) -> Iterator[Row]:
    """One row per record of `path` (a file, or a folder with `glob` inside it) or of `dataset`.

    Files: .jsonl, .json (a list, or lines), .csv, .tsv, .parquet; all but Parquet also .gz, .bz2,
    .xz, .zst. `dataset`: a Hugging Face name or local folder, streamed (`karat[hf]`). Columns left
    open are found by name in the order given here; any but the first is said in a warning. Dots
    name a place inside a column: `instances.0.input`.
    - `prompt` (columns joined by an empty line) or `messages`: messages and prompt; conversations
      (ShareGPT), conversation, context; instruction + input (Alpaca); question; what chosen and
      rejected share (HH). A last assistant turn is a given response.
    - `response`, or `responses` (a list column, or several): chosen + rejected, 1 and 0 on
      `human.preferred`; responses; response; completions; completion; response_1 + response_2;
      Alpaca's output. [] leaves given answers out. `answer` stays in meta: often a bare solution.
    - `scores`: columns that become `human.NAME` on their own scale; HelpSteer's five where all are
      there. `[score]` reads score_chosen and score_rejected.
    - `model`: who wrote the response. `system`: a column for the first message.
    `source` says who wrote the prompts, `licence` is put where a row has none. Other columns go to
    meta, or only those in `keep`. `group` merges neighbours with one prompt (HelpSteer2), their
    differing meta values into lists. `limit` counts usable rows.

    Raises: RecipeError when nothing can be read or a named column is not there.
    """
    given = _given(prompt, messages, system, response, responses, scores, model, keep)
    if dataset is not None:
        records, where = _dataset(_local(ctx, dataset), config, split, revision), f"'{dataset}'"
    else:
        root = ctx.path(path or "")
        records, where = read_files(input_files(root, glob), root), str(root)
    maker = _Maker(source, licence)
    with closing(_usable(ctx, records, given, where, maker)) as found:
        if group:
            yield from _first(grouped(found, maker.row), limit)
            return
        with closing(alike(found, ctx)) as parts:
            yield from _first(map(maker.row, parts), limit)


def _first(rows: Iterator[Row], limit: int | None) -> Iterator[Row]:
    """All rows up to the `limit`th usable one."""
    count = 0
    for row in rows:
        yield row
        count += row.dropped is None
        if count == limit:
            return


def _given(
    prompt: str | list[str] | None,
    messages: str | None,
    system: str | None,
    response: str | None,
    responses: str | list[str] | None,
    scores: list[str] | None,
    model: str | None,
    keep: list[str] | None,
) -> Mapping:
    answers = response if response is not None else responses
    return Mapping(
        prompt=[prompt] if isinstance(prompt, str) else prompt,
        messages=messages,
        system=system,
        responses=[answers] if isinstance(answers, str) else answers,
        scores=scores,
        model=model,
        keep=keep,
        listed=isinstance(responses, str),
    )


@read.rule
def _rule(
    *, path: str | None, glob: str | None, dataset: str | None, prompt: Any, messages: str | None,
    response: str | None, responses: Any, **_: Any,
) -> str | None:  # fmt: skip
    if (path is None) == (dataset is None):
        return "name one of path (a file or folder) and dataset (a Hugging Face dataset)"
    if dataset is not None and places.is_url(dataset):
        return f"dataset is a Hugging Face name or a folder; write path: {dataset}"
    if glob is not None and path is None:
        return "glob chooses files inside the folder that path names; add path"
    if path is not None and set("*?") & set(path) and not places.is_url(path) | Path(path).exists():
        return f"path takes no pattern; write path: FOLDER and glob: '{path.rpartition('/')[2]}'"
    if prompt is not None and messages is not None:
        return "name one of prompt and messages"
    if response is not None and responses is not None:
        return "name one of response and responses"
    return None


def _local(ctx: Context, dataset: str) -> str:
    path = ctx.path(dataset)
    return str(path) if path.exists() else dataset


def _usable(
    ctx: Context, records: Iterator[Record], given: Mapping, where: str, maker: _Maker
) -> Generator[Parts | Row]:
    """What each record holds; a dropped row for those that hold nothing usable."""
    first, size = [], 0
    for record in records:
        first.append(record)
        size += len(record.raw or str(record.value))
        if len(first) >= SAMPLES or size >= SAMPLE_BYTES:
            break
    samples = [record.value for record in first if record.value is not None]
    mapping = None
    usable, problem = 0, "it is empty"
    for record in chain(first, records):
        if record.value is not None and mapping is None:
            mapping, said = resolve(given, samples or [record.value], where)
            if said:
                ctx.warn(said)
        found = _one(record, mapping, maker)
        if isinstance(found, Parts):
            usable += 1
        elif not usable and problem == "it is empty":
            problem = f"the first problem: {found.dropped}"
        yield found
    if not usable:
        raise RecipeError(f"{where} has no record that makes a row; {problem}")


def _one(record: Record, mapping: Mapping | None, maker: _Maker) -> Parts | Row:
    if record.value is None or mapping is None:
        return maker.dropped(record, "unreadable line", record.problem)
    try:
        parts = parse(record.value, mapping)
        canonical(parts.meta)
    except UnusableError as error:
        return maker.dropped(record, error.category, error.detail)
    except (TypeError, RecursionError):
        return maker.dropped(record, "unreadable line", "nested too deep")
    return parts


class _Maker:
    """Makes rows with ids of their own out of what records hold."""

    def __init__(self, source: str, licence: str | None) -> None:
        self._source = source
        self._licence = licence
        self._ids = Ids()

    def row(self, parts: Parts | Row) -> Row:
        if isinstance(parts, Row):
            return parts
        meta = parts.meta
        if self._licence is not None:
            meta.setdefault("licence", self._licence)
        source = parts.source if parts.source and self._source == "given" else self._source
        # By the prompt alone: a licence or another column added later must not re-buy answers.
        identity = self._ids.assign(parts.messages, {})
        return Row(identity, parts.messages, parts.responses, source, meta)

    def dropped(self, record: Record, category: str, detail: str) -> Row:
        """A row that says what was lost: its id comes from the record, never from its place."""
        raw = record.raw or repr(record.value).encode("utf-8", "replace")
        meta = {"record": raw[: 4 * SNIPPET].decode("utf-8", "replace")[:SNIPPET]}
        identity = self._ids.assign([], meta, digest(raw).hex())
        return Row(identity, source=self._source, meta=meta,
                   dropped=f"{category} ({record.where}: {detail})")  # fmt: skip


def _dataset(name: str, config: str | None, split: str, revision: str | None) -> Iterator[Record]:
    """The records of a Hugging Face dataset, streamed. Raises: RecipeError, RunError."""
    try:
        import datasets
    except ImportError:
        raise RecipeError("dataset needs Hugging Face datasets: pip install 'karat[hf]'") from None
    try:
        if any((Path(name) / f"dataset_{kind}.json").is_file() for kind in ("info", "dict")):
            found = datasets.load_from_disk(name)
            found = found[split] if isinstance(found, dict) else found
        else:
            found = datasets.load_dataset(
                name, config, split=split, revision=revision, streaming=True
            )
        rows = iter(found)
    except KaratError:
        raise
    except Exception as error:  # whatever the hub, the network or a loading script raises
        raise RecipeError(f"dataset '{name}', split '{split}': {_words(error)}") from None
    number = 0
    while True:
        try:
            value = next(rows, None)
        except Exception as error:
            raise RunError(
                f"dataset '{name}' broke off after row {number}: {_words(error)}; run again"
            ) from error
        if value is None:
            return
        number += 1
        yield Record(f"{name}: row {number}", as_json(value))


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


@read.plan
def _plan(
    rows: int, *, recipe: Recipe, path: str | None, glob: str | None, limit: int | None,
    group: bool, **params: Any,
) -> Forecast | None:  # fmt: skip
    """Records of the files, with `group` an upper bound; the most responses one of the first has:
    what grades them is paid for each."""
    root = None if path is None else recipe.path(path)
    found = None if root is None else count_rows(input_files(root, glob))
    if root is None or found is None:
        return None
    given = _given(*(params[name] for name in COLUMNS))
    most = _most_responses(read_files(input_files(root, glob), root), given, str(root), group)
    return Forecast(found if limit is None else min(found, limit), responses=most)


def _most_responses(records: Iterator[Record], given: Mapping, where: str, group: bool) -> int:
    """Of a row, among the first of a file; 0 where they cannot be told."""
    maker = _Maker("given", None)
    try:
        first = list(islice(records, SAMPLES))
        samples = [record.value for record in first if record.value is not None]
        mapping = resolve(given, samples, where)[0] if samples else None
        found = iter([_one(record, mapping, maker) for record in first])
        rows = grouped(found, maker.row) if group else (maker.row(parts) for parts in found)
        return max((len(row.responses) for row in rows), default=0)
    except RecipeError:  # a run says it
        return 0
