"""The published filters against datatrove's recorded verdicts and plain-Python definitions."""

from __future__ import annotations

import json
import math
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.curation.page_repetition import GOPHER_REPETITION, gopher_repetition, runs_of, twice
from karat.curation.pages import MOST_WORDS, Lexicon, Pages
from karat.curation.quality import C4S, FINEWEB, GOPHER, Gopher, c4, fineweb, gopher

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from pages_written import written  # noqa: E402

RECORDED = json.loads((HERE / "page_filters.json").read_text(encoding="utf-8"))
TEXTS = written(len(RECORDED))
NAMES = {  # datatrove's name of each reason, and ours
    "gopher": {
        "gopher_short_doc": "words", "gopher_long_doc": "words",
        "gopher_below_avg_threshold": "mean word length",
        "gopher_above_avg_threshold": "mean word length",
        "gopher_too_many_hashes": "hashes per word",
        "gopher_too_many_ellipsis": "ellipses per word",
        "gopher_too_many_bullets": "bullet lines",
        "gopher_too_many_end_ellipsis": "ellipsis lines",
        "gopher_below_alpha_threshold": "alphabetic words",
        "gopher_enough_stop_words": "stop words",
    },
    "gopher_repetition": {
        "dup_para_frac": "repeated paragraphs",
        "dup_para_char_frac": "characters in repeated paragraphs",
        "dup_line_frac": "repeated lines",
        "dup_line_char_frac": "characters in repeated lines",
        **{f"top_{n}_gram": f"most common {n}-gram" for n in (2, 3, 4)},
        **{f"duplicated_{n}_n_grams": f"repeated {n}-grams" for n in range(5, 11)},
    },
    "c4": {
        "lorem_ipsum": "unwanted", "curly_bracket": "unwanted", "too_few_sentences": "sentences",
    },
    "fineweb": {
        "line_punct_ratio": "lines that end as sentences", "short_line_ratio": "short lines",
        "char_dup_ratio": "characters in repeated lines", "list_ratio": "line ends per word",
    },
}  # fmt: skip
RULES = {
    "gopher": (gopher, GOPHER), "gopher_repetition": (gopher_repetition, GOPHER_REPETITION),
    "c4": (c4, C4S), "fineweb": (fineweb, FINEWEB),
}  # fmt: skip


def first_failing(name, texts, preset="published"):
    rule, presets = RULES[name]
    tests = rule(Pages(texts), presets[preset])
    return [
        next((test.name for test in tests if test.fails()[place]), "")
        for place in range(len(texts))
    ]


@pytest.mark.parametrize("name", sorted(RULES))
def test_verdicts_are_datatroves(name):
    """Of all texts that it can take: what has no words makes it divide by nothing."""
    ours = first_failing(name, TEXTS)
    seen = Counter()
    for text, verdicts, mine in zip(TEXTS, RECORDED, ours, strict=True):
        theirs = verdicts[name]
        if theirs in ("none", "empty"):
            continue
        seen[theirs] += 1
        # Of a text with both, C4 names what comes first in it.
        mine = "unwanted" if mine in ("lorem ipsum", "curly brackets") else mine
        assert mine == NAMES[name].get(theirs, theirs), text
    assert set(NAMES[name]) - set(seen) <= {"gopher_long_doc"}


def test_batches_and_lexicons_change_nothing():
    lexicon = Lexicon()
    for rule, presets in RULES.values():
        whole = rule(Pages(TEXTS), presets["published"])
        for start in range(0, len(TEXTS), 170):
            part = rule(Pages(TEXTS[start : start + 170], lexicon), presets["published"])
            for one, other in zip(whole, part, strict=True):
                np.testing.assert_array_equal(one.values[start : start + 170], other.values)


def test_a_full_lexicon_forgets():
    lexicon = Lexicon()
    many = " ".join(map(str, range(MOST_WORDS + 5)))
    first = Pages([many], lexicon)
    assert first.word_counts[0] == MOST_WORDS + 5
    assert first.words[-1] == MOST_WORDS + 4
    second = Pages(["the end."], lexicon)
    assert second.words.tolist() == [0, 1]
    assert second.word_sizes.tolist() == [3, 4]
    assert len(first.marks) == MOST_WORDS + 5  # what was looked up before stays


texts_of_few_words = st.lists(
    st.lists(st.sampled_from(["a", "b", "cc"]), max_size=24).map(" ".join), min_size=1, max_size=4
)


@given(texts_of_few_words)
def test_runs_of_words_by_hand(texts):
    """Against datatrove's and the paper's definition, written out."""
    for runs in runs_of(Pages(texts), 6):
        n = runs.n
        top, again = runs.most_common(1), runs.said_again()
        for place, text in enumerate(texts):
            words = text.split()
            grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
            best = Counter(grams).most_common(1)
            assert top[place] == (len(" ".join(best[0][0])) * best[0][1] if best else 0)
            seen, at, total = set(), 0, 0
            while at < len(grams):
                if grams[at] in seen:
                    total += len("".join(grams[at]))
                    at += n
                else:
                    seen.add(grams[at])
                    at += 1
            assert again[place] == total


@given(st.lists(st.integers(0, 5), max_size=30), st.sampled_from([0, 2**62]))
def test_twice_by_hand(keys, beyond):
    """Also where key and place do not fit into one number."""
    key, place = np.array(keys, np.int64) + beyond, np.arange(len(keys))
    found, own = twice(key, place)
    counts = Counter(keys)
    want = sorted((k, i) for i, k in enumerate(keys) if counts[k] > 1)
    assert found.tolist() == [i for _, i in want]
    classes = {k: number for number, k in enumerate(dict.fromkeys(k for k, _ in want))}
    assert own.tolist() == [classes[k] for k, _ in want]


@given(st.lists(st.text("aé1 -#.…•\n\t", max_size=40), min_size=1, max_size=5))
def test_gopher_by_hand(texts):
    found = {test.name: test.values for test in gopher(Pages(texts), GOPHER["published"])}
    for place, text in enumerate(texts):
        words = text.split()
        spoken = [w for w in words if any(c.isalnum() for c in w)]
        lines = text.splitlines()
        part = {
            "words": len(spoken),
            "mean word length": mean(map(len, spoken)),
            "hashes per word": text.count("#") / len(words) if words else math.nan,
            "ellipses per word": mean_of(text.count("...") + text.count("…"), words),
            "bullet lines": mean(line.strip().startswith(("•", "-")) for line in lines),
            "ellipsis lines": mean(line.strip().endswith(("...", "…")) for line in lines),
            "alphabetic words": mean(any(c.isalpha() for c in w) for w in words),
        }
        for name, value in part.items():
            np.testing.assert_allclose(found[name][place], value, err_msg=f"{name} of {text!r}")


@given(st.lists(st.text("aB. \n", max_size=30), min_size=1, max_size=5))
def test_fineweb_by_hand(texts):
    limits = FINEWEB["published"]
    found = {test.name: test.values for test in fineweb(Pages(texts), limits)}
    for place, text in enumerate(texts):
        lines = [line for line in text.split("\n") if line.strip()]
        again = sum(len(line) for i, line in enumerate(lines) if line in lines[:i])
        want = {
            "lines that end as sentences": mean(line.endswith(".") for line in lines),
            "short lines": mean(len(line) <= limits.short_line for line in lines),
            "characters in repeated lines": mean_of(again, text.replace("\n", "")),
            "line ends per word": mean_of(text.count("\n"), text.split()),
        }
        for name, value in want.items():
            np.testing.assert_allclose(found[name][place], value, err_msg=f"{name} of {text!r}")


def mean(values):
    found = list(map(float, values))
    return sum(found) / len(found) if found else math.nan


def mean_of(total, many):
    return total / len(many) if len(many) else math.nan


@given(st.text("ab\n ", max_size=30))
def test_paragraphs_are_parted_by_blank_lines(text):
    found = gopher_repetition(Pages([text]), GOPHER_REPETITION["published"])
    pieces = re.split(r"\n{2,}", text.strip())
    again = len(pieces) - len(set(pieces))
    assert found[0].values[0] == again / len(pieces)


def test_a_limit_of_none_is_off():
    tests = gopher(Pages(["No."]), Gopher(min_words=None, min_stop_words=None))
    assert not any(test.fails()[0] for test in tests)
    assert [test.reason(0) for test in gopher(Pages(["No."]), Gopher()) if test.fails()[0]] == [
        "words (1)", "stop words (0)",
    ]  # fmt: skip


def test_no_texts_and_empty_texts():
    for rule, presets in RULES.values():
        assert all(len(test.values) == 0 for test in rule(Pages([]), presets["published"]))
        empty = rule(Pages([""]), presets["alignment"])
        assert not any(test.fails()[0] for test in empty)
