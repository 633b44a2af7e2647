"""What a recipe would make data of: its models, its graders, its files and datasets.

Everything is named in the recipe before anything is spent, with the licence its table entry, its
step or its own first records state. Rows of a file that state none, in a step that states none,
have none: the releaser has to say it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from karat import parquet, places
from karat.columns import READ_ROWS
from karat.elsewhere import accepted_at
from karat.errors import KaratError, RecipeError
from karat.licensing.rows import text_of
from karat.licensing.solved import Role, Source
from karat.licensing.terms import dataset as known_dataset
from karat.modelchecks import training_rights
from karat.models.rights import STRICTNESS
from karat.models.spec import ModelSpec
from karat.recipe import Recipe
from karat.rewards.base import Reward, is_remote
from karat.rewards.review_lines import RATINGS
from karat.step import StepCall
from karat.steps._files import input_files, read_files

SAMPLES = 100  # records of a file that are looked at
ROUNDS = "karat.cycling.rows:rounds"


class File(msgspec.Struct, frozen=True, kw_only=True):
    """Data that a recipe reads. `licences`: those stated for its rows, None among them where some
    state none."""

    role: Role
    name: str
    licences: tuple[str | None, ...]
    by: str = ""


def of_recipe(recipe: Recipe) -> list[Source]:
    """Everything that a run of this recipe would be made of; no row is counted yet."""
    found = [*generators(recipe), *graders(recipe), *earlier_runs(recipe)]
    for file in files(recipe):
        found += [
            Source(role=file.role, name=file.name, licence=licence or "", by=file.by)
            for licence in file.licences
        ]
    return list(dict.fromkeys(found))


def notes(recipe: Recipe) -> list[str]:
    """What the recipe does not say of its sources."""
    sources = (call.step.path for call in recipe.steps if call.step.kind == "source")
    own = [name for name in sources if ":" in name and name != ROUNDS]
    return [f"rows of {name}: their licences are known when they are there" for name in own]


def generators(recipe: Recipe) -> list[Source]:
    """The models that its steps name, and their fallbacks."""
    return [
        _model("generator", spec) for _, spec, _ in training_rights(recipe.steps, recipe.models)
    ]


def _model(role: Role, spec: ModelSpec) -> Source:
    said = spec.rights()
    return Source(
        role=role, name=spec.model, licence=said.licence, training=said.training, note=said.note,
        document=said.source,
    )  # fmt: skip


def graders(recipe: Recipe) -> list[Source]:
    """The rewards that its steps name, and the models behind them."""
    found: list[Source] = []
    for name in dict.fromkeys(name for call in recipe.steps for _, name in call.named("reward")):
        for key, reward in recipe.graders.behind(name).items():
            found += _reward(key, reward)
        for model in recipe.graders.models(name):
            if model in recipe.models:
                found += [_model("grader", spec) for spec in recipe.models[model].route()]
    return list(dict.fromkeys(found))


def _reward(key: str, reward: Reward) -> Iterator[Source]:
    if is_remote(reward):
        said = reward.spec.rights()
        if reward.licence == said.licence:
            yield _model("grader", reward.spec)
        else:  # as the recipe says
            yield Source(role="grader", name=reward.spec.model, licence=reward.licence)
        return
    asks = reward.models or getattr(reward, "rewards", ())
    if reward.licence or not asks:
        # People's ratings, and heads fitted to files of one's own, are the user's where they do
        # not say otherwise.
        own = " AND ".join(
            "own" if part in ("", "not stated") else part for part in reward.licence.split(" AND ")
        )
        yield Source(role="grader", name=getattr(reward, "name", key), licence=own)


def shown(name: str) -> str:
    """A file as papers name it: without the folders of a machine, as UTF-8 can hold it."""
    own = Path(name).name if Path(name).is_absolute() else name
    return own.encode("utf-8", "replace").decode()


def files(recipe: Recipe) -> list[File]:
    """The files and datasets that its steps read rows from, but those of earlier runs."""
    return [file for call in recipe.steps for file in _files(recipe, call)]


def _files(recipe: Recipe, call: StepCall) -> Iterator[File]:
    path, params = call.step.path, call.params
    if path == "read" and params["dataset"] is not None:
        name = shown(params["dataset"])
        known = known_dataset(name)
        stated = text_of(params["licence"]) or (known.licence if known else None)
        role: Role = "human" if params["source"] == "human" else "data"
        yield File(role=role, name=name, licences=(stated,), by=known.by if known else "")
    elif path == "read" and own_file(recipe.path(params["path"])) is None:
        role = "human" if params["source"] == "human" else "data"
        yield _file(recipe, role, params["path"], params["licence"], params["glob"])
    elif path == "documents":
        yield File(
            role="documents", name=shown(params["path"]), licences=(text_of(params["licence"]),)
        )
    elif path == "mix":
        people = params["human"]
        named = [people] if isinstance(people, str) else list(people or ())
        for role, names in (("human", named), ("data", list(params["given"]))):
            for name in names:
                if own_file(recipe.path(name)) is None:
                    yield _file(recipe, role, name, params["licence"], None)


def _file(recipe: Recipe, role: Role, name: str, licence: str | None, glob: str | None) -> File:
    """A file of rows: what its first records state, and for the others what the step does."""
    licence = text_of(licence)
    stated: dict[str | None, None] = {}
    try:
        root = recipe.path(name)
        for record in islice(read_files(input_files(root, glob), root), SAMPLES):
            if isinstance(record.value, dict):
                stated[_stated(record.value) or licence] = None
    except (KaratError, OSError):  # the recipe's own check says it
        pass
    return File(role=role, name=shown(name), licences=tuple(stated) or (licence,))


def _stated(record: dict[str, Any]) -> str | None:
    for key in ("licence", "license"):
        if (found := text_of(record.get(key))) is not None:
            return found
    meta = record.get("meta")  # karat's own lines have it as JSON text
    if isinstance(meta, str) and '"licen' in meta:
        try:
            meta = orjson.loads(meta)
        except ValueError:
            return None
    return _stated({**meta, "meta": None}) if isinstance(meta, dict) else None


# --- earlier runs --------------------------------------------------------------------------------


def earlier_runs(recipe: Recipe) -> list[Source]:
    """What the runs were made of whose accepted rows the recipe reads."""
    found: list[Source] = []
    for call in recipe.steps:
        path, params = call.step.path, call.params
        names: list[str] = []
        if path == "read" and params["path"] is not None:
            names = [params["path"]]
        elif path == "mix":
            people, before = params["human"], params["previous"]
            named = [people] if isinstance(people, str) else list(people or ())
            names = [*named, *params["given"], *([before] if isinstance(before, str) else before)]
        elif path == ROUNDS:
            names = list(params["files"])
        for name in names:
            found += _earlier(recipe.path(name), shown(name))
    return list(dict.fromkeys(found))


def own_file(path: Path) -> Path | None:
    """The accepted.parquet behind a run's folder, its reviews, or a file of karat's rows; None for
    others."""
    try:
        file = accepted_at(path.parent if path.name == RATINGS else path)
        if file.suffix != ".parquet" or not parquet.exists(file):
            return None
        return file if {"licences", "training"} <= set(parquet.schema(file).names) else None
    except (RecipeError, OSError, pa.ArrowException):
        return None


def _earlier(path: Path, name: str) -> list[Source]:
    """As the earlier run's report says, else as the columns of its rows do."""
    file = own_file(path)
    if file is None:
        return []
    try:
        home = path.parent if path.name == RATINGS or path == file else path
        report = orjson.loads(places.read_bytes(home / "report.json"))
        held = msgspec.convert(report["licences"]["sources"], tuple[Source, ...])
        return [msgspec.structs.replace(source, rows=None) for source in held]
    except (OSError, ValueError, KeyError, TypeError, msgspec.ValidationError):
        return _by_columns(file, name)


def _by_columns(file: Path, name: str) -> list[Source]:
    licences: dict[str, None] = {}
    worst = 0
    try:
        with parquet.Parts(file) as held:
            for batch in held.iter_batches(64 * READ_ROWS, columns=["licences", "training"]):
                said = pc.unique(batch.column("licences").flatten()).to_pylist()
                licences.update(dict.fromkeys(said))
                for training in pc.unique(batch.column("training")).to_pylist():
                    worst = max(worst, STRICTNESS.index(training) if training in STRICTNESS else 2)
    except (OSError, pa.ArrowException):
        return [Source(role="earlier run", name=name)]
    found = [Source(role="earlier run", name=name, licence=one or "") for one in sorted(licences)]
    if STRICTNESS[worst] in ("unknown", "no"):
        note = "What its rows say of training, in the column `training`, is against it."
        found.append(Source(role="earlier run", name=name, training=STRICTNESS[worst], note=note,
                            licence=" + ".join(sorted(licences))))  # fmt: skip
    return found
