"""The how-tos, explanations and migrations are done, block by block, each page in an empty folder.

Every recipe is written and loaded, every command of an `sh` block is carried out, every block of
Python is run. In the suite a server on loopback stands where the embedded model does, which writes
in milliseconds; `KARAT_DOCS=all` asks the embedded model, word for word. Blocks marked `bash` need
keys, the hub, GPUs or a cluster, and `py` is other projects' code: those are read, not run.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from manuals import KNOWN, answer
from server import Server

from karat.cli import main
from karat.recipe import Recipe

DOCS = Path(__file__).parents[1] / "docs"
DATA = Path(__file__).parents[2] / "shared" / "data"
FOLDERS = ("how-to", "explanation", "migration")
PAGES = [page for name in FOLDERS for page in sorted((DOCS / name).glob("*.md"))]
WHOLE = os.environ.get("KARAT_DOCS") == "all"
EMBEDDED, LOOP = "embedded/smollm2-135m", "loop/writer"
# Lists of commands, each explained by the page it links to; their recipe is nobody's.
NOT_DONE = ("explanation/parts.md",)
# What the suite adds to a command that names no model: the loop in place of the embedded one.
LOOPED = "--set models.teacher=loop/writer"
SHORTER = {
    "karat plan rag-closed-qa": LOOPED, "karat run rag-closed-qa": LOOPED,
    "karat reward train": "--members 2 --folds 2 --repeats 1 --representation surface --jobs 1",
}  # fmt: skip


@pytest.fixture(scope="module")
def loop() -> Iterator[Server]:
    with Server(answer=answer) as server:
        yield server


def looped(body: str) -> str:
    """The block with the loop in place of the embedded model; `ping` still asks that one."""
    priced = f"model: {LOOP}, price: {{input: 0, output: 0}}"
    body = body.replace(f"model: {EMBEDDED}", priced)
    body = re.sub(rf"(\w+): {EMBEDDED}", rf"\1: {{{priced}}}", body)
    return re.sub(rf"(?<!ping ){EMBEDDED}", LOOP, body)


class Page:
    """A page done in `folder`. `said`: what each command printed; `printed`: the Python."""

    def __init__(self, file: Path, folder: Path) -> None:
        self.name = file.relative_to(DOCS).as_posix()
        self.folder = folder
        self.said: list[tuple[str, str]] = []
        self.printed = ""
        self.names: dict[str, Any] = {"__name__": "page"}
        for kind, body in re.findall(r"```(\w+)\n(.*?)```", file.read_text("utf-8"), re.DOTALL):
            body = body if WHOLE else looped(body)
            if kind == "yaml":
                self.recipe(body)
            elif kind == "sh" and self.name not in NOT_DONE:
                self.commands(body)
            elif kind == "python":
                self.python(body)

    def recipe(self, body: str) -> None:
        named = re.match(r"# ([\w-]+\.yaml)\n", body)
        path = self.folder / (named[1] if named else "unnamed.yaml")
        path.write_text(body, encoding="utf-8")
        assert Recipe.load(path.name).steps

    def python(self, body: str) -> None:
        if named := re.match(r"# ([\w-]+\.py)\n", body):
            (self.folder / named[1]).write_text(body, encoding="utf-8")
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(body, self.name, "exec"), self.names)
        self.printed += out.getvalue()

    def commands(self, body: str) -> None:
        lines = iter(body.splitlines())
        for line in lines:
            if line.endswith("<<'END'"):
                text = [line, *iter(lambda: next(lines), "END"), "END"]
                subprocess.run(["sh", "-c", "\n".join(text)], cwd=self.folder, check=True)
            elif line.startswith("mkdir "):
                subprocess.run(shlex.split(line), cwd=self.folder, check=True)
            elif line.startswith("karat "):
                self.karat(line)
            else:
                assert not line or line.startswith("pip install"), f"no test runs: {line}"

    def karat(self, line: str) -> None:
        extra = next((more for start, more in SHORTER.items() if line.startswith(start)), "")
        words = shlex.split(line, comments=True)[1:] + shlex.split("" if WHOLE else extra)
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, f"{line}\n{done.output}\n{done.exception!r}"
        self.said.append((line, done.output))

    def out(self, start: str) -> list[str]:
        """What the commands that begin so printed."""
        found = [said for line, said in self.said if line.startswith(start)]
        assert found, f"{self.name} has no {start}"
        return found

    def rows(self, run: str, which: str = "accepted") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = pq.read_table(
            self.folder / run / f"{which}.parquet"
        ).to_pylist()
        return found


@pytest.fixture
def do(tmp_path, monkeypatch, loop):
    """Does a page in a folder of its own, with what the page says the reader has."""
    settings = tmp_path / "settings" / "karat"
    settings.mkdir(parents=True)
    (settings / "config.toml").write_text(f'[providers.loop]\nbase_url = "{loop.url}"\n')
    monkeypatch.setenv("XDG_CONFIG_HOME", str(settings.parent))
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("NVIDIA_API_KEY", "asked-for-and-never-sent")
    monkeypatch.setattr(sys, "path", list(sys.path))
    folder = tmp_path / "desk"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def done(name: str) -> Page:
        for file, lines in brought(name).items():
            text = "".join(f"{json.dumps(line)}\n" for line in lines)
            (folder / file).write_text(text, encoding="utf-8")
        return Page(DOCS / name, folder)

    yield done
    for module in ("my_steps", "my_tables"):
        sys.modules.pop(module, None)


def brought(name: str) -> dict[str, list[dict[str, Any]]]:
    """The files a page takes for granted."""
    prompts = [{"prompt": "Why is the sky blue?"}, {"prompt": "Name three fruits."}]
    files = {"prompts.jsonl": prompts, "human.jsonl": [{"prompt": "Hi?", "response": "Hello."}]}
    if name == "how-to/train-a-reward.md":
        files["ratings.jsonl"], files["pairs.jsonl"] = ratings(), pairs()
    return files


def ratings() -> list[dict[str, Any]]:
    """HelpSteer2's, where they are; else a few whose longer answers are better."""
    real = DATA / "helpsteer2" / "ratings.jsonl"
    if real.is_file():
        return [json.loads(line) for line in real.read_text("utf-8").splitlines()[:120]]
    return [
        {"prompt": f"What is number {i}?", "response": "It is a number. " * (1 + 2 * good + i % 3),
         "helpfulness": 1 + 2 * good, "correctness": 2 + good, "coherence": 3 + good,
         "complexity": good, "verbosity": 1 + good}
        for i in range(40) for good in (0, 1)
    ]  # fmt: skip


def pairs() -> list[dict[str, Any]]:
    return [
        {"prompt": f"Who lives at number {i}?", "chosen": f"Number {i} is the house of a family.",
         "rejected": "No."}
        for i in range(30)
    ]  # fmt: skip


pytestmark = pytest.mark.timeout(900 if WHOLE else 180)
OWN = {
    "sft-set", "preference-set", "rag-set", "curate-helpsteer2", "train-a-reward", "choose-a-model",
    "go-on-after-a-crash", "why-was-a-row-dropped", "write-a-step", "over-optimisation",
    "why-rejection-sampling",
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [p.relative_to(DOCS).as_posix() for p in PAGES if p.stem not in OWN]
)
def test_a_page_can_be_done(do, name):
    do(name)


def test_an_sft_set(do):
    page = do("how-to/sft-set.md")
    rows = (page.folder / "runs/sft/export/trl-sft.jsonl").read_text().splitlines()
    assert rows
    assert page.printed.count("→") == len(rows)
    assert "sent nothing" in page.out("karat plan nemotron-sft")[0]


def test_a_preference_set(do):
    page = do("how-to/preference-set.md")
    chosen, rejected = page.printed.splitlines()
    assert float(chosen.rpartition(" ")[2]) > float(rejected.rpartition(" ")[2])
    assert (page.folder / "runs/preference/export/nemo-rl-preference.jsonl").is_file()


def test_a_rag_set(do):
    page = do("how-to/rag-set.md")
    export = page.folder / "runs/rag-closed-qa/export"
    found = (export / "retrieval.jsonl").read_text().splitlines()
    assert (export / "beir/corpus.jsonl").is_file()
    assert found
    if not WHOLE:
        assert {json.loads(line)["answer"] for line in found} == set(KNOWN.values())


def test_curating(do):
    page = do("how-to/curate-helpsteer2.md")
    reasons = " ".join(row["dropped"] for row in page.rows("runs/ratings", "dropped"))
    assert all(name in reasons for name in ("pii", "boilerplate", "near duplicate", "minimum"))
    assert len(page.rows("runs/ratings")) < len(page.rows("runs/best")) < 5
    assert "pii" in page.out("karat diff")[0]


@pytest.mark.skipif(not DATA.is_dir(), reason="needs HelpSteer2's ratings")
def test_curating_what_people_rated(do):
    page = do("how-to/index.md")
    page.karat(
        f"karat curate {DATA / 'helpsteer2/ratings.jsonl'} -o runs/helpsteer2 --split"
        " --set read.limit=200"
    )
    rows = page.rows("runs/helpsteer2")
    assert 50 < len(rows) < 200
    assert {json.loads(row["meta"])["split"] for row in rows} == {"train", "validation", "test"}


def test_a_reward(do):
    page = do("how-to/train-a-reward.md")
    assert "Held-out" in (page.folder / "mine.md").read_text()
    assert "accuracy" in page.out("karat reward eval")[0].lower()


def test_choosing_a_model(do):
    page = do("how-to/choose-a-model.md")
    said = page.out("karat compare")[0]
    assert "calm" in said
    assert "wild" in said
    assert list((page.folder / "runs/teachers-compare").glob("*.html"))


def test_going_on(do, loop):
    before = len(loop.requests)
    page = do("how-to/go-on-after-a-crash.md")
    assert "no model was called" in page.out("karat run four.yaml")[1]
    report = json.loads((page.folder / "runs/four/report.json").read_bytes())
    assert report["this_run"]["answers"] == report["this_run"]["replayed"] == 6
    if not WHOLE:
        bought = sum(request["body"].get("n", 1) for request in loop.requests[before:])
        assert bought == 12  # two answers to each of three prompts, none again, then two more


def test_why_a_row_is_gone(do):
    page = do("how-to/why-was-a-row-dropped.md")
    assert "Counter({" in page.printed
    assert "dedupe" in page.printed
    assert re.search(r"^\('.*', 'respond', ", page.printed, re.MULTILINE)


def test_a_step_of_ones_own(do):
    page = do("how-to/write-a-step.md")
    assert Recipe.load("own.yaml").steps[1].params == {"times": 2}
    assert float(page.printed.splitlines()[-1]) > 0


@pytest.mark.parametrize("name", ["over-optimisation", "why-rejection-sampling"])
def test_what_python_prints_is_what_the_page_shows(do, name):
    page = do(f"explanation/{name}.md")
    (shown,) = re.findall(r"```text\n(.*?)```", (DOCS / page.name).read_text("utf-8"), re.DOTALL)
    assert page.printed == shown


def test_every_page_is_listed(do):
    for folder in FOLDERS:
        index = (DOCS / folder / "index.md").read_text("utf-8")
        for page in (DOCS / folder).glob("*.md"):
            assert page.name == "index.md" or f"]({page.name})" in index, page
