"""croissant.json: the reference library validates it and reads through it what the files hold."""

from __future__ import annotations

import json
from hashlib import sha256

import given_away
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from later import later

from karat import RecipeError, Run
from karat.publishing.croissant import _At, _field, croissant
from karat.publishing.files import (
    FLOAT,
    INTEGER,
    LIST,
    MIXED,
    STRUCT,
    TEXT,
    Shape,
    Shipped,
    merged,
    shape_of_lines,
    shape_of_parquet,
    shipped,
    without_folders,
)  # fmt: skip

mlcroissant = later("mlcroissant")
# Its own library's, for a class of a third one.
pytestmark = pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")


def opened(tree, run):
    """As the reference library sees it, and what it objects to."""
    found = mlcroissant.Dataset(
        jsonld=tree, mapping={one.name: str(one.path) for one in shipped(run)}
    )
    return found, found.metadata.ctx.issues


def plain(value):
    """A record as JSON: bytes as text, fields without the names of what they are in."""
    if isinstance(value, dict):
        return {key.rpartition("/")[2]: plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, float):
        return round(value, 12)  # pandas reads the last digit of a number in JSON otherwise
    return value.decode() if isinstance(value, bytes) else value


def test_the_reference_library_finds_no_fault_and_reads_what_is_there():
    run = given_away.run_once()
    tree = croissant(run)
    orjson.dumps(tree)
    dataset, issues = opened(tree, run)
    assert not issues.errors
    assert not issues.warnings
    sets = [one.uuid for one in dataset.metadata.record_sets]
    assert sets == [
        "accepted", "data.test", "data.train", "nemo-rl-sft.test", "nemo-rl-sft.train",
        "trl-grpo.test", "trl-grpo.train", "trl-kto.test", "trl-kto.train", "trl-preference.test",
        "trl-preference.train", "trl-sft.test", "trl-sft.train",
    ]  # fmt: skip
    for name in ("data.train", "trl-sft.train", "trl-preference.test", "trl-kto.train"):
        lines = (run.export / f"{name}.jsonl").read_bytes().splitlines()
        found = [plain(record) for record in dataset.records(name)]
        assert found == [plain(json.loads(line)) for line in lines], name


def test_rows_are_read_with_their_messages_and_answers():
    run = given_away.run_once()
    dataset, _ = opened(croissant(run), run)
    rows = pq.read_table(run.accepted_file).to_pylist()
    found = [plain(record) for record in dataset.records("accepted")]
    assert len(found) == given_away.ROWS
    for record, row in zip(found, rows, strict=True):
        for name in ("prompt", "response", "score", "id", "messages", "source", "meta", "licences"):
            assert record[name] == row[name], name
        for answer in row["responses"]:
            del answer["scores"]  # told in words: no reader takes a list within a list
        assert record["responses"] == row["responses"]


def test_files_are_named_with_their_digests():
    run = given_away.run_once()
    tree = croissant(run, base_url="https://hub.example/datasets/a/b/resolve/main/")
    assert tree["distribution"][0]["@id"] == "accepted.parquet"
    for one in tree["distribution"]:
        data = (run.path / one["@id"]).read_bytes()
        assert one["sha256"] == sha256(data).hexdigest()
        assert one["contentSize"] == f"{len(data)} B"
        assert one["contentUrl"] == f"https://hub.example/datasets/a/b/resolve/main/{one['@id']}"
    config = next(one for one in tree["distribution"] if one["@id"].endswith(".yaml"))
    assert config["encodingFormat"] == "application/yaml"


def test_it_says_how_the_data_came_about():
    run = given_away.run_once()
    tree = croissant(run, licences=["cc-by-4.0"])
    assert tree["license"] == ["cc-by-4.0"]
    assert tree["name"] == "given-away"
    assert tree["citeAs"].startswith("@misc{given-away, title = {given-away}, year = {20")
    assert "openai/loop" in tree["rai:dataCollection"]
    assert len(tree["rai:dataPreprocessingProtocol"]) == 4
    assert tree["rai:dataLimitations"] == run.report["warnings"]
    assert str(run.path.parent) not in json.dumps(tree)
    named = {name for names in run.accepted["licences"].to_pylist() for name in names}
    assert set(croissant(run)["license"]) == named


def test_of_all_exports_or_of_those_that_are_asked_for():
    run = given_away.run_once()
    assert [one.name for one in shipped(run, ["trl-sft"])] == [
        "accepted.parquet", "export/trl-sft.test.jsonl", "export/trl-sft.train.jsonl",
    ]  # fmt: skip
    assert [one.name for one in shipped(run, [])] == ["accepted.parquet"]
    with pytest.raises(RecipeError, match=r"no export 'parquet'; it made: jsonl, trl-sft"):
        shipped(run, ["parquet"])


@pytest.mark.parametrize(
    "name", ["journal.sqlite", "export/../journal.sqlite", "/etc/passwd", "export/link"]
)
def test_nothing_but_an_export_is_given_away_whatever_a_report_says(tmp_path, name):
    whole = given_away.run_once()
    run = Run(tmp_path)
    run.export.mkdir()
    run.journal.write_bytes(b"prompts")
    (run.export / "link").symlink_to(run.journal)
    run.accepted_file.write_bytes(whole.accepted_file.read_bytes())
    report = whole.report
    report["exports"] = {"jsonl": {"files": {"data": name}, "rows": 1, "left_out": {}}}
    run.report_file.write_bytes(orjson.dumps(report))
    with pytest.raises(RecipeError, match=r"which is not in"):
        shipped(run)


def test_a_file_that_is_gone_is_said(tmp_path):
    with pytest.raises(RecipeError, match=r"cannot read .*run the recipe again"):
        Shipped.of("a", tmp_path / "a")
    with pytest.raises(RecipeError, match="run it to the end"):
        croissant(Run(tmp_path))


# --- shapes --------------------------------------------------------------------------------------


def test_lines_are_merged_as_loaders_settle_them(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(
        '{"a": 1, "b": null, "c": [], "d": {"x": 1}, "e": true, "f": 1}\n'
        '{"a": 2.5, "b": "t", "c": [{"k": 1}], "d": {"y": "t"}, "e": false, "f": "one"}\n'
    )
    assert shape_of_lines(path) == Shape(STRUCT, {
        "a": Shape(FLOAT), "b": Shape(TEXT),
        "c": Shape(LIST, item=Shape(STRUCT, {"k": Shape(INTEGER)})),
        "d": Shape(STRUCT, {"x": Shape(INTEGER), "y": Shape(TEXT)}),
        "e": Shape("boolean"), "f": Shape(MIXED),
    })  # fmt: skip


def test_columns_and_lines_of_the_same_rows_have_the_same_shape(tmp_path):
    rows = [{"a": 1, "b": [{"c": "t", "d": 0.5}], "e": {"f": True}}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    (tmp_path / "x.jsonl").write_text(json.dumps(rows[0]))
    assert shape_of_parquet(tmp_path / "x.parquet") == shape_of_lines(tmp_path / "x.jsonl")


def test_merging_does_not_depend_on_the_order():
    shapes = [Shape(kind) for kind in ("", TEXT, INTEGER, FLOAT, STRUCT)]
    shapes += [Shape(LIST, item=Shape(kind)) for kind in ("", TEXT)]
    shapes.append(Shape(STRUCT, {"a": Shape(TEXT)}))
    for one in shapes:
        for other in shapes:
            assert merged(one, other) == merged(other, one)


@pytest.mark.parametrize(
    "shape",
    [
        Shape(MIXED),
        Shape(LIST, item=Shape(LIST, item=Shape(TEXT))),
        Shape(LIST, item=Shape(STRUCT, {"a": Shape(LIST, item=Shape(TEXT))})),
        Shape(STRUCT, {'it\'s a "name"': Shape(TEXT)}),
        Shape(STRUCT),
    ],
)
def test_what_no_reader_takes_right_is_left_out(shape):
    assert _field("k", "k", shape, _At("f", "k")) is None


def test_names_that_are_no_words_are_quoted_in_a_path():
    shape = Shape(STRUCT, {"mine.reward": Shape(FLOAT), "it's": Shape(TEXT)})
    found = _field("k", "k", shape, _At("f", "k"))
    assert [one["source"]["transform"]["jsonPath"] for one in found["subField"]] == [
        "'mine.reward'", '"it\'s"',
    ]  # fmt: skip


def test_folders_of_this_machine_are_left_out_of_texts():
    assert without_folders("see /home/me/data/x.jsonl, a/b and https://a.b/c/d") == (
        "see x.jsonl, a/b and https://a.b/c/d"
    )
    assert without_folders('{"path":"/home/me/x.jsonl"}') == '{"path":"x.jsonl"}'
