"""Sets as people have them on disk: recognised by their keys, read strictly, counted in full."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from karat.errors import RecipeError
from karat.evaluating.sets import read_set, read_sets

SHARED = Path(__file__).parents[3] / "shared/data"
RATED = {"helpfulness": 3, "correctness": 3, "coherence": 4, "complexity": 1, "verbosity": 1}
PAIR = {"prompt": "Why?", "chosen": "Because it is.", "rejected": "No idea."}
FOUR = {"prompt": "Why?", "chosen": ["right"], "rejected": ["a", "b", "c"], "num_correct": 1}


def write(path, *records):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{json.dumps(record)}\n" for record in records)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(records)), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(records), encoding="utf-8")
    else:
        path.write_text(text, encoding="utf-8")
    return str(path)


def read(tmp_path, *records, name="set.jsonl", kind=""):
    return read_set(f"{kind}{write(tmp_path / name, *records)}")


@pytest.mark.parametrize("name", ["set.jsonl", "set.json", "set.jsonl.gz", "set.parquet"])
def test_rewardbench_in_any_format(tmp_path, name):
    record = {**PAIR, "subset": "hep-cpp", "id": 1}
    found = read(tmp_path, record, {**record, "id": 2}, name=name)
    assert (found.kind, found.name, len(found.items)) == ("rewardbench", "set", 2)
    assert found.items[0].subset == "hep-cpp"
    assert found.items[0].responses == ("Because it is.", "No idea.")
    assert found.files == [f"{tmp_path.name}/{name}"]


def test_rewardbench_keeps_every_record_as_published(tmp_path):
    record = {**PAIR, "subset": "donotanswer", "rejected": PAIR["chosen"]}
    found = read(tmp_path, record, {**record, "rejected": ""})
    assert len(found.items) == 2
    assert found.left_out == {}


def test_rewardbench_2(tmp_path):
    ties = {"prompt": "A number?", "subset": "Ties"}
    found = read(
        tmp_path,
        {**FOUR, "subset": "Focus", "id": "9"},
        {**ties, "id": "ref:4", "chosen": ["1"], "rejected": ["a", "b"], "num_correct": 1},
        {**ties, "id": "tied:4", "chosen": ["1", "2"], "rejected": ["a"], "num_correct": 2},
    )
    assert found.kind == "rewardbench2"
    assert [item.right for item in found.items] == [1, 1, 2]
    assert found.items[1].group == found.items[2].group != found.items[0].group


def test_rm_bench_as_one_file_or_as_one_of_each_domain(tmp_path):
    grid = {"id": 1, "prompt": "Why?", "chosen": ["a", "b", "c"], "rejected": ["d", "e", "f"]}
    one = read(tmp_path, {**grid, "domain": "safety-refuse"}, name="total_dataset.json")
    write(tmp_path / "parts/chat_filtered.json", {**grid, "subset": "x"})
    write(tmp_path / "parts/safety-response_filtered.json", grid)
    parts = read_set(str(tmp_path / "parts"))
    assert (one.kind, one.items[0].subset, one.items[0].right) == ("rmbench", "safety-refuse", 3)
    assert [item.subset for item in parts.items] == ["chat", "safety-response"]
    assert parts.name == "parts"


def test_judgebench(tmp_path):
    record = {"question": "1+1?", "response_A": "2", "response_B": "3", "label": "B>A"}
    found = read(tmp_path, {**record, "source": "mmlu-pro-law"},
                 {**record, "source": "livecodebench", "label": "A>B"})  # fmt: skip
    assert [item.responses for item in found.items] == [("3", "2"), ("2", "3")]
    assert [item.subset for item in found.items] == ["Knowledge", "Coding"]


def test_llmbar_in_a_folder_as_published_and_as_here(tmp_path):
    record = {"input": "Say a.", "output_1": "b", "output_2": "a", "label": 2}
    write(tmp_path / "LLMBar/Natural/dataset.json", record)
    write(tmp_path / "LLMBar/Adversarial/Neighbor/dataset.json", record)
    write(tmp_path / "LLMBar/Natural/evaluators/X/result.json", {**record, "results": []})
    write(tmp_path / "flat/Adversarial_Manual.json", record)
    published, flat = read_set(str(tmp_path / "LLMBar")), read_set(str(tmp_path / "flat"))
    assert sorted(item.subset for item in published.items) == ["Natural", "Neighbor"]
    assert published.items[0].responses == ("a", "b")
    assert [item.subset for item in flat.items] == ["Manual"]


def test_ratings_of_one_prompt_are_one_item(tmp_path):
    rows = [
        {"prompt": p, "response": r, **RATED} for p in ("Why?", "How?") for r in ("a", "b", "b")
    ]
    found = read(tmp_path, *rows, name="validation.jsonl")
    assert found.name == tmp_path.name  # a file called so says nothing
    assert [item.responses for item in found.items] == [("a", "b"), ("a", "b")]
    assert found.items[0].ratings == ((3, 3, 4, 1, 1),) * 2


def test_preferences_of_helpsteer_2_and_3(tmp_path):
    two = {"prompt": "Why?", "response_1": "a", "response_2": "b"}
    found = read(tmp_path, *({**two, "preference_strength": n} for n in (-3, 0, 1)))
    assert found.kind == "helpsteer2-preference"
    assert [(item.responses, item.strength) for item in found.items] == [
        (("a", "b"), 3.0),
        (("b", "a"), 1.0),
    ]
    assert found.left_out == {"tie": 1}
    three = {"context": [{"role": "user", "content": "Why?"}], "response1": "a", "response2": "b",
             "overall_preference": 2, "domain": "stem", "language": "english"}  # fmt: skip
    found = read(tmp_path, three, name="other.jsonl")
    assert (found.kind, found.items[0].subset) == ("helpsteer3", "stem")
    assert found.items[0].responses == ("b", "a")


def test_arena_votes_keep_their_ties(tmp_path):
    vote = {"prompts": ["Why?"], "responses_a": ["a"], "responses_b": ["b"]}
    turn = {"role": "user", "content": "Why?"}
    said = ([turn, {"role": "assistant", "content": text}] for text in "xy")
    talk = dict(zip(("conversation_a", "conversation_b"), said, strict=True))
    official = {"prompt": '["Why?"]', "response_a": '["c"]', "response_b": '["d"]',
                "winner_model_a": 0, "winner_model_b": 0, "winner_tie": 1}  # fmt: skip
    found = read(
        tmp_path, {**vote, "winner": "model_b"}, {**vote, "winner": "tie"},
        {**vote, "prompts": ["Why?", "And?"], "responses_a": ["a", "b"], "responses_b": ["c", "d"],
         "winner": "model_a"},
        {**talk, "winner": "tie (bothbad)"}, official,
    )  # fmt: skip
    assert [item.tie for item in found.items] == [False, True, True, True]
    assert found.items[0].responses == ("b", "a")
    assert sum(found.left_out.values()) == 1


def test_any_pairs(tmp_path):
    turns = [{"role": "user", "content": "Why?"}]
    said = [{"role": "assistant", "content": "a"}], [{"role": "assistant", "content": "b"}]
    chats = {"prompt": turns, "chosen": said[0], "rejected": said[1]}
    found = read(tmp_path, chats, {**PAIR, "domain": "law"}, {**PAIR, "rejected": PAIR["chosen"]})
    assert found.kind == "pairs"
    assert [item.subset for item in found.items] == ["", "law"]
    assert found.left_out == {"same text twice": 1}


def test_the_order_shown_says_nothing_about_which_is_right(tmp_path):
    found = read(tmp_path, *({**PAIR, "prompt": f"{n}?", "chosen": f"yes {n}"} for n in range(200)))
    first = sum(item.order()[0] == 0 for item in found.items)
    assert 70 < first < 130
    assert [item.order() for item in found.items] == [item.order() for item in found.items]


def test_a_kind_can_be_forced_and_names_differ(tmp_path):
    path = write(tmp_path / "a=b.jsonl", {**PAIR, "subset": "hep-cpp"})
    found = read_sets([path, f"pairs={path}"])
    assert [(one.name, one.kind) for one in found] == [("a=b", "rewardbench"), ("a=b 2", "pairs")]


@pytest.mark.parametrize(
    ("records", "kind", "words"),
    [
        ([{"nothing": 1}], "", r"set.jsonl:1: .*fields are nothing"),
        ([PAIR, {"question": "?", "response_A": "", "response_B": "", "label": "A>B"}], "",
         r":2: a record of judgebench in a set of pairs"),
        ([{**PAIR, "subset": "mine"}], "rewardbench=", "'mine' is none of RewardBench's"),
        ([PAIR], "rewardbench=", "no field 'subset'"),
        ([PAIR], "rewardbnech=", "did you mean 'rewardbench'"),
        ([{**FOUR, "subset": "Math", "num_correct": 2}], "", "num_correct is 2, and chosen has 1"),
        ([{**FOUR, "subset": "Math", "chosen": ["a", "b"], "num_correct": 2}], "",
         "only Ties has more than one"),
        ([{**FOUR, "subset": "Ties", "id": "4"}], "", "is ref:N or tied:N, not '4'"),
        ([{"prompt": "?", "chosen": ["a"] * 3, "rejected": ["b"] * 3}], "", "no domain"),
        ([{"prompt": "?", "chosen": ["a"], "rejected": ["b"], "domain": "chat"}], "rmbench=",
         "1 chosen and 1 rejected responses"),
        ([{"question": "?", "response_A": "a", "response_B": "b", "label": "A"}], "", "label is"),
        ([{"prompt": "?", "response": "a", **RATED, "helpfulness": 7}], "", "outside"),
        ([{**PAIR, "chosen": PAIR["rejected"]}], "", "nothing to measure on .1 same text twice."),
        ([], "", "nothing to measure on"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(tmp_path, records, kind, words):
    with pytest.raises(RecipeError, match=words):
        read(tmp_path, *records, kind=kind)


def test_a_broken_line_and_a_missing_file(tmp_path):
    (tmp_path / "set.jsonl").write_text(f"{json.dumps(PAIR)}\n{{\n", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"set.jsonl:2: not JSON"):
        read_set(str(tmp_path / "set.jsonl"))
    with pytest.raises(RecipeError, match="no such file or folder"):
        read_set(str(tmp_path / "other.jsonl"))


@pytest.mark.skipif(not SHARED.exists(), reason="../shared/data is not here")
@pytest.mark.parametrize(
    ("place", "kind", "items"),
    [
        ("pairs/rewardbench-sample.jsonl", "rewardbench", 500), ("llmbar", "llmbar", 319),
        ("helpsteer2", "ratings", 500), ("pairs/hh-helpful.jsonl", "pairs", 498),
        ("dialogues/open-assistant-trees.jsonl", "pairs", 754),
    ],
)  # fmt: skip
def test_real_sets(place, kind, items):
    found = read_set(str(SHARED / place))
    assert (found.kind, len(found.items)) == (kind, items)
