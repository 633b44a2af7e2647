"""What a check says: each finding with what was seen, why it matters and what to change."""

from __future__ import annotations

from typing import Literal

import msgspec

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


class Finding(msgspec.Struct, frozen=True):
    """Something wrong. `check` names the test that found it."""

    check: str
    severity: Severity
    seen: str
    why: str
    change: str


class Verdict(msgspec.Struct):
    """All that a check of one reward found.

    `passed` are checks that found nothing; `unchecked` those that could not be made, and why;
    `figures` what was measured. `asked` counts requests, `cost_usd` is None where no price is
    known.
    """

    reward: str
    identity: str
    findings: list[Finding]
    passed: list[str]
    unchecked: dict[str, str]
    figures: dict[str, str]
    scores: int = 0
    asked: int = 0
    cost_usd: float | None = None

    @property
    def errors(self) -> int:
        return sum(finding.severity == "error" for finding in self.findings)
