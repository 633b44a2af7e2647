"""A prompt that a model writes out of another one: its template, its reply, what is wrong with it.

One call writes one prompt, so the reply as a whole is the prompt once what models say around it is
taken off. Whether a rewrite is worth keeping is decided here without a second call: the judge that
WizardLM asks about information gain is replaced by counting the words that are new.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from karat.context import Context
from karat.curation.rouge import THRESHOLD, longest_common, rouge_l, words_of
from karat.row import Message, Row
from karat.steps._usable import usable
from karat.templates import turns

# What becomes of the parent: it is there with more words, with other words, or there is a new one.
Change = Literal["longer", "other", "new"]
LEAST_NEW = 3  # words more than the parent has, or other ones: with fewer nothing was added
MOST_NEW = 120  # words more than the parent has: what is longer answers it, or rambles
COPY = 0.75  # ROUGE-L from which a prompt is the template's own example; share of what was added
FEW = 5  # words added that may well be an example's too, such as "in eight lines"
_TURN = re.compile(r"(?m)^(?=--- (?:user|assistant)[ \t]*$)")
_SAID = r"(?:prompt|request|question|task|instruction|problem|query|version)"
_NEW = r"(?:new|rewritten|re-written|revised|evolved|created|updated|modified|improved)"
_LABEL = re.compile(
    rf"[\W_]*(?:(?:sure|certainly|okay|ok)\W+)?(?:(?:here(?:'s| is)|this is)\s[^\n:]{{0,60}}{_SAID}"
    rf"\b[^\n:]{{0,60}}|(?:the\s)?(?:{_NEW}\s)?{_SAID}(?:\s\d)?[\W_]{{0,3}})[:：]\**\s*",
    re.IGNORECASE,
)
# Words of the request that have no place in a prompt. Source: WizardLM (2304.12244) §3.2, the last
# rule of elimination; and words of a model that declines.
_LEAKED = re.compile(
    rf"#\s?(?:the\s)?(?:given|{_NEW})\s{_SAID}|\b(?:given|rewritten|created)\sprompt\b"
    rf"|\brewrite (?:this|the|each) {_SAID}\b|^(?:i am|i'm) sorry,? but\b"
    r"|\bas an ai (?:language )?(?:model|assistant)\b",
    re.IGNORECASE,
)
_QUESTION = ("?", "？", "؟")
# A small model often answers in place of rewriting. What was a question stays one or is a command.
_ASKS = re.compile(
    r"[?？؟]|^(?:please )?(?:i|my|we|our|imagine|suppose|consider|given|explain|describe|discuss"
    r"|write|draft|list|name|give|tell|show|find|compare|contrast|rank|sort|plan|outline|design"
    r"|create|make|calculate|compute|determine|estimate|work out|solve|prove|derive|analy[sz]e"
    r"|evaluate|assess|justify|identify|define|summari[sz]e|suggest|recommend|propose|provide"
    r"|develop|help)\b",
    re.IGNORECASE,
)
_QUOTES = {'"': '"', "“": "”", "«": "»", "„": "“", "「": "」", "`": "`"}


def asked(ctx: Context, template: str, prompts: Sequence[str]) -> list[Message]:
    """The template's turns, filled in: `prompt` is the one to rewrite, `prompts` all parents.

    A prompt keeps its lines, since they may be code, but adds no turn.
    """
    guarded = [_TURN.sub(" ", prompt) for prompt in prompts]
    return turns(ctx.render(template, prompt=guarded[0], prompts=guarded))


def written(reply: str) -> str:
    """The prompt in a reply: without a label or a remark before it, and without quotes."""
    text = reply.strip()
    label = _LABEL.match(text)
    if label and text[label.end() :].strip():
        text = text[label.end() :].strip()
        if text[0] in _QUOTES:  # what stands behind the closing quote is a remark
            end = text.rfind(_QUOTES[text[0]], 1)
            text = text[1:end] if end > 0 else text[1:]
    inner = text[1:-1]
    if _QUOTES.get(text[:1]) == text[-1:] and not {text[0], text[-1]} & set(inner):
        text = inner
    return text.strip()


def fault(prompt: str, parents: Sequence[str], messages: Sequence[Message], change: Change) -> str:
    """Why a written prompt is not taken, in a few words for the report; empty where it is.

    messages: what was asked, with the template's own examples.
    """
    if not usable(prompt):
        return "no usable prompt"
    if _LEAKED.search(prompt):
        return "words of the request in it"
    if any(_copies(prompt, parents, turn) for turn in messages if turn.role == "assistant"):
        return "copy of the example"
    if change == "new":
        near = any(rouge_l(prompt, parent) >= THRESHOLD for parent in parents)
        return "too near a parent" if near else ""
    old, new = words_of(parents[0]), words_of(prompt)
    kept = len(old) if change == "longer" else longest_common(old, new)
    if len(new) - kept < LEAST_NEW:
        return "nothing added"
    if len(new) - len(old) > MOST_NEW:
        return "too long"
    question = parents[0].rstrip()[-1:] in _QUESTION
    return "no longer a question" if question and not _ASKS.search(prompt) else ""


def _copies(prompt: str, parents: Sequence[str], turn: Message) -> bool:
    """Whether a prompt is a template's example, or its parent with an example's words added."""
    example = written(turn.content)
    known = {word for parent in parents for word in words_of(parent)}
    added = [word for word in words_of(prompt) if word not in known]
    same = longest_common(added, words_of(example))
    return rouge_l(prompt, example) >= COPY or (len(added) >= FEW and same >= COPY * len(added))


def licence(rows: Sequence[Row]) -> dict[str, str]:
    """What `meta` says of the licence of a prompt that was made from these rows."""
    named = [str(row.meta["licence"]) for row in rows if row.meta.get("licence")]
    return {"licence": " + ".join(dict.fromkeys(named))} if named else {}
