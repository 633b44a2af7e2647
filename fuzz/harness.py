"""Atheris around one target. Each `fuzz_NAME.py` is this with a name, as fuzzing services want it.

karat and the readers it relies on are instrumented as they are imported, so that libFuzzer sees
which branches an input takes; hence no module of karat is imported above.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

WATCHED = ("karat", "yaml", "jinja2")


def main(name: str) -> None:
    """Fuzzes until an input breaks a promise, or as libFuzzer's own options in sys.argv say."""
    sys.path[0] = str(Path(__file__).parents[1])  # the folder of this file holds other modules
    import atheris

    with atheris.instrument_imports(include=list(WATCHED)):
        from fuzz.promises import promise
        from fuzz.targets import SECONDS, TARGETS

    def run(data: bytes) -> None:
        """By this process's own clock: libFuzzer's counts what others do on the machine."""
        began = time.process_time()
        TARGETS[name].run(data)
        promise(time.process_time() - began < SECONDS, f"over {SECONDS} s of CPU time")

    atheris.Setup(sys.argv, run)
    atheris.Fuzz()
