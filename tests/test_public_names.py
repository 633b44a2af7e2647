"""The public names: few, documented with what they take and raise, typed, and cheap to import."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import environment

import karat
from karat.graded import Graded, Grades
from karat.planning import Plan
from karat.rowset import Rows

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
MOST = 15
FUNCTIONS = ("run", "plan", "preview", "grade")
GIVEN = (Rows, Grades, Graded, Plan)  # what those give
OWN = [getattr(karat, name) for name in karat.__all__ if inspect.isclass(getattr(karat, name))]


def members(kind):
    """(name, docstring) of its public methods and properties that karat wrote."""
    for name, held in vars(kind).items():
        plain = inspect.isfunction(held) or isinstance(held, classmethod | staticmethod | property)
        if not name.startswith("_") and (plain or hasattr(held, "attrname")):
            yield name, inspect.getdoc(held)


def test_there_are_at_most_fifteen_and_all_are_there():
    assert len(karat.__all__) <= MOST
    assert list(karat.__all__) == sorted(karat.__all__)
    assert set(karat.__all__) <= set(dir(karat))
    for name in (*karat.__all__, "RunError", "KaratError", "__version__"):
        assert getattr(karat, name) is not None


def test_no_module_has_the_name_of_something_public():
    """Importing it would put the module in its place; `step` is bound at once for that reason."""
    files = {path.stem for path in Path(karat.__file__).parent.iterdir()}
    assert files & set(karat.__all__) == {"step"}
    code = (
        "import karat, karat.step, karat.steps.grade, karat.oneline, karat.graders, karat.grading\n"
        "assert callable(karat.step) and callable(karat.grade), (karat.step, karat.grade)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=environment())


@pytest.mark.parametrize("name", karat.__all__)
def test_a_name_is_documented_where_it_is_and_on_the_page(name):
    held = getattr(karat, name)
    said = inspect.getdoc(held)
    assert said
    assert "karat" in held.__module__
    assert said.partition("\n")[0].rstrip().endswith((".", ":", "`."))
    assert f"`karat.{name}`" in PAGE


@pytest.mark.parametrize("name", [*FUNCTIONS, "Recipe", "Run.open", "Run.at", "Recipe.load"])
def test_a_function_says_what_each_argument_is_and_what_it_raises(name):
    held = karat
    for part in name.split("."):
        held = getattr(held, part)
    said = inspect.getdoc(held)
    assert "Raises:" in said
    for parameter in inspect.signature(held).parameters:
        if (name, parameter) != ("Run.open", "path"):  # "An existing run" says all of it
            assert re.search(rf"`[^`]*\b{parameter}\b[^`]*`|\b{parameter}\b", said), parameter


@pytest.mark.parametrize("kind", [*OWN, *GIVEN], ids=lambda kind: kind.__name__)
def test_every_method_is_documented_and_on_the_page(kind):
    for name, said in members(kind):
        assert said, f"{kind.__name__}.{name}"
        assert re.search(rf"`[^`]*\b{name}\b[^`]*`", PAGE), f"{kind.__name__}.{name}"


def test_what_the_page_names_is_there():
    for name in re.findall(r"`karat\.(\w+)`", PAGE):
        assert hasattr(karat, name), name
    for kind in (karat.Recipe, karat.Run, karat.Context, karat.Table, Grades):
        (line,) = re.findall(rf"\*\*`(?:karat\.)?{kind.__name__}`\*\* — ((?:.+\n)+)", PAGE)
        fields = {*dir(kind), *getattr(kind, "__struct_fields__", ())}
        for name in re.findall(r"`(\w+)`", line):
            assert name in fields or name == "exactly", f"{kind.__name__}.{name}"


def test_a_name_that_is_not_there_is_answered_with_the_nearest():
    with pytest.raises(AttributeError, match="no attribute 'Recpie'; did you mean 'Recipe'"):
        karat.Recpie  # noqa: B018


def test_import_karat_is_cheap():
    """Nothing heavy is loaded before it is used: neither Arrow nor NumPy, no HTTP, no YAML."""
    code = (
        "import sys, time\nbegun = time.perf_counter()\nimport karat\n"
        "print(time.perf_counter() - begun)\nprint(*sys.modules)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], check=True, env=environment(), capture_output=True, text=True
    ).stdout
    seconds, modules = out.splitlines()
    loaded = {name.partition(".")[0] for name in modules.split()}
    heavy = {"numpy", "pyarrow", "rich", "jinja2", "yaml", "click", "pandas", "polars", "torch",
             "datasets", "uvloop", "httptools", "IPython", "sqlite3"}  # fmt: skip
    assert not loaded & heavy
    assert len([name for name in modules.split() if name.startswith("karat")]) <= 12
    assert float(seconds) < 1.0  # 0.06 s on an idle machine


PROGRAM = '''
"""What a user writes, as strict as a checker can be about it."""
from typing import Any

import karat
from karat.graded import Graded, Grades
from karat.rowset import Rows


@karat.step
async def shout(row: karat.Row, ctx: karat.Context, *, times: int = 1) -> karat.Row:
    for response in row.responses:
        response.content += "!" * times
    return row


def use(recipe: karat.Recipe) -> list[str]:
    run: karat.Run = karat.run(recipe, "out", progress=False)
    rows: Rows = run.accepted
    first: karat.Row = rows[0]
    some: list[karat.Row] = rows[:3]
    report: dict[str, Any] = run.report
    one: Grades = karat.grade("Why?", ["Because."], by="reward")
    many: Graded = karat.grade(["Why?", "How?"], [["Because."], ["So."]])
    talk: Grades = karat.grade([{"role": "user", "content": "Why?"}], ["Because."])
    turns: Grades = karat.grade([karat.Message("user", "Why?")], ["Because."])
    usd: float | None = karat.plan(recipe).cost_usd
    lines = [line.label for line in karat.plan(recipe)]
    texts = [row.prompt for row in karat.preview(recipe, 2)]
    best: str | None = one.best
    reveal_type(rows.to_pandas(flat=True))
    reveal_type(rows.to_polars())
    frame = rows.to_pandas(flat="responses")
    print(usd, best, many[0].order, talk.scores, turns, report, some, frame.shape)
    try:
        karat.run("quickstart")
    except (karat.RecipeError, karat.RunError) as error:
        print(error)
    return [first.prompt, *lines, *texts]
'''
WRONG = """
import karat

karat.grade("Why?", ["Because."], rewad="x")
karat.run(3)
karat.run("quickstart").accepted.to_panda()
karat.run("quickstart").accepted[0].promt
"""


def test_a_strict_checker_is_content_with_a_users_program(tmp_path):
    """With the cache and the settings of `make types`, so that karat itself is not read again."""
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "wrong.py").write_text(WRONG)
    files = [str(tmp_path / name) for name in ("program.py", "wrong.py")]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", "pyproject.toml",
         "--no-error-summary", *files],
        cwd=ROOT, capture_output=True, text=True, env=environment(),
    )  # fmt: skip
    said = done.stdout.splitlines()
    right = [line for line in said if "program.py" in line]
    assert [line.partition(": ")[2] for line in right] == [
        'note: Revealed type is "pandas.core.frame.DataFrame"',
        'note: Revealed type is "polars.dataframe.frame.DataFrame"',
    ], done.stdout + done.stderr
    wrong = {int(line.split(":")[1]) for line in said if "wrong.py" in line and "error" in line}
    assert wrong == {4, 5, 6, 7}, done.stdout
