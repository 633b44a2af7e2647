"""What `karat lift` does with its options: the form with training, or the one without."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from karat.errors import RecipeError
from karat.lifting.verdict import others

Say = Callable[[str], None]
_OF_TRAINING = ("epochs", "learning_rate", "batch_size", "max_length", "device")


def carry_out(
    run: Path | None, pool: Path | None, options: Mapping[str, Any], command: str, say: Say,
    tell: Say,
) -> None:  # fmt: skip
    """Raises: RecipeError, RunError."""
    if (run is None) == (pool is None):
        raise RecipeError("name a RUN to train students on, or a --pool of rated answers")
    if pool is not None:
        _pool(pool, options, command, say, tell)
        return
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
    pool: Path, options: Mapping[str, Any], command: str, say: Say, tell: Say
) -> None:  # fmt: skip
    if options["reward"] is None:
        raise RecipeError("say which reward picks: --reward embedded/helpsteer2")
    from karat.lifting.pool import pool_lift, print_lines

    made = pool_lift(
        pool, options["reward"], out=options["out"], contaminated=options["contaminated"],
        command=command, say=say,
    )  # fmt: skip
    for line in print_lines(made):
        tell(line)
