"""Runs and inputs at URLs, against a real S3 server on loopback."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import signal
import subprocess
import sys
import time
from base64 import b64encode

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from folded import fold
from stores import Fetched, s3_server

import karat
from karat import Recipe, RecipeError, RunError, parquet, places
from karat.api import plan
from karat.columns import Table
from karat.contents import content
from karat.licensing import solve_run
from karat.places import place
from karat.publishing.croissant import croissant
from karat.publishing.files import accepted
from karat.publishing.provenance import provenance
from karat.publishing.push import _sendable
from karat.report.run_report import page
from karat.report.side import read_side
from karat.report.survey_source import reading
from karat.reviewing.pool import Pool
from karat.row import Message, Response, Row
from karat.stage import read_rows, sealed, written
from karat.steps.read import count_rows, read
from karat.web.rows.files import MovedError, holding
from karat.web.rows.index import build
from karat.web.runs.files import files
from karat.web.tables import joined

STEPS = [{"read": {"path": "prompts.jsonl"}}, {"dedupe": {"on": "prompt", "threshold": 1.0}}]


@pytest.fixture(scope="module")
def bucket():
    with s3_server() as url:
        yield url


def some_rows(count, words=60):
    return [
        Row(f"{n:016x}", [Message("user", f"What is number {n}?")],
            [Response(f"{n} " * words, index=0)], "given", {"n": n})
        for n in range(count)
    ]  # fmt: skip


def uploads(url):
    """Uploads to the bucket that are neither ended nor taken back."""
    store, name = places.store(place(url)), url.removeprefix("s3://").partition("/")[0]
    return store.call_s3("list_multipart_uploads", Bucket=name).get("Uploads") or []


# --- a run ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(bucket, tmp_path_factory):
    """(a run at home, the same with its rows in the bucket)."""
    folder = tmp_path_factory.mktemp("runs")
    texts = [f"What is number {n}{' more' * (n % 3)}?" for n in range(60)]
    lines = [json.dumps({"prompt": text, "response": f"It is {n}."})
             for n, text in enumerate([*texts, texts[0]])]  # fmt: skip
    (folder / "prompts.jsonl").write_text("".join(f"{line}\n" for line in lines))
    recipe = folder / "recipe.yaml"
    tree = {"name": "stored", "steps": STEPS, "export": ["jsonl", "trl-sft"]}
    recipe.write_text(json.dumps(tree))
    home = karat.run(recipe, folder / "one" / "stored")
    away = karat.run(recipe, folder / "two" / "stored", data=f"{bucket}/runs/stored")
    return home, away


def test_a_run_with_its_rows_in_a_bucket_makes_the_same(runs, bucket):
    home, away = runs
    assert str(away.accepted_file) == f"{bucket}/runs/stored/accepted.parquet"
    assert not (away.path / "accepted.parquet").exists()
    assert not (away.path / "stages").exists()
    assert home.accepted.num_rows > 0
    assert home.dropped.num_rows > 0
    assert away.accepted.equals(home.accepted)
    assert away.dropped.equals(home.dropped)
    for name in ("data.jsonl", "trl-sft.jsonl"):
        assert (away.export / name).read_bytes() == (home.export / name).read_bytes()
    same = [k for k in home.report if k not in ("this_run", "recipe_hash")]
    assert {k: away.report[k] for k in same} == {k: home.report[k] for k in same}
    stages = [path.name for path in parquet.tables(away.stages)]
    assert stages == [path.name for path in parquet.tables(home.stages)]
    assert uploads(bucket) == []


def test_whatever_reads_a_run_reads_this_one(runs):
    home, away = runs
    assert f"{home.accepted.num_rows:,}" in page(away)
    assert solve_run(away) == solve_run(home)
    assert list(Pool(away).rows([0, 5])) == list(Pool(home).rows([0, 5]))
    one, other = read_side(home.path, "x"), read_side(away.path, "x")
    assert (one.prompts_N == other.prompts_N).all()
    shas = [croissant(run)["distribution"][0] for run in runs]
    assert shas[0]["contentSize"].endswith(" B")
    assert shas[1]["sha256"] != ""
    assert provenance(away)["entity"]["file:accepted.parquet"]["k:sha256"] == shas[1]["sha256"]
    (sent,) = accepted(away)
    with _sendable(sent) as stream:
        assert pq.read_table(stream).num_rows == home.accepted.num_rows
        stream.seek(0)
        assert len(stream.read()) == sent.size


def test_it_goes_on_where_it_was(runs):
    _, away = runs
    recipe = away.path.parent.parent / "recipe.yaml"
    again = karat.run(recipe, away.path)
    assert again.report["this_run"]["stages_reused"] == len(parquet.tables(again.stages)) == 2


def test_the_dashboard_reads_it(runs, tmp_path, monkeypatch):
    home, away = runs
    one, held = holding(home), holding(away)
    assert held.final
    assert (held.count, held.accepted) == (one.count, one.accepted)
    places_ = [held.count - 1, 0, 3]
    assert held.read(places_, ["id"]).equals(one.read(places_, ["id"]))
    index, _ = build(away, held)
    assert pq.read_table(index).num_rows == held.count
    assert index.is_relative_to(away.path)
    listed = {file.name: file for file in files(away, away.report)}
    assert listed["accepted.parquet"].joined
    assert joined(listed["accepted.parquet"].path).status_code == 200


def test_a_page_does_not_mix_two_states_of_it(bucket, runs):
    _, away = runs
    held = holding(away)
    before = places.read_bytes(away.dropped_file)
    try:
        with written(away.dropped_file, {}) as writer:
            writer.add(some_rows(3))
        with pytest.raises(MovedError):
            held.read([held.count - 1], ["id"])
    finally:
        places.write_whole(away.dropped_file, before)


def test_two_runs_do_not_share_a_prefix(runs, make_recipe, tmp_path, bucket):
    other = make_recipe(rows=2, steps=STEPS, name="another")
    with pytest.raises(RecipeError, match="holds the rows of the run 'stored'"):
        karat.run(other, tmp_path / "out", data=f"{bucket}/runs/stored")
    with pytest.raises(RecipeError, match=r"cannot use s3://no-such-bucket-here/x.*check the name"):
        karat.run(other, tmp_path / "out", data="s3://no-such-bucket-here/x")
    assert not (tmp_path / "out" / "places.json").exists()


def test_keys_that_are_not_taken_are_told_of_without_them(
    make_recipe, tmp_path, bucket, monkeypatch
):
    import s3fs

    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(key)
    monkeypatch.setenv("HOME", str(tmp_path))  # nor a file of them
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        with pytest.raises(RecipeError, match=r"NoCredentialsError.*keys of the store are set"):
            karat.run(make_recipe(rows=2, steps=STEPS), tmp_path / "o", data=f"{bucket}/z")
    finally:
        s3fs.S3FileSystem.clear_instance_cache()


# --- a table -------------------------------------------------------------------------------------


def test_an_object_is_there_whole_or_not_at_all(bucket, monkeypatch):
    monkeypatch.setattr(places, "BLOCK", 5 * 2**20)
    path = place(f"{bucket}/whole/rows.parquet")
    noise = b64encode(os.urandom(6_000_000)).decode()
    begun = []

    def broken_off():
        with written(path, {}) as writer:
            for start in range(0, 768, 256):  # more than a block: parts of it are sent
                rows = some_rows(256, 1)
                for n, row in enumerate(rows):
                    row.responses[0].content = noise[n * 30_000 :][:30_000] + str(start)
                writer.add(rows)
                assert not parquet.exists(path)
                begun.extend(uploads(bucket))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken_off()
    assert begun
    assert not parquet.exists(path)
    assert uploads(bucket) == []
    with written(path, {"address": "a", "complete": True}) as writer:
        writer.add(some_rows(700))
        assert not parquet.exists(path)
    assert sealed(path, "a")
    assert [row.id for row in read_rows(path)] == [row.id for row in some_rows(700)]


def test_a_killed_process_leaves_nothing_half(bucket):
    path = f"{bucket}/killed/rows.parquet"
    code = (
        "import os, sys\n"
        "from karat import places\n"
        "from karat.row import Response, Row\n"
        "from karat.stage import written\n"
        "places.BLOCK = 5 * 2**20\n"
        "with written(places.place(sys.argv[1]), {}) as writer:\n"
        "    while True:\n"
        "        texts = [os.urandom(20_000).hex() for _ in range(256)]\n"
        "        writer.add([Row('a', [], [Response(t, index=0)], 'given', {}) for t in texts])\n"
        "        print('wrote', flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        end = time.monotonic() + 60
        while not uploads(bucket) and time.monotonic() < end:
            assert process.stdout.readline() == "wrote\n"
        assert uploads(bucket)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        process.stdout.close()
    assert not parquet.exists(place(path))
    with pytest.raises(FileNotFoundError):
        list(read_rows(place(path)))
    with written(place(path), {}) as writer:
        writer.add(some_rows(5))
    assert parquet.count(place(path)) == 5


def test_only_what_is_asked_for_is_fetched(bucket, monkeypatch):
    path = place(f"{bucket}/wide/rows.parquet")
    rows = some_rows(2000, 1)
    for row in rows:
        row.responses[0].content = os.urandom(2000).hex()
    with written(path, {}) as writer:
        writer.add(rows)
    size = path.stat().st_size
    assert size > 2_000_000
    fetched = Fetched(monkeypatch)
    assert Table(path).count() == 2000
    assert 0 < fetched.bytes < size / 10


def test_a_folder_of_parts_at_a_url(bucket, tmp_path, monkeypatch):
    local = tmp_path / "rows.parquet"
    with written(local, {"address": "x", "complete": True}) as writer:
        writer.add(some_rows(90))
    before = pq.read_table(local)
    folder = fold(local)
    there = place(f"{bucket}/parts/rows.parquet")
    with written(there, {}) as writer:  # a file, which gives way
        writer.add(some_rows(1))
    parquet.begin_parts(there)
    assert not parquet.exists(there)
    for path in parquet.files(folder):
        places.write_whole(there / path.name, path.read_bytes())
    assert parquet.meta(there) == {}
    parts = [(path.name, parquet.count(path)) for path in parquet.files(folder)]
    parquet.list_parts(there, parts, parquet.meta(folder))
    assert parquet.Parts(there).read().equals(before)
    assert sealed(there, "x")
    assert [part.count() for part in Table(there).parts()] == [rows for _, rows in parts]
    assert parquet.tables(place(f"{bucket}/parts")) == [there]
    with written(there, {}) as writer:  # and a folder gives way to a file
        writer.add(some_rows(2))
    assert parquet.count(there) == 2
    assert parquet.files(there) == [there]


def test_a_store_that_fails_is_told_of(bucket):
    said = r"cannot write s3://no-such-bucket-here/a.*look at the store"
    with (
        pytest.raises(RunError, match=said),
        written(place("s3://no-such-bucket-here/a.parquet"), {}) as writer,
    ):
        writer.add(some_rows(1))
    assert parquet.meta(place("s3://no-such-bucket-here/a.parquet")) == {}
    with pytest.raises(FileNotFoundError):
        list(read_rows(place("s3://no-such-bucket-here/a.parquet")))


# --- inputs --------------------------------------------------------------------------------------

LINES = [{"prompt": f"What is number {n}?", "response": f"It is {n}."} for n in range(7)]
JSONL = "".join(f"{json.dumps(line)}\n" for line in LINES).encode()
CSV = b"prompt,response\n" + b"".join(f"{d['prompt']},{d['response']}\n".encode() for d in LINES)


def _parquet():
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(LINES), sink)
    return sink.getvalue().to_pybytes()


def _zst():
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(JSONL)
    return sink.getvalue().to_pybytes()


FILES = {
    "a.jsonl": lambda: JSONL, "a.json": lambda: json.dumps(LINES).encode(), "a.csv": lambda: CSV,
    "a.tsv": lambda: CSV.replace(b",", b"\t"), "a.parquet": _parquet, "a.jsonl.zst": _zst,
    "a.jsonl.gz": lambda: gzip.compress(JSONL), "a.csv.bz2": lambda: bz2.compress(CSV),
    "a.jsonl.xz": lambda: lzma.compress(JSONL),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_read_takes_a_url(bucket, tmp_path, name):
    url = f"{bucket}/given/{name}"
    places.write_whole(place(url), FILES[name]())
    assert count_rows([place(url)]) == 7
    rows = list(reading(read.check({"path": url})))
    assert [row.prompt for row in rows] == [line["prompt"] for line in LINES]


def test_read_takes_a_folder_at_a_url(bucket, tmp_path):
    for name in ("b/one.jsonl", "a.jsonl", ".hidden.jsonl", "notes.txt"):
        places.write_whole(place(f"{bucket}/folder/{name}"), JSONL)
    rows = karat.run(Recipe([read(path=f"{bucket}/folder")], name="all"), tmp_path / "all")
    assert rows.report["rows"]["accepted"] == 14
    some = Recipe([read(path=f"{bucket}/folder", glob="b/*.jsonl")], name="some")
    assert karat.run(some, tmp_path / "some").report["rows"]["accepted"] == 7
    with pytest.raises(RecipeError, match="no file or folder s3://"):
        Recipe([read(path=f"{bucket}/nowhere.jsonl")])


def test_another_content_at_the_same_url_is_read_again(bucket, tmp_path):
    url = f"{bucket}/changing/a.jsonl"
    places.write_whole(place(url), JSONL)
    before, folder = content(place(url)), content(place(f"{bucket}/changing"))
    recipe = Recipe([read(path=url)], name="changing")
    (line,) = plan(recipe, tmp_path / "out")
    assert line.rows_out == 7
    made = karat.run(recipe, tmp_path / "out")
    assert "file:input/a.jsonl" in provenance(made)["entity"]
    assert karat.run(recipe, tmp_path / "out").report["this_run"]["stages_reused"] == 1
    places.write_whole(place(url), JSONL.replace(b"number", b"figure"))  # of the same size
    assert content(place(url)) != before
    assert content(place(f"{bucket}/changing")) != folder
    again = karat.run(recipe, tmp_path / "out")
    assert again.report["this_run"]["stages_reused"] == 0
    assert "figure" in again.accepted.to_pylist()[0]["prompt"]


def test_mix_takes_urls_and_other_steps_say_that_they_do_not(bucket, runs, tmp_path, make_recipe):
    home, away = runs
    people = f"{bucket}/people/people.jsonl"
    places.write_whole(place(people), JSONL)
    (tmp_path / "people.jsonl").write_bytes(JSONL)
    rows = []
    for human, previous in ((people, away), (str(tmp_path / "people.jsonl"), home)):
        steps = [
            {"read": {"path": "prompts.jsonl"}},
            {"mix": {"human": human, "share": 0.5, "previous": str(previous.accepted_file)}},
        ]
        mixed = karat.run(make_recipe(rows=4, steps=steps), tmp_path / previous.path.parent.name)
        rows.append(mixed.accepted.select(["id", "messages", "source"]).to_pylist())
    assert rows[0] == rows[1]
    assert {row["source"] for row in rows[0]} == {"given", "human"}
    file = make_recipe(rows=1, file="bad.yaml", steps=[{"documents": {"path": f"{bucket}/people"}}])
    with pytest.raises(RecipeError, match=r"path must be on this machine, got s3://.*copy it here"):
        Recipe.load(file)


def test_a_run_is_found_by_its_folder_whatever_is_elsewhere(runs, tmp_path, make_recipe):
    """`mix` and licences are given the directory, and find the rows in the bucket."""
    rows = []
    for run in runs:
        steps = [
            {"read": {"path": "prompts.jsonl"}},
            {"mix": {"previous": str(run.path), "share": 0.0, "floor": 0.0}},
        ]
        made = karat.run(make_recipe(rows=2, steps=steps), tmp_path / run.path.parent.name)
        rows.append(made.accepted.select(["id", "messages", "licences"]).to_pylist())
    assert rows[0] == rows[1]
    assert len(rows[0]) > 50
