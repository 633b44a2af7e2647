"""Errors that are karat's own: where they happened goes to the log, and no word of what they say.

An error's message may hold what a model wrote or a person asked, so that neither a page nor the log
gets it.
"""

from __future__ import annotations

import logging
import traceback

log = logging.getLogger("karat.web")
SAID = "karat itself failed at this; the server's log says where"


def note(error: BaseException, doing: str) -> str:
    """Writes down where it happened, and while `doing` what; gives what a person is told."""
    where = "".join(traceback.format_tb(error.__traceback__))
    log.error("%s %s\n%s", type(error).__name__, doing, where)
    return SAID
