"""Runs a cycle again and again, each time killed after so many seconds, and at last to its end.

Children are forked once everything is imported, so that a kill costs no import of torch.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import peft  # noqa: F401
import torch  # noqa: F401
import transformers  # noqa: F401
import trl  # noqa: F401

from karat.cycling.loop import cycle
from karat.cycling.options import options_of


def main(recipe: str, out: str, options: dict[str, Any], delays: list[float]) -> None:
    for delay in [*delays, None]:
        child = os.fork()
        if child == 0:
            paths = {k: Path(options[k]) for k in ("human", "held_out")}
            cycle(recipe, options_of({**options, **paths}), out)
            os._exit(0)
        if delay is not None:
            time.sleep(delay)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(*(json.loads(text) for text in sys.argv[1:]))
