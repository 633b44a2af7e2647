"""What a run was made of, counted from its rows, beside a count by hand."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter

import msgspec
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import rows_of
from licensed_runs import GIVEN, LLAMA, PEOPLE, QWEN, STEPS, made, run
from server import Server

from karat.errors import RecipeError
from karat.finish import FINAL_SCHEMA
from karat.journal import look_up
from karat.ledger import SCHEMA as LEDGER
from karat.licensing import solve_run
from karat.licensing.counting import MANY, MOST, count
from karat.licensing.rows import given_rights, stated_licence
from karat.row import Message, Response, Row
from karat.rundir import Run
from karat.table import to_batch


def by_hand(folder: Run) -> tuple[Counter[str], Counter[tuple[str, str | None]]]:
    held = look_up(folder.journal, "SELECT key, model FROM calls")
    writers = {key.hex(): model for key, model in held}
    models: Counter[str] = Counter()
    given: Counter[tuple[str, str | None]] = Counter()
    for row in rows_of(folder.accepted_file):
        wrote = {response.model for response in row.responses} | {writers.get(k) for k in row.calls}
        models.update(wrote - {"", None})
        stated = row.meta.get("licence") or row.meta.get("license")
        stated = " AND ".join(stated) if isinstance(stated, list) else stated
        if "passage" in row.meta and "document" in row.meta:
            given["documents", stated] += 1
        elif row.source in ("given", "human") or stated:
            given["human" if row.source == "human" else "data", stated] += 1
    return models, given


def results(folder: Run, rows: list[Row]) -> Run:
    """The accepted rows of a run that nobody made."""
    folder.path.mkdir(parents=True, exist_ok=True)
    batch = to_batch(rows)
    n = batch.num_rows
    columns = [pa.nulls(n, pa.string()), pa.nulls(n, pa.string()), pa.nulls(n, pa.float64()),
               *batch.columns, pa.array([["MIT"]] * n), pa.array(["yes"] * n)]  # fmt: skip
    table = pa.Table.from_batches([pa.RecordBatch.from_arrays(columns, schema=FINAL_SCHEMA)])
    pq.write_table(table, folder.accepted_file)
    return folder


def journal_of(folder: Run, calls: dict[bytes, str]) -> None:
    base = sqlite3.connect(folder.journal)
    base.executescript(LEDGER)
    names = [row[1] for row in base.execute("PRAGMA table_info(calls)")]
    marks = ", ".join(f":{name}" for name in names)
    empty = dict.fromkeys(names, "") | {"attempt": 1, "sample": 0}
    held = ({**empty, "key": key, "model": model} for key, model in calls.items())
    base.executemany(f"INSERT INTO calls VALUES ({marks})", held)
    base.commit()
    base.close()


def test_a_real_run_is_counted_as_by_hand():
    counted = count(run())
    models, given = by_hand(run())
    assert (counted.models, counted.given) == (models, given)
    assert counted.models == {LLAMA: GIVEN, QWEN: GIVEN}
    assert counted.given[("data", "CC-BY-4.0")] == GIVEN


def test_the_report_says_what_the_run_owes_and_which_rows_are_the_reason():
    held = run().report["licences"]
    found = solve_run(run())
    assert orjson.loads(msgspec.json.encode(found)) == held
    causes = {(one.kind, c.name): c.rows for one in found.obligations for c in one.causes}
    assert causes["name_prefix", LLAMA] == GIVEN
    assert causes["attribution", "given.jsonl"] == GIVEN
    assert 0 < causes["share_alike", "people.jsonl"] <= PEOPLE
    assert found.release.allowed == ("CC-BY-SA-4.0",)
    assert not found.blockers
    assert found.rows == GIVEN + causes["share_alike", "people.jsonl"]


def test_answers_that_were_not_kept_count_too(tmp_path):
    """A rejected answer of a pair is trained on as well."""
    answers = [Response("a", QWEN, 0, "stop", "ab" * 16, {}, True),
               Response("b", "openai/gpt-5", 0, "stop", "cd" * 16, {}, False)]  # fmt: skip
    folder = results(Run(tmp_path), [Row("1", [Message("user", "q")], answers)])
    assert count(folder).models == {QWEN: 1, "openai/gpt-5": 1}


def test_rows_are_counted_by_who_wrote_their_prompts_in_parts_of_any_size(tmp_path, monkeypatch):
    monkeypatch.setattr("karat.licensing.counting.AT_ONCE", 7)
    monkeypatch.setattr("karat.licensing.counting.KEYS", 3)
    keys = [bytes([i]) * 16 for i in range(12)]
    journal = {key: ["vllm/a", "vllm/b", "vllm/c"][i % 3] for i, key in enumerate(keys[:9])}
    rows = [
        Row(str(i), [Message("user", "q")], [Response("x", f"vllm/{i % 2}", 0)] * (i % 3),
            calls=[keys[(i + j) % 12].hex() for j in range(i % 4)],
            source=("synthetic", "given", "human")[i % 3],
            meta=[{}, {"licence": "MIT"}, {"license": ["mit", "own"]}, {"note": '"licence":'},
                  {"passage": "p", "document": "d"}][i % 5])
        for i in range(100)
    ]  # fmt: skip
    folder = results(Run(tmp_path), [*rows, Row("bad", calls=["no key", "X' OR 1", "é" * 4])])
    journal_of(folder, journal)
    counted = count(folder)
    assert (counted.models, counted.given) == by_hand(folder)
    assert set(counted.models) == {"vllm/0", "vllm/1", "vllm/a", "vllm/b", "vllm/c"}
    assert {role for role, _ in counted.given} == {"documents", "data", "human"}
    assert counted.rows == 101


def test_a_model_nobody_called_counts_by_what_a_file_says_of_it(tmp_path):
    answers = [Response("a", "gpt-4", 0), Response("b", "Qwen/Qwen3-8B", 0)]
    rows = [Row("1", [Message("user", "q")], answers, meta={"licence": "own"}, source="given")]
    found = solve_run(_with_recipe(results(Run(tmp_path), rows)))
    (blocked,) = found.blockers
    assert (blocked.licence, blocked.causes[0].name) == ("OpenAI terms", "gpt-4")


def test_models_of_an_earlier_run_keep_the_terms_they_answered_on(tmp_path):
    """A server of one's own may be called openai; its rows are not OpenAI's a run later."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    own = {"model": "openai/qwen3-8b", "base_url": "http://127.0.0.1:9/v1"}
    with Server() as server:
        models = {name: {**own, "base_url": server.url} for name in ("llama", "qwen")}
        before = made(first, models={"qwen": models["qwen"]}, steps=[
            STEPS[0], {"respond": {"models": ["qwen"]}}
        ], rewards={})  # fmt: skip
    assert not solve_run(before).blockers
    again = made(second, steps=[{"read": {"path": str(before.accepted_file)}}], rewards={},
                 models={})  # fmt: skip
    found = solve_run(again)
    assert not found.blockers
    assert {(one.name, one.rows) for one in found.sources} == {
        ("openai/qwen3-8b", GIVEN), ("given.jsonl", None), ("rows that were given", GIVEN),
    }  # fmt: skip


@pytest.mark.parametrize("licence", [[["MIT"] * 3], {"name": "MIT"}, 7, "x" * 10**6, "\x00\u202e"])
def test_a_licence_that_is_no_name_is_unknown_and_harmless(licence, tmp_path):
    meta = {"licence": licence}
    folder = results(Run(tmp_path), [Row("1", [Message("user", "q")], meta=meta, source="given")])
    found = solve_run(_with_recipe(folder))
    assert [one.kind for one in found.blockers] == ["unknown"]
    assert len(orjson.dumps(msgspec.to_builtins(found))) < 10_000


def test_a_licence_nested_a_thousand_deep_ends_no_run():
    deep = '{"licence": ' + "[" * 1000 + "]" * 1000 + "}"
    assert stated_licence(deep) is None


@pytest.mark.parametrize(
    ("name", "training", "licence"),
    [
        ("gpt-4", "no", "OpenAI terms"),
        ("openai/gpt-oss-120b", "yes", "Apache-2.0"),
        ("openai/gpt-4o", "no", "OpenAI terms"),
        ("meta-llama/Llama-3.3-70B-Instruct", "conditions", "Llama Community License"),
        ("Qwen/Qwen3-8B", "yes", "Apache-2.0"),
        ("groq/llama-3.3-70b", "conditions", "Llama Community License + Groq terms"),
        ("somebody/own-7b", "unknown", "unknown"),
        ("mixtral-of-a-friend", "unknown", "unknown"),
    ],
)
def test_a_writer_that_a_file_names_has_its_makers_terms(name, training, licence):
    found = given_rights(name)
    assert (found.training, found.licence) == (training, licence)


def test_rows_with_another_licence_each_do_not_fill_the_memory(tmp_path):
    rows = [Row(str(i), [Message("user", "q")], source="given", meta={"licence": f"licence {i}"})
            for i in range(MOST + 100)]  # fmt: skip
    counted = count(results(Run(tmp_path), rows))
    assert len(counted.given) == MOST + 1
    assert counted.given["data", MANY] == 100
    assert counted.given.total() == MOST + 100


def test_files_of_which_no_row_is_left_are_still_told(tmp_path):
    steps = [*STEPS[:1], {"filters": {"on": "prompt", "rules": [{"length": {"min_words": 99}}]}},
             *STEPS[1:]]  # fmt: skip
    found = solve_run(made(tmp_path, steps=steps[:3], rewards={}))
    rows = {one.name: one.rows for one in found.sources}
    assert found.rows == 0
    assert rows == {"given.jsonl": 0}


def test_a_run_of_before_is_counted_when_its_card_is_written(tmp_path):
    folder = made(tmp_path)
    report = folder.report
    held = report.pop("licences")
    folder.report_file.write_bytes(orjson.dumps(report))
    found = solve_run(folder)
    assert {one.name for one in found.sources} >= {LLAMA, QWEN}
    models = [one for one in held["sources"] if one["role"] == "generator"]
    assert [one for one in orjson.loads(msgspec.json.encode(found.sources))
            if one["role"] == "generator"] == models  # fmt: skip
    # Its reward cannot be loaded here, so its graders are not known, and that is said.
    assert any("graders" in note for note in found.notes)


def test_a_run_that_has_not_ended_says_so(tmp_path):
    (tmp_path / "report.json").write_bytes(
        orjson.dumps(dict.fromkeys(run().report) | {"licences": None})
    )
    with pytest.raises(RecipeError, match=r"has no accepted\.parquet"):
        solve_run(_with_recipe(Run(tmp_path)))


def _with_recipe(folder: Run) -> Run:
    """So much of a run that its report can be read; its recipe cannot."""
    folder.recipe.write_text("name: x\nsteps: [nothing]\n")
    folder.report_file.write_bytes(orjson.dumps(dict.fromkeys(run().report) | {"licences": None}))
    return folder


def test_rows_are_counted_in_a_fraction_of_the_time_it_takes_to_make_objects_of_them(tmp_path):
    """A hundred thousand take less than a second where the machine is not busy."""
    answers = [Response(f"An answer {j}.", "vllm/qwen3-8b", j, "stop", "ab" * 16) for j in range(4)]
    rows = [Row(f"{i}", [Message("user", f"q {i}")], answers, calls=[f"{i:032x}"],
                source="human" if i % 3 == 0 else "synthetic",
                meta={"licence": "cc-by-4.0"} if i % 3 == 0 else {"topic": "x"})
            for i in range(10_000)]  # fmt: skip
    folder = results(Run(tmp_path), rows)
    journal_of(folder, {i.to_bytes(16): "vllm/qwen3-8b" for i in range(10_000)})
    table = pq.read_table(folder.accepted_file)
    pq.write_table(pa.concat_tables([table] * 10), folder.accepted_file)
    plain, took = [], []
    for _ in range(2):  # the better of two: one may fall on a moment in which the machine is slow
        started = time.process_time()
        objects = pq.read_table(folder.accepted_file).to_pylist()
        plain.append(time.process_time() - started)
        started = time.process_time()
        counted = count(folder)
        took.append(time.process_time() - started)
    assert min(took) < 0.8 * min(plain)  # .2 where the machine is idle; with objects more than 1
    assert len(objects) == 100_000
    assert counted.rows == counted.models["vllm/qwen3-8b"] == 100_000
    assert counted.given["human", "cc-by-4.0"] == 33_340
