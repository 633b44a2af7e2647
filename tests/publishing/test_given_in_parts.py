"""What is given away of a run whose rows are in parts: every part, described as one table."""

from __future__ import annotations

import json
from hashlib import sha256

import given_away
import pyarrow.parquet as pq
import pytest
import yaml
from folded import folded

from karat import parquet
from karat.publishing.croissant import croissant
from karat.publishing.facts import facts
from karat.publishing.files import shipped
from karat.publishing.papers import write_papers
from karat.publishing.provenance import provenance
from karat.publishing.push import prepare, send

PARTS = [f"accepted.parquet/part-{number:06d}.parquet" for number in range(3)]
pytestmark = [
    pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    return folded(given_away.run_once(), tmp_path_factory.mktemp("parts") / "out")


def test_every_part_is_given_away_in_order(parts):
    assert [one.name for one in shipped(parts)][:4] == [*PARTS, "export/data.test.jsonl"]
    for one in shipped(parts):
        assert one.sha256 == sha256(one.path.read_bytes()).hexdigest()
        assert one.size == one.path.stat().st_size


def test_the_reference_library_reads_all_parts_as_one_set_of_records(parts):
    mlcroissant = pytest.importorskip("mlcroissant")
    tree = croissant(parts)
    (parts.path / "croissant.json").write_text(json.dumps(tree))
    dataset = mlcroissant.Dataset(jsonld=parts.path / "croissant.json")
    assert not dataset.metadata.ctx.issues.errors
    assert not dataset.metadata.ctx.issues.warnings
    rows = given_away.run_once().accepted.to_pylist()
    found = [record["accepted/prompt"].decode() for record in dataset.records("accepted")]
    assert found == [row["prompt"] for row in rows]
    (one,) = [one for one in tree["distribution"] if one["@type"] == "cr:FileSet"]
    assert one["includes"] == "accepted.parquet/*.parquet"
    objects = {one["@id"] for one in tree["distribution"] if one["@type"] == "cr:FileObject"}
    assert set(PARTS) <= objects
    assert "accepted.parquet" not in objects


def test_the_card_names_them(parts, tmp_path):
    assert facts(parts).rows_at == "accepted.parquet/*.parquet"
    write_papers(parts, tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert "accepted.parquet/*.parquet" in text


def test_exports_lead_back_to_the_parts(parts):
    model = pytest.importorskip("prov.model")
    tree = provenance(parts)
    document = model.ProvDocument.deserialize(content=json.dumps(tree), format="json")
    assert document == model.ProvDocument.deserialize(
        content=document.serialize(format="json"), format="json"
    )
    members = [one["prov:entity"] for one in tree["hadMember"].values()]
    assert members == [f"file:{name}" for name in PARTS]
    assert {one["prov:collection"] for one in tree["hadMember"].values()} == {
        "file:accepted.parquet"
    }
    derived = {(one["prov:generatedEntity"], one["prov:usedEntity"])
               for one in tree["wasDerivedFrom"].values()}  # fmt: skip
    assert ("file:export/trl-sft.train.jsonl", "file:accepted.parquet") in derived
    assert ("file:accepted.parquet", "file:stages/reject") in derived


def test_a_push_sends_the_parts_and_takes_back_the_file_they_replace(run, hub, cleared, tmp_path):
    pytest.importorskip("huggingface_hub")
    papers = tmp_path / "papers-of-push"
    papers.mkdir()
    send(prepare(run, "me/gold", papers, endpoint=hub.url), hub.url)
    assert "accepted.parquet" in hub.datasets["me/gold"]["files"]
    cut = folded(run, tmp_path / "parts", count=4)
    send(prepare(cut, "me/gold", papers, endpoint=hub.url), hub.url)
    files = hub.datasets["me/gold"]["files"]
    assert sorted(name for name in files if name.startswith("accepted")) == [
        *PARTS, "accepted.parquet/part-000003.parquet",
    ]  # fmt: skip
    for name, data in files.items():
        if name.startswith("accepted"):
            assert data == (cut.path / name).read_bytes()
    send(prepare(folded(run, tmp_path / "three"), "me/gold", papers, endpoint=hub.url), hub.url)
    files = hub.datasets["me/gold"]["files"]
    assert sorted(name for name in files if name.startswith("accepted")) == PARTS


def test_papers_a_person_filled_in_are_pushed_with_the_parts(run, hub, cleared, tmp_path):
    made = folded(run, tmp_path / "parts")
    report = json.loads(made.report_file.read_text())
    made.report_file.write_text(json.dumps({**report, "exports": {}}))  # rows alone
    write_papers(made, made.path / "papers")
    head = yaml.safe_load((made.path / "papers" / "README.md").read_text().split("---\n")[1])
    (config,) = head["configs"]
    assert config["data_files"] == [{"split": "train", "path": "accepted.parquet/*.parquet"}]
    papers = tmp_path / "papers-of-push"
    papers.mkdir()
    send(prepare(made, "me/rows", papers, endpoint=hub.url), hub.url)
    files = hub.datasets["me/rows"]["files"]
    assert set(PARTS) <= set(files)
    whole = [pq.read_table(file) for file in parquet.files(made.accepted_file)]
    assert sum(table.num_rows for table in whole) == given_away.ROWS
