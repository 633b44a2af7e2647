"""What a recipe's steps ask of its models, checked before anything is spent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from karat.errors import RecipeError, did_you_mean
from karat.models.chat import ChatRequest, with_defaults
from karat.models.rights import Rights
from karat.models.spec import DEFAULTS, ModelSpec
from karat.models.takes import SAMPLING as OPTIONAL
from karat.models.takes import refusals
from karat.row import Message
from karat.signature import verifier_names
from karat.step import StepCall
from karat.target import Target

Models = Mapping[str, ModelSpec]
STARTS = ("topics", "magpie")  # what a recipe may begin with beside sources and a user's own steps
NEEDED = {
    "topic": "put topics before it",
    "passage": "put documents before it",
}
# A step's parameters of these names are what it asks of its models.
SAMPLING = (*DEFAULTS, "n", "stop", "logprobs")


def check_twins(call: StepCall, models: Models) -> None:
    """Raises: RecipeError for two names of one model: its answers would be paid for twice."""
    seen: dict[tuple[Any, ...], str] = {}
    names = list(dict.fromkeys(call.named("model")))
    for parameter, name in names if len(names) > 1 else []:
        spec = models[name]
        same = (parameter, spec.identity(), *(getattr(spec, field) for field in DEFAULTS))
        if same in seen:
            raise RecipeError(f"{parameter}: '{seen[same]}' and '{name}' are the same model")
        seen[same] = name


def check_takes(call: StepCall, models: Models) -> None:
    """Raises: RecipeError for what a step asks of its models and they do not take."""
    asked = {k: v for k, v in call.params.items() if k in SAMPLING and v is not None}
    if "stop" in asked:
        asked["stop"] = tuple(asked["stop"])
    for parameter, name in call.named("model"):
        suitable = call.step.suitable
        problem = suitable and suitable(models[name].route(), **call.params)
        if problem:
            raise RecipeError(f"{parameter} '{name}': {problem}")
        check_sampling(models[name], asked)


def without_refused_defaults(call: StepCall, models: Models) -> StepCall:
    """The call, its default sampling values left out that one of its models does not take."""
    specs = [spec for _, name in call.named("model") for spec in models[name].route()]
    refused: dict[str, None] = {}
    for field in call.step.fields:
        value = call.params[field.name]
        if field.name not in OPTIONAL or value is None or value != field.default:
            continue
        if not _takes_none(call.step.types[field.name]):  # a user's own step that wants a number
            continue
        if any(_refuses(spec, field.name, value) for spec in specs):
            refused[field.name] = None
    return StepCall(call.step, {**call.params, **refused}) if refused else call


def _takes_none(info: msgspec.inspect.Type) -> bool:
    options = info.types if isinstance(info, msgspec.inspect.UnionType) else ()
    return any(isinstance(option, msgspec.inspect.NoneType) for option in options)


def _refuses(spec: ModelSpec, name: str, value: Any) -> bool:
    asked = with_defaults(ChatRequest((Message("user", ""),)), spec.defaults())
    return len(refusals(spec, msgspec.structs.replace(asked, **{name: value}))) > len(
        refusals(spec, asked)
    )


def check_sampling(model: ModelSpec, asked: Mapping[str, Any]) -> None:
    """Raises: RecipeError for sampling values that a model, or a fallback, does not take."""
    for spec in model.route():
        request = with_defaults(ChatRequest((Message("user", ""),), **asked), spec.defaults())
        said = refusals(spec, request)
        if said:
            raise RecipeError("; ".join(said))


def check_prices(models: Models, *, limited: bool) -> None:
    """Raises: RecipeError where a budget is set and a price is not known."""
    for name, model in models.items():
        _check_price(name, model, limited=limited)


def _check_price(name: str, model: ModelSpec, *, limited: bool) -> None:
    for spec in model.route():
        if (limited or spec.budget_usd is not None) and spec.rates() is None:
            raise RecipeError(
                f"budget_usd needs the price of model '{name}' ({spec.model}); add "
                "price: {input: …, output: …} in dollars per million tokens"
            )


def check_rounds(target: Target | None, steps: Sequence[StepCall]) -> None:
    """Raises: RecipeError where another round would write no row that the first did not, or
    where no step writes what rows are counted by."""
    if target is None:
        return
    own = (call for call in steps if call.step.kind == "fan")
    if not any(list(call.named("model")) or call.step.path != call.step.name for call in own):
        raise RecipeError(
            "exactly needs a step that writes rows, such as prompts, magpie or self_instruct: the "
            "others have only the rows they are given"
        )
    known = meta_fields(steps)
    for field in target.per if known is not None else ():
        if field not in (known or ()):
            raise RecipeError(
                f"exactly: no step writes the meta field '{field}'; "
                f"{did_you_mean(field, known or ())}"
            )


def meta_fields(steps: Sequence[StepCall]) -> list[str] | None:
    """Fields of `meta` that rows have after these steps; None where a step could write any."""
    if any(call.step.path != call.step.name or call.step.kind == "source" for call in steps):
        return None
    return [mark for call in steps for mark in call.step.marks]


def check_needs(call: StepCall, before: Sequence[StepCall]) -> None:
    """Raises: RecipeError for a step that works on rows where none are made, or on a field of
    `meta` that no step before it writes."""
    step = call.step
    own = step.path != step.name
    if not before and not own and step.kind in ("row", "fan") and step.name not in STARTS:
        raise RecipeError(
            "works on rows; put a step before it that makes or reads some, such as topics, read or "
            "documents"
        )
    known = meta_fields(before)
    for field in step.needs if known is not None and before else ():
        if field not in (known or ()):
            raise RecipeError(f"needs rows with a {field}; {NEEDED.get(field, 'none has one')}")


def check_rights(rights: str, steps: Sequence[StepCall], models: Models) -> None:
    """With `rights: refuse`, raises RecipeError for models whose terms do not clearly allow
    training on what they write."""
    if rights not in ("flag", "refuse"):
        raise RecipeError(f"rights must be flag or refuse, not {rights!r}")
    for name in dict.fromkeys(name for name, _, _ in training_rights(steps, models)):
        _check_right(rights, name, models[name])


def _check_right(rights: str, name: str, model: ModelSpec) -> None:
    for spec in model.route() if rights == "refuse" else ():
        found = spec.rights()
        if found.training in ("no", "unknown"):
            raise RecipeError(
                f"model '{name}': {spec.model} ({found.licence}): training on its output: "
                f"{found.training}. {found.note} Use another model, or say rights: flag"
            )


def check_asked(name: str, models: Models, rights: str, *, limited: bool) -> None:
    """Prices and rights of one model, which no parameter names. Raises: RecipeError."""
    _check_price(name, models[name], limited=limited)
    _check_right(rights, name, models[name])


def training_rights(
    steps: Sequence[StepCall], models: Models
) -> Iterator[tuple[str, ModelSpec, Rights]]:
    """(name, model, what its terms say) of every model that a step names, once."""
    for name in dict.fromkeys(name for call in steps for _, name in call.named("model")):
        for spec in models[name].route():
            yield name, spec, spec.rights()


def least_scores(call: StepCall) -> Iterator[tuple[str, str, float]]:
    """(parameter, score, value) of what scores must reach: `minimum` of the one that a step names,
    each of its `floors`, and of what may stand in for them (`also`)."""
    named = list(call.named("score"))
    params = call.params
    alone = [key for parameter, key in named if params[parameter] == key]
    summed = bool(params.get("weights"))  # a sum has a scale of its own
    if len(alone) == 1 and not summed and isinstance(params.get("minimum"), int | float):
        yield "minimum", alone[0], params["minimum"]
    for parameter, key in named:
        floors = params[parameter] if parameter in ("floors", "also") else None
        if isinstance(floors, dict) and isinstance(floors.get(key), int | float):
            yield parameter, key, floors[key]


def score_hint(key: str, graded: Iterable[str], scales: Mapping[str, Any] | None) -> str:
    """What to do about a score that no step before gives. `scales`: what its reward gives, by
    attribute, where the recipe has that reward."""
    found = sorted(graded)
    name, _, attribute = key.rpartition(".")
    check = attribute.removesuffix("_share")
    if name == "verifier" and check in verifier_names():
        return f"put verify: {{checks: [{check}]}} before it"
    if key == "route.value":
        return "a route of graders gives it, such as grade: [refusal, judge]"
    if own := [one for one in found if one.startswith(f"{key}.")]:
        return f"write the reward and what it rates: {', '.join(own)}"
    if scales is not None and attribute in scales:
        return f"put grade: {{reward: {name}}} before it"
    return did_you_mean(key, found) if found else "no earlier step grades anything"
