"""TRL's configuration of a student's training, and its refusals in words."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from karat.errors import KaratError, RecipeError
from karat.training.student_folder import CHECKPOINTS
from karat.training.student_settings import Objective, Settings, config_class

FEW_STEPS = 10


@contextmanager
def refused() -> Iterator[None]:
    """What a trainer refuses when it is made is a setting of the user's: a logger that is not
    installed is a RuntimeError there. Raises: RecipeError."""
    try:
        yield
    except KaratError:
        raise
    except (
        ValueError,
        TypeError,
        NotImplementedError,
        ImportError,
        OSError,
        RuntimeError,
    ) as error:
        if "out of memory" in str(error).lower():
            raise
        why = str(error).strip().partition("\n")[0] or type(error).__name__
        raise RecipeError(f"the trainer refuses these settings: {why}") from error


def arguments(
    objective: Objective, settings: Settings, device: str, out: Path, rows: int
) -> Any:  # fmt: skip
    """TRL's configuration for so many rows. Raises: RecipeError."""
    on_cpu = device == "cpu"
    wanted = settings.batch_size or 1
    most = min(settings.device_batch or (1 if on_cpu else 8), wanted)
    at_once = next(size for size in range(most, 0, -1) if wanted % size == 0)
    steps = math.ceil(rows / wanted) * (settings.epochs or 1)
    given: dict[str, Any] = {
        "output_dir": str(out / CHECKPOINTS), "num_train_epochs": settings.epochs,
        "learning_rate": settings.learning_rate, "lr_scheduler_type": "cosine",
        # The first step of a warm-up has a rate of 0: of few steps none is given away.
        "warmup_steps": 0.1 if steps >= FEW_STEPS else 0,
        "per_device_train_batch_size": at_once, "per_device_eval_batch_size": at_once,
        "gradient_accumulation_steps": wanted // at_once,
        "max_length": None, "seed": settings.seed, "use_cpu": on_cpu,
        "bf16": device.startswith("cuda"), "gradient_checkpointing": not on_cpu,
        "logging_steps": 1, "logging_nan_inf_filter": False, "save_strategy": "no",
        "save_total_limit": 2, "report_to": "none", "disable_tqdm": True,
    }  # fmt: skip
    if objective == "sft":
        # Left alone TRL drops the mask of rows that are tokens already, and learns the prompts.
        given["completion_only_loss"] = True
    else:
        given["beta"] = settings.beta
    with refused():
        made = config_class(objective)(**{**given, **settings.more})
        made._n_gpu = min(made.n_gpu, 1)  # DataParallel would take a batch for each device
        return made
