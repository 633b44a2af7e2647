"""Checks of what reaches the model: its format, its first tokens, its end.

A text that is read otherwise than it was written gives a score like any other. Tokens show it best;
where nobody shows them, two scores that should differ and do not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from karat.checking.findings import Finding
from karat.checking.probes import BRIEF, DEFAULTS, probes
from karat.checking.trial import Evidence, blind

TOKENS_PER_WORD = 1.35
_MARK = re.compile(r"<[^<>\s]{1,40}>|\[/?[A-Z_]{2,20}\]")
_PLAIN = str.maketrans({"Ġ": " ", "▁": " ", "Ċ": "\n"})  # how BPE and SentencePiece write spaces
_ROLES = {"system", "user", "human"}


def smuggled(found: Evidence) -> Iterator[Finding]:
    """A system prompt that nobody wrote."""
    added = _added_words(found)
    if added:
        yield _system_finding(f'before the first turn the model reads "{added}"')
        return
    tokens = found.system_tokens
    if None in tokens and BRIEF in tokens and tokens[BRIEF] < tokens[None]:
        yield _system_finding(
            f"a conversation has {tokens[None]} tokens without a system prompt and {tokens[BRIEF]} "
            f'with "{BRIEF}": something longer stands in its place'
        )
        return
    scores = found.systems
    bare, brief = scores.get(None), scores.get(BRIEF)
    if found.coarse or bare is None or brief is None or bare == brief:
        return
    for system in DEFAULTS:
        if scores.get(system) == bare:
            yield _system_finding(
                f'a conversation without a system prompt scores exactly as with "{system}" '
                f"({bare:.6g}), and otherwise than with another ({brief:.6g})"
            )
            return


def _system_finding(seen: str) -> Finding:
    return Finding(
        "system", "warning", f"{seen}",
        "the chat template adds a system prompt that no row has; a reward model trained without it "
        "reads another format than it knows",
        "look at the model's card; if it was trained without, give the server a template that adds "
        "nothing (--chat-template FILE), or karat one in `template:`; for transformers say "
        "`system: drop`",
    )  # fmt: skip


def _added_words(found: Evidence) -> str:
    """What stands before the first turn beside marks and roles; "" for nothing, or not known."""
    whole = found.text
    if not whole and found.seen is not None and found.seen.pieces is not None:
        whole = "".join(found.seen.pieces).translate(_PLAIN)
    start = whole.find(probes()[0].prompt[:20])
    if start < 0:
        return ""
    words = _MARK.sub(" ", whole[:start]).split()
    while words and words[0].lower() in _ROLES:
        words = words[1:]
    while words and words[-1].lower() in _ROLES:
        words = words[:-1]
    return " ".join(words)[:160] if len(words) > 2 else ""


def doubled(found: Evidence) -> Iterator[Finding]:
    """A text that begins with two BOS tokens, or is graded with tokens nobody counted."""
    seen = found.seen
    if seen is None:
        return
    change = (
        "let the template write the BOS and the server add none: vLLM from 0.11 obeys "
        "add_special_tokens, older ones need a template without it; for SGLang leave keep_bos out"
    )
    why = "the model never saw two in training; scores of Llama-like reward models fall apart"
    if seen.doubled:
        first = repr(seen.pieces[0]) if seen.pieces else str(seen.ids[0])
        yield Finding("bos", "error", f"the text begins with the token {first} twice", why, change)
    elif found.used is not None and found.used == len(seen.ids) + 1:
        yield Finding(
            "bos", "error",
            f"a text of {len(seen.ids)} tokens was graded as {found.used}: the server puts one "
            "before it", why, change,
        )  # fmt: skip


def other_template(found: Evidence) -> Iterator[Finding]:
    """A chat template that is not the server's own."""
    if found.seen is None or found.otherwise is None or found.seen.ids == found.otherwise.ids:
        return
    pairs = zip(found.seen.ids, found.otherwise.ids, strict=False)
    alike = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
    where = f"they part at token {alike}" if alike is not None else "one ends before the other"
    yield Finding(
        "template", "error",
        f"karat's template makes {len(found.seen.ids)} tokens of a conversation, the server's own "
        f"{len(found.otherwise.ids)}; {where}",
        "a reward model reads one format, and scores another without a complaint",
        "leave `template` out, so that the server uses the model's own, or name the model's own",
    )  # fmt: skip


def length(found: Evidence) -> Iterator[Finding]:
    """Texts whose end, or whose question, is not read."""
    noise = found.noise
    blinds = [one for one in found.lengths if blind(one, noise)]
    if not blinds:
        return
    first = blinds[0]
    seeing = [o.words for o in found.lengths if o.words < first.words and not blind(o, noise)]
    ending = blind(first, noise) == "ending"
    what = "two endings" if ending else "the answers to two questions"
    tokens = round(first.words * TOKENS_PER_WORD / 10) * 10
    yield Finding(
        "length", "error",
        f"from {first.words:,} words on (about {tokens:,} tokens"
        f"{f'; not at {seeing[-1]:,}' if seeing else ''}) {what} score alike",
        "the text is cut before the model reads it, so what long responses say in the part that is "
        "cut counts for nothing",
        "raise the server's context (--max-model-len, --context-length), switch its truncation off "
        "(--allow-auto-truncate), or drop longer responses before grading",
    )  # fmt: skip
