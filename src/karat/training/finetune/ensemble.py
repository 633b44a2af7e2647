"""Several reward models of one training that differ by chance alone, and what their doubt is worth.

Members differ in the new head and in the order of the data. Where they agree they are right more
often than where they do not: how much more is measured here, on held-out pairs, since it decides
whether their disagreement may hold back an answer.

Source: ensembles of reward models against over-optimisation, Coste et al. (2310.02743).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import yaml
from numpy.typing import NDArray

from karat.errors import RunError
from karat.training.finetune.record import CARD, RewardModel, pair_line
from karat.training.finetune.settings import labels_of
from karat.training.ratings import HumanData, pairs_of
from karat.training.reward_figures import Figure, Outcomes

Floats = NDArray[np.float64]
PANEL = "panel.yaml"


class Ensemble(msgspec.Struct, frozen=True):
    """`figures`: accuracy of the members on average, of their mean, and of the mean where all
    members prefer the same answer and where they do not. `panel`: YAML for a recipe."""

    folder: str
    members: list[RewardModel]
    figures: tuple[Figure, ...]
    panel: str

    def summary(self) -> str:
        """Plain text for a terminal."""
        lines = [f"{self.folder}: {len(self.members)} members"]
        lines += [pair_line(figure) for figure in self.figures]
        lines += [member.summary() for member in self.members]
        return "\n".join([*lines, f"{PANEL}, for a recipe:", self.panel.rstrip()])


def together(
    out: Path, members: Sequence[RewardModel], held_out: HumanData, command: str, scores: str
) -> Ensemble:
    """Measure trained members on the pairs they were all held out from, and write the panel."""
    gap_MP = np.stack([_gaps(Path(member.folder) / scores) for member in members])
    made = Ensemble(str(out), list(members), _figures(gap_MP, held_out), _panel(members))
    try:
        (out / PANEL).write_text(made.panel, encoding="utf-8")
        (out / CARD).write_text(_card(made, command), encoding="utf-8")
    except OSError as error:
        raise RunError(f"{out}: cannot be written ({error.strerror or error})") from error
    return made


def _gaps(file: Path) -> Floats:
    with np.load(file) as held:
        return np.asarray(held["chosen"] - held["rejected"], dtype=np.float64)


def _figures(gap_MP: Floats, held_out: HumanData) -> tuple[Figure, ...]:
    pairs = [*pairs_of(held_out).pairs, *held_out.pairs]
    read = np.isfinite(gap_MP).all(axis=0)
    if not read.any():
        return ()
    gap_MP = gap_MP[:, read]
    groups = np.array([pair.group for pair in pairs], dtype=np.str_)[read]
    longer = np.array([len(pair.chosen) - len(pair.rejected) for pair in pairs], np.float64)[read]
    # Members share a unit only up to a factor.
    scale_M = np.maximum(gap_MP.std(axis=1), 1e-12)
    mean_P = (gap_MP / scale_M[:, None]).mean(axis=0)
    agree: NDArray[np.bool_] = np.abs(np.sign(gap_MP).sum(axis=0)) == len(gap_MP)
    none = np.zeros(len(mean_P))
    alone = Outcomes(_won(gap_MP).mean(axis=0), _won(longer), groups, none)
    panel = Outcomes(_won(mean_P), _won(longer), groups, none)
    return (
        alone.figure("members, mean accuracy"),
        panel.figure("their mean"),
        panel.where(agree).figure("where all members agree"),
        panel.where(~agree).figure("where they do not"),
    )


def _won(gap: Floats) -> Floats:
    return np.asarray((gap > 0) + 0.5 * (gap == 0), dtype=np.float64)


def _panel(members: Sequence[RewardModel]) -> str:
    """Rewards of a recipe; of five outputs the panel asks for helpfulness."""
    asked = labels_of(members[0].settings.objective)[0]
    names = [f"member{number}" for number in range(1, len(members) + 1)]
    rewards: dict[str, dict[str, object]] = {
        name: {"reward": f"transformers/{member.folder}"}
        for name, member in zip(names, members, strict=True)
    }
    rewards["panel"] = {"reward": "panel/mean", "of": [f"{name}.{asked}" for name in names]}
    return yaml.safe_dump({"rewards": rewards}, sort_keys=False)


def _card(made: Ensemble, command: str) -> str:
    rows = "\n".join(f"    {pair_line(figure)}" for figure in made.figures)
    return (
        f"# {len(made.members)} reward models that differ by chance\n\n"
        "Each folder holds a model with its card. They differ in the new head and in the order of "
        "the data; no member was trained on what any is measured on. On held-out pairs:\n\n"
        f"{rows}\n\nIn a recipe (`{PANEL}`), `panel.disagreement` is how far the members are "
        f"apart:\n\n```yaml\n{made.panel}```\n\nMade by\n\n```\n{command}\n```\n"
    )
