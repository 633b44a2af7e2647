"""Importing torch and what is built on it, and keeping it quiet.

Imported when a model is trained or read, never before: `karat --help` must not wait for torch. The
libraries have much to say on every run (bars, advice, deprecations) and one of them sends a message
home; a user sees what karat says, and errors in words.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from karat.errors import RecipeError

_CHATTY = ("transformers", "trl", "peft", "accelerate", "datasets", "torch", "huggingface_hub")
_THEIRS = rf"({'|'.join(_CHATTY)})(\.|$)"  # modules whose warnings are for their authors


def imported(name: str) -> Any:
    """A module of karat[train]. Raises: RecipeError where it is not installed."""
    # Read when huggingface_hub is imported: TRL reports every trainer it makes.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # torch's threads wait for each other by spinning: on a busy machine two of them wrote a fifth
    # of what one does. Sleeping, they cost a few hundredths where nobody else works.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        return import_module(name)
    except ImportError as error:
        raise RecipeError(
            f"training and writing need {name} ({error}): pip install 'karat[train]'"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """No bars, no advice, no telemetry of the libraries below; put back afterwards."""
    constants = imported("huggingface_hub.constants")
    told, constants.HF_HUB_DISABLE_TELEMETRY = constants.HF_HUB_DISABLE_TELEMETRY, True
    loggers = [logging.getLogger(name) for name in _CHATTY]
    levels = [logger.level for logger in loggers]
    bars = imported("transformers.utils.logging")
    sets = imported("datasets.utils.tqdm") if find_spec("datasets") is not None else None
    shown, shown_sets = bars.is_progress_bar_enabled(), sets and sets.is_progress_bar_enabled()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    bars.disable_progress_bar()
    if sets is not None:
        sets.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=_THEIRS)
            yield
    finally:
        constants.HF_HUB_DISABLE_TELEMETRY = told
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if shown:
            bars.enable_progress_bar()
        if sets is not None and shown_sets:
            sets.enable_progress_bars()
