"""cycle: generate, grade, keep, mix, train, and let the student teach the next round.

Every round trains the same base anew, on the rows of all rounds so far: a student trained on from
its predecessor would carry what that one had lost, and data that replace each other collapse, while
those that accumulate keep the error bounded. What a round did is read from its files, so a cycle
that was killed goes on where it was: runs replay what they paid for, a training its checkpoint.

Source: accumulating with each generation trained from scratch: Gerstgrasser et al. (2404.01413)
§2; iterative weak-to-strong alignment: Nemotron-4 340B (2406.11704) §3.2.4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from karat.api import Watcher, run
from karat.cycling import measures
from karat.cycling.asked import ASKED, FIXED, STUDENT, Asked, Options
from karat.cycling.held_out import FEWEST, too_few
from karat.cycling.lineage import Cycle, Round, told
from karat.cycling.students import Students
from karat.cycling.trees import identity_of
from karat.errors import RunError
from karat.exporters.base import accepted_rows
from karat.models.gguf_files import file_digest
from karat.recipe import Recipe, recipe_hash
from karat.recipefile import parse
from karat.rundir import Lock, Run, write_atomic
from karat.steps.read import read
from karat.training.student_folder import check_free
from karat.training.torch_side import check_installed

Say = Callable[[str], None]
Watch = Callable[[str], Watcher]  # for a title


def cycle(
    recipe: str | Path, options: Options, out: str | Path | None = None,
    overrides: Sequence[str] = (), *, say: Say = lambda text: None, watch: Watch | None = None,
) -> Cycle:  # fmt: skip
    """Runs rounds until one does not help, and returns the lineage.

    OUT/round-1/run, data, student, test, …, OUT/cycle.json. Running again goes on where it was.
    Raises: RecipeError before anything is spent, RunError after.
    """
    asked = Asked(recipe, options, overrides)
    check_installed()
    folder = place_of(asked.recipe.name, out)
    check_free(folder, own=(ASKED,))
    with Lock(Run(folder)):
        asked.hold(folder)
        loop = _Loop(asked, folder.absolute(), say, watch)
        try:
            return loop.run()
        finally:
            loop.students.close()


def place_of(name: str, out: str | Path | None) -> Path:
    """Where the cycle of a recipe is."""
    return Path("runs") / f"{name}-cycle" if out is None else Path(out)


class _Loop:
    """The rounds of one cycle."""

    def __init__(self, asked: Asked, folder: Path, say: Say, watch: Watch | None) -> None:
        self.asked, self.folder, self.say, self.watch = asked, folder, say, watch
        self.seed = asked.recipe.seed
        self.students = Students(asked, folder, say)
        self.graded: dict[int, measures.Graded] = {}
        selected = [key for c in asked.recipe.steps for _, key in c.scores_read()]
        self.found = Cycle(
            name=asked.recipe.name, recipe_hash=recipe_hash(asked.recipe.resolved()),
            base=asked.base, objective=asked.options.objective, judge=asked.options.judge,
            selected_by=list(dict.fromkeys(selected)),
        )  # fmt: skip

    def run(self) -> Cycle:
        prompts = self._held_out()
        self.found.rounds = [self._base(prompts)]
        idle = 0
        for number in range(1, self.asked.options.rounds + 1):
            done = self._round(number, prompts)
            self.found.rounds.append(done)
            if done.helps:
                self.found.best, idle = number, 0
            idle += not done.helps
            why = self._why_stop(done, idle)
            self.found.stopped = why or f"It ran the {number} rounds that were asked for."
            self.found.write(self.folder)
            if why:
                break
        return self.found

    # --- a round -------------------------------------------------------------------------------

    def _round(self, number: int, prompts: Path) -> Round:
        place = self.folder / f"round-{number}"
        made, teacher = self._generate(number)
        joined = self._join(number, place)
        self.students.close()  # a server that holds a GPU's memory leaves no room to train
        student = self.students.train(number, joined)
        test = self._test(number, prompts)
        found = self.graded[number]
        best = self.found.best
        gain = measures.gain(found, self.graded[best], self.seed)
        report, data = made.report, joined.report
        humans = [Run(path).accepted_file for path in self._human_runs()]
        return Round(
            number=number, reward=measures.mean(found, self.seed), gain=gain, against=best,
            helps=gain.low > 0, teacher=teacher, seed=report["seed"],
            recipe_hash=report["recipe_hash"], run=f"round-{number}/run",
            rows=_rows(report, joined), human_share=data["human_share"], student=student,
            answers=measures.variety(found.answers),
            prompts=_variety_of(data), cost_usd=_sum(report["cost_usd"], test["cost_usd"]),
            guard=measures.guard(joined.accepted_file, humans, number, self.seed),
            seconds={
                "generate": report["this_run"]["seconds"],
                "train": self.students.facts(number)["seconds"],
                "test": test["this_run"]["seconds"],
            },
        )  # fmt: skip

    def _why_stop(self, done: Round, idle: int) -> str:
        if done.guard is not None and done.guard.trips:
            return (
                f"It stopped after round {done.number}: rare words are being lost "
                f"({done.guard.says}); a reward may rise all the same. More human rows help"
            )
        if idle >= self.asked.options.patience:
            gain = done.gain
            assert gain is not None
            return (
                f"It stopped after round {done.number}, which was not shown to help: the "
                f"difference of its held-out reward to round {done.against} is "
                f"{told(gain, sign=True)}, and its interval does not lie above zero."
            )
        return ""

    def _generate(self, number: int) -> tuple[Run, str]:
        """The run of a round, and the identity of its teacher."""
        place = self.folder / f"round-{number}"
        place.mkdir(parents=True, exist_ok=True)
        done, slot = Run(place / "run"), self.asked.slot
        if number == 1 or not self.students.answered(done, slot, number - 1):
            teacher = None if number == 1 else self.students.model(number - 1)
            recipe = self.asked.round(number, teacher, place / "recipe.yaml")
            done = self._once(recipe, done.path, "writing")
        if not done.report["rows"]["accepted"]:
            raise RunError(
                f"round {number} accepted no row, so there is nothing to train on: `karat show "
                f"{done.path}` says where rows went"
            )
        return done, identity_of(parse(done.recipe)["models"][slot])

    def _join(self, number: int, place: Path) -> Run:
        runs = [Run(self.folder / f"round-{n}" / "run") for n in range(1, number + 1)]
        recipe = self.asked.join(
            [one.accepted_file for one in runs], runs[0].report["ranking"],
            self.folder / "held-out.jsonl", place / "data.yaml",
        )  # fmt: skip
        return self._once(recipe, place / "data", "joining")

    # --- held-out prompts ----------------------------------------------------------------------

    def _held_out(self) -> Path:
        """The prompts: those given, or the test part of what round 1 made."""
        given = self.asked.options.held_out
        to = self.folder / FIXED
        if to.is_file():
            return to
        if given is not None:
            source = Recipe([read(path=str(given.absolute()), **self.asked.reads)], name="prompts")
            rows = accepted_rows(self._once(source, self.folder / "held-out", "").accepted_file)
        else:
            rows = accepted_rows(self._generate(1)[0].accepted_file)
            rows = (row for row in rows if row.meta.get("split") == "test")
        lines = [
            {"messages": [{"role": m.role, "content": m.content} for m in row.messages]}
            for row in rows
            if row.messages
        ]
        if len(lines) < FEWEST:
            raise too_few(
                len(lines), Run(self.folder / "round-1" / "run") if given is None else None
            )
        # With its system message a prompt may be little like itself without.
        asked = [text for one in lines for text in _texts(one["messages"])]
        _lines(self.folder / "held-out.jsonl", [{"question": text} for text in asked])
        _lines(to, lines)
        return to

    def _base(self, prompts: Path) -> Round:
        test = self._test(0, prompts)
        found = self.graded[0]
        if not found.scores:
            raise RunError(
                f"'{self.asked.options.judge}' scored no answer of the base: `karat show "
                f"{self.folder / 'round-0' / 'test'}` says why"
            )
        self.found.held_out_prompts = len(prompts.read_bytes().splitlines())
        self.found.held_out_sha = file_digest(prompts)[:16]
        return Round(
            number=0, reward=measures.mean(found, self.seed), cost_usd=test["cost_usd"],
            answers=measures.variety(found.answers), seconds={"test": test["this_run"]["seconds"]},
        )  # fmt: skip

    def _test(self, number: int, prompts: Path) -> dict[str, Any]:
        """The report of a student's answers to the held-out prompts."""
        place = self.folder / f"round-{number}"
        place.mkdir(parents=True, exist_ok=True)
        done = Run(place / "test")
        if not self.students.answered(done, STUDENT, number):
            student = {**self.asked.sampling, **self.students.model(number)}
            recipe = self.asked.test(prompts, student, place / "test.yaml")
            done = self._once(recipe, done.path, "testing")
        self.graded[number] = measures.graded(done.accepted_file, self.asked.score)
        report: dict[str, Any] = done.report
        return report

    # --- runs ----------------------------------------------------------------------------------

    def _once(self, recipe: Recipe, place: Path, doing: str) -> Run:
        """A run that is not made again once it is at its end: what was trained on stays as it was.

        Rows whose calls failed are left out for the same reason."""
        done = Run(place)
        there = done.report_file.is_file()
        if there and done.report["recipe_hash"] == recipe_hash(recipe.resolved()):
            return done
        title = self._title(place, doing)
        if title:
            self.say(title)
        return run(recipe, place, watch=self.watch(title) if self.watch else None)

    def _title(self, place: Path, doing: str) -> str:
        """What is under way: "round 1 of 2: writing"; nothing of what takes no time."""
        number = place.parent.name.removeprefix("round-")
        if not doing:
            return ""
        of = f"round {number} of {self.asked.options.rounds}" if number != "0" else "the base"
        return f"{of}: {doing}"

    def _human_runs(self) -> list[Path]:
        """People's rows as rows, one run for each file that is mixed in."""
        mix = self.asked.mix or {}
        named = mix.get("human") or []
        keys = ("prompt", "messages", "system", "response", "scores", "licence")
        reads = {key: mix[key] for key in keys if mix.get(key) is not None}
        places = []
        for number, file in enumerate([named] if isinstance(named, str) else list(named)):
            recipe = Recipe([read(path=file, source="human", **reads)], name="human")
            place = self.folder / "human" / str(number)
            places.append(self._once(recipe, place, "").path)
        return places


def _texts(messages: Sequence[Mapping[str, str]]) -> list[str]:
    """A held-out prompt as one text, and without its system message."""
    kept = [messages, [m for m in messages if m["role"] != "system"]]
    texts = (" \n".join(m["content"] for m in one) for one in kept)
    return list(dict.fromkeys(text for text in texts if text.strip()))


def _rows(report: Mapping[str, Any], joined: Run) -> dict[str, int]:
    human = sum(row.source == "human" for row in accepted_rows(joined.accepted_file))
    return {
        "accepted": report["rows"]["accepted"],
        "set": joined.report["rows"]["accepted"],
        "human": human,
    }


def _variety_of(report: Mapping[str, Any]) -> dict[str, float]:
    found = report["diversity"]["accepted"]
    return {name: float(found[name]) for name in measures.VARIETY if name in found}


def _sum(*costs: float | None) -> float | None:
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None


def _lines(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    write_atomic(
        path, b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines)
    )
