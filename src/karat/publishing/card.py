"""The dataset card: README.md with the front matter the Hub reads, and a datasheet.

The sections are those of a datasheet; what a run cannot know (who paid for it, who will answer
questions) stays as a blank that says so, rather than as a sentence that sounds well.

Source: Gebru et al., Datasheets for Datasets (1803.09010); front matter: huggingface_hub,
DatasetCardData, and huggingface.co/docs/hub/datasets-cards.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import yaml

from karat.licensing.terms import dataset
from karat.publishing.facts import (
    Facts,
    decontaminated,
    guards,
    looked_for_personal_data,
    not_measured,
)
from karat.publishing.marks import plain, template
from karat.report.licences import causes

# Upper ends of the Hub's size categories.
SIZES = (
    (1e3, "n<1K"), (1e4, "1K<n<10K"), (1e5, "10K<n<100K"), (1e6, "100K<n<1M"), (1e7, "1M<n<10M"),
    (1e8, "10M<n<100M"), (1e9, "100M<n<1B"), (1e10, "1B<n<10B"), (1e11, "10B<n<100B"),
    (1e12, "100B<n<1T"),
)  # fmt: skip
READABLE = ".jsonl"
SPLITS = ("train", "validation", "test")


def card(facts: Facts) -> str:
    """README.md, front matter and all."""
    head = yaml.safe_dump(
        front_matter(facts), sort_keys=False, allow_unicode=True, width=2**20, default_style=None
    )
    body = template("dataset_card.md.j2").render(
        f=facts, r=facts.report, l=facts.licences, m=facts.measured, causes=causes,
        guards=guards(facts), sets=decontaminated(facts), unmeasured=not_measured(facts),
        personal=looked_for_personal_data(facts),
        tokens=sum(facts.measured.tokens.values()), exports=exports(facts),
    )  # fmt: skip
    return f"---\n{head}---\n{body}"


def front_matter(facts: Facts) -> dict[str, Any]:
    """What the Hub reads of a dataset. Files are named as they lie in the run's folder."""
    known = [one.name for one in facts.sources("data", "human") if dataset(one.name)]
    writers = []
    if facts.sources("generator"):
        writers.append("machine-generated")
    if facts.sources("data", "human", "documents", "earlier run"):
        writers.append("other")
    found: dict[str, Any] = {"pretty_name": plain(facts.report["name"], 100)}
    found |= facts.licences.release.front_matter(facts.licence)
    if facts.measured.languages:
        found["language"] = list(facts.measured.languages)
    found["tags"] = ["karat", *(["synthetic"] if "machine-generated" in writers else [])]
    if writers:
        found["language_creators"] = writers
    if facts.sources("grader"):
        found["annotations_creators"] = ["machine-generated"]
    found["size_categories"] = [_size(facts.rows)]
    found["task_categories"] = _tasks(facts)
    found["source_datasets"] = known or ["original"]
    found["configs"] = _configs(facts)
    return found


def _size(rows: int) -> str:
    return next((name for end, name in SIZES if rows < end), "n>1T")


def _tasks(facts: Facts) -> list[str]:
    found = ["text-generation"]
    if facts.ran("documents", "closed_qa"):
        found.append("question-answering")
    if {"retrieval", "beir"} & set(facts.report["exports"]):
        found.append("text-retrieval")
    return found


def exports(facts: Facts) -> list[dict[str, Any]]:
    """Per export: its name, its rows, its files by split, and what was left out of it."""
    return [
        {"name": name, "rows": one["rows"], "files": one["files"], "left_out": one["left_out"]}
        for name, one in facts.report["exports"].items()
    ]


def _configs(facts: Facts) -> list[dict[str, Any]]:
    """One configuration for each export that a loader can read, or one for all accepted rows.

    Not both: `datasets` reads all configurations of a repository with the reader of one format.
    """
    found: list[dict[str, Any]] = []
    for one in exports(facts):
        files = [
            {"split": split if split in SPLITS else "train", "path": plain(path)}
            for split, path in one["files"].items()
            if PurePosixPath(path).suffix == READABLE
        ]
        # One file a split, and no other file beside them that would not be loaded.
        if len(files) == len(one["files"]) == len({file["split"] for file in files}) > 0:
            found.append({"config_name": plain(one["name"]), "data_files": files})
    if not found:
        rows = [{"split": "train", "path": facts.rows_at}]
        found.append({"config_name": "accepted", "data_files": rows})
    found[0]["default"] = True
    return found
