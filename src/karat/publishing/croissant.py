"""croissant.json: what is in the files of a dataset, for programs that load, search or weigh it.

Written as plain JSON-LD, because the vocabulary is small and the reference library brings pandas,
scipy and rdflib along; the tests have that library validate the file and read records through it.
A list within a list (the scores of each answer in accepted.parquet) is said in words only: readers
of Croissant 1.x take the first of such values and drop the others without a word. The exports have
the scores in columns.

Source: Croissant 1.1, docs.mlcommons.org/croissant; RAI 1.0 for how the data came about.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pyarrow.compute as pc

from karat import parquet
from karat.publishing.files import (
    ACCEPTED,
    BOOLEAN,
    FLOAT,
    INTEGER,
    LIST,
    MIXED,
    STRUCT,
    TEXT,
    Shape,
    Shipped,
    accepted_at,
    shape_of_lines,
    shape_of_parquet,
    shipped,
    without_folders,
)
from karat.rundir import Run

CONFORMS = ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"]
TYPES = {
    TEXT: "sc:Text",
    INTEGER: "sc:Integer",
    FLOAT: "sc:Float",
    BOOLEAN: "sc:Boolean",
    "": "sc:Text",
}
FORMATS = {
    ".parquet": "application/x-parquet", ".jsonl": "application/jsonlines",
    ".tsv": "text/tab-separated-values", ".yaml": "application/yaml",
}  # fmt: skip
SAID = {
    ACCEPTED: {
        "prompt": "The last turn of the conversation that was answered.",
        "response": "The best answer that was kept.",
        "score": "The score it was chosen by, on the scale of its own reward.",
        "messages": "The conversation that was answered.",
        "responses": "All answers, those not kept among them. In the file each has its scores too, "
        "a list of key and value.",
        "source": "synthetic, or human where people wrote it.",
        "meta": "What the steps wrote about the row, as JSON text.",
        "calls": "The model calls that made the prompt.",
        "licences": "The licences of whoever had a part in the row.",
        "training": "Whether these allow to train on it: yes, conditions, unknown or no.",
    }
}
_CONTEXT: dict[str, Any] = {
    "@language": "en", "@vocab": "https://schema.org/", "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/", "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/", "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"}, "description": {"@container": "@language"},
    **{word: f"cr:{word}" for word in (
        "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field",
        "fileProperty", "fileObject", "fileSet", "format", "includes", "isArray", "isLiveDataset",
        "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex",
        "repeated", "replace", "samplingRate", "separator", "source", "subField", "transform",
    )},
}  # fmt: skip


def croissant(
    run: Run, files: Sequence[Shipped] | None = None, *, licences: Sequence[str] | None = None,
    base_url: str = "",
) -> dict[str, Any]:  # fmt: skip
    """The Croissant 1.1 description of `files`, by default of all that a run gives away.

    `licences`: what the whole may be released under; by default all that its rows name. Files are
    found beside croissant.json, or below `base_url` where one is given.
    Raises: RecipeError when the run has not come to its end, or a file is gone.
    """
    report = run.report
    files = shipped(run) if files is None else files
    made = datetime.fromtimestamp(accepted_at(run), UTC).date().isoformat()
    licences = _licences(run) if licences is None else licences
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS,
        "name": report["name"],
        "description": _description(report),
        "version": f"1.0.0+{report['recipe_hash']}",
        "datePublished": made,
        "citeAs": _citation(report["name"], made[:4]),
        "license": list(licences) or ["unknown"],
        "keywords": ["synthetic", "alignment", *report["exports"]],
        **_origins(report),
        "distribution": [*(_file(one, base_url) for one in files), *_file_sets(files)],
        "recordSet": list(_record_sets(files)),
    }


# --- files and records ---------------------------------------------------------------------------


def _file(one: Shipped, base_url: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": one.name,
        "name": one.name,
        "contentUrl": f"{base_url.rstrip('/')}/{one.name}" if base_url else one.name,
        "contentSize": f"{one.size} B",
        "encodingFormat": FORMATS.get(one.path.suffix, "text/plain"),
        "sha256": one.sha256,
    }


def _file_sets(files: Sequence[Shipped]) -> Iterator[dict[str, Any]]:
    """A table in parts: their names sort in their order."""
    for table in dict.fromkeys(one.table for one in files if one.table != one.name):
        yield {
            "@type": "cr:FileSet", "@id": table, "name": table,
            "encodingFormat": FORMATS[".parquet"], "includes": f"{table}/*.parquet",
        }  # fmt: skip


def _record_sets(files: Sequence[Shipped]) -> Iterator[dict[str, Any]]:
    firsts: dict[str, Shipped] = {}
    for one in files:
        firsts.setdefault(one.table, one)
    for one in firsts.values():
        if one.path.suffix == ".parquet":
            shape = shape_of_parquet(one.path)
        elif one.path.suffix == ".jsonl":
            shape = shape_of_lines(one.path)
        else:
            continue
        key = one.table.rpartition(".")[0].removeprefix("export/")
        at = _At(one.table, several=one.table != one.name)
        fields = list(_fields(key, at, shape))
        for field in fields:
            if said := SAID.get(one.table, {}).get(field["name"]):
                field["description"] = said
        if fields:
            name = {"@type": "cr:RecordSet", "@id": key, "name": key}
            yield name | {"description": f"The lines of {one.table}.", "field": fields}


class _At(NamedTuple):
    """Where values are found: in a file's column, then by a path into it. `listed`: the path begins
    at each item of a list. `several`: the file is a set of them."""

    file: str
    column: str = ""
    path: tuple[str, ...] = ()
    listed: bool = False
    several: bool = False

    def source(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "fileSet" if self.several else "fileObject": {"@id": self.file},
            "extract": {"column": self.column},
        }  # fmt: skip
        if self.path:
            found["transform"] = {"jsonPath": ".".join(self.path)}
        return found


def _fields(key: str, file: _At, shape: Shape) -> Iterator[dict[str, Any]]:
    for name, one in shape.fields.items():
        field = _field(f"{key}/{name}", name, one, file._replace(column=name))
        if field is not None:
            yield field


def _field(key: str, name: str, shape: Shape, at: _At) -> dict[str, Any] | None:
    """A field, or None for what no reader takes right: mixed values, and whatever is nested in the
    items of a list."""
    field: dict[str, Any] = {"@type": "cr:Field", "@id": key, "name": name}
    if at.listed and shape.kind in (LIST, STRUCT):
        return None
    if shape.kind == LIST:
        if at.path and (shape.item or Shape()).kind == STRUCT:
            return None
        shape, at = shape.item or Shape(), at._replace(listed=True)
        field |= {"isArray": True, "arrayShape": "-1"}
    if shape.kind in (LIST, MIXED):
        return None
    if shape.kind != STRUCT:
        return field | {"dataType": TYPES[shape.kind], "source": at.source()}
    below = []
    for child, one in shape.fields.items():
        if quoted := _quoted(child):
            made = _field(f"{key}/{child}", child, one, at._replace(path=(*at.path, quoted)))
            below += [made] if made else []
    return field | {"subField": below} if below else None


def _quoted(name: str) -> str:
    """A name as a step of a JSON path, empty where none can say it."""
    if re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
        return name
    return next((f"{q}{name}{q}" for q in "'\"" if q not in name and "\\" not in name and name), "")


# --- how it came about ---------------------------------------------------------------------------


def _description(report: dict[str, Any]) -> str:
    rows = report["rows"]
    return (
        f"{rows['accepted']:,} rows of alignment data; {rows['dropped']:,} more were turned down. "
        f"Of {report['human_share']:.0%} of the rows people wrote both prompt and answer; in the "
        "others models wrote one of them or both."
    )


def _citation(name: str, year: str) -> str:
    title = name.replace("_", " ")  # a recipe's name has no other sign that TeX minds
    return f"@misc{{{name}, title = {{{title}}}, year = {{{year}}}, note = {{Made with karat}}}}"


def _licences(run: Run) -> list[str]:
    """All that the rows name, the most frequent first."""
    counts: dict[str, int] = {}
    with parquet.Parts(run.accepted_file) as file:
        if "licences" not in file.schema_arrow.names:
            return []
        for batch in file.iter_batches(columns=["licences"]):
            for pair in pc.value_counts(batch.column(0).flatten()).to_pylist():
                counts[pair["values"]] = counts.get(pair["values"], 0) + pair["counts"]
    return sorted((name for name in counts if name), key=lambda name: (-counts[name], name))


def _origins(report: dict[str, Any]) -> dict[str, Any]:
    """Responsible-AI fields, where the run knows what they ask for; the others stay open."""
    graders: list[str] = []
    writers: list[str] = []
    for model in report["models"]:
        grades = model["kind"] == "score" or model["role"] in ("judge", "reward")
        (graders if grades else writers).append(model["model"])
    writers, graders = list(dict.fromkeys(writers)), list(dict.fromkeys(graders))
    told = f"Made by a recipe of {len(report['funnel'])} steps"
    told += f", with text written by {', '.join(writers)}." if writers else ", without a model."
    people = ["Manual Human Curator"] if report["human_share"] > 0 else []
    origins: dict[str, Any] = {
        "rai:dataCollection": told,
        "rai:dataCollectionType": [*people, *(["Others"] if writers else [])] or ["Others"],
        "rai:dataPreprocessingProtocol": [_told(step) for step in report["funnel"]],
    }
    if graders:
        origins["rai:machineAnnotationTools"] = graders
        origins["rai:dataAnnotationProtocol"] = (
            "Answers were graded by models; a score is on the scale of its own reward, and scores "
            "of two rewards cannot be compared."
        )
    if report["warnings"]:
        origins["rai:dataLimitations"] = [without_folders(text) for text in report["warnings"]]
    return origins


def _told(step: dict[str, Any]) -> str:
    lost = ", ".join(f"{count:,} {reason}" for reason, count in step["dropped"].items())
    told = f"{step['label']}: {step['rows_in']:,} rows in, {step['rows_out']:,} out"
    return f"{told}; dropped: {lost}" if lost else told
