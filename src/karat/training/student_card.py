"""A student's papers: what karat.json holds, and the card made of it."""

from __future__ import annotations

from importlib import resources
from typing import Any

import jinja2
import msgspec

from karat.models.bases import HUB_NAMES
from karat.training.student_folder import ends


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a student's weights come from. `curve`: (step, loss); `held_out`: the loss on a
    part that was only measured, before and after; `reward_spread`: σ of RPO's rewards."""

    objective: str
    base: str
    base_identity: str
    base_licence: str
    data: str
    data_sha: str
    data_licences: tuple[str, ...]
    data_training: str
    rows: int
    left_out: dict[str, int]
    held_out_rows: dict[str, int]
    settings: dict[str, Any]
    reward_spread: float | None
    device: str
    versions: dict[str, str]
    steps: int
    tokens: int
    seconds: float
    curve: tuple[tuple[int, float], ...]
    held_out: dict[str, tuple[float, float]]
    command: str
    merged: bool


def card_of(facts: Provenance) -> str:
    """The card, Markdown with the hub's front matter."""
    text = resources.files("karat.training").joinpath("student_card.md.j2").read_text("utf-8")
    template = jinja2.Environment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True,
        lstrip_blocks=True, autoescape=False,
    ).from_string(text)  # fmt: skip
    return template.render(
        f=facts,
        lora=not facts.settings["full"],
        hub=HUB_NAMES.get(facts.base, facts.base),
        ends=ends(facts.curve),
    )
