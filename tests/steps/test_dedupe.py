"""dedupe on real stage files, against a plain-Python reference for exact duplicates."""

from __future__ import annotations

import errno
import json
import unicodedata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from conftest import slow
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from karat.columns import Decision, Table
from karat.curation.minhash import NearDuplicates
from karat.decided import apply_decision
from karat.errors import RecipeError, RunError
from karat.row import Message, Response, Row
from karat.stage import StageWriter
from karat.steps.dedupe import dedupe
from karat.table import from_batch

DATA = Path(__file__).parents[3] / "shared/data/prompts/gsm8k-test.jsonl"


def run(path: Path, rows: list[Row], **params: Any) -> tuple[Decision, list[Row]]:
    """The decision, and the rows as the next stage would hold them."""
    writer = StageWriter(path / "stage.parquet")
    writer.add(rows)
    writer.close({})
    decision = dedupe.function(Table(writer.path), None, **dedupe.check(params))
    batches = [batch for batch, _ in apply_decision(writer.path, decision, "dedupe")]
    return decision, [row for batch in batches for row in from_batch(batch)]


def ask(number: int, *turns: str, responses: list[Response] | None = None) -> Row:
    roles = ("user", "assistant") * len(turns)
    messages = [Message(role, text) for role, text in zip(roles, turns, strict=False)]
    return Row(f"row{number}", messages, responses or [])


def prompts(*texts: str) -> list[Row]:
    return [ask(i, text) for i, text in enumerate(texts)]


def fold(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(st.text("aAｂ \n\u3000?", max_size=4), st.sampled_from([None] * 3 + ["x: gone"])),
        max_size=12,
    )
)
def test_exact_duplicates_by_hand(tmp_path: Path, items: list[tuple[str, str | None]]) -> None:
    rows = [ask(i, text) for i, (text, _) in enumerate(items)]
    for row, (_, dropped) in zip(rows, items, strict=True):
        row.dropped = dropped
    seen: dict[str, str] = {}
    want = {}
    for row in rows:
        text = fold(row.prompt)
        if row.dropped is None and text:
            first = seen.setdefault(text, row.id)
            if first != row.id:
                want[row.id] = f"exact duplicate (of {first})"
    decision, after = run(tmp_path, rows, threshold=1.0)
    assert decision.drop == want
    assert decision.notes["exact_duplicates"] == len(want)
    assert [r.dropped for r in after if r.id in want] == [f"dedupe: {w}" for w in want.values()]


def test_exact_and_near_in_one_step(tmp_path: Path) -> None:
    text = "Explain in simple words how a heat pump moves heat from the cold garden into a house"
    edited = text.replace("simple", "plain")
    rows = prompts(text, text.upper(), edited, "What is 2 + 2?", "What is 2 * 2?")
    assert list(run(tmp_path, rows)[0].drop) == ["row1"]
    decision, after = run(tmp_path, rows, threshold=0.8)
    assert decision.drop == {
        "row1": "exact duplicate (of row0)",
        "row2": "near duplicate (of row0, 0.83)",
    }
    assert decision.notes == {
        "on": "prompt", "threshold": 0.8, "exact_duplicates": 1, "near_duplicates": 1,
        "clusters": 1, "largest_cluster": 3,
    }  # fmt: skip
    assert after[2].dropped == "dedupe: near duplicate (of row0, 0.83)"


def test_by_default_a_short_text_must_be_nearer_than_a_long_one(tmp_path: Path) -> None:
    """One word in 16 makes another prompt; 30 in 200 leave the same document."""
    words = [f"word{i}" for i in range(200)]
    edited = ["other" + w if i % 20 in (3, 9, 16) else w for i, w in enumerate(words)]
    short = " ".join(words[:16])
    rows = prompts(short, short.replace("word3", "other"), " ".join(words), " ".join(edited))
    decision, _ = run(tmp_path, rows)
    assert decision.drop == {"row3": "near duplicate (of row2, 0.63)"}
    assert decision.notes["threshold"] == "auto"
    assert sorted(run(tmp_path, rows, threshold=0.8)[0].drop) == ["row1"]


def test_a_row_that_stays_can_say_how_many_it_stands_for(tmp_path: Path) -> None:
    decision, after = run(tmp_path, prompts("one", "One", "two", "ONE "), mark=True)
    assert decision.meta == {"row0": {"stands_for": 3}}
    assert [row.meta for row in after] == [{"stands_for": 3}, {}, {}, {}]
    assert run(tmp_path, prompts("one", "one"))[0].meta == {}


def test_by_meaning(tmp_path: Path) -> None:
    rows = prompts(
        "How do I bake sourdough bread at home?", "At home, how do I bake bread with sourdough?",
        "What is the capital of Norway?", "???", "???",
    )  # fmt: skip
    decision, _ = run(tmp_path, rows, measure="semantic", threshold=0.85)
    assert decision.drop["row1"].startswith("near duplicate (of row0, cosine ")
    assert decision.drop["row4"] == "exact duplicate (of row3)"
    assert len(decision.drop) == 2


@slow
def test_a_killed_run_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was signed before a kill is not signed again, and the answer is the same."""
    monkeypatch.setattr("karat.steps.dedupe.SPOOLED", 1)
    monkeypatch.setattr("karat.steps.dedupe.COMMITTED", 1)
    rows = prompts(*(f"prompt number {i % 1500} of many" for i in range(3000)))
    rows[5].dropped = "earlier: gone"
    writer = StageWriter(tmp_path / "stage.parquet")
    writer.add(rows)
    writer.close({})
    table, left = Table(writer.path), 2
    signed = NearDuplicates.add
    seen: list[int] = []

    def add(self: NearDuplicates, texts: pa.Array) -> None:
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1
        seen.append(len(texts))
        signed(self, texts)

    monkeypatch.setattr(NearDuplicates, "add", add)
    with pytest.raises(KeyboardInterrupt):
        dedupe.function(table, None, **dedupe.check({}))
    assert (tmp_path / "stage.dedupe").exists()
    left = 99
    again = dedupe.function(table, None, **dedupe.check({}))
    assert sum(seen) == 2999
    assert not (tmp_path / "stage.dedupe").exists()
    monkeypatch.setattr("karat.steps.dedupe.SPOOLED", 10_000)
    assert again == dedupe.function(table, None, **dedupe.check({}))
    assert len(again.drop) == 1499


def test_a_full_disk_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("karat.steps.dedupe.SPOOLED", 1)
    monkeypatch.setattr("karat.steps.dedupe.COMMITTED", 1)
    writer = StageWriter(tmp_path / "stage.parquet")
    writer.add(prompts("one", "two"))
    writer.close({})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("karat.curation.spool.Spool.commit", full)
    with pytest.raises(RunError, match="No space left on device; make room and run"):
        dedupe.function(Table(writer.path), None, **dedupe.check({}))


def test_what_is_compared(tmp_path: Path) -> None:
    def answered(number: int, question: str, *answers: str, kept: int | None = None) -> Row:
        made = [Response(answer) for answer in answers]
        for i, response in enumerate(made):
            response.kept = None if kept is None else i == kept
        return ask(number, question, responses=made)

    rows = [
        answered(0, "one", "same answer"),
        answered(1, "one", "another"),
        answered(2, "two", "other", "same answer", kept=1),
        answered(3, "three"),
        answered(4, "four"),
        answered(5, "one", "another"),
    ]
    drops = {on: sorted(run(tmp_path, rows, on=on)[0].drop) for on in ("prompt", "response")}
    assert drops == {"prompt": ["row1", "row5"], "response": ["row2", "row5"]}
    assert sorted(run(tmp_path, rows, on="conversation")[0].drop) == ["row5"]


def test_earlier_turns_count_and_system_messages_do_not(tmp_path: Path) -> None:
    rows = [
        ask(0, "Tell me about Rome", "It is a city.", "Go on"),
        ask(1, "Tell me about tides", "The moon pulls.", "Go on"),
        ask(2, "Tell me about tides", "The moon pulls.", "Go on"),
    ]
    rows[2].messages.insert(0, Message("system", "Be brief."))
    assert run(tmp_path, rows)[0].drop == {"row2": "exact duplicate (of row1)"}


def test_which_row_stays(tmp_path: Path) -> None:
    words = "please write a short story about an old lighthouse keeper and his very curious cat"
    rows = prompts(words, f"{words} Tom", words)
    for row, scores in zip(rows, ([1.0, None], [0.0], [3.0, -2.0]), strict=True):
        row.responses = [
            Response(f"{s}", scores={} if s is None else {"r.reward": s}) for s in scores
        ]
    assert sorted(run(tmp_path, rows)[0].drop) == ["row1", "row2"]
    assert sorted(run(tmp_path, rows, keep="longest")[0].drop) == ["row0", "row2"]
    best = run(tmp_path, rows, keep="best", by="r.reward")[0].drop
    assert best["row0"] == "exact duplicate (of row2)"
    assert best["row1"].startswith("near duplicate (of row2, 0.8")
    rows[2].responses[0].kept = False  # an answer that was turned down speaks for no row
    assert sorted(run(tmp_path, rows, keep="best", by="r.reward")[0].drop) == ["row1", "row2"]


def test_an_exact_copy_of_a_dropped_row_names_the_row_that_stays(tmp_path: Path) -> None:
    words = "list seven good reasons to learn how to cook lentils at home during winter months"
    decision, _ = run(tmp_path, prompts(words, words + " now", words + " now"))
    assert {reason[:23] for reason in decision.drop.values()} == {"near duplicate (of row0"}


def test_by_rouge_l(tmp_path: Path) -> None:
    """Words put in leave a text near by ROUGE-L, where pairs of words no longer agree."""
    text = "explain how a heat pump moves heat from the garden into a house"
    longer = (
        "please explain to me how a small heat pump moves heat from the cold garden into a house"
    )
    swapped = "explain how a heat pump moves heat from a house into the garden"
    rows = prompts(text, text.upper(), longer, swapped, "What is 2 + 2?", "What is 2 * 2?")
    assert sorted(run(tmp_path, rows)[0].drop) == ["row1"]
    decision, after = run(tmp_path, rows, measure="rouge_l", threshold=0.8)
    assert decision.drop == {
        "row1": "exact duplicate (of row0)",
        "row2": "near duplicate (of row0, ROUGE-L 0.84)",
        "row5": "near duplicate (of row4, ROUGE-L 0.80)",
    }
    assert decision.notes == {
        "on": "prompt", "threshold": 0.8, "exact_duplicates": 1, "near_duplicates": 2,
        "clusters": 2, "largest_cluster": 3,
    }  # fmt: skip
    assert after[2].dropped == "dedupe: near duplicate (of row0, ROUGE-L 0.84)"
    longest = run(tmp_path, rows, measure="rouge_l", threshold=0.8, keep="longest")[0].drop
    assert sorted(longest) == ["row0", "row1", "row5"]
    rows[1].responses = [Response("best", scores={"r.reward": 3.0})]
    best = run(tmp_path, rows, measure="rouge_l", threshold=0.8, keep="best", by="r.reward")[0].drop
    assert sorted(best) == ["row0", "row2", "row5"]
    assert sorted(run(tmp_path, rows, measure="rouge_l", threshold=1.0)[0].drop) == ["row1"]


def test_rouge_l_leaves_rows_without_words_to_the_exact_comparison(tmp_path: Path) -> None:
    rows = [*prompts("", "", "???", "???", "!!!"), Row("blank")]
    decision, _ = run(tmp_path, rows, measure="rouge_l", threshold=0.5)
    assert decision.drop == {"row3": "exact duplicate (of row2)"}
    assert run(tmp_path, [], measure="rouge_l")[0].drop == {}


def test_rouge_l_takes_a_bounded_number_of_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("karat.steps.dedupe.MOST_ROUGE", 3)
    rows = prompts("one thing", "another", "a third", "and a fourth")
    with pytest.raises(RunError, match="at most 3 rows, and here are 4"):
        run(tmp_path, rows, measure="rouge_l")
    assert run(tmp_path, rows)[0].drop == {}
    rows[0].dropped = "earlier: gone"
    assert run(tmp_path, rows, measure="rouge_l")[0].drop == {}


def test_rows_without_words(tmp_path: Path) -> None:
    decision, _ = run(tmp_path, [*prompts("", "", "???", "???", "!!!"), Row("blank")])
    assert decision.drop == {"row3": "exact duplicate (of row2)"}
    assert run(tmp_path, [])[0].drop == {}


def test_parameters_are_checked() -> None:
    with pytest.raises(RecipeError, match="keep: best needs by"):
        dedupe(keep="best")
    with pytest.raises(RecipeError, match="by has no use"):
        dedupe(by="r.reward")
    for wrong in ({"threshold": 0.1}, {"threshold": 1.5}, {"on": "answer"}, {"measure": "cosine"}):
        with pytest.raises(RecipeError):
            dedupe(**wrong)
    call = dedupe(keep="best", by="r.reward")
    assert list(call.named("score")) == [("by", "r.reward")]


@pytest.mark.skipif(not DATA.exists(), reason="shared data is not here")
def test_on_real_questions(tmp_path: Path) -> None:
    lines = DATA.read_text(encoding="utf-8").splitlines()
    texts = [str(json.loads(line)["question"]) for line in lines]
    decision, after = run(tmp_path, prompts(*texts, *(t.upper() + "\n" for t in texts)))
    assert all("duplicate (of row" in (row.dropped or "") for row in after[len(texts) :])
    # A few are one template with other numbers.
    assert len(decision.drop) <= 1.01 * len(texts)


def test_questions_are_compared_without_their_passages(tmp_path):
    passages = [f"Passage {i} says {'much ' * i}about bridges and towers." for i in range(4)]
    asked = ["Who built the bridge of Arden in 1871?", "Who built the bridge of Arden in 1871 ?",
             "How long is the tower of Kiel?", None]  # fmt: skip
    rows = [ask(i, f"{passage}\n\n{question}") for i, (passage, question) in enumerate(
        zip(passages, asked, strict=True))]  # fmt: skip
    for row, question in zip(rows, asked, strict=True):
        row.meta = {"question": question} if question else {"question": 7}
    decision, _ = run(tmp_path, rows, on="question", threshold=0.8)
    assert list(decision.drop) == ["row1"]
    assert run(tmp_path, rows, on="prompt", threshold=0.99)[0].drop == {}
