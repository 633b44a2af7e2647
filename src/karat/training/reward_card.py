"""The card of a reward head, and the table its training command prints.

Written by the command that measured the figures, so that a card can never describe another head. It
says first what the head is not good for: a reward that is right about six pairs in ten must not be
mistaken for a judge.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import jinja2

from karat.rewards.head_model import Head
from karat.rewards.hidden import Reading
from karat.training.reward_figures import Figure, Figures
from karat.training.reward_search import Candidate, Search
from karat.training.reward_settings import Settings
from karat.training.reward_trust import COVERAGES, Calibrated, Length, Sureness

_SOURCES = {
    "helpsteer2": ("NVIDIA HelpSteer2 human ratings (arXiv 2406.08673)", "CC-BY-4.0"),
    "helpsteer1": ("NVIDIA HelpSteer human ratings (arXiv 2311.09528)", "CC-BY-4.0"),
    "hh-": ("Anthropic hh-rlhf human preferences (arXiv 2204.05862)", "MIT"),
    "open-assistant": ("OpenAssistant, ranked replies (arXiv 2304.07327)", "Apache-2.0"),
    "rewardbench": ("RewardBench pairs, a sample (arXiv 2403.13787)", "ODC-BY"),
    "llmbar": ("LLMBar adversarial pairs (arXiv 2310.07641)", "MIT"),
    "arena": ("Chatbot Arena human votes (arXiv 2403.04132)", "Apache-2.0"),
}
_HOW = {
    "regression": "regression on ratings; preferences join as pseudo-ratings",
    "regression+scaled": "regression on ratings, then scaled Bradley-Terry on pairs added to the"
    " reward",
    "bt": "Bradley-Terry on pairs",
    "margin": "Bradley-Terry with margin on pairs",
    "scaled": "scaled Bradley-Terry on pairs",
}


@dataclass(frozen=True, slots=True)
class Measured:
    """What cross-validation found, with the settings it found it for."""

    settings: Settings
    figures: Figures
    calibrated: tuple[Calibrated, ...]
    lengths: tuple[Length, ...]
    sureness: tuple[Sureness, ...]
    search: Search | None


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a training run measured: held-out figures, figures on unseen sets, size and speed."""

    name: str
    measured: Measured
    tests: tuple[Figure, ...]
    data: dict[str, int]
    test_data: dict[str, int]
    folds: int
    repeats: int
    prompts: int
    head: Head
    head_bytes: int
    responses_per_cpu_s: float
    wall_s: float
    command: str
    date: datetime.date

    @property
    def figures(self) -> Figures:
        """The held-out figures."""
        return self.measured.figures

    @property
    def settings(self) -> Settings:
        """How the head was fitted."""
        return self.measured.settings

    def summary(self) -> str:
        """Plain text for a terminal: every figure with its interval and its baseline."""
        lines = [f"{self.settings.representation}, {self.settings.objective}"]
        if self.measured.search:
            lines = [
                _candidate_text(c, self.measured.search) for c in self.measured.search.candidates
            ]
            lines.append(f"chosen: {self.measured.search.chosen.name}")
        lines += [_plain(f) for f in (*self.figures.pairs, *self.tests)]
        for source in self.figures.sources:
            lines.append(source.name)
            lines += [_plain(f) for f in source.pairs]
            lines.append("  r " + " ".join(f"{f.name} {f.value:.2f}" for f in source.attributes))
        lines += [
            f"{f.name:32} r {f.value:.3f} [{f.low:.3f}, {f.high:.3f}]"
            for f in self.figures.attributes
        ]
        lines += [
            f"{s.name:32} AUROC of its errors {s.auroc.value:.3f}"
            f" [{s.auroc.low:.3f}, {s.auroc.high:.3f}]"
            for s in self.measured.sureness
        ]
        lines += [f"{f.name:32} put below {f.value:.1%}" for f in self.figures.spoiled]
        size, speed = self.head_bytes / 1024, _speed(self.responses_per_cpu_s)
        lines.append(f"{size:.0f} KiB, {speed} responses per CPU second")
        lines.append(f"made in {self.wall_s:.0f} seconds")
        return "\n".join(lines)


def source_of(name: str) -> tuple[str, str]:
    """What is known of a file by its `folder/name`: description and licence."""
    found = [value for key, value in _SOURCES.items() if key in name.lower()]
    return found[0] if found else ("the user's own", "not stated")


def licence_of(names: Sequence[str]) -> str:
    """The licences of these files as one expression, in the order of the files."""
    return " AND ".join(dict.fromkeys(source_of(name)[1] for name in names))


def card_of(result: TrainResult) -> str:
    """The card, Markdown."""
    text = resources.files("karat.training").joinpath("reward_card.md.j2").read_text("utf-8")
    template = jinja2.Environment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False
    ).from_string(text)
    return template.render(
        r=result,
        m=result.measured,
        s=result.settings,
        table=_table,
        source_of=source_of,
        how=_HOW[result.settings.objective],
        columns=_columns(result.head),
        coverages=COVERAGES[1:],
        kib=f"{result.head_bytes / 1024:.0f}",
        speed=_speed(result.responses_per_cpu_s),
    )


def _speed(per_cpu_s: float) -> str:
    return f"{round(per_cpu_s, -1):,.0f}" if per_cpu_s >= 10 else f"{per_cpu_s:.1f}"


def _columns(head: Head) -> str:
    """What it reads, in words."""
    parts = [
        f"{len(rows_KD) - 1} principal components of {'their ' if part == 'product' else 'the '}"
        f"{part}{'' if part == 'product' else chr(8217) + 's static embedding'}"
        for part, rows_KD in head.columns.axes.items()
    ]
    surface = len(head.columns.names) - sum(len(a) - 1 for a in head.columns.axes.values())
    surface -= bool(parts)
    said = [f"{surface} surface features of prompt and response"] if surface else []
    if parts:
        said.append(", ".join([*parts, "and the cosine of prompt and response"]))
    if head.hidden is not None:
        said.append(_states(head.hidden.reading))
    return ", ".join(said)


def _states(r: Reading) -> str:
    """What is read of a frozen model, in words."""
    layers = ", ".join(map(str, r.layers[:-1])) + f" and {r.layers[-1]}"
    return (
        f"and the outputs of layers {layers if len(r.layers) > 1 else r.layers[0]} of `{r.model}`, "
        f"{r.size} numbers each, at the last two tokens and on average over the answer (of the "
        f"prompt its last {r.prompt} tokens are read, of the answer the first {r.first} and the "
        f"last {r.last})"
    )


def _candidate_text(candidate: Candidate, search: Search) -> str:
    first = candidate.figures[0]
    gain = (
        "" if candidate == search.chosen else "  {:+.3f} [{:+.3f}, {:+.3f}]".format(*candidate.gain)
    )
    return f"{candidate.name:34} {first.value:.3f} [{first.low:.3f}, {first.high:.3f}]{gain}"


def _table(figures: Sequence[Figure]) -> str:
    rows = [
        "| pairs | n | this head | 95% interval | longer wins | random | gain over longer |",
        "|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*rows, *map(_row, figures)])


def _row(f: Figure) -> str:
    if not f.n:
        return f"| {f.name} | 0 | no decided pairs in this file | | | | |"
    gain = f"{f.value - f.longer:+.3f} ({f.gain_low:+.3f} to {f.gain_high:+.3f})"
    own = f"**{f.value:.3f}** | {f.low:.3f} to {f.high:.3f}"
    return f"| {f.name} | {f.n:,} | {own} | {f.longer:.3f} | .500 | {gain} |"


def _plain(f: Figure) -> str:
    if not f.n:
        return f"{f.name:32} no decided pairs in this file"
    own = f"{f.value:.3f} [{f.low:.3f}, {f.high:.3f}]"
    return f"{f.name:32} {own}  longer {f.longer:.3f}  random .500  n {f.n:,}"
