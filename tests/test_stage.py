"""Stages: where a recipe is cut, what makes a stage another, files that are whole or absent."""

from __future__ import annotations

import os

import pyarrow.parquet as pq
import pytest

from karat import Recipe, RunError
from karat.contents import content
from karat.row import Message, Row
from karat.stage import StageWriter, StepStats, cut, read_meta, read_rows, sealed
from karat.table import to_batch

TEACHER = {"model": "openai/loop", "base_url": "http://127.0.0.1:1/v1", "temperature": 0.5}
STEPS = [
    {"read": {"path": "prompts.jsonl"}},
    {"respond": {"models": ["teacher"], "n": 2}},
    {"dedupe": {"on": "prompt"}},
    {"respond": {"models": ["teacher"], "n": 3}},
]


@pytest.fixture
def stages(make_recipe):
    def make(teacher=TEACHER, steps=STEPS, **top):
        return cut(Recipe.load(make_recipe(teacher, steps=steps, **top)))

    return make


def same(one, other):
    """How many stages from the first on have equal addresses."""
    pairs = zip(one, other, strict=False)
    equal = [a.address == b.address for a, b in pairs]
    return equal.index(False) if False in equal else len(equal)


def test_cut_before_and_after_a_table_step_and_after_a_fan(stages, user_module):
    user_module("mine_cut", "@step\nasync def fan(row, ctx) -> list[Row]: return [row]\n")
    steps = [*STEPS[:2], {"mine_cut:fan": {}}, *STEPS[1:], {"dedupe": {"on": "prompt"}}]
    labels = [stage.labels for stage in stages(steps=steps)]
    assert labels == [
        ["read", "respond", "fan"],
        ["respond_2"],
        ["dedupe"],
        ["respond_3"],
        ["dedupe_2"],
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"concurrency": 3}, {"price": {"input": 1, "output": 2}}, {"key_env": "PATH"},
        {"timeout_s": 5}, {"attempts": 2},
    ],
)  # fmt: skip
def test_what_changes_no_answer_changes_no_address(stages, change):
    assert same(stages(), stages(TEACHER | change)) == 3


def test_renaming_a_model_or_a_file_changes_no_address(stages, tmp_path):
    before = stages()
    (tmp_path / "prompts.jsonl").rename(tmp_path / "kept.jsonl")
    steps = [{"read": {"path": "kept.jsonl"}}, *STEPS[1:]]
    renamed = eval(repr(steps).replace("teacher", "master"))
    assert same(before, stages(None, renamed, models={"master": TEACHER})) == 3


@pytest.mark.parametrize(
    "change", [{"name": "other"}, {"export": ["trl-sft"]}, {"budget_usd": None}]
)  # fmt: skip
def test_what_comes_after_the_stages_changes_no_address(stages, change):
    assert same(stages(), stages(**change)) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"model": "openai/other"}, {"base_url": "http://127.0.0.1:2/v1"}, {"temperature": 0.6},
        {"top_p": 0.9}, {"max_tokens": 5}, {"extra": {"top_k": 3}},
    ],
)  # fmt: skip
def test_what_changes_answers_changes_the_address(stages, change):
    assert same(stages(), stages(TEACHER | change)) == 0


def test_the_seed_changes_every_address(stages):
    assert same(stages(), stages(seed=8)) == 0


def test_editing_a_step_leaves_the_stages_before_it(stages):
    changed = [*STEPS[:3], {"respond": {"models": ["teacher"], "n": 4}}]
    assert same(stages(), stages(steps=changed)) == 2
    assert same(stages(), stages(steps=STEPS[:3])) == 2


def test_what_a_read_file_holds_is_part_of_the_address(stages, make_recipe):
    before = stages()
    assert same(before, stages(rows=10)) == 3
    assert same(before, stages(rows=11)) == 0


def test_a_folder_may_hold_links_to_nowhere_and_names_of_any_bytes(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    before = content(folder)
    (folder / ".#a.txt").symlink_to("me@host.1234:567")  # an editor's lock
    (folder / "self").symlink_to("self")
    assert content(folder) == before
    try:
        (folder / os.fsdecode(b"caf\xe9.txt")).write_text("b")
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    named = content(folder)
    assert named != before
    (folder / os.fsdecode(b"caf\xe9.txt")).rename(folder / os.fsdecode(b"caf\xe8.txt"))
    assert content(folder) not in (before, named)


def test_a_parameter_equal_to_a_models_name_is_still_a_parameter(stages):
    def steps(system):
        return [STEPS[0], {"respond": {"models": ["teacher", "b"], "system": system}}]

    models = {"b": "openai/b"} | {"b": {**TEACHER, "model": "openai/b"}}
    assert (
        same(stages(steps=steps("teacher"), models=models), stages(steps=steps("b"), models=models))
        == 0
    )


def test_what_is_said_of_a_model_is_part_of_the_address(stages, user_module):
    user_module(
        "mine_votes",
        "from karat.step import ModelName\n"
        "@step\nasync def f(row, ctx, *, votes: dict[ModelName, int]): return row\n",
    )

    def steps(**votes):
        return [*STEPS[:3], {"mine_votes:f": {"votes": votes}}]

    before = stages(steps=steps(teacher=1))
    assert same(before, stages(steps=steps(teacher=2))) == 2
    renamed = eval(repr(steps(teacher=1)).replace("'teacher'", "'b'"))
    assert same(before, stages(None, renamed, models={"b": TEACHER})) == 3


def test_editing_the_file_of_a_users_step_changes_the_address(stages, user_module, tmp_path):
    user_module("mine_edit", "@step\nasync def f(row, ctx): return row\n")
    steps = [*STEPS[:3], {"mine_edit:f": {}}]
    before = stages(steps=steps)
    (tmp_path / "mine_edit.py").write_text((tmp_path / "mine_edit.py").read_text() + "\nX = 1\n")
    assert same(before, stages(steps=steps)) == 2


def test_a_stage_of_many_steps_still_has_a_parquet_name(stages):
    steps = [STEPS[0], *[{"respond": {"models": ["teacher"]}} for _ in range(20)]]
    (stage,) = stages(steps=steps)
    assert stage.file_name.endswith(".parquet")
    assert len(stage.file_name) <= 120
    stage.labels = ["α" * 200]
    assert len(stage.file_name.encode()) <= 120


def row(number, text="x"):
    return Row(f"{number:04d}", [Message("user", text)])


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path):
    path = tmp_path / "stages" / "01.parquet"
    writer = StageWriter(path)
    writer.add([row(i) for i in range(600)])
    assert not path.exists()
    writer.close({"address": "a", "complete": True, "stats": []})
    assert [r.id for r in read_rows(path)] == [f"{i:04d}" for i in range(600)]
    assert sealed(path, "a")
    assert not sealed(path, "b")
    assert [p.name for p in path.parent.iterdir()] == ["01.parquet"]


def test_what_a_killed_writer_left_is_in_nobodys_way(tmp_path):
    """It goes when the next run begins: karat.finish.forget_unfinished."""
    StageWriter(tmp_path / "01.parquet").add([row(n) for n in range(600)])
    writer = StageWriter(tmp_path / "01.parquet")
    writer.add([row(1)])
    writer.close({})
    assert [r.id for r in read_rows(tmp_path / "01.parquet")] == ["0001"]


def test_an_abandoned_file_leaves_nothing_and_the_old_one_whole(tmp_path):
    path = tmp_path / "01.parquet"
    first = StageWriter(path)
    first.add([row(1)])
    first.close({"address": "old"})
    second = StageWriter(path)
    second.add([row(2)])
    second.abandon()
    assert read_meta(path)["address"] == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["01.parquet"]


@pytest.mark.parametrize("data", [b"", b"PAR1", b"not parquet at all" * 9])
def test_a_broken_file_is_not_sealed(tmp_path, data):
    path = tmp_path / "01.parquet"
    path.write_bytes(data)
    assert read_meta(path) == {}
    assert not sealed(path, "a")
    assert not sealed(tmp_path / "absent", "a")


def test_the_bytes_do_not_depend_on_how_rows_arrive(tmp_path):
    rows = [row(i, "text " * (i % 7)) for i in range(1000)]
    for name, sizes in (("a", [1000]), ("b", [1] * 1000), ("c", [300, 1, 255, 444])):
        writer, rest = StageWriter(tmp_path / f"{name}.parquet"), list(rows)
        for size in sizes:
            writer.add(rest[:size])
            rest = rest[size:]
        writer.close({})
    data = {name: (tmp_path / f"{name}.parquet").read_bytes() for name in "abc"}
    assert data["a"] == data["b"] == data["c"]


def test_batches_and_rows_keep_their_order(tmp_path):
    writer = StageWriter(tmp_path / "x.parquet")
    writer.add([row(0)])
    writer.add_batch(to_batch([row(1), row(2)]))
    writer.add([row(3)])
    writer.close({})
    assert [r.id for r in read_rows(tmp_path / "x.parquet")] == ["0000", "0001", "0002", "0003"]
    assert pq.read_metadata(tmp_path / "x.parquet").num_rows == 4


def test_a_place_that_cannot_be_written_is_a_run_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write .*everything paid for is kept"):
        StageWriter(tmp_path / "file" / "01.parquet")


def test_reasons_are_counted_without_their_details():
    stats = StepStats("reject")
    for reason in ("below minimum (best 1.2)", "below minimum (best 0.3)", "tie"):
        stats.drop(reason)
    assert stats.dropped == {"below minimum": 2, "tie": 1}
