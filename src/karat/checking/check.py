"""`karat reward check`: asks a reward about easy answers and looks for what goes wrong in silence.

A reward model that reads two BOS tokens, or whose score goes through a sigmoid, still answers every
question with a number. Such faults show in no log and no error; they show when one asks what the
answer to is known. It goes through the very desk a run uses, so what it sees is what a run would
get, over journals that are thrown away.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from karat.checking import checks
from karat.checking.findings import Finding, Verdict
from karat.checking.trial import Trial
from karat.errors import RunError
from karat.inquiry import Place, bench, find
from karat.models.budget import BudgetError
from karat.rewards.base import Reward, is_remote

OF_MODELS = ("bos", "template", "system")  # of what reads tokens: not of a judge or a panel
ASKED_ABOUT = 100  # scores, roughly


def check_reward(
    name: str, recipe: str | Path | None = None, overrides: Sequence[str] = (),
    say: Callable[[str], None] = lambda text: None,
) -> Verdict:  # fmt: skip
    """All that can be found out about a reward, for about a hundred scores.

    Raises: RecipeError for one that cannot be asked as written.
    """
    place = find(name, recipe, overrides)
    say(f"asking {place.reward.name} for about {ASKED_ABOUT} scores{_prices(place)}")
    return asyncio.run(_check(place, say))


def _prices(place: Place) -> str:
    if place.is_free:
        return ", which cost nothing"
    unknown = place.unpriced
    return f"; no price is known of {', '.join(unknown)}" if unknown else ""


async def _check(place: Place, say: Callable[[str], None]) -> Verdict:
    reward = place.reward
    made = Verdict(reward.name, reward.identity, [], [], {}, {})
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            paths = [Path(folder) / f"{number}.sqlite" for number in (0, 1)]
            benches = [await stack.enter_async_context(bench(place, path)) for path in paths]
            clients = [one.client for one in benches]
            trial = Trial(reward, place.name, (benches[0].desk, benches[1].desk))
            try:
                found = await trial.run(say)
            except RunError as error:
                made.findings = [_unreachable(reward, error)]
                made.unchecked = dict.fromkeys(checks.CHECKS, "nobody answers")
            else:
                made.findings = checks.everything(found, reward)
                made.figures = checks.figures(found, reward)
                made.unchecked = checks.unchecked(found, reward)
                if not (is_remote(reward) or hasattr(reward, "seen")):
                    made.unchecked |= dict.fromkeys(OF_MODELS, "it reads no tokens of its own")
            made.scores = trial.scores
            made.asked = sum(e.tally.calls for c in clients for e in c.endpoints.values())
            made.cost_usd = place.cost_usd(clients)
    wrong = {finding.check for finding in made.findings}
    made.unchecked = {k: v for k, v in made.unchecked.items() if k not in wrong}
    made.passed = [
        name for name in checks.CHECKS if name not in wrong and name not in made.unchecked
    ]
    return made


def _unreachable(reward: Reward, error: RunError) -> Finding:
    change = "mend what it says"
    if is_remote(reward) and not isinstance(error, BudgetError):
        change = "start the server, and check base_url, the model's name and the key"
        if "HTTP 404" in str(error):
            change = reward.unserved
    return Finding("answers", "error", str(error), "nothing can be graded", change)
