"""Parts of a run's page that are worked out from its rows, and kept until its report is another."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

from karat.errors import KaratError
from karat.report.run_best_of import curves_of
from karat.report.run_parts import section
from karat.report.run_report import ODD
from karat.report.run_sample import prompt_map
from karat.visible import visible
from karat.web.addresses import row_page, run_page
from karat.web.runs.view import Seen

KEPT = 24  # parts

_made: OrderedDict[tuple[str, str, int], str] = OrderedDict()


def kept(seen: Seen, name: str) -> str:
    """A part by its name, as HTML, made once for a report.

    Two that ask at once may both make it, and make the same.
    """
    run = seen.place.run
    key = (str(run.path), name, run.report_file.stat().st_mtime_ns)
    if key not in _made:
        try:
            _made[key] = PARTS[name](seen)
        except (OSError, KaratError, *ODD) as error:
            said = str(error) if isinstance(error, KaratError) else type(error).__name__
            return str(section("warnings", [f"This cannot be drawn: {visible(said, 400)}"]))
        while len(_made) > KEPT:
            _made.popitem(last=False)
    return _made[key]


def _best(seen: Seen) -> str:
    assert seen.report is not None
    found, slug = curves_of(seen.place.run, seen.report), seen.place.slug
    rows = partial(run_page, slug, "/rows")
    return str(section("best", found, lambda by: rows(sort=by))) if found else ""


def _map(seen: Seen) -> str:
    assert seen.report is not None
    slug = seen.place.slug
    found = prompt_map(seen.place.run.accepted_file, link=lambda row: row_page(slug, row))
    if found is None:
        return ""
    found["of"] = seen.report["rows"]["accepted"]
    return str(section("map", found))


PARTS: dict[str, Callable[[Seen], str]] = {"best": _best, "map": _map}
