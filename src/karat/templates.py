"""Prompt templates: Jinja files, filled in without letting a dataset run code.

A template may be somebody else's, too: a chat template comes with a model, a recipe from a page. So
every one is rendered in a sandbox that reaches no Python, and whose work is counted: Jinja's own
bounds `range` alone, and `'a' * 10**9` or sixty doublings of a text would take all memory.
Source: jinja2 3.1, sandbox.py (`intercepted_binops` are not folded into constants either).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import StrictUndefined, nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from karat.errors import RecipeError
from karat.row import Message

_TURN = re.compile(r"^--- (user|assistant)[ \t]*$", re.MULTILINE)
WORK = 2_000_000  # steps of loops, calls, characters and items written, for nothing given …
WORK_EACH = 200  # … and more for each character that is
TURN, CALL, MACRO = 2, 10, 100  # of a loop, of a function, of a macro of the template's own
LARGE = 1000  # a whole number that is handed to a function counts from here on: it may be a width
_WIDE = re.compile(r"\d{5,}|\*")  # in a format
# Filters that take a list as it is; all others may write down what is in it.
_SHALLOW = frozenset(
    ("length", "count", "first", "last", "list", "select", "reject", "selectattr", "rejectattr",
     "map", "sort", "unique", "groupby", "batch", "slice", "reverse", "items", "sum", "min", "max",
     "default", "d", "random", "dictsort", "attr", "get", "keys", "values", "index")
)  # fmt: skip


class Sandbox(ImmutableSandboxedEnvironment):
    """Where templates run. What is too much work ends in a SecurityError, which is Jinja's."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self, **options: Any) -> None:
        super().__init__(finalize=self._written, autoescape=False, **options)
        self.filters = {name: self.counted(name, found) for name, found in self.filters.items()}
        del self.globals["lipsum"]  # writes text of its own, as much as it is asked for
        self._left = threading.local()

    def begin(self, given: Any = None) -> None:
        """What is compiled or rendered next in this thread may do so much work, and no more."""
        self._left.work = WORK
        self._left.work += WORK_EACH * self._weight(given)

    def spend(self, work: float) -> None:
        """Raises: SecurityError."""
        self._left.work = getattr(self._left, "work", WORK) - work
        if self._left.work < 0:
            raise SecurityError("it does too much work for what it is given")

    def counted(self, name: str, found: Callable[..., Any]) -> Callable[..., Any]:
        """A filter whose work counts."""

        @wraps(found)
        def filled(*args: Any, **options: Any) -> Any:
            if name == "join":
                args = tuple(list(arg) if isinstance(arg, Iterator) else arg for arg in args)
            self.spend(self._price(name, (*args, *options.values())))
            return found(*args, **options)

        return filled

    @property
    def turn(self) -> bool:
        """Read by a template at each turn of a loop."""
        self.spend(TURN)
        return True

    def joined(self, *parts: Any) -> str:
        """What `~` makes of its parts."""
        self.spend(sum(self._weight(part) for part in parts))
        return "".join(map(str, parts))

    def call(__self, __context: Context, __obj: Any, *args: Any, **options: Any) -> Any:  # noqa: N805
        method = getattr(__obj, "__wrapped__", __obj)  # of a text's format, which Jinja wraps
        owner, name = getattr(method, "__self__", None), getattr(method, "__name__", "")
        given = [*args, *(v for k, v in options.items() if k not in ("_loop_vars", "_block_vars"))]
        if isinstance(owner, str | list | tuple | dict):
            __self.spend(CALL + __self._price(name, (owner, *given)))
        else:
            each = MACRO if isinstance(__obj, Macro) else CALL
            __self.spend(each + __self._price("length", tuple(given)))
        return super().call(__context, __obj, *args, **options)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        bits = [n.bit_length() if isinstance(n, int) else 0 for n in (left, right)]
        if operator == "+":
            self.spend(self._size(left) + self._size(right))
        elif operator == "*" and all(isinstance(n, int) for n in (left, right)):
            self.spend(sum(bits))
        elif operator == "*":
            longer, times = (right, left) if isinstance(left, int) else (left, right)
            self.spend(self._size(longer) * max(0, times) if isinstance(times, int) else 1)
        elif operator == "**":
            self.spend(bits[0] * abs(right) if all(bits) else 1)
        elif isinstance(left, str):
            self.spend(self._price("format", (left, right)))
        return super().call_binop(context, operator, left, right)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _Counting().visit(super()._parse(source, name, filename))
        return tree.set_environment(self)  # type: ignore[return-value]

    def _written(self, value: Any) -> Any:
        """What an expression puts into the text."""
        if not isinstance(value, int | float):
            self.spend(self._weight(value))
        return value

    def _size(self, value: Any) -> int:
        return len(value) if isinstance(value, str | bytes | list | tuple | dict | range) else 1

    def _price(self, name: str, values: tuple[Any, ...]) -> float:
        """What a filter or method of this name costs: at least what it may write."""
        weigh = self._size if name in _SHALLOW else self._heavy
        texts = [value for value in values if isinstance(value, str)]
        numbers = [abs(n) for n in values if isinstance(n, int) and abs(n) >= LARGE]
        cost = 1 + sum(map(weigh, values)) + sum(numbers)
        longest = max(map(len, texts), default=0)
        if name == "join":
            cost += longest * max(map(self._size, values), default=0)
        elif name == "replace" and len(texts) > 2:
            cost += (texts[0].count(texts[1]) + 1) * len(texts[2])
        elif name in ("indent", "expandtabs", "translate"):
            width = max((n for n in values if isinstance(n, int)), default=longest)
            cost += (texts[0].count("\n") + texts[0].count("\t")) * width if texts else 0
        elif name in ("format", "format_map") and texts and _WIDE.search(texts[0]):
            cost += WORK * WORK
        return cost

    def _heavy(self, value: Any) -> int:
        held = isinstance(value, list | tuple | dict)
        return self._weight(value) if held else self._size(value)

    def _weight(self, value: Any) -> int:
        """Characters and items in a value at any depth; counted no further than is left to do."""
        waiting, total, most = [value], 0, getattr(self._left, "work", WORK)
        while waiting and total <= most:
            one = waiting.pop()
            total += 1 + self._size(one)
            if isinstance(one, Mapping):
                waiting.extend((*one.keys(), *one.values()))
            elif isinstance(one, list | tuple):
                waiting.extend(one)
            elif isinstance(one, msgspec.Struct):  # a row or a message of karat's own
                waiting.extend(getattr(one, name) for name in one.__struct_fields__)
        return total


class _Counting(NodeTransformer):
    """Lets a template say each turn of a loop, and what it joins with `~`."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802  (Jinja's own name)
        self.generic_visit(node)
        turn = nodes.EnvironmentAttribute("turn")
        node.body.insert(0, nodes.ExprStmt(turn, lineno=node.lineno))
        if node.test is not None:  # what it passes over is a turn, too
            node.test = nodes.And(turn, node.test, lineno=node.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        joined = nodes.EnvironmentAttribute("joined")
        return nodes.Call(joined, node.nodes, [], None, None, lineno=node.lineno)


@lru_cache(maxsize=64)
def _compiled(path: Path, changed: int) -> Any:
    environment = Sandbox(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.begin()
    return environment.from_string(path.read_text(encoding="utf-8").strip())


def render(path: Path, **values: Any) -> str:
    """Fills in one Jinja template. Raises: RecipeError with the file's name."""
    try:
        template = _compiled(path, path.stat().st_mtime_ns)
        template.environment.begin(values)
        text: str = template.render(**values)
    except OSError as error:
        raise RecipeError(f"no prompt template {path.name}: {error.strerror}") from None
    except Exception as error:  # a template is code: it may raise whatever Python has
        raise RecipeError(f"prompt template {path}: {error or type(error).__name__}") from error
    return text.strip()


def turns(text: str) -> list[Message]:
    """A rendered template as messages: lines `--- assistant` and `--- user` part an example off.

    An example in a turn of its own is followed by models of any size; the same lines inside the
    request are copied by small ones.
    """
    first, *rest = _TURN.split(text)
    parts = [("user", first), *zip(rest[::2], rest[1::2], strict=True)]
    return [Message(role, content.strip()) for role, content in parts if content.strip()]
