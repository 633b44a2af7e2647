"""What a run would do: rows, calls, tokens, dollars and time, before anything is spent.

Each step says how many calls it makes for how many rows. How long an answer is, and how long it
takes, comes from what the journal measured, else from stated assumptions; the answer says which.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from karat.display import shown
from karat.errors import RecipeError
from karat.forecast import CallForecast, Forecast
from karat.journal import Address, look_up
from karat.models.chat import Usage
from karat.models.prices import Rates
from karat.models.spec import ModelSpec, load_wire
from karat.recipe import Recipe
from karat.stage import cut, read_meta, scopes, sealed

ASSUMED_PROMPT_TOKENS = 120
ASSUMED_COMPLETION_TOKENS = 300
ASSUMED_SCORE_S = 0.2  # of one request for scores
WRITTEN, SCORED = "written", "scored"
# The sort of a record, and which records a plan counts.
_SORT = f"CASE kind WHEN 'score' THEN '{SCORED}' ELSE '{WRITTEN}' END"
_COUNTED = "kind IN ('chat', 'complete', 'score')"
Asked = tuple[str, str, str]  # step, model, WRITTEN or SCORED


class StepPlan(msgspec.Struct):
    """One line of a plan: what is still to buy; time assumes the model's concurrency."""

    label: str
    rows_in: int | None
    rows_out: int | None
    model: str = ""
    calls: int = 0  # still to make
    samples: int = 0  # in all
    recorded: int = 0  # of them the journal already holds
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = 0.0  # None: unknown; without a model: the step cannot say
    seconds: float = 0.0
    measured: bool = False
    rounds: int = 1  # that this line is for; see karat.rounds


class Plan(list[StepPlan]):
    """What a run would do: a list of StepPlan, one for each step and model it asks."""

    @property
    def cost_usd(self) -> float | None:
        """Dollars still to pay; None where a price, or what a step asks, is not known."""
        costs = [line.cost_usd for line in self]
        return None if None in costs else sum(cost or 0.0 for cost in costs)

    @property
    def calls(self) -> int:
        """Calls still to make, as far as steps can say."""
        return sum(line.calls for line in self)

    @property
    def seconds(self) -> float:
        """How long they take, with every model at its own concurrency, one after the other."""
        return sum(line.seconds for line in self)

    def __repr__(self) -> str:
        steps = len({line.label for line in self})
        cost = "cost unknown" if self.cost_usd is None else shown.money(self.cost_usd)
        calls = shown.count(self.calls, "call")
        return f"<plan: {shown.count(steps, 'step')}, {calls}, {cost}, about {self.seconds:,.0f} s>"

    def _repr_html_(self) -> str:
        head = ["step", "rows in", "out", "model", "held", "calls left", "tokens in", "out", "cost",
                "seconds"]  # fmt: skip
        rows = [_shown(line) for line in self]
        measured = all(line.measured for line in self if line.model)
        said = (
            "lengths and times were measured on the answers in the journal" if measured
            else "lengths and times are assumed where nothing was measured: probe=5 measures them"
        )  # fmt: skip
        parts = [
            shown.paragraph(shown.bold(repr(self)[1:-1])),
            shown.table(head, rows, "-nn-nnnnnn"),
        ]
        if self.calls:
            parts.append(shown.paragraph(shown.small(said)))
        return shown.fragment(*parts)


def _shown(line: StepPlan) -> list[object]:
    """A line of a plan as cells."""
    ends = ["?" if rows is None else f"{rows:,}" for rows in (line.rows_in, line.rows_out)]
    if not line.model:
        return [line.label, *ends, *[""] * 5, "" if line.cost_usd is not None else "unknown", ""]
    return [
        line.label, *ends, line.model, f"{line.recorded:,}", f"{line.calls:,}",
        f"{line.prompt_tokens:,}", f"{line.completion_tokens:,}", shown.money(line.cost_usd),
        f"{line.seconds:,.0f}",
    ]  # fmt: skip


class _Measured(msgspec.Struct):
    prompt_tokens: float
    completion_tokens: float
    latency_s: float


def plan(recipe: Recipe, journal: Address, stages: Path) -> Plan:
    """One line per step and model; rows are None after a step that cannot say.

    Nor can a step of the user's own say what it asks of the models it names, unless it has a
    forecast: its line has no model, and no cost rather than none to pay.
    """
    fan = _fan_out(recipe, stages)
    lines = _lines(recipe, journal, fan, 1)
    made = lines[-1].rows_out
    target = recipe.exactly
    if target is None or not made or target.per or made >= target.rows:
        return Plan(lines)
    # At the least: as if every row were accepted.
    return Plan(_lines(recipe, journal, {}, -(-target.rows // made)))


def check_reachable(recipe: Recipe) -> None:
    """Raises: RecipeError where the rounds that `exactly` allows cannot make so many rows."""
    target = recipe.exactly
    if target is None or target.rounds is None:
        return
    made = _lines(recipe, Path(), {}, 1)[-1].rows_out
    if made is not None and made * target.rounds < target.rows:
        raise RecipeError(
            f"{recipe.origin}: exactly {target.rows:,} cannot be reached: {target.rounds} rounds "
            f"of at most {made:,} rows; raise rounds, or what a round makes (topics, per_topic, n)"
        )


def _lines(recipe: Recipe, journal: Address, fan: dict[str, int], rounds: int) -> list[StepPlan]:
    """The lines of so many rounds together."""
    measured = _measure(journal)
    recorded = _recorded(recipe, journal)
    lines: list[StepPlan] = []
    rows: int | None = rounds
    responses = 0  # of a row, as far as steps said
    for label, call in zip(recipe.labels, recipe.steps, strict=True):
        rows_in = rows
        forecast = None
        if call.step.forecast is not None and rows is not None:
            params = call.params
            if call.step.kind == "source":
                params = {**params, "recipe": recipe}
            forecast = call.step.forecast(rows, **params)
            if call.step.kind == "source" and forecast is not None:
                forecast.rows *= rounds
        said = forecast is not None or not any(call.named("model"))
        if forecast is None:
            forecast = Forecast(rows if rows is not None else 0)
            known = rows is not None and call.step.kind not in ("source", "fan")
            rows = rows if known else None
        else:
            rows = forecast.rows
        if label in fan and rows_in is not None:
            rows = fan[label]
        responses += forecast.responses
        asked = [one for c in forecast.calls for one in _asked(recipe, c, max(1, responses))]
        made = [_line(spec, label, c, measured, recorded) for spec, c in asked] or [
            StepPlan(label, None, None, cost_usd=0.0 if said or label in fan else None)
        ]
        for line in made:
            line.rows_in, line.rows_out, line.rounds = rows_in, rows, rounds
        lines += made
    return lines


def _asked(
    recipe: Recipe, call: CallForecast, responses: int
) -> Iterator[tuple[ModelSpec, CallForecast]]:
    """A forecast's calls by the model they go to: a reward's go to what it asks."""
    if call.model in recipe.models and not call.reward:
        yield recipe.models[call.model], call
        return
    for spec, of_row in recipe.graders.calls(call.model, recipe.models, responses):
        yield spec, msgspec.structs.replace(of_row, calls=call.calls * of_row.calls)


def _line(
    spec: ModelSpec,
    label: str,
    call: CallForecast,
    measured: dict[Asked, _Measured],
    recorded: dict[Asked, int],
) -> StepPlan:
    wire = load_wire(spec.format)
    kind = WRITTEN if call.writes else SCORED
    known = measured.get((label, spec.model, kind))
    limit = call.max_tokens or spec.max_tokens
    tokens_out = min(ASSUMED_COMPLETION_TOKENS, limit or ASSUMED_COMPLETION_TOKENS)
    tokens_in = call.own_words + call.shown * ASSUMED_COMPLETION_TOKENS
    if call.writes:
        tokens_in += ASSUMED_PROMPT_TOKENS
        guess = _Measured(tokens_in, tokens_out, tokens_out / wire.TOKENS_PER_S)
    else:  # each response is read with its prompt, and a number comes back
        tokens_in += call.n * ASSUMED_PROMPT_TOKENS
        guess = _Measured(tokens_in, 0, ASSUMED_SCORE_S)
    per = known or guess
    samples = call.calls * call.n
    held = min(samples, recorded.get((label, spec.model, kind), 0))
    if held:  # what two lines ask one model is held once
        recorded[label, spec.model, kind] -= held
    left = samples - held
    prompt_tokens = round(call.calls * per.prompt_tokens * left / samples) if samples else 0
    completion_tokens = round(left * per.completion_tokens)
    width = spec.width(call.n)
    return StepPlan(
        label, None, None, spec.model, -(-left // call.n), samples, held,
        prompt_tokens, completion_tokens,
        _cost(spec.planned_rates(), left, prompt_tokens, completion_tokens),
        left / call.n * per.latency_s / min(width, max(1, call.calls)),
        known is not None,
    )  # fmt: skip


def _cost(rates: Rates | None, left: int, tokens_in: int, tokens_out: int) -> float | None:
    """Dollars still to pay: nothing where nothing is left, whatever the price."""
    if left == 0:
        return 0.0
    if rates is None:
        return None
    return rates.cost_nano(Usage(tokens_in, output=tokens_out), time.time()) / 1e9


def spent_usd(journal: Address) -> float:
    """Dollars already paid in this run's directory, as far as prices were known."""
    found = look_up(journal, "SELECT sum(cost_nano) FROM minutes")
    return (found[0][0] or 0) / 1e9 if found else 0.0


def _measure(journal: Address) -> dict[Asked, _Measured]:
    """Averages of what the journal holds."""
    found = look_up(
        journal,
        f"SELECT step, model, {_SORT}, sum(prompt_tokens), sum(completion_tokens), "
        "sum(latency_ms) / 1000 / sum(attempts), sum(attempts), sum(answers) FROM minutes "
        f"WHERE {_COUNTED} AND error = '' AND attempts > 0 GROUP BY 1, 2, 3",
    )
    return {
        (step, model, kind): _Measured(tokens_in / calls, tokens_out / samples, latency or 0.0)
        for step, model, kind, tokens_in, tokens_out, latency, calls, samples in found
    }


def _recorded(recipe: Recipe, journal: Address) -> dict[Asked, int]:
    """Answers that were bought under this seed and these parameters."""
    wanted = scopes(recipe)
    found = look_up(
        journal,
        f"SELECT step, model, {_SORT}, scope, count(*) FROM calls WHERE {_COUNTED} "
        "GROUP BY 1, 2, 3, 4",
    )
    return {
        (step, model, kind): count
        for step, model, kind, scope, count in found
        if wanted.get(step) == scope
    }


def _fan_out(recipe: Recipe, stages: Path) -> dict[str, int]:
    """Rows that came out of steps whose stage is sealed: no forecast is better than that."""
    known: dict[str, int] = {}
    for stage in cut(recipe):
        path = stages / stage.file_name
        if not sealed(path, stage.address):
            break
        known.update({s["label"]: s["rows_out"] for s in read_meta(path)["stats"]})
    return known
