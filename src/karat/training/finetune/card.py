"""The card of a fine-tuned reward model, written by the run that measured its figures."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

import jinja2

from karat.training.finetune.record import RewardModel
from karat.training.finetune.settings import labels_of
from karat.training.reward_card import source_of
from karat.training.reward_figures import Figure

_OBJECTIVES = {
    "regression": "squared error on people's ratings from 0 to 4, cells that nobody rated left out "
    "(HelpSteer2, arXiv 2406.08673)",
    "bt": "Bradley-Terry, −log σ(r_chosen − r_rejected)",
    "margin": "Bradley-Terry with margin, −log σ(r_chosen − r_rejected − strength)",
    "scaled": "scaled Bradley-Terry, −strength · log σ(r_chosen − r_rejected) "
    "(HelpSteer2-Preference, arXiv 2410.01257)",
    "regression+scaled": "a regression on people's ratings first; its five outputs were then "
    "folded into one, their weighted sum, and trained on with scaled Bradley-Terry "
    "(HelpSteer2-Preference, arXiv 2410.01257)",
}


def card_of(model: RewardModel) -> str:
    """The card, Markdown with the front matter that Hugging Face reads."""
    text = resources.files("karat.training.finetune").joinpath("card.md.j2").read_text("utf-8")
    template = jinja2.Environment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False
    ).from_string(text)
    name = model.folder.rstrip("/").rpartition("/")[2]
    return template.render(
        m=model, name=name, objective=_OBJECTIVES[model.settings.objective], table=_table,
        labels=labels_of(model.settings.objective), source_of=source_of,
        unit="rated answers" if model.settings.objective == "regression" else "pairs",
    )  # fmt: skip


def _table(figures: Sequence[Figure]) -> str:
    lines = [
        "| pairs | n | this model | 95% interval | longer wins | random |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *map(_row, figures)])


def _row(f: Figure) -> str:
    if not f.n:
        return f"| {f.name} | 0 | no decided pairs | | | |"
    own = f"**{f.value:.3f}** | {f.low:.3f} to {f.high:.3f}"
    return f"| {f.name} | {f.n:,} | {own} | {f.longer:.3f} | .500 |"
