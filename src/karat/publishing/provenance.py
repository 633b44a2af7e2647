"""prov.json: where the data came from, in W3C PROV: files, steps, models, and what used what.

PROV-JSON is a dictionary of dictionaries, so it is written as one: the library for it adds nothing
but a dependency, and the tests have that library read the file. Everything is taken from the run's
own files. Costs, prompts and the folders of this machine stay out, as the file is to be given away.

Source: PROV-DM (W3C 2013), PROV-JSON (W3C member submission 2013).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import orjson

from karat import parquet, places
from karat.errors import RecipeError
from karat.journal import look_up
from karat.publishing.files import ACCEPTED, Shipped, accepted_at, shipped, without_folders
from karat.recipefile import parse, written_steps
from karat.rundir import Run
from karat.stage import read_meta

PREFIXES = {"k": "urn:karat:", "file": "urn:karat:file:", "step": "urn:karat:step:",
            "model": "urn:karat:model:"}  # fmt: skip
_PER_STEP = (
    "SELECT step, model, role, kind, sum(attempts), sum(answers), sum(prompt_tokens), "
    "sum(completion_tokens), min(minute), max(minute) FROM minutes WHERE attempts > 0 "
    "GROUP BY step, model, role, kind ORDER BY step, model, role, kind"
)


_TOLD = ("role", "kind", "attempts", "answers", "prompt_tokens", "completion_tokens")


class _Asked(msgspec.Struct):
    """What a step asked of a model; minutes since 1970."""

    step: str
    model: str
    role: str
    kind: str
    attempts: int
    answers: int
    prompt_tokens: int
    completion_tokens: int
    first: int
    last: int


class _Document:
    """PROV-JSON under way: records by kind, relations numbered."""

    def __init__(self) -> None:
        self.tree: dict[str, Any] = {"prefix": PREFIXES}
        self._count = 0
        self.inputs: dict[Path, str] = {}  # two folders may hold files of one name

    def add(self, kind: str, key: str, **said: Any) -> str:
        """An entity, activity or agent; `said` under karat's own names, a leading "prov_" stands
        for PROV's."""
        named = {_name(name): value for name, value in said.items() if value is not None}
        self.tree.setdefault(kind, {}).setdefault(key, {}).update(named)
        return key

    def relate(self, kind: str, own: Mapping[str, Any] | None = None, **said: str) -> None:
        """What stands to what in which relation; `own` is said about it under karat's names."""
        self._count += 1
        named: dict[str, Any] = {f"prov:{name}": value for name, value in said.items()}
        named |= {f"k:{name}": value for name, value in (own or {}).items()}
        self.tree.setdefault(kind, {})[f"_:r{self._count}"] = named


def _name(name: str) -> str:
    return f"prov:{name[5:]}" if name.startswith("prov_") else f"k:{name}"


def _key(prefix: str, name: str) -> str:
    return f"{prefix}:{quote(name, safe='/._-')}"


def provenance(run: Run, files: Sequence[Shipped] | None = None) -> dict[str, Any]:
    """The PROV-JSON of a run and of the `files` given away, by default all that a run gives away.

    Raises: RecipeError when the run has not come to its end, or a file is gone.
    """
    report = run.report
    files = shipped(run) if files is None else files
    steps, ended = list(_steps(run, report)), accepted_at(run)
    made = _Document()
    karat = made.add(
        "agent", "k:karat", prov_type=_qualified("prov:SoftwareAgent"), prov_label="karat",
        version=report["versions"].get("karat"), python=report["versions"].get("python"),
    )  # fmt: skip
    for label, path, params in steps:
        made.add(
            "activity", _key("step", label), prov_label=label, step=path,
            parameters=without_folders(orjson.dumps(params, option=orjson.OPT_SORT_KEYS).decode()),
        )  # fmt: skip
        made.relate("wasAssociatedWith", activity=_key("step", label), agent=karat)
        for name in _urls_in(params):
            used = made.add("entity", _key("file", f"input/{name}"), prov_label=name,
                            prov_type=_qualified("k:input"))  # fmt: skip
            made.relate("used", activity=_key("step", label), entity=used)
        for file in _files_in(params):
            used = _input(made, file, ended)
            made.relate("used", activity=_key("step", label), entity=used)
    _models(made, run)
    last = _stages(made, run, report)
    _results(made, report, files, last, karat)
    return made.tree


def _qualified(name: str) -> dict[str, str]:
    return {"$": name, "type": "prov:QUALIFIED_NAME"}


# --- steps and what they read --------------------------------------------------------------------


def _steps(run: Run, report: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(label, step, parameters) of each step; those of a recipe that cannot be read any more have
    no parameters."""
    labels = [step["label"] for step in report["funnel"]]
    try:
        steps = written_steps(parse(run.recipe))
    except RecipeError:
        steps = []
    if len(steps) > len(labels):
        steps = []
    for label, step in zip_longest(labels, steps):  # `exactly` has a label and is no step
        yield (label, *(step or (label, {})))


def _files_in(value: Any) -> Iterator[Path]:
    """The files that parameters name: a resolved recipe has the paths of all of them in full."""
    if isinstance(value, str):
        if value.startswith("/") and "\n" not in value and len(value) < 4096 and "\0" not in value:
            path = Path(value)
            if path.exists():
                yield path
    elif isinstance(value, dict):
        for name, one in value.items():
            yield from _files_in(name)
            yield from _files_in(one)
    elif isinstance(value, list):
        for one in value:
            yield from _files_in(one)


def _urls_in(value: Any) -> Iterator[str]:
    """The names of objects in stores that parameters name, without the rest of their URLs."""
    if isinstance(value, str):
        scheme, _, rest = value.partition("://")
        if scheme in places.DRIVERS and "\n" not in value and rest:
            yield rest.rstrip("/").rpartition("/")[2]
    elif isinstance(value, dict | list):
        for one in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from _urls_in(one)


def _input(made: _Document, path: Path, ended: float) -> str:
    """A file that a step read. Its digest is of what lies there now, so there is none where it was
    written to after the run."""
    if path in made.inputs:
        return made.inputs[path]
    number = len(made.inputs) + 1
    key = made.inputs[path] = _key("file", f"input/{number}/{path.name}")
    changed = path.stat().st_mtime > ended
    one = None if path.is_dir() or changed else Shipped.of(path.name, path)
    return made.add(
        "entity", key, prov_label=path.name, prov_type=_qualified("k:input"),
        sha256=one and one.sha256, size=one and one.size, changed_since=True if changed else None,
    )  # fmt: skip


def _models(made: _Document, run: Run) -> None:
    """The models as agents, what each step asked of them, and when."""
    asked = [_Asked(*row) for row in look_up(run.journal, _PER_STEP)]
    for one in asked:
        step = _key("step", one.step or "run")
        model = made.add(
            "agent", _key("model", one.model), prov_label=one.model,
            prov_type=_qualified("prov:SoftwareAgent"),
        )  # fmt: skip
        if step not in made.tree["activity"]:  # of a step that the recipe had before
            continue
        own = [a for a in asked if a.step == one.step]
        made.tree["activity"][step] |= {
            "prov:startTime": _time(min(a.first for a in own)),
            "prov:endTime": _time(max(a.last for a in own) + 1),
        }
        told = {name: getattr(one, name) for name in _TOLD}
        made.relate("wasAssociatedWith", told, activity=step, agent=model)


def _time(minute: int) -> str:
    return datetime.fromtimestamp(minute * 60, UTC).isoformat()


# --- what they made ------------------------------------------------------------------------------


def _stages(made: _Document, run: Run, report: dict[str, Any]) -> str | None:
    """The rows between steps; returns the last of them. Steps that ran together made one file, and
    in rounds several files are one set of rows."""
    rows = {step["label"]: step["rows_out"] for step in report["funnel"]}
    labels = list(rows)
    groups: dict[tuple[str, ...], list[str]] = {}
    for path in parquet.tables(run.stages):
        found = read_meta(path)
        names = tuple(stats["label"] for stats in found.get("stats", []))
        if names and set(names) <= set(labels):
            groups.setdefault(names, []).append(found["address"])
    last: str | None = None
    for group, addresses in sorted(groups.items(), key=lambda item: labels.index(item[0][0])):
        name = "-".join(group)
        stage = made.add(
            "entity", _key("file", f"stages/{name}"), prov_label=f"rows after {group[-1]}",
            prov_type=_qualified("k:stage"), rows=rows[group[-1]],
            address=addresses[0] if len(addresses) == 1 else None,
        )  # fmt: skip
        for before, after in pairwise(group):
            made.relate(
                "wasInformedBy", informed=_key("step", after), informant=_key("step", before)
            )
        made.relate("wasGeneratedBy", entity=stage, activity=_key("step", group[-1]))
        if last is not None:
            made.relate("used", activity=_key("step", group[0]), entity=last)
            made.relate("wasDerivedFrom", generatedEntity=stage, usedEntity=last)
        last = stage
    return last


def _results(
    made: _Document, report: dict[str, Any], files: Sequence[Shipped], last: str | None, karat: str
) -> None:
    """Accepted rows, and the exports made of them."""
    ending = made.add(
        "activity", "k:end", prov_label="the accepted rows are written, then the exports",
        recipe=report["name"], recipe_hash=report["recipe_hash"], seed=report["seed"],
    )  # fmt: skip
    made.relate("wasAssociatedWith", activity=ending, agent=karat)
    if last is not None:
        made.relate("used", activity=ending, entity=last)
    exports = {
        name: (export, done["rows"] if len(done["files"]) == 1 else None)
        for export, done in report["exports"].items()
        for name in done["files"].values()
    }
    accepted = _key("file", ACCEPTED)
    parts = [_key("file", one.name) for one in files if one.name != one.table]
    if parts:
        made.add(
            "entity", accepted, prov_label=ACCEPTED, prov_type=_qualified("prov:Collection"),
            rows=report["rows"]["accepted"],
        )  # fmt: skip
        made.relate("wasGeneratedBy", entity=accepted, activity=ending)
        if last is not None:
            made.relate("wasDerivedFrom", generatedEntity=accepted, usedEntity=last)
    for one in files:
        export, rows = exports.get(one.name, (None, None))
        if one.name == ACCEPTED:
            rows = report["rows"]["accepted"]
        key = made.add(
            "entity", _key("file", one.name), prov_label=one.name, sha256=one.sha256,
            size=one.size, export=export, rows=rows,
            prov_type=_qualified("k:export" if export else "k:accepted"),
        )  # fmt: skip
        made.relate("wasGeneratedBy", entity=key, activity=ending)
        if key in parts:
            made.relate("hadMember", collection=accepted, entity=key)
            continue
        source = last if key == accepted else accepted
        if source is not None and (key == accepted or accepted in made.tree["entity"]):
            made.relate("wasDerivedFrom", generatedEntity=key, usedEntity=source)
