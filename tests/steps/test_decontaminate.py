"""decontaminate on real stage files and in whole runs: which rows go, what is said of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import MakeRecipe, rows_of
from later import later
from staged import settled

import karat
from karat.columns import Decision, Table
from karat.decided import apply_decision
from karat.errors import RecipeError, RunError
from karat.recipe import Recipe
from karat.row import Message, Response, Row
from karat.stage import StageWriter
from karat.steps._evaluation_sets import Columns, load_sets
from karat.steps._known_sets import KNOWN, known
from karat.steps.decontaminate import decontaminate
from karat.table import from_batch

datasets = later("datasets")

DATA = Path(__file__).parents[3] / "shared/data"
DUCKS = (
    "Janet's ducks lay 16 eggs per day and she eats three of them for breakfast every morning "
    "before she sells the remainder at the market"
)
PIGS = (
    "A farmer counts his pigs each evening, and on Monday there are twice as many of them in the "
    "upper field as in the lower one"
)
SHORT = "Name the three longest rivers of southern Europe"  # 8 words
TINY = "Who was Ada Lovelace?"


class Ctx:
    """As much of a context as the step touches."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, value: str) -> Path:
        return self._folder / value


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    items = [
        {"question": DUCKS, "answer": "18"},
        {"question": PIGS, "answer": f"So there are {' and '.join('abcdefghijk')} pigs"},
        {"question": SHORT},
        {"question": TINY},
    ]
    (tmp_path / "farm.jsonl").write_text("".join(json.dumps(one) + "\n" for one in items))
    return tmp_path


def run(folder: Path, rows: list[Row], **params: Any) -> tuple[Decision, list[Row]]:
    """The decision, and the rows as the next stage would hold them."""
    writer = StageWriter(folder / "stage.parquet")
    writer.add(rows)
    writer.close({})
    params = {"against": ["farm.jsonl"], **params}
    checked = decontaminate.check(params)
    table = Table(writer.path)
    decision = settled(decontaminate.function(table, Ctx(folder), **checked), table)
    batches = [batch for batch, _ in apply_decision(writer.path, decision, "decontaminate")]
    return decision, [row for batch in batches for row in from_batch(batch)]


def asks(number: int, *turns: str, answers: Sequence[str] = ()) -> Row:
    roles = ("user", "assistant") * len(turns)
    messages = [Message(role, text) for role, text in zip(roles, turns, strict=False)]
    return Row(
        f"row{number}", messages, [Response(text, index=i) for i, text in enumerate(answers)]
    )


def dropped(folder: Path, *texts: str, **params: Any) -> list[int]:
    """Places of the prompts that go."""
    rows = [asks(i, text) for i, text in enumerate(texts)]
    return [int(name[3:]) for name in run(folder, rows, **params)[0].drop]


def test_a_drop_names_the_set_the_item_and_the_words(folder: Path) -> None:
    inside = "Solve this!\n" + DUCKS.upper().replace(" ", "  ").replace("MARKET", "SHOP") + "?"
    decision, after = run(folder, [asks(0, "What is 2 + 2?"), asks(1, inside)])
    words = DUCKS.lower().removesuffix(" market")
    assert decision.drop == {"row1": f"contaminated (farm.jsonl #0: '{words[:118].rstrip()} …')"}
    assert after[1].dropped == f"decontaminate: {decision.drop['row1']}"
    assert after[0].dropped is None
    [fact] = after[1].meta["contaminated"]
    assert fact == {
        "benchmark": "farm.jsonl", "item": "#0", "part": "question", "ngrams": 13,
        "covered": round(25 / 26, 4), "words": 25, "word": 2, "text": f"{words[:118].rstrip()} …",
    }  # fmt: skip
    assert decision.notes == {
        "on": "any", "n": 13, "rows": 2, "contaminated": 1, "looks_like": 0, "template_ngrams": 0,
        "benchmarks": [{
            "benchmark": "farm.jsonl", "items": 4, "items_found": 1,
            "items_whole": 0, "share": 0.25, "rows": 1,
            "examples": [{"row": "row1", **fact}],
        }],
    }  # fmt: skip


def test_twelve_words_are_no_overlap_and_thirteen_are(folder: Path) -> None:
    words = DUCKS.split()
    assert dropped(folder, " ".join(words[3:15]), " ".join(words[3:16])) == [1]
    assert dropped(folder, " ".join(words[3:10]), " ".join(words[3:11]), n=8) == [1]


def test_short_items_need_all_of_their_words(folder: Path) -> None:
    part = SHORT.removesuffix(" Europe")
    assert dropped(folder, f"Please: {SHORT.lower()}, in order.", part + " Asia") == [0]
    assert dropped(folder, TINY, f"{TINY} Answer briefly.", "who was ada lovelace") == [0, 2]


def test_which_texts_of_a_row_are_looked_at(folder: Path) -> None:
    rows = [
        asks(0, "Hello", answers=["fine", DUCKS]),
        asks(1, "Hello", answers=[DUCKS, "fine"]),
        asks(2, DUCKS, "I see.", "Go on"),
        asks(3, "Hello"),
        asks(4, *(" ".join(half) for half in (DUCKS.split()[:11], DUCKS.split()[11:22]))),
    ]
    rows[3].messages.insert(0, Message("system", DUCKS))
    rows[1].responses[0].kept, rows[1].responses[1].kept = False, True
    rows[0].responses[0].kept, rows[0].responses[1].kept = False, True

    def hit(on: str) -> list[str]:
        return sorted(run(folder, rows, on=on)[0].drop)

    assert hit("any") == ["row0", "row1", "row2", "row3"]
    assert hit("prompt") == ["row2"]
    assert hit("response") == ["row0"]
    assert hit("conversation") == ["row0", "row2"]


def test_stricter_rules_spare_rows(folder: Path) -> None:
    words = DUCKS.split()
    texts = [" ".join(words[:13]), " ".join(words[:18]), DUCKS, SHORT]
    assert dropped(folder, *texts) == [0, 1, 2, 3]
    assert dropped(folder, *texts, least=6) == [1, 2, 3]
    assert dropped(folder, *texts, covered=0.9) == [2, 3]
    many = [f"{DUCKS} {i}" for i in range(11)]
    assert len(dropped(folder, *many, PIGS, common=0.5)) == 1
    assert len(dropped(folder, *many[:10], PIGS, common=0.5)) == 11
    assert len(dropped(folder, *many, *"abcdefghijkl", common=0.5)) == 11


def test_answers_count_by_their_words_only(folder: Path) -> None:
    answer = "So there are a and b and c and d and e and f and g"
    assert dropped(folder, "18", answer) == [1]
    assert dropped(folder, "18", answer, parts=["question"]) == []


def test_flagged_rows_stay(folder: Path) -> None:
    decision, after = run(folder, [asks(0, DUCKS), asks(1, "Hello")], action="flag")
    assert decision.drop == {}
    assert [row.dropped for row in after] == [None, None]
    assert after[0].meta["contaminated"][0]["item"] == "#0"
    assert "contaminated" not in after[1].meta


def test_a_template_of_a_set_is_no_item(tmp_path: Path) -> None:
    """Words that more than ten different items share; but one item given eleven times counts."""
    frame = "Write an answer with at least three paragraphs and do not use any commas about"
    for name, items in (
        ("frames.txt", [f"{frame} {word}" for word in "abcdefghijk"]),
        ("ten.txt", [f"{frame} {word}" for word in "abcdefghij"]),
        ("same.txt", [f"{frame} cats"] * 11),
    ):
        (tmp_path / name).write_text("\n".join(items))
    rows = [asks(0, f"{frame} tides"), asks(1, f"{frame} cats")]
    decision, _ = run(tmp_path, rows, against=["frames.txt"])
    assert decision.drop == {}
    assert decision.notes["template_ngrams"] == 3
    for name in ("ten.txt", "same.txt"):
        decision, _ = run(tmp_path, rows, against=[name])
        assert sorted(decision.drop) == ["row0", "row1"]


def test_paraphrases_are_told_apart(folder: Path) -> None:
    again = (
        "Every day 16 eggs are laid by Janet's ducks; three she eats each morning for breakfast, "
        "and she sells the rest at the market"
    )
    decision, after = run(folder, [asks(0, again), asks(1, DUCKS), asks(2, "Hi")], looks_like=0.85)
    assert decision.drop["row0"].startswith("looks like an evaluation item (farm.jsonl #0, 0.9")
    assert decision.drop["row1"].startswith("contaminated (farm.jsonl #0: ")
    assert (decision.notes["contaminated"], decision.notes["looks_like"]) == (1, 1)
    [told] = decision.notes["benchmarks"]
    assert (told["rows"], told["rows_alike"], told["items_alike"]) == (1, 1, 1)
    assert after[0].meta["contaminated"][0]["cosine"] >= 0.85
    assert dropped(folder, again) == []


# --- sets ----------------------------------------------------------------------------------------


def test_files_of_every_kind(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": DUCKS}, {"role": "assistant", "content": PIGS}]
    (tmp_path / "a.txt").write_text(f"{DUCKS}\n\n{PIGS}\n")
    (tmp_path / "b.csv").write_text(f'task_id,prompt\nT/7,"{DUCKS}"\n')
    pq.write_table(pa.table({"messages": [turns]}), tmp_path / "c.parquet")
    (tmp_path / "d.json").write_text(json.dumps([{"q": {"text": DUCKS}, "gold": PIGS}]))
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "x.jsonl").write_text(json.dumps({"turns": [DUCKS, PIGS]}))
    saved = datasets.DatasetDict({"test": datasets.Dataset.from_dict({"question": [PIGS]})})
    saved.save_to_disk(tmp_path / "gsm8k")
    names = ["a.txt", "b.csv", "c.parquet", "d.json", "e", "gsm8k"]

    def load(name: str) -> list[tuple[str, dict[str, list[str]]]]:
        columns = Columns(["q.text"], ["gold"]) if name == "d.json" else Columns()
        [found] = load_sets([name], lambda one: tmp_path / one, columns)
        assert found.name == name
        return [(i.name, {k: v for k, v in i.texts.items() if v}) for i in found.items]

    assert [load(name) for name in names] == [
        [("#0", {"question": [DUCKS]}), ("#1", {"question": [PIGS]})],
        [("T/7", {"question": [DUCKS]})],
        [("#0", {"question": [DUCKS]})],
        [("#0", {"question": [DUCKS], "answer": [PIGS]})],
        [("#0", {"question": [DUCKS, PIGS]})],
        [("#0", {"question": [PIGS]})],
    ]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"against": ["nowhere.jsonl"]}, "against: no file or folder .*nowhere.jsonl, and no set"),
        ({"against": ["gsm8"]}, "did you mean 'gsm8k'"),
        ({"against": []}, "against lists no evaluation set"),
        ({"against": ["a.jsonl", "a.jsonl"]}, "against lists 'a.jsonl' twice"),
        ({"against": ["a.jsonl"], "question": "instruction"}, "no column 'instruction'"),
        ({"against": ["b.jsonl"]}, "no column that is called like a question, only 'x'"),
        ({"against": ["c.jsonl"]}, "c.jsonl:1: .*mend the line"),
        ({"against": ["a.jsonl"], "n": 1}, "parameter 'n'"),
        ({"against": ["a.jsonl"], "covered": 1.5}, "parameter 'covered'"),
        ({"against": ["a.jsonl"], "on": "prompts"}, "did you mean 'prompt'"),
        ({"against": ["a.jsonl"], "parts": []}, "parts is empty"),
    ],
)
def test_mistakes_are_found_before_anything_is_spent(
    make_recipe: MakeRecipe, tmp_path: Path, params: dict[str, Any], message: str
) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"question": DUCKS}))
    (tmp_path / "b.jsonl").write_text(json.dumps({"x": DUCKS}))
    (tmp_path / "c.jsonl").write_text("{broken\n")
    path = make_recipe(steps=[{"read": {"path": "prompts.jsonl"}}, {"decontaminate": params}])
    with pytest.raises(RecipeError, match=message):
        Recipe.load(path)


def test_a_set_that_cannot_be_had_stops_the_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr("datasets.load_dataset", refuse)
    with pytest.raises(RunError, match=r"'gsm8k' cannot be had.*no route.*run again"):
        run(folder, [asks(0, "Hi")], against=["gsm8k"])


def test_known_sets_are_asked_for_as_the_table_says(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def hub(*args: Any, **kwargs: Any) -> Any:
        asked.append((args, kwargs))
        rows = [{"question": DUCKS, "choices": {"text": [PIGS, "no"], "label": ["A", "B"]},
                 "id": "Mercury_7", "input": PIGS, "output_1": "x", "output_2": "y"}]  # fmt: skip
        return datasets.Dataset.from_list(rows)

    monkeypatch.setattr("datasets.load_dataset", hub)
    rows = [asks(0, DUCKS), asks(1, PIGS), asks(2, "no")]
    decision, _ = run(folder, rows, against=["ARC", "llmbar"])
    assert [args for args, _ in asked[:2]] == [
        ("allenai/ai2_arc", "ARC-Easy"), ("allenai/ai2_arc", "ARC-Challenge"),
    ]  # fmt: skip
    assert asked[2][0] == ("json",)
    assert len(asked[2][1]["data_files"]) == 5
    assert {row: reason.partition(":")[0] for row, reason in decision.drop.items()} == {
        "row0": "contaminated (ARC Mercury_7",
        "row1": "contaminated (ARC Mercury_7",
    }
    assert decision.notes["benchmarks"][1]["items_found"] == 1


def test_the_table_of_known_sets() -> None:
    assert known("MMLU_Pro") is KNOWN["mmlu-pro"]
    assert known("mmlu-pr") is None
    for name, one in KNOWN.items():
        assert name == name.lower()
        assert "_" not in name
        assert one.question
        assert one.configs
        assert one.place.count("/") == 1
        assert not set(one.question) & set(one.answer)


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data are not here")
def test_real_sets_and_real_prompts(tmp_path: Path) -> None:
    """No false alarm among prompts people wrote, and every item that is planted is found."""
    seeds = [
        json.loads(line)
        for name in ("seeds", "user")
        for line in (DATA / f"prompts/self-instruct-{name}.jsonl").read_text("utf-8").splitlines()
    ]
    clean = [
        asks(i, one["instruction"], answers=[o["output"] for o in one["instances"]])
        for i, one in enumerate(seeds)
    ]
    names = ["gsm8k-test", "human-eval", "ifeval", "mt-bench"]
    against = [str(DATA / f"prompts/{name}.jsonl") for name in names]
    against += [str(DATA / "llmbar/Adversarial_Manual.json")]
    [sets] = [load_sets(against, Path, Columns())]
    assert [len(one.items) for one in sets] == [1319, 164, 540, 80, 46]
    planted = [
        asks(1000 + i, f"Please help me. {text}\nThanks!")
        for i, text in enumerate(
            item.texts["question"][0] for one in sets[:4] for item in one.items[::20]
        )
    ]
    decision, _ = run(tmp_path, clean + planted, against=against)
    assert sum(row.id in decision.drop for row in clean) <= 2, decision.drop
    missed = [row.prompt for row in planted if row.id not in decision.drop]
    assert all(len(text.split()) < 8 + 4 for text in missed), missed


# --- a whole run ---------------------------------------------------------------------------------


def test_in_a_recipe(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    (tmp_path / "my eval.jsonl").write_text(json.dumps({"prompt": DUCKS, "id": "e-1"}) + "\n")
    rows = [{"prompt": f"What is number {i}?"} for i in range(5)] + [{"prompt": f"Now: {DUCKS}"}]
    steps = [
        {"read": {"path": "rows.jsonl"}},
        {"decontaminate": {"against": ["my eval.jsonl"], "on": "prompt"}},
    ]
    path = make_recipe(steps=steps)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = karat.run(path, out=tmp_path / "run")
    assert len(rows_of(done.accepted_file)) == 5
    [gone] = rows_of(done.accepted_file.with_name("dropped.parquet"))
    assert gone.dropped is not None
    assert gone.dropped.startswith("decontaminate: contaminated (my eval.jsonl e-1: 'janet's ducks")
    # Another evaluation file is another result, without a change of the recipe.
    (tmp_path / "my eval.jsonl").write_text(json.dumps({"prompt": PIGS}) + "\n")
    done = karat.run(path, out=tmp_path / "run")
    assert len(rows_of(done.accepted_file)) == 6
