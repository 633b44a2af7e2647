"""What a verifier is: a function of one response, and of what its row knows, that gives a verdict.

A verifier decides where it can and says so where it cannot: a verdict of None leaves the response
to a reward or a judge, so that what cannot be checked is never counted as wrong. Each is one module
of this folder with

    NEEDS: tuple[str, ...]      the fields of `meta` that a row must bring, as ("answer",)
    EXTRA: str                  the extra of karat that it needs, as "math", or ""
    PACKAGE: str                what that extra makes importable; may be left out without an extra
    SHARES: bool                whether it gives the share that passed; may be left out: it does not
    DECIDES: bool               whether a pass settles that the response is right, where a route of
                                graders asks it; may be left out: a pass rules nothing else out
    def verify(item: Item, *, …) -> Verdict

where keyword-only parameters are its options, hence YAML keys. `verify` is sync, may be called from
several threads at once, and says the same of the same item every time.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Protocol, cast, get_type_hints

import msgspec

from karat.errors import RecipeError, did_you_mean
from karat.row import Message
from karat.wording import explain

Seconds = Annotated[int, msgspec.Meta(ge=1, le=600)]


class Item(msgspec.Struct, frozen=True):
    """What a verifier sees: one response, and the row it answers."""

    prompt: tuple[Message, ...]
    response: str
    finish_reason: str = ""
    meta: Mapping[str, Any] = {}


class Verdict(msgspec.Struct, frozen=True):
    """`passed` is True, False, or None where the verifier cannot decide; `reason` says why not.

    `share` is what part of the check was passed, 0 to 1, where that is a matter of degree.
    """

    passed: bool | None
    reason: str = ""
    share: float | None = None


class Verifier(Protocol):
    """A module of this folder, as `find` gives it."""

    NEEDS: tuple[str, ...]
    EXTRA: str

    @property
    def verify(self) -> Callable[..., Verdict]: ...


@cache
def known() -> tuple[str, ...]:
    """Names of the verifiers: every module of this folder that defines `verify`.

    They are read, not imported: one may need a package that only its own users install.
    """
    files = Path(__file__).parent.glob("[!_]*.py")
    return tuple(sorted(file.stem for file in files if _defines_verify(file)))


def _defines_verify(file: Path) -> bool:
    body = ast.parse(file.read_bytes()).body
    return any(isinstance(node, ast.FunctionDef) and node.name == "verify" for node in body)


@cache
def find(name: str) -> Verifier:
    """The verifier of that name. Raises: RecipeError, also where its package is not installed."""
    if name not in known():
        raise RecipeError(f"no verifier '{name}'; {did_you_mean(name, known())}")
    module = importlib.import_module(f"karat.verifiers.{name}")
    package = getattr(module, "PACKAGE", "")
    if package and importlib.util.find_spec(package) is None:
        raise RecipeError(f"verifier '{name}' needs a package; pip install 'karat[{module.EXTRA}]'")
    return cast(Verifier, module)


def accepted(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """A verifier's options with defaults filled in. Raises: RecipeError naming what is wrong."""
    params = _params(name)
    names = [field.name for field in msgspec.structs.fields(params)]
    for option in options:
        if option not in names:
            near = did_you_mean(option, names)
            raise RecipeError(f"verifier '{name}' has no option '{option}'; {near}")
    try:
        return msgspec.structs.asdict(msgspec.convert(dict(options), params))
    except msgspec.ValidationError as error:
        words = explain(str(error), options, params, "option '{}'")
        raise RecipeError(f"verifier '{name}': {words}") from None


@cache
def _params(name: str) -> type[msgspec.Struct]:
    """The keyword-only parameters of a verifier as a type: what its options may be."""
    verify = find(name).verify
    hints = get_type_hints(verify, include_extras=True)
    fields: list[Any] = []
    for parameter in inspect.signature(verify).parameters.values():
        if parameter.kind is not parameter.KEYWORD_ONLY:
            continue
        field = (parameter.name, hints[parameter.name])
        given = parameter.default is not parameter.empty
        fields.append((*field, parameter.default) if given else field)
    return msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=True)
