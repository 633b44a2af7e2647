"""human: ratings found by what they rate, averaged over raters, absent where nobody rated."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import rows_of
from hypothesis import given
from hypothesis import strategies as st
from judging import PROMPT, run, score

from karat import RecipeError
from karat.rewards.base import Candidates
from karat.rewards.human import HumanReward, rating_key, rating_line
from karat.rewards.load import load_reward
from karat.row import Message

FIVE = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
DATA = Path(__file__).parents[2] / "../shared/data"
NOBODY = {"model": "openai/none", "base_url": "http://127.0.0.1:9/v1"}
TIDE = PROMPT[0].content


def write(folder, *records, name="ratings.jsonl"):
    lines = (r if isinstance(r, bytes) else json.dumps(r).encode() + b"\n" for r in records)
    (folder / name).write_bytes(b"".join(lines))


def rated(folder, job, written="human/ratings.jsonl"):
    (found,) = score(folder, NOBODY, written, job)
    return found


def test_helpsteer_records(tmp_path):
    write(tmp_path, {"prompt": TIDE, "response": "Water.", **dict.fromkeys(FIVE, 3), "topic": 7})
    found = rated(tmp_path, ["Water.", "Moon.", " Water.\n"])
    wanted = {**dict.fromkeys(FIVE, 3.0), "raters": 1.0, "spread": 0.0}
    assert found == [wanted, None, wanted]  # nobody rated the second: no score, not a bad one


def test_lines_that_karat_appends(tmp_path):
    values = {"helpfulness": 4, "correctness": 2}
    more = {"rater": "ann", "time": "2026-03-01T09:30:00Z", "row": "91e2", "index": 1}
    line = rating_line(PROMPT, "Water.", values, **more)
    assert json.loads(line) == {
        "key": rating_key(PROMPT, "Water.").hex(), "values": values, **more,
    }  # fmt: skip
    write(tmp_path, line)
    assert rated(tmp_path, ["Water."]) == [{**values, "raters": 1.0, "spread": 0.0}]


def test_raters_are_averaged_and_one_may_change_his_mind(tmp_path):
    def line(rater, value):
        values = {"helpfulness": value}
        return rating_line(PROMPT, "Water.", values, rater=rater, time="2026-03-01T09:30:00Z")

    write(tmp_path, line("ann", 0), line("bob", 4), line("ann", 2))
    assert rated(tmp_path, ["Water."]) == [{"helpfulness": 3.0, "raters": 2.0, "spread": 2.0}]


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path):
    write(tmp_path, b"\xef\xbb\xbf", {"prompt": TIDE, "response": "Water.", "taste": 2})
    assert rated(tmp_path, ["Water."])[0]["taste"] == 2


def test_fields_that_nobody_asked_for_need_not_be_ratings(tmp_path):
    line = {"prompt": TIDE, "response": "Water.", "taste": 2, "flag": True, "tags": ["a"]}
    write(tmp_path, line)
    (found,) = rated(
        tmp_path, ["Water."], {"reward": "human/ratings.jsonl", "attributes": {"taste": [0, 4]}}
    )
    assert found["taste"] == 2
    with pytest.raises(RecipeError, match="a number was wanted, not True"):
        load_reward({"reward": "human/ratings.jsonl", "attributes": {"flag": (0, 1)}}, tmp_path)


def test_lists_are_several_raters_and_lines_without_a_rater_are_each_another(tmp_path):
    write(
        tmp_path,
        {"prompt": TIDE, "response": "Water.", "taste": [1, 2, 6]},
        {"messages": [{"role": "user", "content": TIDE}], "response": "Water.", "taste": 3},
    )
    assert rated(tmp_path, ["Water."]) == [{"taste": 3.0, "raters": 4.0, "spread": 5.0}]


def test_preferences_of_helpsteer2_and_3(tmp_path):
    write(
        tmp_path,
        {"prompt": TIDE, "response_1": "a", "response_2": "b", "preference_strength": -2},
        {
            "context": [{"role": "user", "content": TIDE}], "response1": "b", "response2": "c",
            "overall_preference": 3, "domain": "general",
        },
    )  # fmt: skip
    found = rated(tmp_path, ["a", "b", "c"])
    assert [scores["preference"] for scores in found] == [2, -2.5, 3]
    assert [scores["raters"] for scores in found] == [1, 2, 1]
    reward = load_reward("human/ratings.jsonl", tmp_path)
    assert reward.within_prompt == {"preference"}
    assert reward.attributes["preference"] == (-3, 3)


def test_the_same_response_to_another_prompt_is_not_rated(tmp_path):
    write(tmp_path, {"prompt": TIDE, "response": "Water.", "taste": 3})
    other = Candidates((Message("user", "What is rain?"),), ("Water.",))
    assert rated(tmp_path, other) == [None]


def test_one_who_lacks_an_attribute_is_not_rated(tmp_path):
    write(
        tmp_path,
        {"prompt": TIDE, "response": "a", "taste": 3, "form": 1},
        {"prompt": TIDE, "response": "b", "taste": 2},
    )
    assert rated(tmp_path, ["a", "b"])[1] is None
    only = {"reward": "human/ratings.jsonl", "attributes": {"taste": [1, 5]}}
    found = rated(tmp_path, ["a", "b"], only)
    assert [scores["taste"] for scores in found] == [3, 2]
    assert load_reward(only, tmp_path).attributes["taste"] == (1, 5)


def test_parquet_and_json_lists_are_read_alike(tmp_path):
    records = [
        {"prompt": TIDE, "response": t, "taste": v, "note": None} for t, v in (("a", 1), ("b", 2))
    ]
    write(tmp_path, *records)
    (tmp_path / "r.json").write_text(json.dumps(records))
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "r.parquet")
    names = ("ratings.jsonl", "r.json", "r.parquet")
    held = [load_reward(f"human/{name}", tmp_path).scores for name in names]
    assert held[0] == held[1] == held[2]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 1: not JSON"),
        ('{"prompt": "a", "response": "b"}', "no rating in it"),
        ('{"prompt": "a", "taste": 1}', "line 1: no rating karat knows: KeyError('response')"),
        ('{"response": "a", "taste": 1}', "line 1: no rating karat knows"),
        ('{"prompt": "a", "response": "b", "helpfulness": 5}', "helpfulness 5 is out of 0 to 4"),
        ('{"prompt": "a", "response": "b", "taste": true}', "a number was wanted, not True"),
        ('{"prompt": "a", "response": "b", "taste": NaN}', "a number was wanted, not nan"),
        ('{"key": "xyz", "values": {"taste": 1}}', "line 1: no rating karat knows"),
        ("[]", "no rating in it"),
        ("7", "line 1: no rating karat knows"),
        ('{"prompt": "a", "response_1": "b", "preference_strength": 1}', "KeyError('response_2')"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, words):
    (tmp_path / "ratings.jsonl").write_text(line)
    with pytest.raises(RecipeError, match=re.escape(words)):
        load_reward("human/ratings.jsonl", tmp_path)


def test_mistakes_are_named(tmp_path):
    with pytest.raises(RecipeError, match="cannot be read"):
        load_reward("human/none.jsonl", tmp_path)
    write(tmp_path, {"prompt": TIDE, "response": "a", "taste": 3})
    with pytest.raises(RecipeError, match="no rating of 'tast'; there is: taste"):
        load_reward({"reward": "human/ratings.jsonl", "attributes": {"tast": [0, 4]}}, tmp_path)
    with pytest.raises(RecipeError, match="is no scale"):
        load_reward({"reward": "human/ratings.jsonl", "attributes": {"taste": [4, 0]}}, tmp_path)


def test_the_identity_follows_from_the_ratings_not_from_their_order(tmp_path):
    one = {"prompt": TIDE, "response": "a", "taste": 0.1, "rater": "x"}
    two = {"prompt": TIDE, "response": "a", "taste": 0.7, "rater": "y"}
    found = set()
    for records in ([one, two], [two, one]):
        write(tmp_path, *records)
        found.add(load_reward("human/ratings.jsonl", tmp_path).identity)
    assert len(found) == 1
    write(tmp_path, one)
    assert load_reward("human/ratings.jsonl", tmp_path).identity not in found


TEXT = st.text("ab \n", max_size=5)


@given(TEXT, TEXT, TEXT, TEXT)
def test_keys_are_equal_only_for_what_is_equal_but_for_the_ends(a, b, c, d):
    one = rating_key([Message("user", a)], b)
    other = rating_key([Message("user", c)], d)
    assert (one == other) == ((a.strip(), b.strip()) == (c.strip(), d.strip()))


def test_helpsteer2_as_published_rates_the_rows_that_are_read_from_it(tmp_path):
    path = DATA / "helpsteer2" / "ratings.jsonl"
    if not path.exists():
        pytest.skip("no shared data")
    lines = path.read_text(encoding="utf-8").splitlines()[:60]
    (tmp_path / "ratings.jsonl").write_text("\n".join(lines), encoding="utf-8")
    rows = [json.loads(line) for line in lines]
    found = rows_of(run(tmp_path, NOBODY, {"it": "human/ratings.jsonl"}, rows).accepted_file)
    assert len(found) > 50
    for row in found:
        for response in row.responses:
            five = {name: response.scores[f"it.{name}"] for name in FIVE}
            assert five == {name: response.scores[f"human.{name}"] for name in FIVE}


def test_no_call_is_made(tmp_path):
    write(tmp_path, {"prompt": TIDE, "response": "a", "taste": 3})
    reward = HumanReward(tmp_path / "ratings.jsonl", {})
    assert (reward.models, reward.rewards, reward.calls(8)) == ((), (), 0)
