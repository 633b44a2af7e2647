"""Ids, digests and seeds: content decides them, position and time do not."""

from __future__ import annotations

import pytest
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
)

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
