"""Review in a real browser: by keys alone, blind, and nothing typed is ever lost."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "reviewing"))

from conftest import mostly_slow
from reviewed import rows, run_of
from saying import get, send

from karat.reviewing.bench import Bench
from karat.row import Message, Response, Row
from karat.rundir import Run

HOSTILE = (
    "<script>document.title='broken'</script><img src=x onerror=\"document.title='broken'\">"
    "\u202egnp.exe \x1b[31mred \x00 \r\n{{7*7}} " + "word " * 40
)
FIVE = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Twelve rows whose reward gives the five attributes; models' names are told nowhere."""
    held = rows(12, n=3)
    for number, row in enumerate(held):
        row.source = "human"
        for place, response in enumerate(row.responses):
            for name in FIVE:
                response.scores[f"rm.{name}"] = float((number * 3 + place * 2) % 5)
    return run_of(tmp_path / "runs" / "mine", held, ranking="rm.reward")


def said(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.path / "ratings.jsonl").read_text().splitlines()]


def url(base: str, **query: str) -> str:
    asked = "&".join(f"{key}={value}" for key, value in {"reviewer": "ann", **query}.items())
    return f"{base}/review/mine?{asked}"


def saved(opened: Any, words: str = "Saved.") -> None:
    from playwright.sync_api import expect

    expect(opened.locator("#status")).to_have_text(words)
    opened.evaluate("document.getElementById('status').textContent = ''")


def ready(opened: Any) -> Any:
    opened.wait_for_selector("#sheet:not([hidden])")
    return opened


def press(opened: Any, *keys: str) -> None:
    for key in keys:
        opened.keyboard.press(key)


def test_three_rows_are_rated_and_two_compared_by_keys_alone(
    served: Callable[..., str], page: Callable[..., Any], axe: Callable[[Any], None], run: Run
) -> None:
    base = served(run.path.parent)
    opened = page(f"{base}/review")
    axe(opened)
    opened.focus("input[name=reviewer]")
    opened.keyboard.type("ann")
    press(opened, "Enter")
    ready(opened)
    assert "mode=rate&queue=uncertainty" in opened.url
    assert not any(word in opened.content() for word in ("model-0", "model-1", "rm.reward"))
    axe(opened)
    for number in range(6):  # two answers of each row
        if number == 0:
            press(opened, "4", "3", "2", "1", "0", "Enter")
        elif number == 1:  # with arrows, one attribute left out, one taken back
            press(opened, "3", "ArrowDown", "1", "ArrowUp", "Backspace", "ArrowDown")
            press(opened, "ArrowRight", "ArrowRight", "c")
            opened.keyboard.type("s u e, typed and not done")
            press(opened, "Control+Enter")
        else:
            press(opened, *("01234"[(number + place) % 5] for place in range(5)), "Enter")
        saved(opened)
    assert opened.text_content("#pace").startswith("3 of 12 rows")
    first, second, *rest = said(run)
    assert first["values"] == dict(zip(FIVE, (4, 3, 2, 1, 0), strict=True))
    assert second["values"] == {"helpfulness": 3, "complexity": 3}
    assert second["review"]["comment"] == "s u e, typed and not done"
    assert first["row"] == second["row"]
    assert first["key"] != second["key"]
    assert [len(one["values"]) for one in rest] == [5] * 4
    assert {one["rater"] for one in (first, second, *rest)} == {"ann"}
    opened.get_by_text("n 6").first.wait_for()
    shown = opened.text_content("#agreement-tables")
    assert "You and rm" in shown
    assert "Pearson" in shown

    opened.goto(url(base, mode="compare"))
    ready(opened)
    axe(opened)
    press(opened, "a", "3", "Enter")
    saved(opened)
    press(opened, "b", "ArrowLeft")
    assert opened.locator("input[name=verdict][value=a]").is_checked()
    press(opened, "ArrowRight")
    assert opened.locator("input[name=verdict][value=b]").is_checked()
    opened.focus("input[name=strength][value='1']")
    press(opened, "ArrowRight")  # along what has the focus
    assert opened.locator("input[name=strength][value='2']").is_checked()
    assert opened.locator("input[name=verdict][value=b]").is_checked()
    press(opened, "x", "Enter")
    saved(opened)
    one, two = said(run)[6:]
    assert (one["preference_strength"], two["preference_strength"]) == (-3, 0)
    assert two["review"]["both_bad"] is True
    assert one["response_1"] != one["response_2"]
    assert len({entry["row"] for entry in said(run)}) == 5  # no row twice
    opened.get_by_text("rm.reward").wait_for()


def test_undo_skip_and_edit_by_keys(
    served: Callable[..., str], page: Callable[..., Any], run: Run
) -> None:
    base = served(run.path.parent)
    opened = ready(page(url(base)))
    first = opened.text_content("#answer")
    press(opened, "4", "4", "Enter")
    saved(opened)
    assert opened.text_content("#which") == "2 of 2"
    press(opened, "2", "u")  # half of the second answer's form is filled
    saved(opened, "Taken back: say it again, or skip.")
    assert opened.text_content("#answer") == first
    assert opened.is_checked("input[name=helpfulness][value='4']")
    press(opened, "0", "e")
    opened.keyboard.type("By a person. ")
    press(opened, "Control+Enter")
    saved(opened)
    assert opened.is_checked("input[name=helpfulness][value='2']")  # and still is
    press(opened, "s")
    saved(opened, "Skipped.")
    assert opened.text_content("#pace").startswith("0 of 12 rows · 1 skipped")
    kinds = [one["review"]["kind"] for one in said(run)]
    assert kinds == ["rating", "withdrawal", "edit", "rating", "skip"]
    edit, again = said(run)[2:4]
    assert edit["edited"].replace("By a person. ", "") == first != edit["edited"]
    assert edit["response"] == first
    assert again["values"] == {"helpfulness": 0, "correctness": 4}
    standing = Bench(run).reviews
    standing.refresh()
    assert [one.kind for one in standing.all()] == ["edit", "rating", "skip"]
    assert opened.text_content("#answer") != first


def test_a_half_filled_form_outlives_the_page_and_the_server(
    served: Callable[..., str], page: Callable[..., Any], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = served(run.path.parent)
    opened = ready(page(url(base), allowed="500"))
    press(opened, "2", "3", "c")
    opened.keyboard.type("half a")
    opened.reload()
    ready(opened)
    assert opened.input_value("#comment") == "half a"
    assert opened.is_checked("input[name=correctness][value='3']")
    # The disk is full: it is told, nothing is lost, and Enter tries again.
    monkeypatch.setattr("karat.reviewing.store.os.fsync", _full)
    press(opened, "Enter")
    opened.wait_for_selector("#status.bad")
    assert "Not saved" in opened.text_content("#status")
    assert "make room" in opened.text_content("#status")
    assert (run.path / "ratings.jsonl").read_bytes() == b""
    monkeypatch.undo()
    opened.reload()
    ready(opened)
    assert opened.input_value("#comment") == "half a"
    press(opened, "Enter")
    saved(opened)
    (line,) = said(run)
    assert line["review"]["comment"] == "half a"
    assert line["values"] == {"helpfulness": 2, "correctness": 3}
    assert opened.input_value("#comment") == ""


def _full(file: int) -> None:
    raise OSError(28, "No space left on device")


def test_who_wrote_it_is_told_afterwards_and_only_where_asked(
    served: Callable[..., str], page: Callable[..., Any], run: Run
) -> None:
    opened = ready(page(url(served(run.path.parent))))
    press(opened, "0", "Enter")
    saved(opened)
    assert opened.is_hidden("#behind")
    press(opened, "r", "0", "Enter")
    saved(opened)
    opened.wait_for_selector("#behind:not([hidden])")
    assert "service/model-" in opened.text_content("#behind")
    assert "rm.reward" in opened.text_content("#behind")


def test_hostile_answers_are_texts(
    served: Callable[..., str], page: Callable[..., Any], tmp_path: Path
) -> None:
    long = "x" * 150_000
    asked = [Message("system", HOSTILE), Message("user", HOSTILE)]
    row = Row("0" * 16, asked, [Response(HOSTILE, "m"), Response(long, "m")])
    run = run_of(tmp_path / "runs" / "mine", [row])
    base = served(run.path.parent)
    for width in (1280, 400):
        opened = ready(page(url(base, mode="compare", queue="random"), width=width))
        assert "broken" not in opened.title()
        assert opened.locator("main script, main img").count() == 0
        for text in (opened.text_content("#answer-a"), opened.text_content("#answer-b")):
            assert not set(text) & set("\u202e\x1b\x00")
        assert opened.get_by_text("50,000 more characters are not shown").count() == 1
        assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    opened = ready(page(url(base, queue="random")))
    for end in ("", " You have seen every row of this queue."):  # what is cut cannot be edited
        is_cut = "more characters" in opened.text_content("#answer")
        assert opened.is_disabled("#edit-button") == is_cut
        press(opened, "e")
        assert opened.is_hidden("#edit-box") == is_cut
        press(opened, "Escape", "e", "4", "Enter")
        saved(opened, f"Saved.{end}")
    assert not any("edited" in one for one in said(run))  # opened, and left as it was


@pytest.mark.parametrize("dark", mostly_slow([False, True], 2))
def test_it_works_by_touch_at_400_pixels_and_nothing_moves(
    served: Callable[..., str], page: Callable[..., Any], axe: Callable[[Any], None], run: Run,
    dark: bool,
) -> None:  # fmt: skip
    base = served(run.path.parent)
    for mode in ("rate", "compare"):
        opened = ready(page(url(base, mode=mode), width=400, dark=dark, has_touch=True))
        axe(opened)
        assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
        sizes = opened.evaluate(
            "[...document.querySelectorAll('.scale span')].map(e => e.getBoundingClientRect())"
            ".map(b => Math.min(b.width, b.height))"
        )
        assert min(sizes) >= 40
        before = opened.evaluate("document.getElementById('form').getBoundingClientRect().height")
        opened.locator(".scale label").first.tap()
        after = opened.evaluate("document.getElementById('form').getBoundingClientRect().height")
        assert before == after
        opened.locator("#save").tap()
        saved(opened)
    assert len(said(run)) == 2


def test_two_reviewers_see_their_agreement(
    served: Callable[..., str], page: Callable[..., Any], run: Run
) -> None:
    base = served(run.path.parent)
    for who, digits in (("bob", "14253"), ("ann", "15243")):
        for number in range(12):
            item = get(f"{base}/review/mine/next?reviewer={who}&mode=rate&queue=random")["item"]
            if item is None:
                break
            for place, answer in enumerate(item["answers"]):
                value = int(digits[(number + place) % 5]) - 1
                word = {"kind": "rating", "row": item["row"], "keys": [answer["key"]],
                        "values": {"helpfulness": value}}  # fmt: skip
                assert send(base, "say", reviewer=who, queue="random", **word)[0] == 200
    opened = page(url(base, queue="random", target="99"))
    opened.wait_for_selector("#agreement-tables table")
    text = opened.text_content("#agreement-tables")
    assert "You and bob" in text
    assert "κ" in text
    assert "You and rm" in text
    assert "pairs in the same order" in text
    assert "all alike" not in text


def test_queues_a_run_has_no_scores_for_say_so(
    served: Callable[..., str], page: Callable[..., Any], run: Run
) -> None:
    base = served(run.path.parent)
    opened = page(url(base, queue="disagreement"), allowed="409")
    opened.wait_for_selector("#status.bad")
    assert "no two graders" in opened.text_content("#status")
    nameless = page(f"{base}/review/mine")
    assert "Say who you are" in nameless.text_content("main")
