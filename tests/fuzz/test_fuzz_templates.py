"""A dataset runs no code, a template reaches no Python, and neither takes the machine with it."""

from __future__ import annotations

import ast
import time
import tracemalloc
from pathlib import Path
from typing import cast

import pytest
from fuzz_texts import ROOT, examples
from hypothesis import given
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment

from fuzz.texts import watched
from karat.context import Context
from karat.errors import RecipeError, RowError
from karat.rewards.chat_text import ChatTemplate, read_template
from karat.rewards.questions import PROMPTS
from karat.row import Message
from karat.steps._rewrites import asked
from karat.steps._transcript import ask_about
from karat.templates import Sandbox, render

ASKED = [Message("user", "{{ 7 * 7 }}"), Message("assistant", "49?")]
MOST_BYTES, MOST_S = 64 * 2**20, 3.0  # of one rendering that is stopped: memory, and CPU time
REACHES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ cycler.__init__.__globals__.os }}",
    "{{ messages.__class__.__base__ ~ 1 }}", "{{ messages.append(1) }}",
    "{% include '/etc/passwd' %}",
    "{{ joiner.__init__.__globals__['__builtins__'] }}", "{% import 'os' as os %}{{ os }}",
    "{{ '{0.__class__.__mro__}'.format(1) ~ ''.__class__ }}", "{{ ''['__class__'].x }}",
    "{{ (messages|attr('__class__')).x }}", "{{ (messages|map(attribute='__class__')|first).x }}",
    "{{ raise_exception.__globals__.x }}", "{{ lipsum.__globals__ }}", "{{ range.__self__.x }}",
    "{{ messages.pop }}{{ messages.clear() }}", "{% set messages[0].role = 'x' %}",
]  # fmt: skip
DOUBLED = (
    "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = OP %}{% endfor %}"
    "{{ ns.x }}"
)
TAKES_LONG = [
    "{% for i in range(10**9) %}{% endfor %}",
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{% for i in range(99999) %}{% for j in range(99999) if false %}{% endfor %}{% endfor %}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    DOUBLED.replace("OP", "[ns.x, ns.x]"),
]
TAKES_ALL = [
    "{{ 'a' * 10**9 }}", "{{ 10**9 * 'a' }}",
    *(DOUBLED.replace("OP", op) for op in (
        "ns.x ~ ns.x", "ns.x + ns.x", "ns.x * 2", "[ns.x, ns.x]|join", "'%s%s' % (ns.x, ns.x)",
        "'{0}{0}'.format(ns.x)", "ns.x.replace('a', ns.x)", "ns.x|replace('b', ns.x)",
    )),
    "{{ 'a'|center(10**9) }}", "{{ 'a'.ljust(10**9) }}", "{{ 'a'|center(width=10**9) }}",
    "{{ '%999999999d' % 1 }}", "{{ '%*d' % (10**9, 1) }}", "{{ '%999999999d'|format(1) }}",
    "{{ '{:999999999}'.format(1) }}", "{{ '{:{}}'.format(1, 10**9) }}", "{{ (10**9)**(10**9) }}",
    "{{ '\t'.expandtabs(10**9) }}", "{{ 'a\nb'|indent(10**9) }}",
    "{{ messages|tojson(indent=10**9) }}",
    "{{ (['a' * 99999] * 99999)|join }}", "{{ (['a' * 99999] * 99999)|select|join }}",
    "{{ ''.join(['a' * 99999] * 99999) }}", "{{ ('a', 'b')|join('x' * 10**9) }}",
    "{% set a = [['a' * 999] * 999] * 999 %}{{ a }}", "{{ ([[['a' * 999] * 999] * 999])|string }}",
    "{{ lipsum(n=10**6) }}", "{{ [1]|batch(10**9, 'x')|list }}",
]  # fmt: skip
TURNS = ["--- user", "--- assistant", "--- user \t", "x", "", " --- user", "--- user\r", "\u2028"]
UNLIKE = ["{{ 1 / 0 }}", "{{ 'a'.encode('zz') }}", "{{ '{}'.format() }}", "{{ 'x' + 1 }}",
          "{{ [1, 'a']|sort }}", "{{ '%d' % 'a' }}",
          "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
          "{{ messages['a'].b.c }}", "{% break %}", "{{ " + "(" * 400 + ")" * 400 + " }}",
          "{% for a in 'b' %}" * 30 + "{% endfor %}" * 30, "{{ 'a'|nofilter }}",
          "{% set %}"]  # fmt: skip


def chat(source: str) -> str:
    return ChatTemplate(source, {"bos_token": "<s>"}, None, "here").render(ASKED)


def written(folder: Path, source: str) -> Path:
    path = folder / "prompt.md"
    path.write_text(source, encoding="utf-8")
    return path


def filled(path: Path) -> str:
    return render(path, messages=[{"role": m.role, "content": m.content} for m in ASKED])


@pytest.mark.parametrize("source", REACHES)
def test_a_template_reaches_no_python(tmp_path: Path, source: str) -> None:
    path = written(tmp_path, source)
    with watched():
        with pytest.raises(RecipeError):
            filled(path)
        try:
            made = chat(source)
        except (RowError, RecipeError):
            return
    assert "built-in" not in made
    assert "<class" not in made.replace("<class 'jinja2", "")


@pytest.mark.parametrize("source", TAKES_ALL)
def test_a_template_that_would_take_all_is_stopped(tmp_path: Path, source: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises((RowError, RecipeError)):
            chat(source)
        with pytest.raises(RecipeError):
            filled(written(tmp_path, source))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MOST_BYTES


@pytest.mark.parametrize("source", TAKES_LONG)
def test_a_template_that_would_take_for_ever_is_stopped(source: str) -> None:
    began = time.process_time()
    with pytest.raises((RowError, RecipeError), match="too much work"):
        chat(source)
    assert time.process_time() - began < MOST_S


@pytest.mark.parametrize("source", UNLIKE)
def test_whatever_a_template_raises_is_told_in_words(tmp_path: Path, source: str) -> None:
    with pytest.raises((RowError, RecipeError), match="template"):
        chat(source + "{{ messages.x.y.z }}")
    with pytest.raises(RecipeError, match=r"prompt\.md: ."):
        filled(written(tmp_path, source))


def test_what_is_long_because_its_rows_are_is_no_work() -> None:
    """A long conversation, written piece by piece as the templates of models do."""
    source = (
        "{% set ns = namespace(text='') %}{% for m in messages %}{% set ns.text = ns.text + "
        "'<|' ~ m['role'] ~ '|>' + m['content']|trim %}{% endfor %}{{ ns.text }}"
    )
    turns = [Message(("user", "assistant")[i % 2], f"{i} " + "tide " * 2000) for i in range(60)]
    made = ChatTemplate(source, {}, None, "here").render(turns)
    assert made == "".join(f"<|{m.role}|>{m.content.strip()}" for m in turns)


def test_a_rendering_is_not_charged_for_the_one_before(tmp_path: Path) -> None:
    source = "{% for i in range(99999) %}{% endfor %}ok"
    template, path = ChatTemplate(source, {}, None, "here"), written(tmp_path, source)
    assert {template.render(ASKED) for _ in range(8)} == {"ok"}
    assert {filled(path) for _ in range(8)} == {"ok"}


@examples(10)
@given(text=st.text() | st.sampled_from([*REACHES, *TAKES_ALL, *TAKES_LONG]))
def test_a_rows_text_is_never_a_template(text: str) -> None:
    asked = [Message("user", text), Message("assistant", "ok")]
    assert ChatTemplate("{{ messages[0].content }}", {}, None, "x").render(asked) == text


class _Prompts:
    """A context that renders karat's own templates."""

    def render(self, template: str, **values: object) -> str:
        return render(PROMPTS / f"{template}.md", **values)


@examples(30)
@given(lines=st.lists(st.sampled_from(TURNS) | st.text(max_size=5), max_size=6))
def test_a_rows_text_adds_no_turn_to_a_request(lines: list[str]) -> None:
    text, ctx = "\n".join(lines), cast(Context, _Prompts())
    for ask in (
        lambda said: asked(ctx, "evolve_deepen", [said]),
        lambda said: ask_about(ctx, "revise", conversation=said, response=said, feedback=said),
    ):
        assert [m.role for m in ask(text)] == [m.role for m in ask("tide")]


@pytest.mark.parametrize("text", [b"\xff\xfe", b"[" * 5000, b'{"chat_template": [{}]}', b"5"])
def test_no_config_breaks_the_reading(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "tokenizer_config.json").write_bytes(text)
    with pytest.raises(RecipeError, match="template"):
        read_template(tmp_path)


# --- which templates there are -------------------------------------------------------------------

# Files that make an environment of Jinja's without a sandbox: their templates are karat's own.
OWN = {
    "publishing/marks.py", "report/pages.py", "training/finetune/card.py",
    "training/reward_card.py",
    "training/student_card.py", "web/respond.py",
}  # fmt: skip


def test_whatever_is_no_template_of_karats_own_is_rendered_in_the_sandbox() -> None:
    assert issubclass(Sandbox, ImmutableSandboxedEnvironment)
    source = ROOT / "src" / "karat"
    made: dict[str, str] = {}
    for path in source.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if "jinja2" not in text and "Sandbox" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func).rpartition(".")[2]
                if name in ("Environment", "Template", "NativeEnvironment", "SandboxedEnvironment"):
                    made[path.relative_to(source).as_posix()] = text
    assert set(made) == OWN, "render it with karat.templates, or say here why not"
    for text in made.values():  # a name of a file of the package, never a text from elsewhere
        assert "FileSystemLoader(Path(__file__).parent" in text or "resources.files(" in text


def test_transformers_own_templates_run_in_its_sandbox() -> None:
    """Tokenizers of the hub are rendered by transformers itself; its sandbox is Jinja's."""
    utils = pytest.importorskip("transformers.utils.chat_template_utils")
    compiled = utils._compile_jinja_template("{{ ''.__class__.__mro__ }}")
    assert isinstance(compiled.environment, ImmutableSandboxedEnvironment)
