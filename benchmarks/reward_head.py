"""What else the embedded reward could have been: representation and training data, measured.

Every line is cross-validated by prompt on the same folds of the human-rated HelpSteer2 rows, with
the same pairs, and compared with the shipped settings pair by pair: on a few hundred pairs, only a
paired interval that leaves out zero says that one line is better than another.

    python benchmarks/reward_head.py [--data ../shared/data] [--repeats 2] [--hidden MODEL.gguf]

Needs `karat[reward]`; about four CPU minutes. `--hidden` also measures the hidden states of a small
language model (the true shape of Nemotron-4-340B-Reward; needs `karat[embedded]`, and seconds of
CPU per response) on the first `--prompts` prompts.
"""

from __future__ import annotations

import argparse
import json
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from karat.rewards import features
from karat.rewards.head import Floats, HeadReward
from karat.training.ratings import HumanData, read_human
from karat.training.reward_figures import Figures, cross_validate, interval
from karat.training.reward_fit import Fit, Mask, Settings, Table, fit_head, table_of
from karat.training.reward_head import speed

WIDTH = len(features.NAMES)
FILES = (
    "helpsteer2/ratings.jsonl",
    "pairs/hh-helpful.jsonl",
    "dialogues/open-assistant-trees.jsonl",
)
HEADER = """\
| what | pair accuracy (95%) | gap ≥ 2 | against shipped (95%) | r h c coh cpx v \
| held-out pairs | above spoiled | picks longer | CPU s |
|---|---|---|---|---|---|---|---|---|"""
Alternative = tuple[str, Table, Settings, Fit]


@dataclass
class On:
    """A predictor that sees some columns only."""

    model: object
    columns: slice

    def predict(self, x_NF: Floats, /) -> Floats:
        return self.model.predict(x_NF[:, self.columns])


def ratings_only(make: Callable[[], object], columns: slice = slice(0, WIDTH)):
    """Fit a scikit-learn regressor on the rated rows alone."""

    def fit(table: Table, settings: Settings, rated: Mask, paired: Mask) -> On:
        return On(make().fit(table.x_RF[rated][:, columns], table.y_RA[rated]), columns)

    return fit


@dataclass
class BradleyTerry:
    """A linear reward from differences within prompts; all five columns hold the same score."""

    scaler: StandardScaler
    weight_F: Floats

    def predict(self, x_NF: Floats, /) -> Floats:
        return np.repeat((self.scaler.transform(x_NF[:, :WIDTH]) @ self.weight_F)[:, None], 5, 1)


def bradley_terry(table: Table, settings: Settings, rated: Mask, paired: Mask) -> BradleyTerry:
    """Logistic regression on the differences of rated pairs and of preference pairs."""
    scaler = StandardScaler().fit(table.x_RF[rated][:, :WIDTH])
    first = np.flatnonzero(rated)[::2]  # HelpSteer2's neighbours share a prompt
    sign = np.sign(table.y_RA[first, 0] - table.y_RA[first + 1, 0])[:, None]
    better = np.concatenate(
        [scaler.transform(table.x_RF[first]), scaler.transform(table.chosen_PF[paired])]
    )
    worse = np.concatenate(
        [scaler.transform(table.x_RF[first + 1]), scaler.transform(table.rejected_PF[paired])]
    )
    sign = np.concatenate([sign, np.ones((int(paired.sum()), 1))])
    step = ((better - worse) * sign)[sign[:, 0] != 0]
    model = LogisticRegression(C=0.003, fit_intercept=False, max_iter=2000)
    model.fit(np.concatenate([step, -step]), np.repeat([1, 0], len(step)))
    return BradleyTerry(scaler, model.coef_[0])


def with_columns(table: Table, extra_RD: Floats) -> Table:
    """The table with D more columns for rated rows, and no pairs or spoiled copies."""
    return replace(table, x_RF=np.column_stack([table.x_RF, extra_RD]), **without(table))


def without(table: Table) -> dict[str, object]:
    """What to replace in a table so that only its rated rows remain."""
    none = np.empty((0, WIDTH))
    return {
        "spoiled_KRF": {},
        "chosen_PF": none,
        "rejected_PF": none,
        "group_P": np.empty(0, dtype=np.str_),
    }


def n_grams(data: HumanData) -> Floats:
    """128 principal components of hashed character n-grams of each response."""
    counts = HashingVectorizer(analyzer="char_wb", ngram_range=(2, 4), n_features=2**15)
    texts = [row.response[:8000] for row in data.rated]
    return TruncatedSVD(128, random_state=0).fit_transform(counts.transform(texts))


def hidden_states(model: Path, data: HumanData) -> tuple[Floats, float]:
    """Last-token and mean hidden state of prompt + response, and CPU seconds per response."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.embedding = str(model), True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_NONE
    params.n_ctx = params.n_batch = params.n_ubatch = 4096
    params.n_parallel = params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.embd_normalize, params.warmup = -1, False
    server = xllamacpp.Server(params)
    start, states = time.process_time(), []
    for row in data.rated:
        turns = "".join(f"<|im_start|>{m.role}\n{m.content}<|im_end|>\n" for m in row.prompt)
        answer = f"<|im_start|>assistant\n{row.response[:2000]}<|im_end|>"
        body = json.dumps({"content": turns[-700:] + answer}).encode()
        request = urllib.request.Request(
            f"{server.listening_address}/embeddings", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as reply:
            state_LH = np.array(json.load(reply)[0]["embedding"])
        share = len(answer) / (len(turns[-700:]) + len(answer))
        states.append(
            np.concatenate([state_LH[-1], state_LH[-int(len(state_LH) * share) :].mean(0)])
        )
    return np.array(states), (time.process_time() - start) / len(states)


def line(name: str, figures: Figures, chosen: Figures | None, seconds: float) -> str:
    """One row of the table."""
    all_pairs, wide = figures.pairs[:2]
    r = " ".join(f"{f.value:.2f}" for f in figures.attributes)
    sound = f"{np.mean([f.value for f in figures.spoiled]):.3f}" if figures.spoiled else "–"
    other = next((f"{f.value:.3f}" for f in figures.pairs[2:]), "–")
    gain = ""
    if chosen is not None:
        gap = figures.rated.win_P - chosen.rated.win_P
        gain = "{:+.3f} ({:+.3f} to {:+.3f})".format(
            gap.mean(), *interval(gap, figures.rated.group_P)
        )
    accuracy = f"{all_pairs.value:.3f} ({all_pairs.low:.3f} to {all_pairs.high:.3f})"
    return (
        f"| {name} | {accuracy} | {wide.value:.3f} |"
        f" {gain} | {r} | {other} | {sound} | {figures.picks_longer:.2f} | {seconds:.0f} |"
    )


def ridge(alpha: float) -> Callable[[], object]:
    """Makes standardised ridge regressions."""
    return lambda: make_pipeline(StandardScaler(), Ridge(alpha))


def trees() -> object:
    """The forest that suits ratings alone best."""
    return ExtraTreesRegressor(200, min_samples_leaf=3, max_features=0.33, random_state=7)


def boosted() -> object:
    """One boosted regressor per attribute."""
    return MultiOutputRegressor(
        HistGradientBoostingRegressor(max_iter=60, learning_rate=0.06, max_depth=3)
    )


def alternatives(data: HumanData, table: Table) -> list[Alternative]:
    """What is compared; the first is what karat ships."""
    own = Settings()
    plain = replace(own, spoiled_weight=0.0)
    rows = replace(table, **without(table))
    no_pairs = replace(rows, spoiled_KRF=table.spoiled_KRF)
    grams = with_columns(table, n_grams(data))
    more, both = slice(WIDTH, None), slice(None)
    return [
        ("**shipped**: surface, ridge + trees, all data", table, own, fit_head),
        ("the same without spoiled copies", table, plain, fit_head),
        ("the same without pairs", no_pairs, own, fit_head),
        ("the same, ratings alone", rows, plain, fit_head),
        ("surface, trees, ratings alone", table, own, ratings_only(trees)),
        ("surface, ridge, ratings alone", table, own, ratings_only(ridge(300))),
        ("surface, boosted trees, ratings alone", table, own, ratings_only(boosted)),
        ("surface, Bradley-Terry, ratings + pairs", table, own, bradley_terry),
        ("character n-grams, ridge", grams, own, ratings_only(ridge(300), more)),
        ("surface + n-grams, trees", grams, own, ratings_only(trees, both)),
    ]


def with_hidden(model: Path, data: HumanData, prompts: int) -> list[Alternative]:
    """Hidden states of a language model, and surface features on the same prompts."""
    few = HumanData(data.rated[: 2 * prompts])
    states, cost = hidden_states(model, few)
    part, own, more = with_columns(table_of(few, 7), states), Settings(), slice(WIDTH, None)
    name = f"hidden states of {model.stem}, ridge ({cost:.2f} CPU s each)"
    return [
        (name, part, own, ratings_only(ridge(3000), more)),
        ("surface, trees, the same prompts", part, own, ratings_only(trees)),
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--hidden", type=Path, help="a GGUF language model")
    parser.add_argument("--prompts", type=int, default=150)
    args = parser.parse_args()
    data = read_human([args.data / name for name in FILES])
    lines = alternatives(data, table_of(data, 7))
    if args.hidden:
        lines += with_hidden(args.hidden, data, args.prompts)
    print(HEADER)
    chosen: Figures | None = None
    for name, on, how, fit in lines:
        start = time.process_time()
        figures = cross_validate(on, how, 5, args.repeats, fit=fit)
        same = chosen is not None and len(chosen.rated.win_P) == len(figures.rated.win_P)
        seconds = time.process_time() - start
        print(line(name, figures, chosen if same else None, seconds), flush=True)
        chosen = chosen or figures
    base = chosen.pairs[0]
    print(
        f"\nlonger wins {base.longer:.3f}, random .500; n = {base.n} pairs of unequal helpfulness"
    )
    print(f"{speed(HeadReward().head, data.rated):,.0f} responses per CPU second, one at a time")


if __name__ == "__main__":
    main()
