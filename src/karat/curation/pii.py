"""Personal data and secrets in a text: where they stand, and the text without them.

What has a checksum is checked (cards, IBANs, IPv6 syntax), and what nobody owns is left alone: the
names, numbers and addresses that standards reserve for examples, test cards, keys that say EXAMPLE
or repeat one letter. Answers are full of those, and a filter that takes them for people drops
tutorials. What is left is few and mostly real. A name of a person or a street is not looked for: no
pattern finds those.

A column is looked through with the few patterns that every find must fit (RE2, in Arrow); only
texts that fit one are looked at in Python.

Source: reserved names: RFC 2606; IPv4 and IPv6 for documentation: RFC 5737, 3849; 555-0100 … 0199:
North American Numbering Plan; IBAN: ISO 13616; cards: ISO/IEC 7812; forms of keys: the vendors'
documentation, as gitleaks and GitHub's secret scanning list them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

Kind = Literal["key", "email", "iban", "card", "ip", "phone"]
KINDS: tuple[Kind, ...] = ("key", "email", "iban", "card", "ip", "phone")

# What a text must fit to hold a kind at all.
_MAYBE: dict[Kind, str] = {
    "key": r"AKIA|ASIA|AIza|gh[oprsu]_|github_pat_|glpat-|hf_|sk-|sk_live_|rk_live_|xox[abprs]-|eyJ"
           r"|-----BEGIN",
    "email": "@",
    "iban": r"[A-Z]{2}[0-9]{2}[ ]?[A-Z0-9]{4}",
    "card": r"[0-9](?:[ -]?[0-9]){12}",
    "ip": r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]|[23][0-9A-Fa-f]{3}:[0-9A-Fa-f]*:",
    "phone": r"[0-9](?:[ ().–/-]{0,3}[0-9]){8}",
}  # fmt: skip


class Find(NamedTuple):
    """Characters start … end - 1 of a text hold personal data of a kind."""

    start: int
    end: int
    kind: Kind


def find(text: str, kinds: Iterable[Kind] = KINDS) -> list[Find]:
    """Personal data in a text, in order, none overlapping: what is both goes to the first of KINDS
    that it is."""
    wanted = set(kinds)
    found: list[Find] = []
    taken = bytearray(len(text))
    for kind in KINDS:
        if kind not in wanted:
            continue
        for start, end in _FINDERS[kind](text):
            if not any(taken[start:end]):
                taken[start:end] = b"\1" * (end - start)
                found.append(Find(start, end, kind))
    return sorted(found)


def suspects(texts: Sequence[str], kinds: Iterable[Kind] = KINDS) -> list[int]:
    """Places of the texts that may hold something of these kinds; `find` says whether they do."""
    wanted = set(kinds)
    pattern = "|".join(f"(?:{_MAYBE[kind]})" for kind in KINDS if kind in wanted)
    found = pc.match_substring_regex(pa.array(texts, pa.string()), pattern)
    places: list[int] = pc.indices_nonzero(found).to_pylist()
    return places


def masked(text: str, finds: Sequence[Find], label: Callable[[Kind], str]) -> str:
    """The text with each find replaced."""
    parts, at = [], 0
    for start, end, kind in finds:
        parts += [text[at:start], label(kind)]
        at = end
    return "".join([*parts, text[at:]])


# --- addresses of mail and machines --------------------------------------------------------------

_EMAIL = re.compile(
    r"(?<![\w.+%-])[A-Za-z0-9](?:[\w.+%-]{0,62}[\w+-])?@(?:[A-Za-z0-9-]{1,63}\.){1,5}[A-Za-z]{2,24}"
    r"(?![\w@]|\.\w)"
)
_RESERVED = re.compile(
    r"(?:^|[.@])(?:example|sample|test|your|my|some|domain|email|mail|company|yourcompany|acme"
    r"|companyname|mycompany|yourdomain|mydomain|website|organization|localhost|abc|xyz|foo|bar)"
    r"\.\w{2,24}$|\.(?:example|test|invalid|local|localhost)$",
    re.IGNORECASE,
)
_NOBODY = re.compile(
    r"^(?:your|my|user|username|name|firstname|first|someone|somebody|email|example|john|jane"
    r"|johndoe|janedoe|foo|bar|test|noreply|no-reply|xxx+|abc)(?:[._-]?(?:name|last|lastname|doe"
    r"|smith|email|mail|user|\d{1,4}))*@",
    re.IGNORECASE,
)
_FILE_ENDS = (".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".js", ".css", ".py")


def _emails(text: str) -> Iterator[tuple[int, int]]:
    for match in _EMAIL.finditer(text):
        address = match.group()
        if address.lower().endswith(_FILE_ENDS) or ".." in address:
            continue  # icon@2x.png
        if not _RESERVED.search(address.partition("@")[2]) and not _NOBODY.search(address):
            yield match.span()


_IPV4 = re.compile(r"(?<![\w.@/-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)")
# Global unicast, which begins with 2 or 3: "l[1::2]" is code.
_IPV6 = re.compile(
    r"(?<![\w:.])[23][0-9A-Fa-f]{3}:(?:[0-9A-Fa-f]{0,4}:){1,6}[0-9A-Fa-f]{0,4}(?![\w:])"
)
_VERSION = re.compile(
    r"(?:\bv|version|release|build|firmware|driver|section|chapter)\W{0,2}$", re.I
)
_PUBLIC = frozenset(("8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "9.9.9.9", "1.2.3.4", "5.6.7.8"))


def _ips(text: str) -> Iterator[tuple[int, int]]:
    """Addresses of the public internet that are in use: no private, reserved or well-known ones."""
    for pattern in (_IPV4, _IPV6):
        for match in pattern.finditer(text):
            if match.group() in _PUBLIC or _VERSION.search(text[: match.start()][-12:]):
                continue
            try:
                address = ipaddress.ip_address(match.group())
            except ValueError:
                continue
            if address.is_global and not address.is_multicast:
                yield match.span()


# --- numbers with a checksum ---------------------------------------------------------------------

_CARD = re.compile(r"(?<![\w.,+-])\d(?:[ -]?\d){12,18}(?![\w-]|[.,]\d)")
_ISSUED = re.compile(r"4|5[1-5]|2[2-7]|3[47]|6(?:011|4[4-9]|5)|35|3(?:0[0-5]|[689])")
_CARD_SIZES = {"4": (13, 16, 19), "5": (16,), "2": (16,), "6": (16, 19), "3": (14, 15, 16)}
_TEST_CARDS = frozenset((
    "4111111111111111", "4242424242424242", "4012888888881881", "4000056655665556",
    "5555555555554444", "5105105105105100", "378282246310005", "371449635398431",
    "6011111111111117", "6011000990139424", "30569309025904", "3530111333300000",
    "4222222222222", "4532015112830366", "4539578763621486", "4000000000000002",
))  # fmt: skip


def _cards(text: str) -> Iterator[tuple[int, int]]:
    for match in _CARD.finditer(text):
        digits = re.sub(r"[ -]", "", match.group())
        sizes = _CARD_SIZES.get(digits[0], ())
        varied = len(set(digits)) > 3
        issued = len(digits) in sizes and _ISSUED.match(digits) and digits not in _TEST_CARDS
        if issued and varied and luhn(digits):
            yield match.span()


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others. Source: ISO/IEC 7812-1, annex B."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 * (value > 9)
    return total % 10 == 0


_IBAN = re.compile(r"(?<![\w-])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![\w-])")
# Source: the IBAN registry (SWIFT): characters of an IBAN by country.
_IBAN_SIZES = {
    country: int(size)
    for country, size in re.findall(
        r"(\w\w):(\d\d)",
        ":"
        "AD:24 AE:23 AL:28 AT:20 AZ:28 BA:20 BE:16 BG:22 BH:22 BR:29 BY:28 CH:21 CR:22 CY:28 CZ:24 "
        "DE:22 DK:18 DO:28 EE:20 EG:29 ES:24 FI:18 FO:18 FR:27 GB:22 GE:22 GI:23 GL:18 GR:27 GT:28 "
        "HR:21 HU:28 IE:22 IL:23 IQ:23 IS:26 IT:27 JO:30 KW:30 KZ:20 LB:28 LC:32 LI:21 LT:20 LU:20 "
        "LV:21 LY:25 MC:27 MD:24 ME:22 MK:19 MR:27 MT:31 MU:30 NL:18 NO:15 PK:24 PL:28 PS:29 PT:25 "
        "QA:29 RO:24 RS:22 SA:24 SC:31 SE:24 SI:19 SK:24 SM:27 TN:24 TR:26 UA:29 VA:22 VG:24 XK:20",
    )
}
_TEST_IBANS = frozenset((
    "GB82WEST12345698765432", "GB29NWBK60161331926819", "DE89370400440532013000",
    "FR1420041010050500013M02606", "NL91ABNA0417164300", "ES9121000418450200051332",
    "BE68539007547034", "CH9300762011623852957", "IT60X0542811101000000123456",
))  # fmt: skip


def _ibans(text: str) -> Iterator[tuple[int, int]]:
    for match in _IBAN.finditer(text):
        compact = match.group().replace(" ", "")
        size = _IBAN_SIZES.get(compact[:2], 0)
        # A word in capitals may follow the number: it is not part of it.
        own = compact[:size]
        if size and len(own) == size and iban(own) and own not in _TEST_IBANS:
            yield match.start(), match.start() + _reach(match.group(), size)


def _reach(written: str, size: int) -> int:
    """How far into a text the first `size` characters that are no blanks reach."""
    count = 0
    for place, character in enumerate(written, 1):
        count += character != " "
        if count == size:
            return place
    return len(written)


def iban(compact: str) -> bool:
    """Whether the checksum of an IBAN without blanks is right. Source: ISO 7064, mod 97-10."""
    moved = compact[4:] + compact[:4]
    return int("".join(str(int(character, 36)) for character in moved)) % 97 == 1


# --- telephones ----------------------------------------------------------------------------------

_PHONE = re.compile(
    # with a country code, as +49 30 1234567 or +1 (212) 555-1234
    r"(?<![\w.,+-])\+\d{1,3}(?:[ .–-]{0,2}(?:\(\d{1,5}\)|\d{1,5})){1,6}(?!\d)"
    # as in North America: (212) 736-5000, 212-736-5000, 1-800-736-5000
    r"|(?<![\w.,+/=-])(?:1[ .-])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[.-])"
    r"[2-9]\d{2}[ .-]\d{4}(?![\w-]|\.\d)"
)
_FREE = re.compile(r"^1?8(?:00|33|44|55|66|77|88)")  # of firms and hot lines, nobody's own


_COUNTED = "01234567890 9876543210"


def _phones(text: str) -> Iterator[tuple[int, int]]:
    for match in _PHONE.finditer(text):
        digits = re.sub(r"\D", "", match.group())
        own = digits[1:] if len(digits) == 11 and digits[0] == "1" else digits
        foreign = match.group().startswith("+") and digits[0] != "1"
        if foreign and not 8 <= len(digits) <= 15:
            continue
        if not foreign and (len(own) != 10 or own[3:6] == "555" or own[:3] == "555"):
            continue
        if not foreign and (_FREE.match(own) or own[:3] in ("123", "000")):
            continue
        if not _placeholder(digits):
            yield match.span()


def _placeholder(digits: str) -> bool:
    """Whether digits are counted up or down or one of them repeats: 1234567890, 000 0000."""
    runs = [digits[place : place + 6] for place in range(len(digits) - 5)]
    return len(set(digits[-7:])) < 3 or any(run in _COUNTED for run in runs)


# --- keys ----------------------------------------------------------------------------------------

_KEY = re.compile(
    r"(?<![\w-])(?:"
    r"(?:AKIA|ASIA)[0-9A-Z]{16}"  # AWS
    r"|gh[oprsu]_[A-Za-z0-9]{36,251}|github_pat_[A-Za-z0-9_]{60,255}|glpat-[\w-]{20,}"
    r"|sk-(?:proj-|svcacct-|ant-[a-z0-9]{3,8}-|or-v1-)?[A-Za-z0-9_-]{20,200}"  # OpenAI, Anthropic
    r"|(?:sk|rk)_live_[A-Za-z0-9]{20,100}|AIza[\w-]{35}|hf_[A-Za-z0-9]{30,40}"
    r"|xox[abprs]-[A-Za-z0-9-]{20,200}"
    r"|eyJ[\w-]{10,2000}\.eyJ[\w-]{10,4000}\.[\w-]{20,2000}"  # JSON Web Token
    r")(?![\w-])"
    r"|-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY-----[^-]{60,20000}"
    r"-----END (?:[A-Z0-9]+ ){0,3}PRIVATE KEY-----"
)
_SAID = re.compile(r"example|your|dummy|fake|sample|placeholder|xxxx|1234567|abcdef|\.\.\.", re.I)


def _keys(text: str) -> Iterator[tuple[int, int]]:
    for match in _KEY.finditer(text):
        key = match.group()
        random = len(set(key)) >= 12 and any(map(str.isdigit, key)) and any(map(str.isalpha, key))
        if random and not _SAID.search(key):
            yield match.span()


_FINDERS: dict[Kind, Callable[[str], Iterator[tuple[int, int]]]] = {
    "key": _keys, "email": _emails, "iban": _ibans, "card": _cards, "ip": _ips, "phone": _phones,
}  # fmt: skip
