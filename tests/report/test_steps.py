"""The pages of steps: types in words, defaults as a recipe writes them, whole sentences."""

from __future__ import annotations

import io
import re

import pytest
import yaml
from rich.console import Console

from karat.report.steps import step_list, step_page
from karat.step import builtin_steps, find, step


def printed(thing, width=200):
    stream = io.StringIO()
    Console(file=stream, width=width, force_terminal=False, highlight=False).print(thing)
    return stream.getvalue()


def parameters(name):
    """{parameter: (takes, default)} as the page of a step tells them."""
    lines = printed(step_page(find(name)), 400).splitlines()
    table = lines[2 : lines.index("", 2)] if "" in lines[2:] else []
    cells = [re.split(r" {2,}", line.strip()) for line in (one.rstrip() for one in table) if line]
    return {name: (takes, default) for name, takes, default in cells}


@pytest.mark.parametrize(
    ("name", "parameter", "takes", "default"),
    [
        ("closed_qa", "model", "a model", "needed"),
        ("closed_qa", "checker", "a model or null", "null"),
        ("closed_qa", "grounded", "a number from 0 to 1 or null", "0.6"),
        ("closed_qa", "style", "one of reading, retrieval", "reading"),
        ("closed_qa", "self_contained", "true or false", "true"),
        ("constrain", "share", "a number above 0 and up to 1", "1.0"),
        ("constrain", "count", "a whole number from 1 or a list of whole numbers from 1", "[1, 3]"),
        ("documents", "path", "a file or folder", "needed"),
        ("documents", "size", "a whole number from 20 to 20,000", "180"),
        ("grade", "reward", "a reward or null", "null"),
        ("mix", "share", "a number from 0 to below 1", "0.2"),
        ("reject", "by", "a score or null", "null"),
        ("reject", "floors", "a mapping of scores to numbers", "{}"),
        ("respond", "models", "a list of models", "needed"),
        ("respond", "stop", "a list of texts", "[]"),
        ("prompts", "novelty",
         "a mapping of any of meaning, words to numbers from 0.3 to 1, or off",
         "{words: 0.6, meaning: 0.92}"),
        ("prompts", "levels",
         "a mapping of any of closed_qa, coding, math, open_qa, writing to lists of texts",
         "karat's own"),
    ],
)  # fmt: skip
def test_a_parameter_is_told_in_words(name, parameter, takes, default):
    assert parameters(name)[parameter] == (takes, default)


@pytest.mark.parametrize("name", builtin_steps())
def test_no_page_shows_a_type_of_python(name):
    found = parameters(name)
    assert list(found) == [field.name for field in find(name).fields]
    for takes, default in found.values():
        assert not re.search(r"[\[\]|]|[A-Z]\w|msgspec|None", takes)
        assert "None" not in default
        yaml.safe_load(default)
    head = printed(step_page(find(name))).splitlines()[0]
    assert re.fullmatch(rf"{name}: (sees|makes|reads) [a-z, ]+", head)


def test_a_default_that_is_said_is_shown_whatever_it_stands_for():
    @step
    async def mine(row, ctx, *, novelty: dict[str, float] = {"words": 0.5}) -> list:  # noqa: B006
        return [row]

    assert "{words: 0.5}" in printed(step_page(mine))


@pytest.mark.parametrize("width", [60, 120])
def test_the_list_has_the_first_sentence_of_each_whole(width):
    lines = printed(step_list(), width).splitlines()
    assert all(len(line) <= width for line in lines)
    whole = " ".join(" ".join(lines).split())
    for name in builtin_steps():
        first = " ".join(find(name).doc.partition("\n\n")[0].split()).split(". ")[0].rstrip(".")
        assert f"{name} {first}." in whole
