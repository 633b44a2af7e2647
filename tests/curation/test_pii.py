"""Personal data found and left alone.

Secrets are put together here, so that none stands in a file.
"""

from __future__ import annotations

import json
import random
import string
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.curation.pii import KINDS, find, iban, luhn, masked, suspects

DATA = Path(__file__).parents[3] / "shared/data"
DRAW = random.Random(7)


def letters(count, alphabet=string.ascii_letters + string.digits):
    """Random characters, with a digit and a letter of each case among them."""
    return "aB3" + "".join(DRAW.choice(alphabet) for _ in range(count - 3))


def card(prefix, size):
    body = prefix + "".join(DRAW.choice(string.digits) for _ in range(size - len(prefix) - 1))
    return next(body + d for d in string.digits if luhn(body + d))


def account(country, body):
    return next(
        made for check in range(2, 99) if iban(made := f"{country}{check:02d}{body}")
    )  # fmt: skip


JWT = f"eyJhbGciOi{letters(12)}.eyJzdWIi{letters(30)}.{letters(43)}"
BLOCK = "\n".join(
    (f"-----BEGIN RSA PRIVATE {'KEY'}-----", letters(64), letters(64),
     f"-----END RSA PRIVATE {'KEY'}-----")
)  # fmt: skip
PLAIN = card("4", 16)
SPACED = " ".join(PLAIN[i : i + 4] for i in range(0, 16, 4))
FOUND = [
    ("email", "jo.smith@gmail.com"), ("email", "a+b@mail.uni-bonn.de"), ("email", "x_1@foo.co.uk"),
    ("phone", "(504) 258-2636"), ("phone", "310-500-4980"), ("phone", "+49 30 901820"),
    ("phone", "+1 (212) 736-5000"), ("phone", "+44 20 7946 0958"), ("phone", "212.736.5000"),
    ("ip", "93.184.216.34"), ("ip", "2606:2800:220:1:248:1893:25c8:1946"),
    ("card", card("4", 16)), ("card", card("53", 16)), ("card", card("37", 15)),
    ("card", SPACED),
    ("iban", account("DE", "500105175407324931")),
    ("iban", account("FR", "20041010050500013M02600")),
    ("key", f"AKIA{letters(16, string.ascii_uppercase + string.digits).upper()}"),
    ("key", f"ghp_{letters(36)}"), ("key", f"sk-{letters(48)}"), ("key", f"sk-proj-{letters(60)}"),
    ("key", f"AIza{letters(35)}"), ("key", f"xoxb-{letters(40)}"), ("key", JWT), ("key", BLOCK),
]  # fmt: skip
LEFT = [
    "name@example.com", "you@yourcompany.com", "john.doe@gmail.com", "icon@2x.png",
    "user@localhost",
    "a @ b.com", "git@github", "@someone", "x@y", "support@test.org",
    "555-0142", "(212) 555-1234", "1-800-273-8255", "123-456-7890", "+1 234 567 8900",
    "2023-10-12", "10.1038/nature12373", "3.14159265358979", "1234567890", "12 345 678 901",
    "192.168.0.1", "10.0.0.1", "127.0.0.1", "192.0.2.1", "8.8.8.8", "0.0.0.0", "1.2.3.4",
    "version 93.184.216.34",
    "v93.184.216.34", "1.2.3", "300.300.300.300", "2001:db8::1", "l[2::2]", "12:30:45", "::1",
    "4111 1111 1111 1111", "4242424242424242", "4444 4444 4444 4448", "1234 5678 9012 3456",
    "9780306406157", "ISBN 978-3-16-148410-0", "DE89 3704 0044 0532 0130 00",
    "GB82 WEST 1234 5698 7654 32", "AB12 3456 7890 1234",
    "sk-your-api-key-goes-here-please", "AKIA" + "IOSFODNN7EXAMPLE",
    "ghp_" + "x" * 36, "sk-" + "x" * 48,
    "sk-learn-is-a-library-for-machine-learning", "eyJ is how a token begins",
    "-----BEGIN PUBLIC KEY-----",
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(FOUND)))
def test_what_is_found(case):
    kind, secret = FOUND[case]
    for before, after in (("", ""), ("It is ", "."), ("(", ")"), ("reach: ", ", or not")):
        text = f"{before}{secret}{after}"
        finds = find(text)
        assert [(f.kind, text[f.start : f.end]) for f in finds] == [(kind, secret)]
        assert suspects([text]) == [0]
        assert masked(text, finds, str.upper) == f"{before}{kind.upper()}{after}"


@pytest.mark.parametrize("case", range(len(LEFT)))
def test_what_is_left_alone(case):
    assert find(f"See {LEFT[case]} for more.") == []


def test_a_wrong_check_digit_is_no_card_and_no_account():
    good = card("4", 16)
    assert find(good[:-1] + str((int(good[-1]) + 1) % 10)) == []
    good = account("DE", "500105175407324931")
    assert find(good[:-1] + str((int(good[-1]) + 1) % 10)) == []


@given(st.text(string.digits, min_size=1, max_size=20))
def test_luhn_by_the_table(digits):
    doubled = [0, 2, 4, 6, 8, 1, 3, 5, 7, 9]
    total = sum(int(d) if i % 2 == 0 else doubled[int(d)] for i, d in enumerate(digits[::-1]))
    assert luhn(digits) == (total % 10 == 0)


@given(st.text(string.ascii_uppercase + string.digits, min_size=5, max_size=30))
def test_iban_by_long_division(compact):
    number = "".join(str(int(c, 36)) for c in compact[4:] + compact[:4])
    rest = 0
    for digit in number:
        rest = (rest * 10 + int(digit)) % 97
    assert iban(compact) == (rest == 1)


@given(
    st.lists(st.one_of(st.sampled_from([s for _, s in FOUND]), st.text(max_size=12)), max_size=6),
    st.sampled_from([" ", "\n", ", "]),
)
def test_finds_are_in_order_apart_and_suspected(pieces, blank):
    text = blank.join(pieces).encode("utf-8", "replace").decode()
    finds = find(text)
    assert all(a.end <= b.start for a, b in pairwise(finds))
    assert not finds or suspects([text]) == [0]
    left = masked(text, finds, lambda kind: "…")
    assert len(left) == len(text) - sum(f.end - f.start - 1 for f in finds)
    assert [f for kind in KINDS for f in find(text, [kind]) if f in finds] == sorted(
        finds, key=lambda f: KINDS.index(f.kind)
    )


def test_all_finds_in_real_texts_are_suspected_and_few():
    file = DATA / "helpsteer2/ratings.jsonl"
    if not file.is_file():
        pytest.skip("no HelpSteer2 here")
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    texts = [row[key] for row in rows for key in ("prompt", "response")]
    found = [place for place, text in enumerate(texts) if find(text)]
    assert set(found) <= set(suspects(texts))
    assert len(found) == 4  # two prompts with an address and a number, each given twice
