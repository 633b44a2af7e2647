"""What fuzzing has found, each as what it should have been; the inputs are seeds as well."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fuzz_texts import examples
from hypothesis import given
from hypothesis import strategies as st

from fuzz.files import Ctx
from fuzz.promises import done, each
from fuzz.targets import HERE
from fuzz.wires import Canned, provider
from karat.errors import ProviderError, RecipeError
from karat.models import _batch_anthropic, _batch_openai
from karat.models.asks import EmbedRequest
from karat.models.batch_desk import Look
from karat.models.loose_json import _fences, read_values
from karat.models.providers._openai_shapes import UNLIKELY
from karat.models.transport import HttpReply
from karat.recipefile import parse
from karat.rewards.genrm import read_judgement
from karat.rewards.nim import _PAIR
from karat.row import Row
from karat.steps.read import read

BIG = "1" + "0" * 400


def body(text: str) -> HttpReply:
    return HttpReply(200, {}, text.encode())


def rows_of(path: Path) -> list[Row]:
    call = read(path=str(path))
    return list(call.step.function(Ctx(), **call.params))


def loaded(tmp_path: Path, text: str) -> dict[str, Any]:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return parse(path)


# --- answers --------------------------------------------------------------------------------------


def test_a_probability_that_no_float_holds_is_none_at_all() -> None:
    token = '{"content":[{"token":"a","logprob":%s}]}'
    said = '{"choices":[{"message":{"content":"a"},"logprobs":%s}]}'
    for number in (BIG, f"-{BIG}", "-1e999", "NaN", "null"):
        (choice,) = provider("openai/x").read_chat(body(said % (token % number))).choices
        assert choice.content == "a"
        assert choice.logprobs is not None
        assert choice.logprobs[0].logprob == UNLIKELY


@pytest.mark.parametrize("call", ['"call_id":1,"name":"n","arguments":"{}"',
                                  '"call_id":"c","name":null,"arguments":"{}"',
                                  '"call_id":"c","name":"n","arguments":{}'])  # fmt: skip
def test_a_call_of_the_wrong_type_is_no_answer(call: str) -> None:
    said = f'{{"status":"completed","output":[{{"type":"function_call",{call}}}]}}'
    with pytest.raises(ProviderError, match="not a response"):
        provider("openai/x", wire="responses").read_chat(body(said))


@pytest.mark.parametrize("piece", ["5", "null", '["a"]', "{}"])
@pytest.mark.parametrize("kind", ["output_text", "reasoning_text", "refusal"])
def test_a_piece_that_is_no_text_is_told_as_one(kind: str, piece: str) -> None:
    read_event = provider("openai/x", wire="responses").reader()
    said = f'{{"type":"response.{kind}.delta","output_index":0,"delta":{piece}}}'
    with pytest.raises(ProviderError, match="not a piece of a response"):
        read_event("", said.encode())


def test_numbers_that_no_float_holds_are_no_vector_and_no_order() -> None:
    asked = EmbedRequest(("a",))
    for one, said in (
        (provider("openai/x"), '{"data":[{"embedding":[%s]}]}'),
        (provider("google/gemini-2.5-flash"), '{"embeddings":[{"values":[%s]}]}'),
    ):
        for number in (BIG, "NaN", "1e999"):
            with pytest.raises(ProviderError, match=r"^not "):
                one.read_embed(asked, body(said % number))


# --- batches --------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", ['{"data":5}', '{"a":' * 3000, "[" * 3000])
def test_a_list_of_batches_that_is_none_is_told(said: str) -> None:
    one = provider("openai/x")
    one.transport = Canned(said.encode())
    with pytest.raises(ProviderError, match="nothing about a batch"):
        done(_batch_openai.connect(one).search("k", 1, 0.0))


def test_one_result_that_is_nested_too_deep_costs_no_other() -> None:
    deep = "[" * 3000 + "]" * 3000
    good = '{"custom_id":"b","response":{"status_code":200,"body":{}}}'
    one = provider("openai/x")
    one.transport = Canned(
        f'{{"custom_id":"a","response":{{"status_code":200,"body":{deep}}}}}\n{good}\n'.encode()
    )
    found = list(each(_batch_openai.connect(one).results(Look(True, files=("/f",)))))
    assert [name for name, _ in found] == ["b"]
    other = provider("anthropic/claude-x")
    other.transport = Canned(
        f'{{"custom_id":"a","result":{{"type":"errored","error":{deep}}}}}\n'
        '{"custom_id":"b","result":{"type":"expired"}}\n'.encode()
    )
    found = list(each(_batch_anthropic.connect(other).results(Look(True, files=("/f",)))))
    assert [name for name, _ in found] == ["b"]


# --- recipes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ['!!bool maybe', '!!float ""', '!!int ""', "!!timestamp x",
                                   "!!timestamp 2026-01-01", "!!omap [a: 1]", "!!pairs [a: 1]",
                                   "!!set {a}", "!!binary YQ==", "!!bool [a]",
                                   "!!python/name:os.system ''"])  # fmt: skip
def test_a_tag_that_yaml_1_2_has_not_or_that_lies_is_told(tmp_path: Path, value: str) -> None:
    with pytest.raises(RecipeError, match="is not YAML"):
        loaded(tmp_path, f"name: {value}\n")


def test_tags_that_say_what_is_there_are_read(tmp_path: Path) -> None:
    text = "{a: !!bool true, b: !!float 1, c: !!int 0x10, d: !!str 5, e: !!null ''}"
    assert loaded(tmp_path, text) == {"a": True, "b": 1.0, "c": 16, "d": "5", "e": None}


def test_mappings_merged_twice_into_mappings_merged_twice_are_no_bomb(tmp_path: Path) -> None:
    lines = ["a0: &a0 {k: v, own: 0}"]
    lines += [f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}], own: {n}}}" for n in range(1, 50)]
    tree = loaded(tmp_path, "\n".join(lines))
    assert tree["a49"] == {"k": "v", "own": 49}
    tree = loaded(tmp_path, 'a: &a {1: x}\nb: {<<: *a, "1": y}')
    assert tree["b"] == {1: "x", "1": "y"}


# --- records --------------------------------------------------------------------------------------

OWN = {
    "id": "1", "messages": [{"role": "user", "content": "q"}], "responses": [], "source": "human",
    "meta": "{}", "calls": [], "dropped": None, "failed": False,
}  # fmt: skip


def test_a_record_that_is_nested_too_deep_is_a_dropped_row(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    deep = ["[" * n + "]" * n for n in (990, 1000)]
    lines = ['{"prompt":"a"}', *(f'{{"prompt":"b","x":{one}}}' for one in deep)]
    path.write_text("".join(f"{line}\n" for line in lines))
    rows = rows_of(path)
    assert [row.dropped is None for row in rows] == [True, False, False]
    assert len({row.id for row in rows}) == 3
    again = tmp_path / "b.jsonl"
    again.write_text("".join(f"{line}\n" for line in reversed(lines)))
    assert {row.id for row in rows_of(again)} == {row.id for row in rows}, "an id from its place"


def test_an_infinity_in_parquet_is_null_as_nan_is(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"prompt": ["a"], "x": [math.inf], "y": [math.nan], "z": [1.5]}), path)
    (row,) = rows_of(path)
    assert row.meta == {"z": 1.5}


def test_a_value_that_python_cannot_hold_costs_its_own_row_of_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    texts = pa.array([b"a", b"\xff", b"c", b"d"], pa.binary()).view(pa.string())
    times = pa.array([0, 0, 2**50, 0], pa.timestamp("s"))
    pq.write_table(pa.table({"prompt": texts, "at": times}), path)
    rows = rows_of(path)
    assert [row.dropped is None for row in rows] == [True, False, False, True]
    assert [row.prompt for row in rows if not row.dropped] == ["a", "d"]
    assert "a.parquet: row 2" in (rows[1].dropped or "")


def test_columns_whose_names_are_no_text_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes((HERE / "seeds" / "parquet" / "found-column").read_bytes())
    with pytest.raises(RecipeError, match="is not Parquet"):
        rows_of(path)


def test_a_line_of_karats_own_that_lacks_fields_or_holds_others_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    short = {"messages": [{"role": "user", "content": "r"}]}
    scores = [{"key": 5.5, "value": 1}, {"key": ["a"], "value": 1}, {"key": "r.x", "value": 2}]
    odd = {**OWN, "source": 5, "responses": [{"content": "a", "scores": scores}]}
    path.write_text("".join(json.dumps(one) + "\n" for one in (OWN, short, odd)))
    rows = rows_of(path)
    assert [row.source for row in rows] == ["human", "given", "given"]
    assert rows[2].responses[0].scores == {"r.x": 2.0}


# --- patterns that were made linear mean what they meant ------------------------------------------


@examples(30)
@given(
    st.lists(st.sampled_from(["```", "```json", "\n", " ", "a", "{}", "\t", "x```"]), max_size=14)
)
def test_fences_are_found_where_they_were(pieces: list[str]) -> None:
    text = "".join(pieces)
    before = re.compile(r"```[^\S\n]*[\w-]*[^\S\n]*\n(.*?)\n[^\S\n]*```", re.DOTALL)
    assert list(_fences(text)) == before.findall(text)
    assert all(isinstance(found, list) for found in read_values(text))


@examples(30)
@given(
    st.lists(
        st.sampled_from(["reward", " ", ":", "1", ".5", ",", "-", "a b", "e3", "\n"]), max_size=12
    )
)
def test_pairs_are_read_as_they_were(pieces: list[str]) -> None:
    text = "".join(pieces)
    before = re.compile(
        r"\s*([A-Za-z_][\w -]*?)\s*:\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*(?:,|$)"
    )
    now, then = _PAIR.match(text), before.match(text)
    assert (now and (now.groups(), now.end())) == (then and (then.groups(), then.end()))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Final Judgement: Yes", 1.0),
        ("final  judgment:** No", 0.0),
        ("Final Judgement: **Yes**", 1.0),
    ],
)
def test_judgements_are_read_as_they_were(text: str, said: float) -> None:
    assert read_judgement(text) == said
