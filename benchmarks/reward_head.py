"""What else the embedded reward could have been: representation, objective and data, measured.

Every line is cross-validated by prompt on the same folds and compared with the shipped settings
pair by pair: on a few hundred pairs, only a paired interval that leaves out zero says that one line
is better than another. The last lines are the learning curve: the same folds, trained on a share of
their prompts.

    python benchmarks/reward_head.py [--data ../shared/data] [--repeats 1] [--only TEXT]

Needs `karat[reward]`; about six CPU minutes. What the layers of a language model add is measured by
`reward_hidden.py`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor
from sklearn.linear_model import Ridge
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from karat.curation.embedding import DIMENSIONS
from karat.rewards.columns import RAW, SURFACE
from karat.rewards.head import HeadReward
from karat.rewards.head_model import with_reward
from karat.rewards.head_parts import Curve, Floats, Line, same_line
from karat.training.ratings import HumanData, read_human
from karat.training.reward_cross import Fit, Voter, cross_validate
from karat.training.reward_figures import Figures, figures_of, interval, rated_outcomes
from karat.training.reward_fit import fit_heads
from karat.training.reward_head import speed
from karat.training.reward_settings import Objective, Settings
from karat.training.reward_table import Mask, Table, table_of

RATINGS = ("helpsteer2/ratings.jsonl",)
PAIRS = ("pairs/hh-helpful.jsonl", "dialogues/open-assistant-trees.jsonl")
HEADER = """\
| what | rated pairs (95%) | gap ≥ 2 | against shipped (95%) | r h c coh cpx v reward \
| preference pairs | above spoiled | picks longer | CPU s |
|---|---|---|---|---|---|---|---|---|"""
SHIPPED: Objective = "regression+scaled"
Alternative = tuple[str, Table, Settings, Objective, Fit]


@dataclass
class Plain:
    """A scikit-learn regressor of the five attributes that sees some raw columns only."""

    model: object
    columns: slice
    rated: bool = True
    length: Curve | None = None
    attribute_line: Line = same_line(5)  # noqa: RUF009

    def votes(self, raw_NR: Floats, *, debiased: bool = True) -> Floats:
        said = self.model.predict(raw_NR[:, self.columns]) if len(raw_NR) else np.empty((0, 5))
        return with_reward(said)[:, None]


def ratings_only(
    make: Callable[[], object],
    columns: slice,
    table: Table,
    settings: Settings,
    objectives: Sequence[Objective],
    rated: Mask,
    paired: Mask,
) -> Mapping[Objective, Voter]:
    """Fit a scikit-learn regressor on the rated rows alone."""
    model = make().fit(table.raw_RW[rated][:, columns], table.y_RA[rated])
    return dict.fromkeys(objectives, Plain(model, columns))


def on_share(
    share: float,
    table: Table,
    settings: Settings,
    objectives: Sequence[Objective],
    rated: Mask,
    paired: Mask,
) -> Mapping[Objective, Voter]:
    """Fit on a share of the prompts that a fold trains on."""
    groups = sorted(set(table.group_R[rated].tolist()) | set(table.group_P[paired].tolist()))
    rng = np.random.default_rng(settings.seed)
    kept = set(rng.permutation(groups)[: round(share * len(groups))].tolist())
    few_R = rated & np.array([group in kept for group in table.group_R.tolist()])
    few_P = paired & np.array([group in kept for group in table.group_P.tolist()], dtype=bool)
    return fit_heads(table, settings, objectives, few_R, few_P)


def only_rows(table: Table) -> Table:
    """The table without its preference pairs."""
    none = np.empty((0, RAW), np.float32)
    return replace(
        table,
        chosen_PW=none,
        rejected_PW=none,
        strength_P=np.empty(0),
        group_P=np.empty(0, dtype=np.str_),
    )


def line(name: str, figures: Figures, gain: tuple[float, float, float] | None, cpu: float) -> str:
    """One row of the table."""
    all_pairs, wide = figures.pairs[:2]
    r = " ".join(f"{f.value:.2f}" for f in figures.attributes) or "–"
    sound = f"{np.mean([f.value for f in figures.spoiled]):.3f}" if figures.spoiled else "–"
    other = next((f"{f.value:.3f}" for f in figures.pairs[2:]), "–")
    against = "" if gain is None else "{:+.3f} ({:+.3f} to {:+.3f})".format(*gain)
    accuracy = f"{all_pairs.value:.3f} ({all_pairs.low:.3f} to {all_pairs.high:.3f})"
    return (
        f"| {name} | {accuracy} | {wide.value:.3f} |"
        f" {against} | {r} | {other} | {sound} | {figures.picks_longer:.2f} | {cpu:.0f} |"
    )


def ridge() -> object:
    """A standardised ridge regression."""
    return make_pipeline(StandardScaler(), Ridge(300))


def trees() -> object:
    """The forest that suits ratings alone best."""
    return ExtraTreesRegressor(100, min_samples_leaf=3, max_features=0.33, random_state=7)


def plain_trees(leaf: int) -> object:
    """A forest on the surface and 48 principal components of the response, and nothing else."""
    response = slice(SURFACE, SURFACE + DIMENSIONS)
    axes = ColumnTransformer(
        [("surface", "passthrough", slice(SURFACE)), ("response", PCA(48), response)]
    )
    forest = ExtraTreesRegressor(300, min_samples_leaf=leaf, max_features=0.33, random_state=7)
    return make_pipeline(axes, forest)


def boosted() -> object:
    """One boosted regressor per attribute."""
    return MultiOutputRegressor(
        HistGradientBoostingRegressor(max_iter=60, learning_rate=0.06, max_depth=3)
    )


def alternatives(data: HumanData) -> list[Alternative]:
    """What is compared; the first is what karat ships."""
    table, own = table_of(data, 7), Settings()
    rows = only_rows(table)
    plain = replace(own, spoiled_weight=0.0)
    surface, both = slice(SURFACE), slice(RAW)
    found: list[Alternative] = [
        ("**shipped**: surface + static, ratings then pairs", table, own, SHIPPED, fit_heads),
        ("the same, regression alone", table, own, "regression", fit_heads),
        ("the same without spoiled copies", table, plain, SHIPPED, fit_heads),
        ("the same without preference pairs", rows, own, SHIPPED, fit_heads),
        ("the same, surface alone", table, _with("surface"), SHIPPED, fit_heads),
        ("the same, static alone", table, _with("static"), SHIPPED, fit_heads),
        ("one member, regression", table, replace(own, members=1), "regression",
         fit_heads),
    ]  # fmt: skip
    kinds: tuple[Objective, ...] = ("bt", "margin", "scaled")
    found += [(f"Bradley-Terry alone: {kind}", table, own, kind, fit_heads) for kind in kinds]
    models = [("trees", trees, surface), ("ridge", ridge, surface), ("boosted", boosted, surface)]
    models += [
        ("surface + static, trees", trees, both),
        ("surface + 48 axes, trees, leaf 8", partial(plain_trees, 8), both),
        ("surface + 48 axes, trees, leaf 3", partial(plain_trees, 3), both),
        ("static, ridge", ridge, slice(SURFACE, RAW)),
    ]
    found += [
        (f"{name}, ratings alone", rows, own, "regression", partial(ratings_only, make, columns))
        for name, make, columns in models
    ]
    found += [
        (
            f"**shipped** on {share:.0%} of the prompts",
            table,
            own,
            SHIPPED,
            partial(on_share, share),
        )
        for share in (0.25, 0.5, 0.8)
    ]
    return found


def _with(representation: str) -> Settings:
    return replace(Settings(), representation=representation)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--only", default="", help="lines whose name has this in it")
    args = parser.parse_args()
    data = read_human([args.data / name for name in (*RATINGS, *PAIRS)])
    lines = alternatives(data)
    lines = [one for one in lines if args.only in one[0]]
    print(HEADER)
    chosen = None
    for name, table, how, objective, fit in lines:
        held = cross_validate(table, how, [objective], repeats=args.repeats, jobs=1, fit=fit)
        outcomes = rated_outcomes(table, held[objective])
        chosen = chosen or outcomes
        gain = None
        if chosen is not outcomes and len(chosen.win_P) == len(outcomes.win_P):
            gap_P = outcomes.win_P - chosen.win_P
            gain = (float(gap_P.mean()), *interval(gap_P, outcomes.group_P))
        figures = figures_of(table, held[objective])
        print(line(name, figures, gain, held[objective].cpu_s), flush=True)
    longer = chosen.figure("").longer
    print(f"\nlonger wins {longer:.3f}, random .500; n = {len(chosen.win_P)} rated pairs")
    print(f"{speed(HeadReward().head, data):,.0f} responses per CPU second")


if __name__ == "__main__":
    main()
