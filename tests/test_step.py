"""@step: the signature is the parameters; every wrong use says which and what is nearest."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from karat import Context, Decision, RecipeError, Row, Table, step
from karat.step import ModelName, Positive, ScoreKey, StepCall, Temperature, builtin_steps, find


@step
async def one(row: Row, ctx: Context, *, n: Positive = 1, temperature: Temperature = 1.0) -> Row:
    return row


@step
async def many(row: Row, ctx: Context, *, models: list[ModelName]) -> list[Row]:
    return [row]


@step
def whole(
    table: Table,
    ctx: Context,
    *,
    by: ScoreKey,
    floors: dict[ScoreKey, float] = {},  # noqa: B006
) -> Decision:
    return Decision()


@step
def rows(ctx: Context, *, tags: dict[str, list[int]] = {"a": [1]}) -> Iterator[Row]:  # noqa: B006
    return iter([])


def test_the_four_shapes_are_told_apart_by_the_signature():
    assert [s.kind for s in (one, many, whole, rows)] == ["row", "fan", "table", "source"]


def test_defaults_are_filled_in():
    assert one().params == {"n": 1, "temperature": 1.0}
    assert one(n=3).params == {"n": 3, "temperature": 1.0}


async def _positional(row, ctx, n): ...
def _row_not_async(row, ctx): ...
async def _async_table(table, ctx): ...
async def _async_source(ctx): ...
async def _swapped(ctx, row): ...
async def _no_context(row): ...
async def _star(row, ctx, *args): ...
async def _double_star(row, ctx, **kw): ...
def _nothing(): ...


@pytest.mark.parametrize(
    "function",
    [_positional, _row_not_async, _async_table, _async_source, _swapped, _no_context, _star,
     _double_star, _nothing],
)  # fmt: skip
def test_a_wrong_signature_is_refused_with_the_right_ones(function):
    with pytest.raises(RecipeError, match=rf"'{function.__name__}' must be `async def f\(row, ctx"):
        step(function)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"tempereture": 1}, "no parameter 'tempereture'; did you mean 'temperature'"),
        ({"n": "two"}, "parameter 'n': expected int, got str"),
        ({"n": 0}, "parameter 'n': expected int >= 1"),
        ({"n": True}, "parameter 'n': expected int, got bool"),
        ({"n": None}, "parameter 'n': expected int, got null"),
        ({"temperature": 2.5}, "parameter 'temperature': expected float <= 2"),
        ({"temperature": float("nan")}, "parameter 'temperature'"),
    ],
)
def test_a_wrong_parameter_is_named(params, message):
    with pytest.raises(RecipeError) as caught:
        one(**params)
    assert message in str(caught.value)


def test_a_missing_parameter_is_named():
    with pytest.raises(RecipeError, match="needs the parameter 'models'"):
        many()


def test_a_wrong_item_of_a_list_says_where():
    with pytest.raises(RecipeError, match=r"parameter 'models\[1\]': expected str, got int"):
        many(models=["a", 2])


def test_mutable_defaults_are_not_shared_at_any_depth():
    rows().params["tags"]["a"].append(2)
    rows().params["tags"]["b"] = []
    assert rows().params == {"tags": {"a": [1]}}


def test_a_list_given_is_not_the_list_kept():
    given = ["a"]
    call = many(models=given)
    given.append("b")
    assert call.params == {"models": ["a"]}


def test_named_finds_models_and_scores_at_any_depth():
    assert list(many(models=["a", "b"]).named("model")) == [("models", "a"), ("models", "b")]
    call = whole(by="r.x", floors={"r.y": 1.0})
    assert list(call.named("score")) == [("by", "r.x"), ("floors", "r.y")]
    assert list(call.named("model")) == []


def test_renamed_changes_what_is_a_name_and_no_equal_text():
    @step
    async def voted(
        row: Row, ctx: Context, *, votes: dict[ModelName, int] = {}, title: str = "a",  # noqa: B006
        judge: ModelName | None = None,
    ) -> Row:  # fmt: skip
        return row

    changes = {"model": str.upper, "score": lambda name: "no"}
    found = voted(votes={"a": 1, "b": 2}, judge="a").renamed(changes)
    assert found == {"votes": {"A": 1, "B": 2}, "title": "a", "judge": "A"}
    assert many(models=["a", "b"]).renamed(changes) == {"models": ["A", "B"]}


def test_what_no_file_can_hold_is_a_mistake_in_words():
    @step
    async def lax(row: Row, ctx: Context, *, what: Any = None) -> Row:
        return row

    for value in (2**70, object(), "\ud800"):
        with pytest.raises(RecipeError):
            lax(what=value)


def test_a_rule_speaks_for_what_types_cannot_say():
    @step
    async def ruled(row: Row, ctx: Context, *, low: int = 0, high: int = 1) -> Row:
        return row

    @ruled.rule
    def _rule(*, low: int, high: int) -> str | None:
        return f"low {low} is above high {high}" if low > high else None

    assert ruled(high=3).params == {"low": 0, "high": 3}
    with pytest.raises(RecipeError, match="low 5 is above high 1"):
        ruled(low=5)


def test_calls_compare_by_step_and_parameters():
    assert one(n=2) == one(n=2)
    assert one(n=2) != one(n=3)
    assert one() != many(models=[])
    assert repr(one(n=2)) == "one(n=2, temperature=1.0)"


@pytest.mark.parametrize("name", sorted(set(builtin_steps()) - {"embedded"}))
def test_every_built_in_step_is_found_and_pickles_by_name(name):
    found = find(name)
    assert (found.name, found.path) == (name, name)
    assert found.doc, f"{name} has no docstring"
    assert pickle.loads(pickle.dumps(found)) is found
    assert len(pickle.dumps(found)) < 200


def test_a_step_call_pickles():
    call = find("respond")(models=["a"], n=3)
    copy: StepCall = pickle.loads(pickle.dumps(call))
    assert copy == call
    assert copy.step is call.step


def test_an_unknown_step_names_the_nearest():
    with pytest.raises(RecipeError, match="no step 'respnd'; did you mean 'respond'"):
        find("respnd")


def test_a_step_of_the_users_own_module_is_found_beside_the_recipe(tmp_path, user_module):
    user_module("mine_found", "@step\nasync def shout(row, ctx, *, n: int = 2): return row\n")
    found = find("mine_found:shout", tmp_path)
    assert (found.kind, found.path, found().params) == ("row", "mine_found:shout", {"n": 2})
    assert pickle.loads(pickle.dumps(found)) is found


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("mine_a:missing", "", "'mine_a' has no 'missing'"),
        ("mine_b:plain", "def plain(row, ctx): ...", "not a step: decorate the function"),
        ("mine_c:f", "import no_such_module_at_all", "cannot import 'mine_c'"),
        ("mine_d:f", "def f(:", "mine_d"),
        ("mine_e:f", "1 / 0", "division by zero"),
        ("mine_f:f", "@step\nasync def f(row: Rwo, ctx): ...", "Rwo"),
        ("mine_g:f", "raise SystemExit(3)", "SystemExit: 3"),
        ("mine_h:f", "@step\ndef f(rows): ...", "step 'f' must be `async def f(row, ctx"),
        ("no_such_module_x:f", None, "cannot import 'no_such_module_x'"),
        (":f", None, "write module:function"),
        ("mine:", None, "write module:function"),
        ("a..b:f", None, "write module:function"),
        (".rel:f", None, ".rel"),
    ],
)
def test_a_broken_module_is_a_mistake_in_words(tmp_path, user_module, name, source, message):
    if source is not None:
        user_module(name.partition(":")[0], source)
    with pytest.raises(RecipeError) as caught:
        find(name, tmp_path)
    assert message in str(caught.value)


def test_a_module_of_the_same_name_elsewhere_is_never_taken_for_it(tmp_path, user_module):
    user_module("mine_two", "@step\nasync def f(row, ctx, *, here: int = 1): return row\n")
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine_two.py").write_text(
        "from karat import *\n@step\nasync def f(row, ctx, *, there: int = 1): return row\n"
    )
    assert find("mine_two:f", tmp_path)().params == {"here": 1}
    try:
        told = str(find("mine_two:f", other)().params)
    except RecipeError as error:  # refusing is as good as telling them apart
        told = str(error)
    assert "there" in told or "mine_two" in told


def test_a_module_named_like_one_of_pythons_is_refused(tmp_path):
    (tmp_path / "json.py").write_text("")
    with pytest.raises(RecipeError, match=r"'json' is already the module .*rename one of them"):
        find("json:f", tmp_path)


def test_source_changes_with_the_file(tmp_path, user_module):
    user_module("mine_src", "@step\nasync def f(row, ctx): return row\n")
    found = find("mine_src:f", tmp_path)
    before = found.source()
    path = tmp_path / "mine_src.py"
    path.write_text(path.read_text() + "# edited\n")
    assert found.source() != before


def test_a_step_made_without_a_file_has_a_source():
    space: dict[str, Any] = {"__name__": "notebook"}
    exec("async def f(row, ctx): return row", space)
    exec("async def g(row, ctx): return None", space)
    assert step(space["f"]).source() != step(space["g"]).source()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_not_finite_is_refused_at_any_depth(value):
    @step
    async def lax(row: Row, ctx: Context, *, minimum: float | None = None, what: Any = None) -> Row:
        return row

    with pytest.raises(RecipeError, match=r"^parameter 'minimum': must be a finite number$"):
        lax(minimum=value)
    with pytest.raises(RecipeError, match=r"^parameter 'what': must be a finite number$"):
        lax(what={"a": [1, value]})


class Price(msgspec.Struct, forbid_unknown_fields=True):
    input: float = 0.0
    output: float = 0.0


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"price": {"outptu": 1}}, "price: no key 'outptu'; did you mean 'output'?"),
        ({"each": [{}, {"inptu": 1}]}, "each[1]: no key 'inptu'; did you mean 'input'?"),
        ({"by": {"x": {"inptu": 1}}}, "by.x: no key 'inptu'; did you mean 'input'?"),
        (
            {"names": "teacher"},
            "parameter 'names': expected array, got str; write a list: [teacher]",
        ),
        ({"names": 5}, "parameter 'names': expected array, got int"),
    ],
)
def test_a_mistake_inside_a_parameter_says_what_to_write(params, message):
    @step
    async def priced(
        row: Row, ctx: Context, *, price: Price | None = None, each: list[Price] = [],  # noqa: B006
        by: dict[str, Price] = {}, names: list[str] = [],  # noqa: B006
    ) -> Row:  # fmt: skip
        return row

    with pytest.raises(RecipeError) as caught:
        priced(**params)
    assert str(caught.value) == message
