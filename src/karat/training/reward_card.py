"""The card of a reward head, and the table its training command prints.

Written by the command that measured the figures, so that a card can never describe another head. It
says first what the head is not good for: a reward that picks pairs right six times in ten must not be
mistaken for a judge.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from karat.training.reward_figures import Figure, Figures
from karat.training.reward_fit import Settings

_SOURCES = {
    "helpsteer2": ("NVIDIA HelpSteer2 human ratings (arXiv 2406.08673)", "CC-BY-4.0"),
    "helpsteer1": ("NVIDIA HelpSteer human ratings (arXiv 2311.09528)", "CC-BY-4.0"),
    "hh-": ("Anthropic hh-rlhf human preferences (arXiv 2204.05862)", "MIT"),
    "open-assistant": ("OpenAssistant rankings by humans (arXiv 2304.07327)", "Apache-2.0"),
    "rewardbench": ("RewardBench pairs, a sample (arXiv 2403.13787)", "ODC-BY"),
    "llmbar": ("LLMBar adversarial pairs (arXiv 2310.07641)", "MIT"),
    "arena": ("Chatbot Arena human votes (arXiv 2403.04132)", "Apache-2.0"),
}


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a training run measured: held-out figures, figures on unseen sets, size and speed."""

    name: str
    figures: Figures
    tests: tuple[Figure, ...]
    data: dict[str, int]
    test_data: dict[str, int]
    settings: Settings
    folds: int
    repeats: int
    prompts: int
    head_bytes: int
    responses_per_cpu_s: float
    cpu_s: float
    command: str
    date: datetime.date

    def summary(self) -> str:
        """Plain text for a terminal: every figure with its interval and its baseline."""
        lines = [_plain(f) for f in (*self.figures.pairs, *self.tests)]
        lines += [f"{f.name:34} r {f.value:.3f} [{f.low:.3f}, {f.high:.3f}]" for f in self.figures.attributes]
        lines += [f"{f.name:34} below the sound one {f.value:.1%}" for f in self.figures.spoiled]
        lines.append(
            f"{self.head_bytes / 1024:.0f} KiB, {self.responses_per_cpu_s:,.0f} responses per CPU second,"
            f" made in {self.cpu_s:.0f} CPU seconds"
        )
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
    return "\n\n".join(
        [
            f"# Reward head `{result.name}`",
            _what(result),
            "## Not good for\n\n" + _NOT_FOR,
            "## Data and licences\n\n" + _data(result),
            "## Held-out figures\n\n" + _held_out(result),
            "## Sets it never saw\n\n" + _unseen(result),
            "## Spoiled answers\n\n" + _spoiled(result),
            "## Made by\n\n" + _made(result),
        ]
    ) + "\n"


_NOT_FOR = """\
- **Judging facts, mathematics or code.** It reads the surface (length, structure, repetition, endings,
  refusals, overlap with the prompt) and cannot know whether a statement is true or a program runs.
- **Adversarial pairs.** Where a polished answer does not do what was asked, it prefers the polished
  one: below chance on LLMBar's adversarial sets. Verify instructions with code first.
- **Optimising hard against it.** Selecting the best of many samples, or training on its scores,
  rewards longer and more structured answers. Keep n small, watch length, compare with a random arm.
- **Comparing with another reward's scores**, or reporting an absolute level of quality.

It is an offline baseline: enough to throw out broken, empty, looping, refusing or off-topic answers
of a small model without a key or a GPU, and to show a pipeline at work. For data that matters,
grade with a reward model of billions of parameters."""


def _what(result: TrainResult) -> str:
    return (
        f"Five HelpSteer2 attributes (helpfulness, correctness, coherence, complexity, verbosity; 0–4) and"
        f" `reward`, their weighted mean .65h + .8c + .45coh over 1.9 (0–4; HelpSteer2's \"goodness\","
        f" arXiv 2406.08673), from surface features of prompt and response: a ridge regression and"
        f" {result.settings.trees} random trees, averaged. The shape of Nemotron-4-340B-Reward, without its"
        f" 340 billion parameters. Numpy only, {result.head_bytes / 1024:.0f} KiB, about"
        f" {_round(result.responses_per_cpu_s)} responses per CPU second."
    )


def _data(result: TrainResult) -> str:
    lines = ["| file | items | what | licence |", "|---|---|---|---|"]
    for name, count in result.data.items():
        what, licence = source_of(name)
        lines.append(f"| `{name}` | {count:,} | {what} | {licence} |")
    s = result.settings
    lines.append(
        f"\nRated rows weigh 1. Preference pairs weigh {s.pair_weight:g} as pseudo-ratings: the previous"
        f" round's midpoint, moved ±{s.pair_shift[0]:g} in the order the human chose. Each rated row also gave"
        f" {s.spoiled_per_row} copies spoiled on purpose (cut off, looped, shuffled, swapped, echoed …) at weight"
        f" {s.spoiled_weight:g}; **their ratings are karat's judgement, not a human's**."
    )
    return "\n".join(lines)


def _held_out(result: TrainResult) -> str:
    lines = [
        f"{result.folds}-fold cross-validation by prompt, {result.repeats} repeats, {result.prompts:,} prompts;"
        " intervals are 95% bootstraps over prompts. Pairs of rated rows are those that differ in human"
        " helpfulness. The settings were chosen on the same folds among about twenty, so these figures lean to"
        " the bright side; the sets below were not trained on.",
        "",
        *_table(result.figures.pairs),
        "",
        f"It picks the longer of two rated answers {result.figures.picks_longer:.0%} of the time.",
        "",
        "| attribute | Pearson r with the human rating | 95% interval |",
        "|---|---|---|",
    ]
    lines += [f"| {f.name} | {f.value:.2f} | {f.low:.2f} to {f.high:.2f} |" for f in result.figures.attributes]
    return "\n".join(lines)


def _unseen(result: TrainResult) -> str:
    if not result.tests:
        return "None were given."
    lines = [*_table(result.tests), ""]
    lines += [f"- `{name}`: {', '.join(source_of(name))}" for name in result.test_data]
    return "\n".join(lines)


def _spoiled(result: TrainResult) -> str:
    lines = [
        "Share of held-out answers (human helpfulness 3 or 4) scored above a spoiled copy of themselves.",
        "",
        "| spoiled how | in order | 95% interval |",
        "|---|---|---|",
    ]
    lines += [f"| {f.name} | {f.value:.1%} | {f.low:.1%} to {f.high:.1%} |" for f in result.figures.spoiled]
    return "\n".join(lines)


def _made(result: TrainResult) -> str:
    return f"{result.date.isoformat()}, in {result.cpu_s:.0f} CPU seconds, by\n\n```\n{result.command}\n```"


def _table(figures: Sequence[Figure]) -> list[str]:
    rows = [
        "| pairs | n | this head | 95% interval | longer wins | random | gain over longer |",
        "|---|---|---|---|---|---|---|",
    ]
    for f in figures:
        rows.append(
            f"| {f.name} | {f.n:,} | **{f.value:.3f}** | {f.low:.3f} to {f.high:.3f} | {f.longer:.3f} | .500"
            f" | {f.value - f.longer:+.3f} ({f.gain_low:+.3f} to {f.gain_high:+.3f}) |"
            if f.n
            else f"| {f.name} | 0 | no decided pairs in this file | | | | |"
        )
    return rows


def _plain(f: Figure) -> str:
    if not f.n:
        return f"{f.name:34} no decided pairs in this file"
    return f"{f.name:34} {f.value:.3f} [{f.low:.3f}, {f.high:.3f}]  longer {f.longer:.3f}  random .500  n {f.n:,}"


def _round(value: float) -> str:
    return f"{round(value, -2):,.0f}"
