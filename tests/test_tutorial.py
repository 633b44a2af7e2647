"""The tutorial is done, block by block, in an empty folder: it ends with a trained student.

In the suite with fewer prompts and training steps; `KARAT_DOCS=all` does it word for word.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import environment, slow

TUTORIAL = Path(__file__).parents[1] / "docs" / "tutorial.md"
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", TUTORIAL.read_text(encoding="utf-8"), re.DOTALL)
WHOLE = os.environ.get("KARAT_DOCS") == "all"
# What the suite adds to a command, so that it costs seconds.
SHORTER = {
    "karat run tutorial.yaml": "--set topics.given=[cooking,music] --set prompts.per_topic=2 "
    "--set respond.n=2",
    "karat train sft": "--set max_steps=2",
}
NOT_HERE = ("pip", "mkdir", "cd", "karat serve")  # of the reader's own machine


def shown(words: list[str], folder: Path) -> str:
    """What a command says; the test fails where it fails."""
    done = subprocess.run(
        words, cwd=folder, env=environment(), capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def done_line(line: str, folder: Path) -> str:
    if not line or line.startswith(("#", *NOT_HERE)):
        return ""
    extra = next((more for start, more in SHORTER.items() if line.startswith(start)), "")
    program, *words = shlex.split(line, comments=True) + shlex.split("" if WHOLE else extra)
    assert program == "karat", f"the tutorial has a command no test runs: {line}"
    return shown([sys.executable, "-m", "karat", *words], folder)


@pytest.fixture(scope="module")
def said(tmp_path_factory) -> tuple[Path, list[str]]:
    """The folder in which the tutorial was done, and what each of its blocks printed."""
    folder = tmp_path_factory.mktemp("tutorial")
    printed = []
    for kind, body in BLOCKS:
        named = re.match(r"# ([\w-]+\.(?:yaml|py|jsonl))\n", body)
        if named or kind == "json":
            name = named[1] if named else "questions.jsonl"
            (folder / name).write_text(body, encoding="utf-8")
        elif kind == "sh":
            printed.append("".join(done_line(line, folder) for line in body.splitlines()))
        elif kind == "python":
            printed.append(shown([sys.executable, "-c", body], folder))
    return folder, printed


@pytest.mark.timeout(900)
@slow
def test_it_ends_with_a_student(said):
    folder, _ = said
    (student,) = (folder / "runs/tutorial/students").iterdir()
    facts = json.loads((student / "karat.json").read_bytes())
    assert facts["base"] == "embedded/smollm2-135m"
    assert (student / "adapter_model.safetensors").stat().st_size > 100_000


@slow
def test_base_and_student_answer_the_same_questions(said):
    folder, printed = said
    questions = (folder / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    answers = printed[-1]
    for question in questions:
        assert json.loads(question)["prompt"] in answers
    assert answers.count("base:") == answers.count("student:") == len(questions)
    pairs = re.findall(r"^base: (.*)\nstudent: (.*)$", answers, re.MULTILINE)
    assert len(pairs) == len(questions)
    assert any(base != student for base, student in pairs), "the student says what its base says"
    if WHOLE:  # trained for long enough to have learnt it
        assert all(base.endswith("(length)") for base, _ in pairs)
        assert any(student.endswith("(stop)") for _, student in pairs)


def test_it_stays_a_tutorial_of_ten_minutes():
    """Words that are read in three minutes; the rest of the time is the machine's."""
    text = re.sub(r"```.*?```", "", TUTORIAL.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(text.split()) < 900
