"""xml: whether a response is well-formed XML.

Read by expat, event by event, so that nothing is built that an answer could make large. A document
that declares entities is left undecided and unread from there on: a few hundred bytes of them stand
for gigabytes, or for files of this machine.

Source: XML 1.0 (fifth edition) §2.1; for the attacks, the documentation of Python's xml package.
"""

from __future__ import annotations

from typing import Any
from xml.parsers import expat

from karat.verifiers._fences import given
from karat.verifiers.base import Item, Verdict

NEEDS: tuple[str, ...] = ()
EXTRA = ""


class _EntityError(Exception):
    """A declaration that is not followed."""


def verify(item: Item, *, root: str = "") -> Verdict:
    """True for one well-formed document: the whole response, or its last block of XML.

    With `root`, its outermost element has that name. A document type is read as far as it declares
    no entities; validity against it is not checked.
    """
    text = item.response.strip()
    if not text.startswith("<"):
        text = given(text, ("xml", "html", "xhtml", "svg", "rss"))
    if not text:
        return Verdict(False, "no XML in the response")
    names: list[str] = []
    parser = expat.ParserCreate()
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    parser.EntityDeclHandler = _refuse

    def opened(name: str, _: Any) -> None:
        names.append(name)
        parser.StartElementHandler = None

    parser.StartElementHandler = opened
    try:
        parser.Parse(text, True)
    except _EntityError:
        return Verdict(None, "declares entities, which are not followed")
    except expat.ExpatError as error:
        return Verdict(False, f"not well-formed: {error}")
    except UnicodeEncodeError:
        return Verdict(False, "not well-formed: half of a surrogate pair")
    if root and names != [root]:
        return Verdict(False, f"the outermost element is {names[0][:100]}, not {root}")
    return Verdict(True)


def _refuse(*_: Any) -> None:
    raise _EntityError
