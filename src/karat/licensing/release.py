"""Which licences fit a whole dataset, given what each of its sources allows.

A source leaves a set of licences that its rows may be released under; the dataset may have those
that all of them leave. So another source can only take licences away, and where none is left no
single licence will do.

Source: Creative Commons, FAQ, "If I derive or adapt material offered under a Creative Commons
licence, which CC licence(s) can I use?" (adapter's licence chart); ODbL 1.0, 4.4; CDLA Sharing
1.0, 3.1.
"""

from __future__ import annotations

from collections.abc import Iterable

from karat.licensing.terms import Group

# From the one to propose first: attribution keeps where data came from, which CC0 gives away.
CANDIDATES = (
    "CC-BY-4.0", "CC-BY-SA-4.0", "ODbL-1.0", "CDLA-Sharing-1.0", "CC-BY-NC-4.0",
    "CC-BY-NC-SA-4.0", "CC0-1.0",
)  # fmt: skip
GROUPS: dict[Group, frozenset[str]] = {
    "free": frozenset(CANDIDATES),
    "notice": frozenset(CANDIDATES) - {"CC0-1.0"},  # a notice that must stay cannot be waived
    "cc_share_alike": frozenset(("CC-BY-SA-4.0",)),
    "odbl": frozenset(("ODbL-1.0",)),
    "cdla_sharing": frozenset(("CDLA-Sharing-1.0",)),
    "non_commercial": frozenset(("CC-BY-NC-4.0", "CC-BY-NC-SA-4.0")),
    "nc_share_alike": frozenset(("CC-BY-NC-SA-4.0",)),
    "never": frozenset(),
}
# As the Hub writes them in a card: small letters, and two of its own.
HUB = {"ODbL-1.0": "odbl", "CDLA-Sharing-1.0": "cdla-sharing-1.0"}


def allowed(groups: Iterable[Group]) -> tuple[str, ...]:
    """SPDX names of the licences that all groups leave, the one to propose first."""
    left = GROUPS["free"].intersection(*(GROUPS[group] for group in groups))
    return tuple(name for name in CANDIDATES if name in left)


def hub_name(spdx: str) -> str:
    """A licence as the front matter of a card on the Hub has it."""
    return HUB.get(spdx, spdx.lower())
