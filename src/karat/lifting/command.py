"""What `karat lift` does with its options: the form with training, or the one without."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from karat.errors import RecipeError
from karat.lifting.verdict import others

Say = Callable[[str], None]
_OF_TRAINING = ("epochs", "learning_rate", "batch_size", "max_length", "device")
_OF_POOL = ("reward", "contaminated", "out")
_FLAGS = {"held": "--eval", "human": "--references", "learning_rate": "--lr", "more": "--set"}


def carry_out(
    run: Path | None, pool: Path | None, options: Mapping[str, Any], said: Collection[str],
    command: str, say: Say, tell: Callable[[Any], object],
) -> None:  # fmt: skip
    """`said`: names of the options that were given, and not left as they are.

    Raises: RecipeError, RunError.
    """
    if run is None and pool is None:
        raise RecipeError("name a RUN to train students on, or a --pool of rated answers")
    if run is not None and pool is not None:
        raise RecipeError(
            f"a RUN ({run}) trains students and --pool ({pool}) trains none: name one of them, not "
            "both"
        )
    if pool is not None:
        if idle := [name for name in options if name in said and name not in _OF_POOL]:
            flags = ", ".join(_FLAGS.get(name, f"--{name.replace('_', '-')}") for name in idle)
            raise RecipeError(
                f"--pool trains nothing and has no use for {flags}: leave that out, or name a RUN "
                "in its place"
            )
        _pool(pool, options, command, say, tell)
        return
    if "contaminated" in said:
        raise RecipeError("--contaminated is about a --pool; leave it out")
    if options["student"] is None:
        raise RecipeError("say which model is taught: --student embedded/smollm2-135m")
    from karat.lifting.lift import lift
    from karat.training.student_settings import settings_of

    assert run is not None
    given = {name: options[name] for name in _OF_TRAINING}
    names = ("held", "reward", "human", "by", "seeds", "rows", "prompts", "max_tokens", "out")
    made = lift(
        run, student=options["student"], arms=options["arms"].split(","),
        settings=settings_of(given, options["more"], "sft"), budget_minutes=options["budget"],
        command=command, say=say,
        **{name: options[name] for name in names},
    )  # fmt: skip
    tell(made.verdict)
    for line in (*others(made.measures[0]), *made.cautions):
        tell(f"  {line}")
    for kind, path in made.files.items():
        tell(f"{kind:<5} {path}")


def _pool(
    pool: Path, options: Mapping[str, Any], command: str, say: Say, tell: Callable[[Any], object]
) -> None:  # fmt: skip
    if options["reward"] is None:
        raise RecipeError("say which reward picks: --reward embedded/helpsteer2")
    from karat.lifting.pool import pool_lift
    from karat.lifting.pool_shown import pool_text

    made = pool_lift(
        pool, options["reward"], out=options["out"], contaminated=options["contaminated"],
        command=command, say=say,
    )  # fmt: skip
    tell(pool_text(made))
    if options["out"] is not None:
        tell("")
        for kind in ("json", "md"):
            tell(f"{kind:<5} {options['out'] / f'pool.{kind}'}")
