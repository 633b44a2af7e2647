"""What a cycle was asked, checked before anything is spent, and the recipes it is made of.

A directory holds one cycle. What was asked is written down in it, with the hashes of the files it
reads, and running again with anything else is an error: a lineage of two different cycles would be
none. More rounds may be asked of it at any time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import msgspec
import orjson

from karat.cycling.held_out import but_held_out, reading
from karat.cycling.rows import ranked, rounds
from karat.cycling.trees import slot_of, without_mix, written
from karat.errors import RecipeError
from karat.models.gguf_files import file_digest
from karat.models.spec import EMBEDDED, parse_model
from karat.recipe import Recipe, recipe_hash
from karat.recipefile import at
from karat.rewards.base import is_asking, is_remote
from karat.row import SEED_RANGE, canonical, digest
from karat.rundir import write_atomic
from karat.step import StepCall, find
from karat.training.student_settings import Settings
from karat.yaml12 import dump

Objective = Literal["sft", "dpo", "rpo"]
ANSWERS = 4  # of each held-out prompt: their mean is what is compared
SHARE, FLOOR = 0.2, 0.1  # of human rows, as `mix` has them
MAIN = ("reward", "wins", "score", "helpfulness")  # the one figure of a reward, by name
TAKEN = ("temperature", "top_p", "max_tokens", "stop", "system")  # of respond, for the test
STUDENT = "student"
ASKED = "asked.json"
FIXED = "held-out-prompts.jsonl"  # by which rounds are compared; from then on no others


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a cycle is run. `serve` is a command with {model} and {port} in it, for students that
    are not embedded; `patience`: rounds in a row that may not help before it stops."""

    rounds: int = 2
    judge: str = ""
    teacher: str | None = None
    base: str | None = None
    objective: Objective = "sft"
    human: Path | None = None
    share: float | None = None
    held_out: Path | None = None
    serve: str | None = None
    patience: int = 1
    settings: Settings = Settings()


class Asked:
    """A recipe and options that go together."""

    def __init__(self, source: str | Path, options: Options, overrides: Sequence[str] = ()) -> None:
        """Raises: RecipeError for what could not run."""
        self.recipe, self.options = Recipe.load(source, overrides), options
        with at(self.recipe.origin):
            self._check_numbers()
            self.slot = slot_of(self.recipe, options.teacher)
            self.tree, self.mix = without_mix(self.recipe)
            self.mix = self._mix()
            self.base, self.embedded = self._base()
            self._check_serving()
            self._check_judge()
            self._check_held_out()

    # --- the recipes ---------------------------------------------------------------------------

    def round(self, number: int, teacher: Mapping[str, Any] | None, file: Path) -> Recipe:
        """The recipe of a round from 1: its seed, and from the second on its teacher."""
        tree = deepcopy(self.tree)
        if teacher is not None:
            tree["models"][self.slot] = {**self.sampling, **teacher}
        if number > 1:
            fresh = digest(str(tree["seed"]), "cycle", str(number), size=8)
            tree["seed"] = int.from_bytes(fresh, "little") % SEED_RANGE
        return written(tree, file)

    def join(self, accepted: Sequence[Path], ranking: str | None, test: Path, file: Path) -> Recipe:
        """The data of all rounds so far, human rows in them, and nothing of the held-out set."""
        steps: list[StepCall] = [
            rounds(files=[str(path.absolute()) for path in accepted]),
            find("dedupe")(on="prompt" if self.writes_prompts else "conversation"),
        ]
        if ranking:
            steps.append(ranked(by=ranking))
        if self.mix is not None:
            steps.append(find("mix")(**self.mix))
        steps.append(find("decontaminate")(against=[str(test.absolute())]))
        shape = "trl-sft" if self.options.objective == "sft" else "trl-preference"
        made = Recipe(steps, name="data", seed=self.recipe.seed, export=["jsonl", shape])
        write_atomic(file, dump(made.resolved()).encode())
        return made

    def test(self, prompts: Path, student: Mapping[str, Any], file: Path) -> Recipe:
        """The student's answers to the held-out prompts, graded. The same seed in every round, so
        that rounds differ by their students alone."""
        said = next((c.params for c in self.recipe.steps if c.step.path == "respond"), {})
        asks = {key: said[key] for key in TAKEN if said.get(key) is not None}
        respond: dict[str, Any] = {"models": [STUDENT], "n": ANSWERS, **asks}
        if respond.get("temperature") == 0:
            respond["n"] = 1
        tree: dict[str, Any] = {
            **{k: self.tree[k] for k in ("seed", "budget_usd", "folder") if k in self.tree},
            "name": "held-out",
            "models": {**self.tree["models"], STUDENT: dict(student)},
            "rewards": self.tree["rewards"],
            "steps": [
                {"read": {"path": str(prompts.absolute())}},
                {"respond": respond},
                {"grade": {"reward": self.options.judge}},
            ],
            "export": ["jsonl"],
        }
        return written(tree, file)

    @property
    def sampling(self) -> dict[str, Any]:
        """The slot's own sampling values, which a student in it keeps."""
        return self.recipe.models[self.slot].defaults()

    @property
    def score(self) -> str:
        """The held-out grader's one figure, as responses have it."""
        attributes = self.recipe.reward(self.options.judge).attributes
        main = next((one for one in MAIN if one in attributes), next(iter(attributes)))
        return f"{self.options.judge}.{main}"

    @property
    def writes_prompts(self) -> bool:
        """Whether each round has prompts of its own; else the same ones are answered again."""
        return any(
            call.step.kind == "fan" and list(call.named("model")) for call in self.recipe.steps
        )

    @property
    def splits(self) -> bool:
        return any(call.step.path == "split" for call in self.recipe.steps)

    # --- what was asked, as a file -------------------------------------------------------------

    def hold(self, folder: Path) -> None:
        """Writes down what was asked. Other held-out prompts may be named until some are `FIXED`.

        Raises: RecipeError where `folder` holds another cycle.
        """
        tree = self._facts()
        file = folder / ASKED
        try:
            before = orjson.loads(file.read_bytes())
        except FileNotFoundError:
            write_atomic(file, orjson.dumps(tree, option=orjson.OPT_INDENT_2))
            return
        except (OSError, ValueError) as error:
            raise RecipeError(f"{file} cannot be read ({error}); name another --out") from None
        same, now = before, tree
        if not (folder / FIXED).is_file():
            same, now = but_held_out(before, tree), but_held_out(tree, before)
        differ = [key for key in now if key in same and same[key] != now[key]]
        if differ:
            raise RecipeError(
                f"{folder} holds another cycle: other {', '.join(differ)}; name another directory "
                "in --out"
            )
        if before != tree:
            write_atomic(file, orjson.dumps(tree, option=orjson.OPT_INDENT_2))

    def _facts(self) -> dict[str, Any]:
        options = msgspec.to_builtins(self.options, enc_hook=str)
        files = [p for call in self.recipe.steps for _, p in call.named("path")]
        paths = [self.recipe.path(p) for p in files]
        paths += [p for p in (self.options.human, self.options.held_out) if p is not None]
        tree = {
            "recipe": recipe_hash(self.recipe.resolved()),
            **{k: v for k, v in options.items() if k not in ("rounds", "patience", "settings")},
            "settings": self.options.settings.that_matter(self.options.objective),
            "files": {str(p): file_digest(p) for p in paths if p.is_file()},
            "models": {  # by their weights: a path may hold others tomorrow
                name: spec.identity()
                for name, spec in self.recipe.models.items()
                if spec.provider == EMBEDDED and not spec.fallbacks
            },
        }
        found: dict[str, Any] = orjson.loads(canonical(tree))
        return found

    # --- checks --------------------------------------------------------------------------------

    def _check_numbers(self) -> None:
        if self.options.rounds < 1 or self.options.patience < 1:
            raise RecipeError("rounds and patience are numbers from 1")
        share = self.options.share
        if share is not None and not 0 < share < 1:
            raise RecipeError(f"share {share:g} must lie between 0 and 1")

    def _mix(self) -> dict[str, Any] | None:
        """How human rows are mixed in: as the recipe's own step says, or the options."""
        human, share = self.options.human, self.options.share
        if human is not None and not human.exists():
            raise RecipeError(f"no file or folder {human}; --human names people's rows")
        if human is not None:
            wanted = share or SHARE
            return {"human": str(human.absolute()), "share": wanted, "floor": min(FLOOR, wanted)}
        if self.mix is not None and share is not None:
            return {**self.mix, "share": share}
        if share is not None:
            raise RecipeError("share says how much of a human file to mix in; name it in --human")
        return self.mix

    def _base(self) -> tuple[str, str]:
        """(what is trained, which embedded model carries its adapters or "")."""
        spec = self.recipe.models[self.slot]
        own = spec.model if spec.provider == EMBEDDED and spec.adapter is None else ""
        base = self.options.base or own
        if not base:
            raise RecipeError(
                f"the teacher '{self.slot}' ({spec.model}) is not what a student is trained from; "
                "say --base embedded/smollm2-135m, a folder, or a name of the hub"
            )
        return base, base if base.startswith(f"{EMBEDDED}/") else own

    def _check_serving(self) -> None:
        serve = self.options.serve
        if serve is None:
            if not self.embedded:
                raise RecipeError(
                    f"nothing serves a student of {self.base}: say --serve 'vllm serve {{model}} "
                    "--port {port}'"
                )
            if self.options.settings.full:
                raise RecipeError(
                    "an embedded model carries an adapter, not whole weights: leave full out, or "
                    "say --serve COMMAND"
                )
        elif missing := [word for word in ("{model}", "{port}") if word not in serve]:
            raise RecipeError(f"--serve has no {missing[0]}, where karat puts the student's")

    def _check_judge(self) -> None:
        judge, recipe = self.options.judge, self.recipe
        selecting = dict.fromkeys(name for c in recipe.steps for _, name in c.named("reward"))
        if not judge:
            raise RecipeError(
                "name a grader that does not select in --judge: what a reward has selected it "
                "finds good, whether or not it is"
            )
        graders = recipe.graders
        with at("judge"):
            graders.check(judge)
        behind = self._graders(judge)
        for name in selecting:
            if behind & self._graders(name):
                raise RecipeError(
                    f"judge '{judge}' is what '{name}' selects by: a grader never finds out what "
                    "it was fooled by; name another one"
                )
        for name in [*selecting, judge]:
            if self.slot in graders.models(name):
                raise RecipeError(
                    f"reward '{name}' asks the model '{self.slot}', which every round replaces; "
                    "give it a model of its own"
                )

    def _graders(self, name: str) -> set[str]:
        """What tells apart whatever judges in the end: weights by their hash, whatever their file
        is called, and models, whatever they are asked. A panel is its members."""
        found: set[str] = set()
        for one in self.recipe.graders.behind(name).values():
            if is_remote(one):
                found |= {one.identity, one.spec.identity()}
            elif not is_asking(one):
                found.add(one.identity.rpartition("@")[2])
            for model in () if is_remote(one) else one.models:
                spec = self.recipe.models.get(model) or parse_model(model)
                found |= {each.identity() for each in spec.route()}
        return found

    def _check_held_out(self) -> None:
        path = self.options.held_out
        if path is None and not self.splits:
            raise RecipeError(
                "name prompts that nothing is trained on in --held-out FILE, or put the step split "
                "into the recipe"
            )
        if path is not None and not path.exists():
            raise RecipeError(f"no file or folder {path}; --held-out names prompts")
        self.reads = {} if path is None else reading(path)
