"""xml: well-formed documents pass; what entities stand for is neither made nor fetched."""

from __future__ import annotations

import time
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.verifiers.base import Item, find

BOMB = '<!DOCTYPE z [<!ENTITY a "aaaaaaaaaa">{}]><z>&j;</z>'.format(
    "".join(
        f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefghi", "bcdefghij", strict=True)
    )
)


def check(response, **options):
    return find("xml").verify(Item((), response, "stop", {}), **options)


LETTERS = st.text("abcxyz", min_size=1, max_size=5)
TEXT = st.text(
    st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\ufffe\uffff")
)
TREES = st.recursive(
    st.tuples(LETTERS, st.dictionaries(LETTERS, TEXT), TEXT, st.just([])),
    lambda inner: st.tuples(LETTERS, st.dictionaries(LETTERS, TEXT), TEXT, st.lists(inner)),
    max_leaves=10,
)


def element(tree):
    name, attributes, text, children = tree
    made = ElementTree.Element(name, attributes)
    made.text = text
    made.extend(map(element, children))
    return made


@given(TREES)
def test_what_python_writes_as_xml_passes_and_its_root_is_known(tree):
    text = ElementTree.tostring(element(tree), encoding="unicode")
    assert check(text, root=tree[0]).passed
    assert check(text, root="other").passed is False
    assert check(f"```xml\n{text}\n```").passed or "```" in text
    assert check(text[:-1]).passed is False


@pytest.mark.parametrize(
    "response",
    [
        "",
        "No.",
        "<a><b></a></b>",
        "<a/><b/>",
        "<a x=1/>",
        '<a x="1" x="2"/>',
        "<a>&nbsp;</a>",
        "<a>\x00</a>",
        "<a>\ud800</a>",
        "<p>one<br>two</p>",
        "text <a/>",
        "<a>1 < 2</a>",
    ],
)
def test_what_is_not_well_formed(response):
    assert check(response).passed is False


def test_documents_as_models_write_them():
    assert check('<?xml version="1.0" encoding="UTF-16"?>\n<a>ä</a>').passed
    assert check("<!DOCTYPE html>\n<html><body/></html>").passed
    assert check("Here:\n```xml\n<a/>\n```\nDone.").passed
    assert check("<a>" * 100_000 + "</a>" * 100_000).passed
    assert check("<b/>", root="a").reason == "the outermost element is b, not a"


@pytest.mark.parametrize(
    "response",
    [
        BOMB,
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
        '<!DOCTYPE a [<!ENTITY % x SYSTEM "http://127.0.0.1:9/x"> %x;]><a/>',
        f'<!DOCTYPE a [<!ENTITY x "{"x" * 100_000}">]><a>{"&x;" * 100_000}</a>',
    ],
)
def test_entities_are_left_undecided_at_once(response):
    start = time.process_time()
    verdict = check(response)
    assert (verdict.passed, verdict.reason) == (None, "declares entities, which are not followed")
    assert time.process_time() - start < 1


def test_an_external_document_type_is_not_fetched():
    assert check('<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd"><a/>').passed
