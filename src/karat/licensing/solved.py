"""What the licence solver is told and what it answers: sources, findings, the verdict.

Plain structs that go into report.json as they are and come back out of it, so that a card years
later is made of what the run was made of, by the terms as they are known then.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from karat.licensing.release import hub_name
from karat.licensing.terms import Kind
from karat.models.rights import Training

Role = Literal["generator", "grader", "data", "human", "documents", "earlier run"]
Blocking = Literal["forbidden", "unknown", "no_derivatives", "incompatible", "names"]
NOT_ADVICE = "Found from a table of terms; it may be out of date, and it is not legal advice."
UNSTATED = "no licence stated"


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """What data are made of. `training` and `note` are what is known of a model beyond its licence
    (see karat.models.rights), None where the licence alone says. `rows`: accepted rows with
    something of it; None: not counted. `by`: its author, where known."""

    role: Role
    name: str
    licence: str = ""
    training: Training | None = None
    note: str = ""
    document: str = ""
    by: str = ""
    rows: int | None = None


class Cause(msgspec.Struct, frozen=True, order=True):
    """A source that a finding is due to."""

    role: str
    name: str
    rows: int | None = None


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A blocker or an obligation: what it is, what to do, due to what, and where that is written.

    `paste` is a text to put beside the data or the model; `value` the words of a name or notice.
    """

    kind: Kind | Blocking
    licence: str
    text: str
    value: str = ""
    causes: tuple[Cause, ...] = ()
    paste: str = ""
    url: str = ""
    source: str = ""
    checked: str = ""


class Trains(msgspec.Struct, frozen=True, kw_only=True):
    """Which models the data may train. `name_prefix`: what their names begin with."""

    verdict: Training
    text: str
    commercial: bool = True
    name_prefix: tuple[str, ...] = ()


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """What the dataset may be released under: SPDX names of licences for the rows, the one to
    propose first, and terms that go with them (`beside`) since they bind who trains on the data."""

    allowed: tuple[str, ...]
    beside: tuple[str, ...]
    text: str

    def front_matter(self, chosen: str = "") -> dict[str, str]:
        """`license` and what belongs to it, as a card on the Hub has them."""
        spdx = chosen or (self.allowed[0] if self.allowed else "")
        if spdx and not self.beside:
            return {"license": hub_name(spdx)}
        name = "not-cleared"
        if spdx:
            name = f"{spdx.lower()}-with-other-terms"
        return {"license": "other", "license_name": name, "license_link": "LICENCES.md"}


class Solved(msgspec.Struct, frozen=True, kw_only=True):
    """The answer. `rows`: accepted rows it is about, None where it is about a recipe; `notes`:
    what could not be told."""

    blockers: tuple[Finding, ...]
    obligations: tuple[Finding, ...]
    trains: Trains
    release: Release
    sources: tuple[Source, ...]
    rows: int | None = None
    notes: tuple[str, ...] = ()
    about: str = NOT_ADVICE
