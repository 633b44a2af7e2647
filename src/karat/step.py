"""@step: a function's signature becomes its parameters, hence its YAML keys.

One definition serves both languages: `respond(models=["small"], n=4)` in Python and
`respond: {models: [small], n: 4}` in YAML meet the same checks, so they cannot drift.

Five shapes, told apart by the signature alone:
    async def f(row, ctx, *, …) -> Row         sees one row
    async def f(row, ctx, *, …) -> list[Row]   turns one row into several; a stage ends here
    async def f(row, ctx, peers, *, …) -> …    either, and draws other rows; a stage begins here
    def f(table, ctx, *, …) -> Decision        sees all rows as columns, decides per row id
    def f(ctx, *, …) -> Iterator[Row]          reads rows in; first of a recipe only
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import msgspec

from karat.errors import KaratError, RecipeError, did_you_mean
from karat.forecast import Forecast
from karat.row import canonical, is_finite, source_digest
from karat.signature import DatasetName as DatasetName
from karat.signature import GraderName as GraderName
from karat.signature import InputPath as InputPath
from karat.signature import ModelName as ModelName
from karat.signature import Positive as Positive
from karat.signature import RewardName as RewardName
from karat.signature import Scale as Scale
from karat.signature import ScoreKey as ScoreKey
from karat.signature import Share as Share
from karat.signature import Temperature as Temperature
from karat.signature import read_signature, renamed
from karat.wording import explain

if TYPE_CHECKING:
    from karat.recipe import Recipe

STEPS = Path(__file__).with_name("steps")
SHARED = ("curation", "scoring", "verifiers")  # folders of what karat's steps call


class Step:
    """A step's function with its checked parameters. Calling it binds parameters."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.name = function.__name__
        self.module = function.__module__
        self.doc = inspect.getdoc(function) or ""
        self.kind, self.params = read_signature(function)
        self.draws = "peers" in inspect.signature(function).parameters
        # Scores it gives to responses without a reward, with their scales: later steps name them.
        self.scores: dict[str, Scale] = {}
        # Fields of `meta`: those it writes, and those a row must bring.
        self.marks: tuple[str, ...] = ()
        self.needs: tuple[str, ...] = ()
        self.forecast: Callable[..., Forecast | None] | None = None
        self.validate: Callable[..., str | None] | None = None
        self.suitable: Callable[..., str | None] | None = None
        self.given: Callable[..., Mapping[str, Scale]] | None = None
        self.deriving: Callable[..., Mapping[str, Iterable[str]]] | None = None
        self.reading: Callable[..., Iterable[tuple[str, str]]] | None = None
        self.absolutes: Callable[..., Iterable[tuple[str, str]]] | None = None
        self.fitting: Callable[..., str | None] | None = None

    def __call__(self, **params: Any) -> StepCall:
        return StepCall(self, self.check(params))

    def __repr__(self) -> str:
        return f"<step {self.name}({', '.join(f.name for f in self.fields)})>"

    @cached_property
    def fields(self) -> tuple[Any, ...]:
        """The parameters, as msgspec fields: name, type, default."""
        return msgspec.structs.fields(self.params)

    @cached_property
    def types(self) -> dict[str, Any]:
        """What msgspec knows of each parameter's type."""
        return {field.name: msgspec.inspect.type_info(field.type) for field in self.fields}

    @property
    def path(self) -> str:
        """What `find` takes: the bare name of a built-in step, else `module:function`."""
        return self.name if self.module.startswith("karat.steps.") else f"{self.module}:{self.name}"

    def plan(self, function: Callable[..., Forecast | None]) -> Callable[..., Forecast | None]:
        """Decorator: `f(rows, *, …) -> Forecast`, what a run over that many rows would do."""
        self.forecast = function
        return function

    def rule(self, function: Callable[..., str | None]) -> Callable[..., str | None]:
        """Decorator: `f(*, …) -> problem or None`, for what types alone cannot say."""
        self.validate = function
        return function

    def suits(self, function: Callable[..., str | None]) -> Callable[..., str | None]:
        """Decorator: `f(route, *, …) -> problem or None`, whether a model and its fallbacks do."""
        self.suitable = function
        return function

    def gives(self, function: Callable[..., Mapping[str, Scale]]) -> Callable[..., Any]:
        """Decorator: `f(*, …) -> {score: (low, high)}`, scores whose names depend on parameters."""
        self.given = function
        return function

    def derives(self, function: Callable[..., Mapping[str, Iterable[str]]]) -> Callable[..., Any]:
        """Decorator: `f(*, …) -> {score: scores it is made of}`; see Graders.derive."""
        self.deriving = function
        return function

    def reads(self, function: Callable[..., Iterable[tuple[str, str]]]) -> Callable[..., Any]:
        """Decorator: `f(*, …) -> (parameter, score) …` it needs, where parameters name others."""
        self.reading = function
        return function

    def absolute(self, function: Callable[..., Iterable[tuple[str, str]]]) -> Callable[..., Any]:
        """Decorator: `f(*, …) -> (parameter, score) …` that compare a score across prompts."""
        self.absolutes = function
        return function

    def fits(self, function: Callable[..., str | None]) -> Callable[..., str | None]:
        """Decorator: `f(recipe, *, …) -> problem or None`, whether it fits the rest of a recipe."""
        self.fitting = function
        return function

    def misfit(self, recipe: Recipe, params: Mapping[str, Any]) -> str | None:
        """What speaks against the step in this recipe."""
        return self.fitting(recipe, **params) if self.fitting else None

    def check(self, params: dict[str, Any]) -> dict[str, Any]:
        """All parameters with defaults filled in.

        Raises: RecipeError naming the parameter and the nearest right spelling.
        """
        known = [field.name for field in self.fields]
        for name in params:
            if name not in known:
                raise RecipeError(f"no parameter '{name}'; {did_you_mean(name, known)}")
        for field in self.fields:
            if field.required and field.name not in params:
                raise RecipeError(f"needs the parameter '{field.name}'")
        try:
            values = msgspec.structs.asdict(msgspec.convert(params, self.params))
            for name, value in values.items():
                if not is_finite(value):
                    raise RecipeError(f"parameter '{name}': must be a finite number")
            canonical(values)  # what a stage's address and recipe.yaml are made of
        except (msgspec.ValidationError, TypeError) as error:
            raise RecipeError(explain(str(error), params, self.params)) from None
        problem = self.validate(**values) if self.validate else None
        if problem:
            raise RecipeError(problem)
        return values

    def source(self) -> bytes:
        """A digest of what the step is written in: an edit there unseals its stages.

        For karat's own steps that is their file and what they share; for a user's, its folder's.
        """
        return source_digest(self.function, _shared(SHARED) if self.path == self.name else None)

    def __reduce__(self) -> tuple[Any, ...]:
        return find, (self.path,)


class StepCall:
    """A step with its parameters, as a recipe lists it."""

    def __init__(self, step: Step, params: dict[str, Any]) -> None:
        self.step = step
        self.params = params

    def __repr__(self) -> str:
        return f"{self.step.name}({', '.join(f'{k}={v!r}' for k, v in self.params.items())})"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, StepCall)
            and self.step.path == other.step.path
            and self.params == other.params
        )

    __hash__ = None  # type: ignore[assignment]  # params is a dict

    def scores_read(self) -> Iterator[tuple[str, str]]:
        """(parameter, score) of every score that must be there before the step."""
        read = self.step.reading
        yield from read(**self.params) if read else self.named("score")

    def named(self, kind: str) -> Iterator[tuple[str, str]]:
        """(parameter, value) of every model, reward, score or path the parameters name."""
        for field, info in self.step.types.items():
            found: list[str] = []
            renamed(info, self.params[field], {kind: found.append})
            yield from ((field, name) for name in found)

    def renamed(self, changes: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
        """The parameters with every name of a kind in `changes` changed; other text stays."""
        types = self.step.types
        return {name: renamed(types[name], self.params[name], changes) for name in types}


@cache
def _shared(folders: tuple[str, ...]) -> tuple[bytes, ...]:
    """What karat's own steps share, as this process has loaded it."""
    files = [*STEPS.glob("_*.py")]
    files += [file for name in folders for file in STEPS.with_name(name).rglob("*.py")]
    return tuple(file.read_bytes() for file in sorted(files))


def step(function: Callable[..., Any]) -> Step:
    """Makes a function a step. See the first lines of `karat.step` for the five shapes.

    Raises: RecipeError when the signature is none of them.
    """
    return Step(function)


@cache
def builtin_steps() -> tuple[str, ...]:
    """Names of the steps karat ships: one file each, no registry."""
    return tuple(sorted(p.stem for p in STEPS.glob("*.py") if not p.stem.startswith("_")))


def find(name: str, folder: Path | None = None) -> Step:
    """The step called `name`, or `module:function` from the user's own code.

    Modules are looked for beside the recipe (`folder`) as well. Raises: RecipeError.
    """
    module, colon, function = name.partition(":")
    if not colon:
        if name not in builtin_steps():
            raise RecipeError(f"no step '{name}'; {did_you_mean(name, builtin_steps())}")
        return _as_step(getattr(importlib.import_module(f"karat.steps.{name}"), name), name)
    if not all(part.isidentifier() for part in (*module.split("."), function)):
        raise RecipeError(f"no step '{name}'; write module:function, for example my_steps:clean")
    with_function = _own_module(module, folder)
    if not hasattr(with_function, function):
        raise RecipeError(f"step '{name}': '{module}' has no '{function}'")
    return _as_step(getattr(with_function, function), name)


def _own_module(module: str, folder: Path | None) -> ModuleType:
    """A module of the user's. Raises: RecipeError, whatever goes wrong inside it."""
    place = (folder or Path.cwd()).absolute()
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))
    try:
        loaded = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        known = isinstance(error, ImportError | KaratError)
        cause = str(error) if known else f"{type(error).__name__}: {error}"
        raise RecipeError(f"cannot import '{module}' ({cause})") from error
    # Python keeps one module of a name; the other one's steps would run in place of these.
    beside = place.joinpath(*module.split("."))
    files = [f for f in (beside.with_suffix(".py"), beside / "__init__.py") if f.is_file()]
    found = Path(loaded.__file__ or "").resolve()
    if folder and files and found not in [f.resolve() for f in files]:
        raise RecipeError(
            f"'{module}' is already the module {found}, not {files[0]}; rename one of them"
        )
    return loaded


def _as_step(found: object, name: str) -> Step:
    if not isinstance(found, Step):
        raise RecipeError(f"'{name}' is not a step: decorate the function with @karat.step")
    return found
