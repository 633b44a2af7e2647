"""Whole runs against a server that breaks, and what must be true of them whatever broke.

A run under a fault, and one in the same directory when the server is well: the second must end with
what a run that nothing disturbed ends with, to the byte; no answer that was given whole may have
been bought twice; the ledger must say what the server's books say; and the key is nowhere.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from conftest import rows_of
from fault_server import Fault, FaultServer, draw

import karat
from karat.errors import RunError
from karat.models import answer, call, connection, quota, rate_headers, sse, transport
from karat.rundir import Run

KEY_ENV, SECRET = "KARAT_FAULTS_KEY", "sk-faults-0123456789-abcdefghij"
PRICE = {"input": 1.0, "output": 2.0}  # dollars per million tokens: 1,000 and 2,000 nano a token
FEW, MANY, AGAIN = 10, 44, 3  # prompts, and how many of them say the same as others
REWARDS = {
    "helpsteer2": "embedded/helpsteer2",
    "judge": {"reward": "judge/teacher", "ask": "score"},
}
SCORES = {"helpsteer2": "helpsteer2.reward", "judge": "judge.score"}


class Case(NamedTuple):
    """One fault in one kind of run."""

    fault: Fault
    grader: str = "helpsteer2"
    stream: bool = False
    seed: int = 1

    @property
    def name(self) -> str:
        more = (self.grader if self.grader == "judge" else "", f"#{self.seed}")
        how = "stream" if self.stream and not self.fault.name.startswith("stream") else ""
        return " ".join(filter(None, (self.fault.name, how, *more)))


def prompts_of(size: str) -> list[str]:
    count = FEW if size == "few" else MANY
    again = [f"what is number {i}?" for i in range(AGAIN)]
    return [f"What is number {i}?" for i in range(count - AGAIN)] + again


class Ground:
    """A folder with the recipes, one server for all of them, and the undisturbed runs."""

    def __init__(self, folder: Path, server: FaultServer) -> None:
        self.folder, self.server = folder, server
        self._undisturbed: dict[tuple[str, ...], Undisturbed] = {}
        for size in ("few", "many"):
            lines = [json.dumps({"prompt": prompt}) + "\n" for prompt in prompts_of(size)]
            (folder / f"{size}.jsonl").write_text("".join(lines), encoding="utf-8")

    def run(self, case: Case, out: Path, **model: Any) -> karat.Run:
        """read, respond, grade, reject, dedupe."""
        teacher = {
            "model": "openai/loop", "base_url": self.server.url, "key_env": KEY_ENV, "price": PRICE,
            "concurrency": 4, "attempts": 3, "max_tokens": 64, "stream": case.stream, **model,
        }  # fmt: skip
        tree = {
            "name": "faults",
            "seed": 11,
            "models": {"teacher": teacher},
            "rewards": {case.grader: REWARDS[case.grader]},
            "steps": [
                {"read": {"path": f"{case.fault.rows}.jsonl"}},
                {"respond": {"models": ["teacher"], "n": 2, "temperature": 1.0}},
                {"grade": {"reward": case.grader}},
                {"reject": {"by": SCORES[case.grader], "best": 1, "minimum_sigma": -0.5}},
                {"dedupe": {"on": "prompt", "threshold": 1.0}},
            ],
            "export": ["jsonl"],
        }
        path = self.folder / "recipe.yaml"
        path.write_text(yaml.safe_dump(tree), encoding="utf-8")
        return karat.run(path, out)

    def undisturbed(self, case: Case) -> Undisturbed:
        """The run of the same recipe that no fault met."""
        key = (case.grader, case.fault.rows)
        if key not in self._undisturbed:
            self.server.prompts = prompts_of(case.fault.rows)
            out = self.folder / "-".join(("undisturbed", *key))
            with self.server.under(None):
                made = self.run(case._replace(stream=False), out)
            assert len(made.report["funnel"]) == 5
            assert made.report["funnel"][-1]["dropped"]
            assert made.report["funnel"][-2]["dropped"]
            firsts = {asked.keys[0] for asked in self.server.asked}
            self._undisturbed[key] = Undisturbed(
                *rows_written(out), set(self.server.answers), firsts
            )
        return self._undisturbed[key]


class Undisturbed(NamedTuple):
    accepted: bytes
    dropped: bytes
    keys: set[str]  # of the answers
    firsts: set[str]  # of these, the first of each request


def rows_written(out: Path) -> tuple[bytes, bytes]:
    run = Run(out)
    return run.accepted_file.read_bytes(), run.dropped_file.read_bytes()


@contextmanager
def ground_at(folder: Path) -> Iterator[Ground]:
    """Waiting is shortened, and what may be too large is smaller; nothing else is changed."""
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv(KEY_ENV, SECRET)
        patch.setattr(call, "BACKOFF_S", (0.01, 0.02))
        for module in (rate_headers, quota):
            patch.setattr(module, "MAX_PAUSE_S", 0.05)
        for module in (connection, transport):
            patch.setattr(module, "MAX_REPLY_BYTES", 2**24)
        patch.setattr(answer, "MAX_REPLY_BYTES", 2**20)
        patch.setattr(sse, "MAX_EVENT_BYTES", 2**20)
        yield Ground(folder, stack.enter_context(FaultServer(prompts_of("few"))))


def _seed(case: Case, expected: Undisturbed) -> int:
    """The case's own, or the next by which the fault meets some of few requests."""
    # A stream is of one answer, another request of two.
    keys, least = (expected.keys, 4) if case.stream else (expected.firsts, 2)
    return next(
        seed
        for seed in range(case.seed, case.seed + 400, 10)
        if sum(draw(seed, case.fault.name, key) < case.fault.share for key in keys) > least
    )


def check(case: Case, ground: Ground, out: Path) -> None:
    """The whole of it, for one case."""
    expected = ground.undisturbed(case)
    server, fault = ground.server, case.fault
    server.prompts = prompts_of(fault.rows)
    with server.under(fault, _seed(case, expected), single=case.stream):
        said = _disturbed(case, ground, out)
    asked, lost = server.asked, server.lost
    assert len(server.forms) == fault.forms, "a form of the fault hit no request"
    _check_rows(case, out, said, lost)
    before = rows_written(out) if not said else None
    with server.under(None, single=case.stream):
        ground.run(case, out, **fault.model)
    assert SECRET not in said
    if before is None or fault.ends == "drops":
        assert not failures(out)
    else:
        assert not server.asked, "an answer that was taken was bought again"
        assert rows_written(out) == before
    if fault.ends != "taken":
        assert rows_written(out) == (expected.accepted, expected.dropped)
        assert set(answers(asked + server.asked)) == expected.keys
    _check_books(out, asked + server.asked)
    assert not holding(out, SECRET)


def _disturbed(case: Case, ground: Ground, out: Path) -> str:
    """Runs under the fault; what stopped it, or nothing."""
    if case.fault.ends != "stops":
        ground.run(case, out, **case.fault.model)
        return ""
    with pytest.raises(RunError, match=case.fault.says) as caught:
        ground.run(case, out, **case.fault.model)
    return str(caught.value)


def _check_rows(case: Case, out: Path, said: str, lost: set[str]) -> None:
    """Rows are gone that a lasting fault hit, and no other ones, and say why."""
    if said:
        return
    gone = failures(out)
    if case.fault.answers:
        assert not gone
        return
    assert set(gone) == lost
    for reason in gone.values():
        assert re.search(rf"^(respond|grade): call failed \(.*({case.fault.says})", reason), reason


def failures(out: Path) -> dict[str, str]:
    """Why rows could not go on, by prompt."""
    return {
        row.messages[-1].content: row.dropped or ""
        for row in rows_of(Run(out).dropped_file)
        if row.failed or "call failed" in (row.dropped or "")
    }


def answers(asked: list[Any]) -> list[str]:
    return [key for one in asked if one.answered for key in one.keys]


def _check_books(out: Path, asked: list[Any]) -> None:
    """No whole answer was bought twice, and the ledger says what the server does."""
    given = answers(asked)
    assert len(given) == len(set(given)), "an answer that was given whole was bought again"
    base = sqlite3.connect(out / "journal.sqlite")
    base.row_factory = sqlite3.Row
    try:
        made = [dict(row) for row in base.execute("SELECT * FROM attempts WHERE role != 'reward'")]
        ((shares,),) = base.execute("SELECT sum(cost_nano) FROM calls")
        ((summed,),) = base.execute("SELECT sum(cost_nano) FROM minutes")
    finally:
        base.close()
    good = [one for one in made if one["outcome"] == "answered"]
    assert len(good) == sum(one.answered for one in asked)
    assert len(made) >= len(asked)  # and those that no server read
    told = [one for one in good if one["tokens_from"] == "reported"]
    used = [one.used for one in asked if one.answered and one.used]
    assert sum(one["cost_nano"] for one in told) == sum(1000 * i + 2000 * o for i, o in used)
    assert shares == sum(one["cost_nano"] for one in good)
    assert summed == sum(one["cost_nano"] for one in made)
    assert Run(out).report["cost_usd"] == pytest.approx(summed / 1e9)
    for one in made:
        if one["error"] == "unreadable":  # paid for: never less than an answer costs
            assert one["tokens_from"] == "worst"
            assert one["cost_nano"] >= 64 * 2000
        elif one["error"]:
            assert one["cost_nano"] == 0


def holding(out: Path, secret: str) -> list[str]:
    """Files of a run that hold the secret, or half of it."""
    parts = [secret.encode(), secret[: len(secret) // 2].encode()]
    return [
        path.name
        for path in out.rglob("*")
        if path.is_file() and any(part in path.read_bytes() for part in parts)
    ]
