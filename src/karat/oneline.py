"""karat.grade: what a reward says of some responses, in one line.

It goes through the very desk a run uses, so a score here is the score a run would give. A reward of
this process costs nothing, and nothing is kept. One that asks models or servers is paid for: what
it answers is written into a journal before it is used, as a run's is, so that asking again is free
and `karat cost` counts it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, overload

from karat.arguments import suggesting
from karat.driving import drive
from karat.errors import ProviderError, RecipeError, RowError, did_you_mean
from karat.graded import Graded, Grades
from karat.inquiry import Place, bench, find, main_attribute
from karat.journal import Address, PostgresAddress, journal_of, parse_address
from karat.models.endpoint import Asker
from karat.recipe import Recipe
from karat.rewards.base import Candidates
from karat.row import Message, Row
from karat.rundir import JOURNAL, Lock, Run
from karat.together import all_of

REWARD = "embedded/helpsteer2"
FOLDER = Path("runs") / "grades"  # where `karat cost` looks
AT_ONCE = 256  # prompts under way
STEP = "grade"
Turn = Message | Mapping[str, str]
Prompt = str | Sequence[Turn]


@overload
def grade(  # type: ignore[overload-overlap]  # a text is a list of texts, to the types
    prompt: Prompt, responses: str | Sequence[str], reward: str | Mapping[str, Any] = ..., *,
    by: str | None = ..., recipe: Recipe | str | Path | None = ...,
    journal: str | Path | None = ..., budget_usd: float | None = ...,
) -> Grades: ...  # fmt: skip
@overload
def grade(
    prompt: Sequence[str] | Sequence[Sequence[Turn]],
    responses: Sequence[str] | Sequence[Sequence[str]],
    reward: str | Mapping[str, Any] = ..., *, by: str | None = ...,
    recipe: Recipe | str | Path | None = ..., journal: str | Path | None = ...,
    budget_usd: float | None = ...,
) -> Graded: ...  # fmt: skip


@suggesting
def grade(
    prompt: Any, responses: Any, reward: str | Mapping[str, Any] = REWARD, *,
    by: str | None = None, recipe: Recipe | str | Path | None = None,
    journal: str | Path | None = None, budget_usd: float | None = None,
) -> Grades | Graded:  # fmt: skip
    """Scores of `responses` to a `prompt`, with their order: `karat.grade(prompt, texts).best`.

    `prompt` is a text or a list of messages; then `responses` is a list of texts, and Grades come
    back. For many prompts give a list of them and a list of the same length with the responses to
    each; they are graded side by side, and a list of Grades comes back (Graded). There a prompt
    that cannot be graded says why in `error` and the others have their scores.

    `reward` is embedded/helpsteer2, which needs nothing, or any other: `kind/name`, a mapping as a
    recipe has it, or a name of `recipe` (a Recipe, a file, or one that ships). `by` is the
    attribute that orders, by default the reward's main one. A reward that asks models or servers
    records every answer before it is used, in `journal`: a file, a folder, a postgresql:// address,
    or runs/grades; the result names it, `karat cost` counts it, and asking again pays for nothing
    twice. `budget_usd` is the most that journal may have spent in all.

    Raises: RecipeError for what is wrong before anything is asked; RowError where a single prompt
    cannot be graded; RunError where the reward is not to be reached or the budget is spent.
    """
    many, jobs = _jobs(prompt, responses)
    place = _place(reward, recipe, budget_usd)
    attributes = place.reward.attributes
    if by is not None and by not in attributes:
        raise RecipeError(f"by: {place.name} gives no '{by}'; {did_you_mean(by, attributes)}")
    address = _address(journal) if journal is not None or not place.is_free else None
    with tempfile.TemporaryDirectory() as folder, _claimed(address):
        made = drive(_grade(place, jobs, by, address, Path(folder) / JOURNAL, many=many))
    return made if many else made[0]


async def _grade(
    place: Place, jobs: Sequence[Candidates], by: str | None, address: Address | None,
    otherwise: Path, *, many: bool,
) -> Graded:  # fmt: skip
    kept = None if address is None else str(address)
    found: list[Grades] = []
    async with bench(place, address or otherwise) as (desk, client):

        async def one(number: int, job: Candidates) -> Grades:
            made = Grades(
                job.prompt, job.responses, place.name, by or main_attribute(place.reward),
                dict(place.reward.attributes), place.reward.within_prompt, kept,
            )  # fmt: skip
            try:
                scores = await desk.score(place.name, job, Asker(STEP, f"prompt {number}"))
            except (RowError, ProviderError) as error:
                if not many:
                    raise RowError(str(error)) from error
                made.error = str(error)
            else:
                made.scores = [{} if line is None else line for line in scores]
            return made

        for start in range(0, len(jobs), AT_ONCE):
            part = enumerate(jobs[start : start + AT_ONCE], start)
            found += await all_of([one(number, job) for number, job in part])
        calls = sum(e.tally.calls for e in client.endpoints.values())
        made = Graded(found)
        made.cost_usd, made.calls = place.cost_usd([client]), calls
    for grades in found if not many else ():
        grades.cost_usd, grades.calls = made.cost_usd, made.calls
    return made


# --- what is asked -------------------------------------------------------------------------------


def _jobs(prompt: Any, responses: Any) -> tuple[bool, list[Candidates]]:
    """(whether there are many prompts, a job of each). Raises: RecipeError."""
    prompts = None if isinstance(prompt, str) else _listed(prompt, "prompt")
    many = prompts is not None and not all(isinstance(one, Message | Mapping) for one in prompts)
    if prompts == [] and _listed(responses, "responses") == []:
        return True, []
    if not many:
        texts = [responses] if isinstance(responses, str) else _listed(responses, "responses")
        return False, [_job(prompt if prompts is None else prompts, texts, "")]
    assert prompts is not None
    if isinstance(responses, str):
        raise RecipeError(
            f"responses: there are {len(prompts):,} prompts; give a list with the responses to each"
        )
    answers = _listed(responses, "responses")
    if len(answers) != len(prompts):
        raise RecipeError(
            f"responses: there are {len(prompts):,} prompts and {len(answers):,} lists of "
            "responses; give one list for each prompt, in the same order"
        )
    jobs = []
    for number, (one, texts) in enumerate(zip(prompts, answers, strict=True)):
        where = f" [{number}]"
        turns = one if isinstance(one, str) else _listed(one, f"prompt{where}")
        many_texts = [texts] if isinstance(texts, str) else _listed(texts, f"responses{where}")
        jobs.append(_job(turns, many_texts, where))
    return True, jobs


def _listed(value: Any, name: str) -> list[Any]:
    if isinstance(value, Row):
        raise RecipeError(
            f"{name}: a row has both: give row.messages and [r.content for r in row.responses]"
        )
    if hasattr(value, "columns"):  # of pandas, Polars or Arrow: it would count its columns
        raise RecipeError(f'{name}: give a column of the table, such as list(table["prompt"])')
    if isinstance(value, bytes | Mapping | Message) or not isinstance(value, Iterable):
        kinds = "text, a list of messages, or a list of prompts"
        wanted = "a list of texts" if name.startswith("responses") else kinds
        raise RecipeError(f"{name}: give {wanted}, not {type(value).__name__}")
    return list(value)


def _job(prompt: str | list[Any], responses: list[Any], where: str) -> Candidates:
    """Raises: RecipeError for what is no prompt, or no text."""
    if not prompt or not responses:
        empty = "prompt" if not prompt else "responses"
        raise RecipeError(f"{empty}{where}: is empty; there is nothing to grade")
    turns = (
        (Message("user", prompt),) if isinstance(prompt, str)
        else tuple(_turn(one, f"prompt{where}") for one in prompt)
    )  # fmt: skip
    for number, text in enumerate(responses):
        if not isinstance(text, str):
            raise RecipeError(
                f"responses{where}[{number}]: must be text, not {type(text).__name__}"
            )
    return Candidates(turns, tuple(responses))


def _turn(value: Any, where: str) -> Message:
    if isinstance(value, Message):
        return value
    if isinstance(value, Mapping):
        for key in value:
            if key not in ("role", "content"):
                near = did_you_mean(str(key), ("role", "content"))
                raise RecipeError(f"{where}: a message has no '{key}'; {near}")
        if isinstance(value.get("role"), str) and isinstance(value.get("content"), str):
            return Message(value["role"], value["content"])
    raise RecipeError(
        f'{where}: a message is {{"role": "user", "content": "…"}}, not {value!r:.80}'
    )


# --- whom, and where it is written down ----------------------------------------------------------


def _place(
    reward: str | Mapping[str, Any], recipe: Recipe | str | Path | None, budget_usd: float | None
) -> Place:
    """The reward with all it asks. Raises: RecipeError."""
    if budget_usd is not None and not (
        isinstance(budget_usd, int | float) and not isinstance(budget_usd, bool) and budget_usd > 0
    ):
        raise RecipeError(f"budget_usd must be a number above 0, got {budget_usd!r}")
    if isinstance(reward, Mapping):
        written = str(reward.get("reward", "reward"))
        if recipe is not None:
            raise RecipeError("reward: give a mapping, or a name together with recipe; not both")
        return Place(written, {written: dict(reward)}, {}, Path.cwd(), {}, budget_usd)
    if not isinstance(reward, str):
        raise RecipeError(
            f"reward: give kind/name, a mapping, or a name of recipe=…, not {type(reward).__name__}"
        )
    if isinstance(recipe, Recipe):
        if "/" not in reward and reward not in recipe.rewards:
            raise RecipeError(
                f"{recipe.origin} has no reward '{reward}'; {did_you_mean(reward, recipe.rewards)}"
            )
        limit = recipe.budget_usd if budget_usd is None else budget_usd
        return Place(reward, recipe.rewards, recipe.models, recipe.folder, recipe.providers, limit)
    if recipe is not None:
        limits = () if budget_usd is None else (f"budget_usd={budget_usd!r}",)
        return find(reward, recipe, limits)
    if "/" not in reward or budget_usd is None:
        return find(reward)
    return Place(reward, {}, {}, Path.cwd(), {}, budget_usd)


def _address(journal: str | Path | None) -> Address:
    """Where answers are recorded. Raises: RecipeError."""
    if journal is None:
        return FOLDER / JOURNAL
    if isinstance(journal, str) and "://" in journal:
        return parse_address(journal)
    path = Path(journal).expanduser()
    return path if path.suffix and not path.is_dir() else journal_of(path)


def _claimed(address: Address | None) -> AbstractContextManager[Any]:
    """The journal's folder, made and held by this process alone. Raises: RunError."""
    if address is None or isinstance(address, PostgresAddress):
        return nullcontext()
    return Lock(Run(address.parent), "journal=")
