"""The process that math-verify runs in: a line of JSON in, a line of JSON out.

Run as a script by `_workers.Pool`, which stops it where a job takes too long; so math-verify's own
alarms are off. It imports nothing of karat, for it must start from this file alone.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any


def main() -> None:
    import math_verify

    logging.disable(logging.CRITICAL)  # it warns that its alarms are off
    _say("ready")
    for line in sys.stdin:
        job = json.loads(line)
        try:
            answer = compared(job, math_verify.parse, math_verify.verify)
        except (MemoryError, RecursionError):
            answer = {"passed": None, "found": "", "reason": "too large to compare"}
        _say(json.dumps(answer))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def compared(job: dict[str, Any], parse: Any, verify: Any) -> dict[str, Any]:
    """Whether what was said equals any of the golds; `passed` is None where none can be read."""
    golds = [read for gold in job["golds"] if (read := _read(gold, parse))]
    if not golds:
        return {"passed": None, "found": "", "reason": "the row's answer is not mathematics"}
    said = parse(job["said"], parsing_timeout=None)
    passed = any(
        # With sets beside relations: [1, 2) and 1 ≤ x < 2 are the same answer.
        verify(gold, said, timeout_seconds=None, allow_set_relation_comp=True)
        for gold in golds
    )
    return {"passed": passed, "found": str(said[-1])[:80] if said else "", "reason": ""}


def _read(text: str, parse: Any) -> list[Any]:
    """What math-verify makes of a text, if more than the text itself."""
    found: list[Any] = parse(text, parsing_timeout=None)
    return found if any(not isinstance(one, str) for one in found) else []


if __name__ == "__main__":
    main()
