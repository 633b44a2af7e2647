"""The table of terms: it knows all that the table of rights knows, and says the same of it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.licensing.release import CANDIDATES
from karat.licensing.terms import SAYS_NOTHING, dataset, find, find_all, table
from karat.models.rights import STRICTNESS
from karat.models.rights import table as rights


def ids(licence: str) -> list[str | None]:
    return [terms and terms.id for _, terms in find_all(licence)]


@pytest.mark.parametrize(
    "rule", [rule for rule in (*rights().model, *rights().service) if rule.licence],
    ids=lambda rule: rule.licence,
)  # fmt: skip
def test_both_tables_say_the_same_of_training(rule):
    found = [terms for _, terms in find_all(rule.licence)]
    assert None not in found
    strictest = max(STRICTNESS.index(terms.training) for terms in found)
    assert STRICTNESS[strictest] == rule.training


def test_every_entry_says_where_it_is_written_and_when_it_was_read():
    for one in table().licences:
        assert one.source
        assert re.fullmatch(r"https://\S+", one.url) or one.id == "own"
        assert re.fullmatch(r"20\d\d-\d\d(-\d\d)?", one.checked) or one.checked == ""
        assert all(duty.text.endswith(".") and duty.on for duty in one.duties)
        # What asks something of whoever trains is no plain yes, and the other way round.
        asks = [d for d in one.duties if set(d.on) & {"output"} and d.kind != "attribution"]
        assert one.training != "conditions" or asks or one.text == "never", one.id


def test_no_name_stands_for_two_licences():
    names = [name for one in table().licences for name in one.names]
    assert len(names) == len(set(names))
    for one in table().licences:
        for name in (*one.names, one.id):
            assert find(name) is one, name


def test_licences_that_may_be_proposed_are_known():
    assert all(find(name) is not None for name in CANDIDATES)
    assert all(find(one.licence) is not None for one in table().datasets)
    assert dataset("NVIDIA/helpsteer2").licence == "CC-BY-4.0"
    assert dataset("somebody/else") is None


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("CC BY 4.0", ["CC-BY-4.0"]),
        ("cc_by_sa_3.0", ["CC-BY-SA-3.0"]),
        ("Creative Commons BY-NC 4.0", ["CC-BY-NC-4.0"]),
        ("CC-BY-4.0-international", ["CC-BY-4.0"]),
        ("http://creativecommons.org/licenses/by-nc/4.0/legalcode", ["CC-BY-NC-4.0"]),
        ("https://creativecommons.org/licenses/by-sa/4.0/deed.en", ["CC-BY-SA-4.0"]),
        ("CC-BY-4.0 AND MIT AND Apache-2.0", ["CC-BY-4.0", "MIT", "Apache-2.0"]),
        ("MIT; mit; CC0-1.0", ["MIT", "CC0-1.0"]),
        ("Apache-2.0 + Groq terms", ["Apache-2.0", "groq-terms"]),
        ("Modified MIT (Mistral) + Together terms", ["mistral-modified-mit", "together-terms"]),
        ("NVIDIA Open Model License, Llama Community License", ["nvidia-open", "llama"]),
        ("CC-BY-NC-4.0 or Cohere terms", ["cohere-weights"]),
        # A choice: the one that asks less, but never at the cost of what holds beside it.
        ("CC-BY-NC-4.0 OR MIT", ["MIT"]),
        ("GPL-9 OR MIT", ["MIT"]),
        ("MIT OR CC0-1.0 + Groq terms", ["CC0-1.0", "groq-terms"]),
        ("MIT AND (GPL-9 OR CC0-1.0)", [None]),
        ("other", [None]),
        ("", [None]),
        ("All rights reserved", [None]),
        ("CC-BY-4.0 AND all rights reserved", ["CC-BY-4.0", None]),
    ],
)
def test_licences_are_found_however_they_are_written(written, found):
    assert ids(written) == found


@pytest.mark.parametrize("nothing", sorted(SAYS_NOTHING))
def test_what_says_nothing_is_never_a_licence(nothing):
    assert ids(nothing.upper()) == [None]


@given(st.text(max_size=400))
def test_any_text_is_looked_up_without_harm(text):
    found = find_all(text)
    assert found
    assert all(len(name) <= 201 for name, _ in found)
