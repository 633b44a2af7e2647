"""One row's way through the graders of a route, and the calibrations that say who decides."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import msgspec
import numpy as np

from karat.context import Context
from karat.errors import ProviderError, RecipeError, RowError
from karat.models.call import PASSING
from karat.row import Row
from karat.scoring.calibration import Calibration
from karat.scoring.standing import standing
from karat.signature import verifier_names
from karat.steps.verify import verdicts_of
from karat.verifiers.base import find

VALUE = "route.value"
MAIN = ("reward", "wins", "score")  # what a reward's one figure is called, the first it has


class Trusted(msgspec.Struct):
    """One grader's line of a calibration file. `score` is the attribute that was calibrated."""

    identity: str
    score: str
    calibration: Calibration


class Calibrations(msgspec.Struct):
    """A calibration file, as `karat reward calibrate` writes it."""

    graders: dict[str, Trusted]
    target: float
    risk: float
    pairs: int
    data: list[str] = []


def read_calibrations(path: Path) -> dict[str, Trusted]:
    """By name of the grader. Raises: RecipeError."""
    stat = path.stat()
    return _read(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=16)
def _read(path: Path, size: int, changed: int) -> dict[str, Trusted]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Calibrations).graders
    except (msgspec.DecodeError, OSError) as error:
        raise RecipeError(
            f"{path} is no calibration ({error}); make one with `karat reward calibrate`"
        ) from None


class Route:
    """Asks one grader after another about one row, until one decides."""

    def __init__(self, row: Row, ctx: Context, known: dict[str, Trusted]) -> None:
        self.row, self.ctx, self.known = row, ctx, known
        found = [at for at, one in enumerate(row.responses) if one.kept is not False]
        self.left = found  # places of the responses that are still in
        self.by, self.last, self.confidence = "", "", 0.0
        self.silent = ""  # the last reward that had no score for one of them

    async def through(self, route: Sequence[str]) -> None:
        """Writes `route.value` into the responses and who decided into the row's meta."""
        for response in self.row.responses:
            response.scores.pop(VALUE, None)
        self.row.meta.pop("review", None)
        rewards = [name for name in route if name not in verifier_names()]
        for name in route:
            if self.by or not self.left:
                break
            if name in verifier_names():
                await self._verify(name)
            else:
                await self._ask(name, last=name == rewards[-1])
        if not self.by:
            self._leave()
        self.row.meta["graded"] = {"by": self.by, "confidence": round(self.confidence, 4)}
        self.ctx.count(f"decided by {self.by}")

    async def _verify(self, name: str) -> None:
        """What fails is out; what a verifier that knows the answer passes is settled."""
        responses = [self.row.responses[place] for place in self.left]
        verdicts = await verdicts_of(self.row, self.ctx, {name: {}}, responses)
        passed, failed = list[int](), list[int]()
        for place, response, found in zip(self.left, responses, verdicts, strict=True):
            verdict = found.get(name)
            if verdict is None or verdict.passed is None:
                continue
            response.scores[f"verifier.{name}"] = float(verdict.passed)
            if verdict.passed:
                passed.append(place)
            else:
                response.scores[VALUE] = 0.0
                failed.append(place)
        self.left = [place for place in self.left if place not in failed]
        if not self.left:
            self._decide(name, 1.0)
        elif getattr(find(name), "DECIDES", False) and passed == self.left:
            for place in passed:
                self.row.responses[place].scores[VALUE] = 1.0
            self._decide(name, 1.0)

    async def _ask(self, name: str, *, last: bool) -> None:
        """A reward decides where it is sure, and the last one whatever is left."""
        texts = [self.row.responses[place].content for place in self.left]
        self.ctx.count(f"asked {name}")
        try:
            found = await self.ctx.score(name, self.row.messages, texts, self.row.meta)
        except (RowError, ProviderError) as error:
            # As a calibration has it: what a grader has no score for goes on to the next. What may
            # pass waits for another run, which is cheaper than a dearer grader.
            said = error if isinstance(error, ProviderError) else error.__cause__
            if last or (isinstance(said, ProviderError) and said.kind in PASSING):
                raise
            self.ctx.count(f"no score from {name}")
            self.silent = name
            return
        for place, scores in zip(self.left, found, strict=True):
            self.row.responses[place].scores.update(scores)
        trusted = self.known.get(name)
        key = f"{name}.{trusted.score}" if trusted else self._main(name, found)
        values = np.array([scores.get(key, np.nan) for scores in found])
        if not key or np.isnan(values).any():
            self.silent = name
            return  # nobody has rated all of them
        seen = standing(values, trusted.calibration if trusted else None)
        for place, value in zip(self.left, seen.value_N.tolist(), strict=True):
            self.row.responses[place].scores[VALUE] = value
        self.last, self.confidence = name, seen.confidence
        if trusted is None:
            sure = last or self.ctx.by_people(name)
        else:
            least = trusted.calibration.threshold
            sure = least is not None and seen.confidence >= least
        if sure or len(self.left) == 1:
            self._decide(name, seen.confidence)

    def _main(self, name: str, found: Sequence[dict[str, float]]) -> str:
        """The key of a reward's one figure: the first of MAIN it has, else its first attribute."""
        keys = list(dict.fromkeys(key for scores in found for key in scores))
        return next((f"{name}.{a}" for a in MAIN if f"{name}.{a}" in keys), keys[0] if keys else "")

    def _decide(self, name: str, confidence: float) -> None:
        self.by, self.confidence = name, confidence

    def _leave(self) -> None:
        """Nobody was sure: the last grader's order stands, for want of a better one."""
        self.by = "nobody"
        if not self.left:
            self.row.meta["review"] = "no response to grade"
        elif self.last:
            sure = f"{self.confidence:.2f} sure of the first response"
            self.row.meta["review"] = f"{self.last} was {sure}"
        elif self.silent:
            self.row.meta["review"] = f"{self.silent} has no score for some of the responses"
        else:
            self.row.meta["review"] = "no verifier could decide"
