"""How a score is spread: over all candidates, and over those that were accepted.

One small picture for each score, all in one form: a histogram as shares, and below it two boxes,
from the quarter to the three-quarter point with whiskers to 5% and 95%. Bins can be links, so that
a strange bump leads to the rows it is made of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

from karat.report.axes import Axis
from karat.report.grading_plots import shares
from karat.report.recommendation import plain
from karat.report.run_charts import drawn, linked
from karat.report.svg import Panel, number, words

WIDTH, HEIGHT = 372.0, 262.0
# Source: the attributes of HelpSteer2 (arXiv 2406.08673), behind the score that sums them up.
ORDER = ("reward", "helpfulness", "correctness", "coherence", "complexity", "verbosity")
BELOW = 0.34  # of the histogram's height, where the boxes lie

# (score key, least, greatest, of accepted rows only) as a link to the rows between.
Link = Callable[[str, float, float, bool], str]


def score_charts(
    scores: dict[str, Any], link: Link | None = None, ranking: str | None = None
) -> list[tuple[str, str, str]]:
    """(key, picture, in words) of each score that anything was graded with, in canonical order.
    The words stand below the picture, whose title says what they are of."""
    found = []
    for place, key in enumerate(in_order(scores, ranking)):
        spread = scores[key]
        if spread["all"].get("count") and "histogram" in spread["all"]:
            said = score_words(spread)
            panel = score_panel(key, spread, link, chose=key == ranking)
            title = f"{key}: {said}"
            picture = drawn(panel, key, title, f"score-{place}", linked=link is not None)
            found.append((key, picture, said))
    return found


def in_order(keys: Iterable[str], ranking: str | None = None) -> list[str]:
    """The score that chose first, then its reward's others; of each reward the score that counts,
    then its attributes as HelpSteer2 lists them, then any other as they come."""
    listed = list(keys)
    first = {name: place for place, name in enumerate(dict.fromkeys(map(_reward, listed)))}

    def place(key: str) -> tuple[bool, bool, int, int]:
        attribute = key.rpartition(".")[2]
        known = ORDER.index(attribute) if attribute in ORDER else len(ORDER)
        mine = _reward(key) == _reward(ranking or "")
        return key != ranking, not mine, first[_reward(key)], known

    return sorted(listed, key=place)


def _reward(key: str) -> str:
    return key.rpartition(".")[0]


def score_words(spread: dict[str, Any]) -> str:
    """Means, and how far the accepted lie above all, in σ of all."""
    everything, kept = spread["all"], spread["accepted"]
    said = f"mean {plain(everything['mean'])} of {everything['count']:,} candidates"
    if not kept.get("count"):
        return f"{said}; none accepted"
    said += f", {plain(kept['mean'])} of {kept['count']:,} accepted"
    if everything["sd"] > 0:
        gained = (kept["mean"] - everything["mean"]) / everything["sd"]
        said += f" ({'+' if gained >= 0 else ''}{plain(gained)} σ)"
    return said


def score_panel(
    key: str, spread: dict[str, Any], link: Link | None = None, *, chose: bool = False
) -> Panel:
    """The picture of one score."""
    everything, kept = spread["all"], spread["accepted"]
    edges = everything["histogram"]["edges"]
    all_B = shares(everything["histogram"], edges)
    some = bool(kept.get("count"))
    kept_B = shares(kept["histogram"], edges) if some else [0.0] * len(all_B)
    top = 1.06 * max(*all_B, *kept_B)
    room = (edges[-1] - edges[0]) * 0.02 or 1.0
    stops = [0.0, top / 2.12, top / 1.06]
    y = Axis("", -BELOW * top, top, text=lambda v: f"{v:.0%}", stops=stops)
    x = Axis("", edges[0] - room, edges[-1] + room)
    kinds = [("k-grey-area", "all"), *([("k-gold-line", "accepted")] if some else [])]
    panel = _Bins(f"{key} (it chose)" if chose else key, x, y, WIDTH, HEIGHT, kinds)
    ground = [(edges[0], 0.0), (edges[-1], 0.0)]
    panel.area(ground, stairs(edges, all_B), "k-grey", 0.5)
    if some:
        panel.area(ground, stairs(edges, kept_B), "k-gold", 0.18)
        panel.line([ground[0], *stairs(edges, kept_B), ground[1]], "k-gold-line")
        _box(panel, kept, -0.24 * top, 0.06 * top, "k-gold")
    _box(panel, everything, -0.11 * top, 0.06 * top, "k-grey")
    if link is not None:
        panel.bins(edges, all_B, everything["count"], link, key, top)
    return panel


def stairs(edges: list[float], heights: list[float]) -> list[tuple[float, float]]:
    """The outline of a histogram, from left to right."""
    return [
        corner
        for (low, high), height in zip(pairwise(edges), heights, strict=True)
        for corner in ((low, height), (high, height))
    ]


def _box(panel: Panel, spread: dict[str, Any], y: float, half: float, kind: str) -> None:
    """Quarters as a box, the middle as a stroke, 5% and 95% as whiskers, around a height."""
    low, quarter, middle, three, high = (spread[f"p{q}"] for q in (5, 25, 50, 75, 95))
    panel.line([(low, y), (quarter, y)], f"{kind}-line")
    panel.line([(three, y), (high, y)], f"{kind}-line")
    # Equal quarters are a stroke, and no box that cannot be seen.
    panel.area([(quarter, y - half), (three, y - half)], [(quarter, y + half), (three, y + half)],
               kind, 0.3)  # fmt: skip
    for x, reach in ((low, half / 2), (middle, half), (high, half / 2)):
        panel.line([(x, y - reach), (x, y + reach)], f"{kind}-line")


class _Bins(Panel):
    """A histogram whose bins can be links, over their whole height: thin ones can be hit too."""

    def bins(
        self, edges: list[float], heights: list[float], total: int, link: Link, key: str,
        top: float,
    ) -> None:  # fmt: skip
        for (low, high), share in zip(pairwise(edges), heights, strict=True):
            if not share:
                continue
            (x0, y0), (x1, y1) = self.at(low, top), self.at(high, 0.0)
            said = f"{plain(low)} to {plain(high)}: {share * total:,.0f} candidates ({share:.1%})"
            mark = (
                f'<title>{words(said)}</title><rect class="hit" x="{number(x0)}" '
                f'y="{number(y0)}" width="{number(x1 - x0)}" height="{number(y1 - y0)}" '
                'fill="transparent"/>'
            )
            self._marks.append(linked(mark, link(key, low, high, False), said))
