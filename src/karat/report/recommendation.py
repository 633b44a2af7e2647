"""What a comparison comes to, in one line: which model to take, and when the figures cannot say."""

from __future__ import annotations

import math

from karat.comparison.candidates import Candidate, Comparison, Pair
from karat.intervals import Interval
from karat.report.cells import money

MOST_NEEDED = 100_000  # prompts beyond which a number would only pretend to be one
PARTS = {
    2: "half", 3: "a third of", 4: "a quarter of", 5: "a fifth of", 6: "a sixth of",
    7: "a seventh of", 8: "an eighth of", 9: "a ninth of", 10: "a tenth of",
}  # fmt: skip


def recommend(found: Comparison) -> str:
    """One line. A difference that may be none is said to be one, and what it would take to tell."""
    if found.leader is None or found.pick is None:
        return "No recommendation: there is nothing to compare."
    if not found.pairs:
        return f"No recommendation: only {found.leader} can be judged."
    if len(found.tied) > 1:
        return _undecided(found)
    pair = found.pairs[0]  # the best two
    first, second = candidate(found, pair.first), candidate(found, pair.second)
    assert first.quality is not None
    assert second.quality is not None
    digits = decimals(pair.apart)
    others = ", the next best" if len(found.pairs) > 1 else ""
    return (
        f"{first.name}: quality {plain(first.quality.value, digits)} against "
        f"{plain(second.quality.value, digits)} of {second.name}{others} (difference "
        f"{said(pair.apart, digits)}){_bill(found, first.name, second.name)}"
    )


def _undecided(found: Comparison) -> str:
    assert found.pick is not None
    other = found.tied[1] if found.pick == found.leader else found.tied[0]
    pair = between(found, found.pick, other)
    several = len(found.tied) > 2
    whose = f" of {pair.first} and {pair.second}" if several else ""
    if pair.needed is None:
        more = "no number of prompts would tell"
    elif pair.needed > MOST_NEEDED:
        more = f"more than {MOST_NEEDED:,} prompts would be needed to tell"
    else:
        more = f"about {about(pair.needed):,} prompts would be needed to tell"
    return (
        f"{', '.join(found.tied[:-1])} and {found.tied[-1]} cannot be told apart on "
        f"{found.compared:,} prompts (difference{whose} {said(pair.apart, decimals(pair.apart))}): "
        f"take {found.pick}{_bill(found, found.pick, other)}; {more}"
    )


def _bill(found: Comparison, taken: str, other: str) -> str:
    """What taking one instead of the other means for the cost of an accepted row."""
    one, two = candidate(found, taken), candidate(found, other)
    for who in (one, two):
        if who.cost_usd is None:
            return f"; the price of {who.name} is unknown, so their costs cannot be compared"
        if not who.accepted:
            return f"; no answer of {who.name} was accepted"
    mine, theirs = one.cost_per_accepted, two.cost_per_accepted
    assert mine is not None
    assert theirs is not None
    if mine.value == theirs.value == 0:
        return f"; neither costs anything{_speed(one, two)}"
    if mine.value == 0:
        return f", at no cost ({other}: {money(theirs.value)} per accepted row)"
    if theirs.value == 0:
        return f", at {money(mine.value)} per accepted row, where {other} costs nothing"
    pair = between(found, taken, other)
    assert pair.cost is not None
    sums = f"({rounded(mine.value)} against {rounded(theirs.value)})"
    if pair.cost.low <= 1 <= pair.cost.high:
        return f", at a cost per accepted row that cannot be told apart {sums}"
    ratio = pair.cost.value if pair.first == taken else 1 / pair.cost.value
    return f", at {times(ratio)} the cost per accepted row {sums}"


def _speed(one: Candidate, two: Candidate) -> str:
    if one.seconds is None or two.seconds is None:
        return ""
    mine, theirs = seconds(one.seconds.value), seconds(two.seconds.value)
    return f" ({mine} a prompt against {theirs})"


def candidate(found: Comparison, name: str) -> Candidate:
    return next(c for c in found.candidates if c.name == name)


def between(found: Comparison, one: str, other: str) -> Pair:
    return next(pair for pair in found.pairs if {pair.first, pair.second} == {one, other})


def times(ratio: float) -> str:
    """A ratio in words: half, a fifth of, 2.3 times."""
    if ratio >= 1:
        return "twice" if 1.95 <= ratio < 2.05 else f"{ratio:.{1 if ratio < 10 else 0}f} times"
    part = round(1 / ratio)
    if part in PARTS and abs(ratio * part - 1) < 0.08:
        return PARTS[part]
    return f"{ratio:.0%} of" if ratio >= 0.01 else f"{ratio:.1%} of"


def rounded(usd: float | None) -> str:
    """Dollars to three significant digits, never as a power of ten: an estimate has no more."""
    if not usd or usd >= 1e-3 or not math.isfinite(usd):
        return money(usd if not usd else float(f"{usd:.3g}"))
    return f"${usd:.{2 - math.floor(math.log10(usd))}f}".rstrip("0")


def seconds(value: float) -> str:
    """A time with as many digits as matter."""
    if value < 1:
        return f"{value * 1000:.{0 if value >= 0.01 else 1}f} ms"
    return f"{value:.{1 if value < 100 else 0}f} s"


def decimals(interval: Interval) -> int:
    """Decimals that show a difference and its interval: two, more where they are small."""
    parts = (interval.value, interval.low, interval.high)
    ends = [abs(end) for end in parts if end and math.isfinite(end)]
    size = max(ends, default=1.0)
    return 2 if size >= 0.05 else min(6, 1 - math.floor(math.log10(size)))


def plain(value: float, digits: int = 2) -> str:
    """A number with a real minus, and no minus before 0."""
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def said(interval: Interval, digits: int = 2) -> str:
    """`value, low to high`."""
    low, high = plain(interval.low, digits), plain(interval.high, digits)
    return f"{plain(interval.value, digits)}, {low} to {high}"


def about(count: int) -> int:
    """Two significant digits: it is an estimate."""
    size = int(math.pow(10, max(0, len(str(count)) - 2)))
    return -(-count // size) * size
