"""The licence solver: from what data are made of to what is to be done, and what stands in the way.

A source is a model that wrote, a grader, a file or a dataset, with its licence. What each asks is
looked up and put together: blockers (terms that forbid it, terms nobody knows, licences that do not
go together), obligations, which models the data may train, and what the dataset may be released
under. Unknown terms are not a yes. It is not legal advice.

Every source can only add: a union of obligations and blockers, an intersection of licences. So the
order of the sources does not matter, and another one never makes an obligation go away.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import get_args

import msgspec

from karat.licensing.release import CANDIDATES, allowed
from karat.licensing.solved import (
    UNSTATED,
    Blocking,
    Cause,
    Finding,
    Release,
    Role,
    Solved,
    Source,
    Trains,
)
from karat.licensing.terms import SAYS_NOTHING, Duty, Group, Kind, Part, Terms, find_all
from karat.models.rights import Training

PARTS: dict[Role, Part] = {"generator": "output", "grader": "grades"}  # of all others: text
BLOCKERS: tuple[Blocking, ...] = get_args(Blocking)
ORDER: tuple[str, ...] = (*BLOCKERS, *get_args(Kind))  # the most urgent first


class _Claim(msgspec.Struct, frozen=True):
    """What one source asks, before what is alike is put together."""

    kind: Kind | Blocking
    licence: str
    text: str
    value: str
    source: Source
    terms: Terms | None = None


def solve(sources: Iterable[Source], rows: int | None = None, notes: Sequence[str] = ()) -> Solved:
    """What follows from these sources."""
    every = tuple(sorted(set(sources), key=_order))
    claims = [claim for source in every for claim in _claims(source)]
    groups = [(source, group) for source in every for group in _groups(source)]
    fitting = allowed(group for _, group in groups)
    claims += _conflict(groups, fitting) + _names(claims)
    blockers = _together([claim for claim in claims if claim.kind in BLOCKERS])
    obligations = _together([claim for claim in claims if claim.kind not in BLOCKERS])
    beside = sorted({terms.title for s in every for _, terms in find_all(s.licence)
                     if terms and terms.reaches})  # fmt: skip
    return Solved(
        blockers=blockers, obligations=obligations, trains=_trains(blockers, obligations),
        release=_release(fitting, tuple(beside), blockers), sources=every, rows=rows,
        notes=tuple(notes),
    )  # fmt: skip


def _order(source: Source) -> tuple[str, ...]:
    return (source.role, source.name, source.licence, str(source.training), source.note,
            source.document, source.by, str(source.rows))  # fmt: skip


def _claims(source: Source) -> list[_Claim]:
    part = PARTS.get(source.role, "text")
    claims = []
    for name, terms in find_all(source.licence):
        claims += _of_licence(source, part, name, terms)
    if source.training == "no" and not any(claim.kind == "forbidden" for claim in claims):
        claims.append(_forbidden(source, _title(source), None))
    # That its text may not be changed says nothing of training on it.
    if source.training == "unknown" and not {c.kind for c in claims} & {"forbidden", "unknown"}:
        claims.append(_unknown(source, _title(source), None))
    if source.training == "conditions" and not claims:
        text = source.note or f"Read the terms of {source.name} for what they ask."
        claims.append(_Claim("read_terms", _title(source), text, "", source))
    return claims


def _of_licence(source: Source, part: Part, name: str, terms: Terms | None) -> list[_Claim]:
    """What one licence of a source asks."""
    if terms is None:
        if source.training in ("yes", "conditions"):  # somebody knows the terms, if not the licence
            text = f"Read the licence of {source.name}: {source.note or 'it is not in the table.'}"
            return [_Claim("read_terms", _stated(name), text, "", source)]
        return [_unknown(source, _stated(name), None)]
    if terms.training == "no":
        return [_forbidden(source, terms.title, terms)]
    if terms.training == "unknown":
        return [_unknown(source, terms.title, terms)]
    claims = [_due(source, duty, terms) for duty in terms.duties if part in duty.on]
    if part == "text" and terms.text == "never":
        text = f"{source.name} may not be changed: leave it out, for rows are cut, chosen and mixed"
        claims.append(_Claim("no_derivatives", terms.title, f"{text}.", "", source, terms))
    return claims


def _due(source: Source, duty: Duty, terms: Terms) -> _Claim:
    return _Claim(duty.kind, terms.title, duty.text, duty.value, source, terms)


def _forbidden(source: Source, licence: str, terms: Terms | None) -> _Claim:
    text = source.note or "Its terms forbid training on it; leave it out."
    return _Claim("forbidden", licence, text, "", source, terms)


def _unknown(source: Source, licence: str, terms: Terms | None) -> _Claim:
    if source.role == "generator":
        text = source.note or "Read its licence before training on what it writes."
    elif source.role == "grader":
        text = "Read the licence of the grader, and say it where it is named: `licence: …`."
    elif licence == UNSTATED:
        text = "Say under which licence the rows are: `licence:` in the step (`own` if yours)."
    else:
        text = "The table has no terms for it: read the licence before you train or publish."
    return _Claim("unknown", licence, text, "", source, terms)


def _stated(name: str) -> str:
    return UNSTATED if name.strip().lower() in SAYS_NOTHING else name


def _title(source: Source) -> str:
    return " + ".join(_stated(name) for name, _ in find_all(source.licence))


def _groups(source: Source) -> list[Group]:
    """What a source leaves for the release of the whole."""
    part = PARTS.get(source.role, "text")
    known = [terms for _, terms in find_all(source.licence) if terms is not None]
    if part == "text":  # what may never be changed is told as a blocker of its own
        return [terms.text for terms in known if terms.text != "never"]
    return [terms.output for terms in known]


def _conflict(groups: list[tuple[Source, Group]], fitting: tuple[str, ...]) -> list[_Claim]:
    """The blocker where no licence is left, named by all sources that narrow the choice."""
    if fitting:
        return []
    text = (
        "No single licence fits all rows: leave one of these out, or publish them as datasets of "
        "their own."
    )
    narrow = [source for source, group in groups if group not in ("free", "notice")]
    return [_Claim("incompatible", "several", text, "", source) for source in dict.fromkeys(narrow)]


def _names(claims: list[_Claim]) -> list[_Claim]:
    """The blocker where a name would have to begin with two things."""
    asked = [claim for claim in claims if claim.kind == "name_prefix"]
    if len({claim.value for claim in asked}) < 2:
        return []
    text = "A model's name cannot begin with all that these ask for: leave one of them out."
    return [_Claim("names", "several", text, "", claim.source) for claim in asked]


def _together(claims: list[_Claim]) -> tuple[Finding, ...]:
    """Claims that say the same as one finding with all their causes, most urgent kinds first."""
    alike: dict[tuple[str, str, str, str], list[_Claim]] = {}
    for claim in claims:
        key = (claim.kind, claim.licence, claim.text, claim.value)
        alike.setdefault(key, []).append(claim)
    found = [_finding(group) for group in alike.values()]
    return tuple(sorted(found, key=lambda one: (ORDER.index(one.kind), one.licence, one.text)))


def _finding(group: list[_Claim]) -> Finding:
    """Claims that say the same, as one."""
    first, terms = group[0], group[0].terms
    sources = list(dict.fromkeys(claim.source for claim in group))
    documents = sorted({one.document for one in sources if one.document})
    return Finding(
        kind=first.kind, licence=first.licence, text=first.text, value=first.value,
        causes=tuple(sorted({Cause(one.role, one.name, one.rows) for one in sources}, key=str)),
        paste=_paste(first.kind, first.value, terms, sources),
        url=terms.url if terms else "",
        source=terms.source if terms else "; ".join(documents),
        checked=terms.checked if terms else "",
    )  # fmt: skip


def _paste(kind: str, value: str, terms: Terms | None, sources: Iterable[Source]) -> str:
    """The text to put beside the data or the model."""
    if kind == "attribution" and terms is not None:
        return "\n".join(
            f"Contains material from {one.name} by {one.by or '[author: to be filled in]'}, under "
            f"{terms.title} ({terms.url}); changed: selected, cut, graded and mixed."
            for one in sources
        )
    return value if kind in ("built_with", "notice_file") else ""


def _trains(blockers: Sequence[Finding], obligations: Sequence[Finding]) -> Trains:
    kinds = {one.kind for one in obligations}
    prefixes = tuple(sorted({o.value for o in obligations if o.kind == "name_prefix"}))
    stop = {one.kind for one in blockers} & {"forbidden", "unknown", "names"}
    commercial = "non_commercial" not in kinds
    said = []
    if prefixes:
        said.append(f"whose name begins with '{prefixes[0]}'")
    if not commercial:
        said.append("for purposes that are not commercial")
    if "model_terms" in kinds:
        said.append("released under the terms that are passed on")
    if "no_competing" in kinds:
        said.append("that do not compete with the service that wrote the data")
    if kinds & {"user_limit", "revenue_limit"}:
        said.append("of providers below the limits of users or revenue")
    text = f"models {', '.join(said)}" if said else "any model"
    verdict: Training = "conditions" if said or kinds & {"built_with", "host_terms"} else "yes"
    if stop:
        verdict = "no" if stop - {"unknown"} else "unknown"
        text = "none, until the blockers are gone"
    return Trains(verdict=verdict, text=text, commercial=commercial, name_prefix=prefixes)


def _release(
    fitting: tuple[str, ...], beside: tuple[str, ...], blockers: Sequence[Finding]
) -> Release:
    also = f"; with the terms of: {', '.join(beside)}" if beside else ""
    if any(one.kind in ("unknown", "no_derivatives", "incompatible") for one in blockers):
        text = "not before the blockers are gone"
        return Release(allowed=(), beside=beside, text=text)
    named = "any licence" if len(fitting) == len(CANDIDATES) else " or ".join(fitting)
    return Release(allowed=fitting, beside=beside, text=f"{named}{also}")
