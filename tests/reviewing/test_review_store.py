"""The log of reviews: nothing acknowledged is lost, whoever writes beside it, however it ends."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import environment
from reviewed import row, run_of

from karat.errors import RecipeError, RunError
from karat.reviewing import lines
from karat.reviewing.store import Reviews, withdrawal

ROW = row(1, [{}, {}])
FIRST, SECOND = ROW.responses
ANN = lines.How("ann", "random", 2, 3.25, "so so")
WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from reviewed import row
from karat.reviewing import lines
from karat.reviewing.store import Reviews
from karat.rundir import Run
reviews = Reviews(Run(Path(sys.argv[1])))
for number in range(int(sys.argv[4])):
    one = row(number, [{}])
    said = lines.rating(one, one.responses[0], {"helpfulness": number % 5}, lines.How(sys.argv[2]))
    reviews.append([said])
    print(one.id, flush=True)
"""


def reviews_in(folder: Path) -> Reviews:
    found = Reviews(run_of(folder, [ROW]))
    found.refresh()
    return found


def start(folder: Path, who: str, count: int) -> subprocess.Popen[str]:
    here = str(Path(__file__).parent)
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), who, here, str(count)], text=True,
        stdout=subprocess.PIPE, env=environment(),
    )  # fmt: skip


def test_what_is_said_is_read_again(tmp_path: Path) -> None:
    reviews = reviews_in(tmp_path)
    reviews.append([lines.edit(ROW, FIRST, "Mine.", ["MIT"], ANN),
                    lines.rating(ROW, FIRST, {"helpfulness": 3, "verbosity": 0}, ANN)])  # fmt: skip
    reviews.append([lines.comparison(ROW, FIRST, SECOND, 0, True, lines.How("bob"))])
    reviews.append([lines.skip(ROW, lines.How("cid"))])
    other = Reviews(reviews.path and run_of(tmp_path, [ROW]))
    other.refresh()
    assert other.all() == reviews.all()
    edit, rating, comparison, skip = other.all()
    assert (edit.kind, edit.edited, edit.rater) == ("edit", "Mine.", "ann")
    assert rating.values == {"helpfulness": 3.0, "verbosity": 0.0}
    assert (rating.comment, rating.seconds, rating.drawn, rating.of) == ("so so", 3.2, "random", 2)
    assert rating.keys == (lines.key_of(ROW, FIRST),)
    assert (comparison.strength, comparison.both_bad, len(comparison.keys)) == (0.0, True, 2)
    assert (skip.kind, skip.row) == ("skip", ROW.id)
    assert other.reviewers() == ["ann", "bob", "cid"]
    assert "service/model" not in reviews.path.read_text().splitlines()[1]  # of a rating, no writer


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text("precious\n")
    reviews = reviews_in(tmp_path / "run")
    reviews.path.symlink_to(theirs)
    with pytest.raises(RunError, match=r"is a link.*Nothing was saved"):
        reviews.append([lines.skip(ROW, ANN)])
    assert theirs.read_text() == "precious\n"


def test_the_last_word_counts_and_history_is_kept(tmp_path: Path) -> None:
    reviews = reviews_in(tmp_path)
    for value in (1, 4):
        reviews.append([lines.rating(ROW, FIRST, {"helpfulness": value, "verbosity": 2}, ANN)])
    reviews.append([lines.rating(ROW, FIRST, {"helpfulness": 3}, ANN)])  # verbosity is taken out
    reviews.append([lines.rating(ROW, FIRST, {"helpfulness": 0}, lines.How("bob"))])
    assert [(one.rater, one.values) for one in reviews.all()] == [
        ("ann", {"helpfulness": 3.0}), ("bob", {"helpfulness": 0.0}),
    ]  # fmt: skip
    # The pair the other way round is the same pair.
    reviews.append([lines.comparison(ROW, FIRST, SECOND, -2, False, ANN)])
    reviews.append([lines.comparison(ROW, SECOND, FIRST, -1, False, ANN)])
    assert [one.strength for one in reviews.all()] == [0.0, 0.0, -1.0]
    last = reviews.last_of("ann")
    assert last is not None
    assert last.keys[0] == lines.key_of(ROW, SECOND)
    reviews.append([withdrawal(last)])
    assert [one.kind for one in reviews.all()] == ["rating", "rating"]
    assert len(reviews.path.read_text().splitlines()) == 7  # every word


def test_ratings_of_other_programs_count_too(tmp_path: Path) -> None:
    reviews = reviews_in(tmp_path)
    line = {"key": "ab", "row": ROW.id, "rater": "eve", "values": {"helpfulness": 2, "on": True}}
    texts = {"prompt": "a", "response": "b", "helpfulness": 3}
    reviews.path.write_text("\n".join(map(json.dumps, (line, texts, 7))) + "\n{broken\n\n")
    reviews.refresh()
    assert [(one.rater, one.values, one.ours) for one in reviews.all()] == [
        ("eve", {"helpfulness": 2.0}, False)
    ]
    assert reviews.broken == 2
    assert reviews.last_of("eve") is None  # not to be taken back by us


def test_a_killed_server_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    run_of(tmp_path, [ROW])
    writer = start(tmp_path, "ann", 100_000)
    assert writer.stdout is not None
    acknowledged = [writer.stdout.readline().strip() for _ in range(25)]
    os.kill(writer.pid, signal.SIGKILL)
    rest = writer.stdout.read().split()
    writer.wait(10)
    writer.stdout.close()
    reviews = reviews_in(tmp_path)
    held = [one.row for one in reviews.all()]
    assert reviews.broken == 0
    assert held[: 25 + len(rest)] == acknowledged + rest
    assert len(held) - 25 - len(rest) in (0, 1)  # one may have been saved and not yet told


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    run_of(tmp_path, [ROW])
    writers = [start(tmp_path, who, 40) for who in ("ann", "bob")]
    for writer in writers:
        writer.communicate(timeout=30)
    reviews = reviews_in(tmp_path)
    assert reviews.broken == 0
    for who in ("ann", "bob"):
        assert sum(one.rater == who for one in reviews.all()) == 40


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reviews = reviews_in(tmp_path)
    reviews.append([lines.rating(ROW, FIRST, {"helpfulness": 1}, ANN)])
    before = reviews.path.read_bytes()
    write, calls = os.write, []

    def full(file: int, data: Any) -> int:
        calls.append(len(data))
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, data[:10])

    monkeypatch.setattr("karat.reviewing.store.os.write", full)
    with pytest.raises(RunError, match=r"No space left.*nothing was saved.*save again"):
        reviews.append([lines.rating(ROW, SECOND, {"helpfulness": 2}, ANN)])
    monkeypatch.undo()
    assert len(calls) == 2
    assert reviews.path.read_bytes() == before
    reviews.append([lines.rating(ROW, SECOND, {"helpfulness": 2}, ANN)])
    assert len(reviews.all()) == 2


def test_half_a_line_of_a_power_cut_does_not_swallow_the_next(tmp_path: Path) -> None:
    reviews = reviews_in(tmp_path)
    reviews.path.write_bytes(b'{"key": "ab", "ra')
    reviews.refresh()
    assert reviews.all() == []
    reviews.append([lines.rating(ROW, FIRST, {"helpfulness": 1}, ANN)])
    assert [one.rater for one in reviews.all()] == ["ann"]
    assert reviews.broken == 1


def test_another_file_by_this_name_is_read_anew(tmp_path: Path) -> None:
    reviews = reviews_in(tmp_path)
    reviews.append([lines.skip(ROW, ANN)])
    reviews.path.unlink()
    reviews.refresh()
    assert reviews.all() == []
    reviews.append([lines.skip(ROW, lines.How("bob"))])
    assert reviews.reviewers() == ["bob"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: lines.rating(ROW, FIRST, {"style": 1}, ANN), "'style' is no attribute"),
        (lambda: lines.rating(ROW, FIRST, {"helpfulness": 5}, ANN), "rated 0 to 4, not 5"),
        (lambda: lines.rating(ROW, FIRST, {"helpfulness": True}, ANN), "rated 0 to 4, not True"),
        (lambda: lines.rating(ROW, FIRST, {"helpfulness": 2.5}, ANN), "rated 0 to 4, not 2.5"),
        (lambda: lines.comparison(ROW, FIRST, SECOND, 4, False, ANN), "a preference is"),
        (lambda: lines.comparison(ROW, FIRST, SECOND, 1, True, ANN), "0 where both are bad"),
        (lambda: lines.edit(ROW, FIRST, " \n", [], ANN), "edited answer is empty"),
        (lambda: lines.edit(ROW, FIRST, "a\0b", [], ANN), "no NUL"),
        (lambda: lines.skip(ROW, lines.How("a", comment="x" * 300_000)), "a comment has at most"),
        (lambda: lines.reviewer("  "), "give your name"),
        (lambda: lines.reviewer("a" * 41), "give your name"),
        (lambda: lines.reviewer("a\u202eb"), "give your name"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(make: Any, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        make()


def test_a_name_is_kept_as_people_write_it() -> None:
    assert lines.reviewer("  Ann  Ångström ") == "Ann Ångström"
