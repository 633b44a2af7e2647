"""Ids, digests and seeds: content decides them, position and time do not."""

from __future__ import annotations

import linecache
import subprocess
import sys

import pytest
from conftest import environment
from hypothesis import given
from hypothesis import strategies as st

from karat.row import (
    SEED_RANGE,
    Ids,
    Message,
    Response,
    Row,
    canonical,
    derive_seed,
    digest,
    row_id,
    source_digest,
)
from karat.step import find

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=6,
)
META = st.dictionaries(st.text(st.characters(codec="utf-8")), JSON, max_size=4)
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
MESSAGES = st.lists(st.builds(Message, TEXT, TEXT), max_size=3)


@given(MESSAGES, META)
def test_id_is_16_hex_digits_and_ignores_the_order_of_meta(messages, meta):
    backwards = dict(reversed(meta.items()))
    found = row_id(messages, meta)
    assert found == row_id(list(messages), backwards)
    assert len(found) == 16
    assert int(found, 16) >= 0


def test_id_of_a_known_row_never_changes_between_versions():
    # A new value here re-buys every paid answer of every user: change the format number with it.
    assert row_id([Message("user", "What is a tide?")], {"topic": "sea"}) == "aa6fb0cf7b6e0a89"


@given(MESSAGES, MESSAGES, META, META)
def test_different_content_has_different_ids(one, other, meta, more):
    if canonical([[(m.role, m.content) for m in one], meta]) != canonical(
        [[(m.role, m.content) for m in other], more]
    ):
        assert row_id(one, meta) != row_id(other, more)


@given(st.lists(st.binary(max_size=4), max_size=4), st.lists(st.binary(max_size=4), max_size=4))
def test_digest_knows_where_one_part_ends(parts, others):
    assert (digest(*parts) == digest(*others)) == (parts == others)


def test_digest_takes_text_with_a_lone_surrogate():
    assert digest("\ud83d") != digest("\ud83e")


@given(st.integers(-(2**70), 2**70), st.text(), st.text(), st.integers(0, 10**6))
def test_seed_is_one_every_provider_takes(run_seed, step, row, index):
    assert 0 <= derive_seed(run_seed, step, row, index) < SEED_RANGE


def test_seed_depends_on_run_step_row_and_index():
    base = (7, "respond", "ab", 0)
    changed = [
        (8, "respond", "ab", 0),
        (7, "respond_2", "ab", 0),
        (7, "respond", "ac", 0),
        (7, "respond", "ab", 1),
    ]
    assert len({derive_seed(*args) for args in [base, *changed]}) == 5
    assert derive_seed(*base) == derive_seed(*base)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["", "p"])), max_size=12))
def test_equal_rows_are_numbered_and_the_first_one_keeps_its_plain_id(asked):
    ids, seen = Ids(), {}
    made = []
    for text, parent in asked:
        copy = seen.get((text, parent), 0)
        seen[text, parent] = copy + 1
        made.append(ids.assign([Message("user", text)], {}, parent))
        assert made[-1] == row_id([Message("user", text)], {}, parent, copy)
    assert len(set(made)) == len(made)


def test_a_row_inserted_above_changes_no_id_below():
    texts = ["a", "b", "b", "c"]
    first, second = Ids(), Ids()
    old = [first.assign([Message("user", t)], {}) for t in texts]
    new = [second.assign([Message("user", t)], {}) for t in ["new", *texts]]
    assert new[1:] == old


def test_prompt_is_the_last_user_turn():
    turns = [Message("user", "one"), Message("assistant", "two"), Message("user", "three")]
    assert Row("x", [Message("system", "s"), *turns]).prompt == "three"
    assert Row("x", [Message("system", "s")]).prompt == "s"
    assert Row("x").prompt == ""


@pytest.mark.parametrize(
    ("flags", "kept"),
    [
        ([None, None], [0, 1]),
        ([False, True], [1]),
        ([False, False], []),
        ([None, True], [1]),
        ([], []),
    ],
)
def test_kept_means_all_until_a_step_has_chosen(flags, kept):
    row = Row("x", responses=[Response(str(i), kept=flag) for i, flag in enumerate(flags)])
    assert [int(response.content) for response in row.kept()] == kept


def test_rows_do_not_share_their_lists():
    one, other = Row("a"), Row("b")
    one.responses.append(Response("x"))
    one.meta["k"] = 1
    Response("y").scores["s"] = 1.0
    assert (other.responses, other.meta, Response("z").scores) == ([], {}, {})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_lacks_has_no_canonical_bytes(value):
    for holder in (value, [1, (value,)], {"a": {"b": value}}, {value: 1}):
        with pytest.raises(ValueError, match="finite"):
            canonical(holder)
    assert canonical([None, 1.5]) == b"[null,1.5]"


def test_nan_in_a_rows_meta_stops_no_run():
    asked = [Message("user", "a")]
    assert row_id(asked, {"x": float("nan")}) == row_id(asked, {"x": None})


def compiled(text):
    space = {"__name__": "notebook"}
    exec(text, space)
    return space["f"]


def test_code_without_a_file_is_told_apart_by_names_and_inner_functions():
    texts = [
        "def f(x): return x.upper()",
        "def f(x): return x.lower()",
        "def f(x): return x in {'a', 'b', 'c'}",
        "def f(x): return x in {'a', 'b', 'd'}",
        "def f(x): return [y for y in x if (lambda z: z.upper())(y)]",
        "def f(x): return [y for y in x if (lambda z: z.lower())(y)]",
    ]
    found = [source_digest(compiled(text)) for text in texts]
    assert len(set(found)) == len(texts)
    assert found == [source_digest(compiled(text)) for text in texts]


def test_code_without_a_file_is_the_same_in_every_process():
    text = "def f(x): return [(lambda z: z in {'a', 'b', 'c'})(y) for y in x]"
    code = (
        "from karat.row import source_digest\nspace = {}\n"
        f"exec({text!r}, space)\nprint(source_digest(space['f']).hex())"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code], env=environment(PYTHONHASHSEED=seed),
            capture_output=True, text=True, check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }  # fmt: skip
    assert told == {source_digest(compiled(text)).hex()}


def test_code_typed_in_a_notebook_is_its_text(monkeypatch):
    def typed(text):
        lines = text.splitlines(keepends=True)
        monkeypatch.setitem(linecache.cache, "cell-1", (len(text), None, lines, "cell-1"))
        space = {"__name__": "notebook"}
        exec(compile(text, "cell-1", "exec"), space)
        return source_digest(space["f"])

    assert typed("def f(x): return x.upper()") != typed("def f(x): return x.lower()")
    assert typed("def f(x): return 1  # one\n") == digest("def f(x): return 1  # one\n")


def test_source_changes_with_a_module_beside_it_and_not_with_one_below(tmp_path, user_module):
    user_module("mine_helped", "@step\nasync def f(row, ctx): return row\n")
    found = find("mine_helped:f", tmp_path)
    helper = tmp_path / "helper.py"
    helper.write_text("X = 1\n")
    before = found.source()
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "other.py").write_text("X = 1\n")
    (tmp_path / "gone.py").symlink_to(tmp_path / "nowhere")
    assert found.source() == before
    helper.write_text("X = 2\n")
    assert found.source() != before
