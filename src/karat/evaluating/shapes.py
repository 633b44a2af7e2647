"""One record of a benchmark as an item, and which benchmark a record is of by its keys.

People keep these sets as they were published, so no file needs to say what it is. A record that is
nearly of a kind is an error with its place: half a benchmark gives a figure that looks like one.

Source: the fields of allenai/reward-bench and reward-bench-2, THU-KEG/RM-Bench,
ScalerLab/JudgeBench, princeton-nlp/LLMBar, nvidia/HelpSteer2 and HelpSteer3, and the Arena's votes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from karat.evaluating.benchmarks import DOMAINS, JUDGEBENCH, PRIOR, SECTIONS
from karat.evaluating.items import Item
from karat.rewards.rated_files import text_of
from karat.row import Message
from karat.training._items import Pair, Rated, group_of, prompt_of
from karat.training._preferences import arena, chosen_of
from karat.training._records import MANGLED, items_of

Record = Mapping[str, Any]
Made = Item | str  # a text is the reason why a record is not measured on

STYLES = 3
_KNOWN = {*(name for section in SECTIONS.values() for name in section), *PRIOR}

__all__ = ["MANGLED", "READERS", "Made", "Record", "kind_of"]


def kind_of(record: Record) -> str:
    """The benchmark a record is of, one of READERS. Raises: ValueError for none."""
    chosen, rejected = record.get("chosen"), record.get("rejected")
    if _texts(chosen) and _texts(rejected):
        grid = len(chosen) == len(rejected) == STYLES and "num_correct" not in record  # type: ignore[arg-type]
        return "rmbench" if grid else "rewardbench2"
    if "response_A" in record and "label" in record:
        return "judgebench"
    if "output_1" in record:
        return "llmbar"
    if "overall_preference" in record:
        return "helpsteer3"
    if "preference_strength" in record:
        return "helpsteer2-preference"
    if "helpfulness" in record and "response" in record:
        return "ratings"
    if any(name in record for name in ("responses_a", "conversation_a", "winner_model_a")):
        return "arena"
    if "chosen" in record:
        return "rewardbench" if record.get("subset") in _KNOWN else "pairs"
    next(iter(items_of(record)), None)  # raises, with the fields that were wanted
    return "pairs"


# --- benchmarks ----------------------------------------------------------------------------------


def _rewardbench(record: Record, file: str) -> Iterator[Made]:
    subset = text_of(record["subset"])
    if subset not in _KNOWN:
        raise ValueError(f"subset '{subset}' is none of RewardBench's; read it as pairs=FILE")
    right, wrong = record["chosen"], record["rejected"]
    if isinstance(right, str):  # as published: nothing is left out
        texts = text_of(right), text_of(wrong)
        yield _made(record, texts, 1, subset, str(record.get("id", "")))
        return
    for made in chosen_of(record):
        yield _of_pair(made, subset) if isinstance(made, Pair) else str(made)


def _rewardbench2(record: Record, file: str) -> Iterator[Made]:
    right, wrong = _answers(record, "chosen"), _answers(record, "rejected")
    subset = text_of(record["subset"])
    said = record.get("num_correct")
    if said is not None and int(said) != len(right):
        raise ValueError(f"num_correct is {said}, and chosen has {len(right)}")
    key = str(record.get("id", ""))
    if subset.lower() == "ties":
        kind, _, number = key.partition(":")
        if kind not in ("ref", "tied") or not number:
            raise ValueError(f"the id of a record of Ties is ref:N or tied:N, not '{key}'")
        # A question and its twin stand or fall together.
        yield _made(record, (*right, *wrong), len(right), subset, key, group=f"ties {number}")
        return
    if len(right) != 1:
        raise ValueError(f"{len(right)} right answers; only Ties has more than one")
    yield _made(record, (*right, *wrong), 1, subset, key)


def _rmbench(record: Record, file: str) -> Iterator[Made]:
    right, wrong = _answers(record, "chosen"), _answers(record, "rejected")
    if len(right) != STYLES or len(wrong) != STYLES:
        raise ValueError(
            f"{len(right)} chosen and {len(wrong)} rejected responses; RM-Bench has {STYLES} of "
            "each: concise, detailed, detailed in markdown"
        )
    domain = str(record.get("domain") or file.removesuffix("_filtered"))
    if domain not in DOMAINS:
        raise ValueError(
            f"no domain: give it in the record, or in the file's name as published "
            f"(chat_filtered.json); there is {', '.join(DOMAINS)}"
        )
    yield _made(record, (*right, *wrong), STYLES, domain, str(record.get("id", "")))


def _judgebench(record: Record, file: str) -> Iterator[Made]:
    source, label = text_of(record.get("source", "")), record["label"]
    if label not in ("A>B", "B>A"):
        raise ValueError(f"label is 'A>B' or 'B>A', not {label!r:.40}")
    pair = text_of(record["response_A"]), text_of(record["response_B"])
    part = next((name for start, name in JUDGEBENCH.items() if source.startswith(start)), source)
    prompt = (Message("user", text_of(record["question"])),)
    yield Item(prompt, pair if label == "A>B" else pair[::-1], group_of(prompt), subset=part)


def _llmbar(record: Record, file: str) -> Iterator[Made]:
    subset = str(record.get("subset") or file).removeprefix("Adversarial_")
    for made in items_of(record):
        yield _of_pair(made, subset) if isinstance(made, Pair) else str(made)


def _arena(record: Record, file: str) -> Iterator[Made]:
    made = arena(record)
    if made != "tie":
        yield _of_pair(made, "decided") if isinstance(made, Pair) else str(made)
        return
    # The same record as if one had won: what it is read from is alike.
    won = {"winner": "model_a", "tie": False, "winner_tie": 0, "winner_model_a": 1}
    pair = arena({**record, **{name: value for name, value in won.items() if name in record}})
    if isinstance(pair, Pair):
        item = _of_pair(pair, "tie")
        yield item if isinstance(item, str) else _tied(item)
    else:
        yield str(pair)


def _tied(item: Item) -> Item:
    # Which of two equals comes first must not follow from the file's sides.
    order = item.order()
    texts = tuple(item.responses[place] for place in order)
    return Item(item.prompt, texts, item.group, subset="tie", tie=True)


def _preference(record: Record, file: str) -> Iterator[Made]:
    subset = str(record.get("domain") or "")
    for made in items_of(record):
        yield _of_pair(made, subset) if isinstance(made, Pair) else str(made)


def _pairs(record: Record, file: str) -> Iterator[Made]:
    subset = next((str(record[k]) for k in ("subset", "domain", "category") if record.get(k)), "")
    for made in items_of(record):
        if isinstance(made, Rated):
            raise ValueError("a rating among pairs; keep them in files of their own")
        yield _of_pair(made, subset) if isinstance(made, Pair) else str(made)


def _rated(record: Record, file: str) -> Iterator[Made]:
    for made in items_of(record):
        if isinstance(made, Rated):
            yield Item(made.prompt, (made.response,), made.group, ratings=(made.ratings,))
        else:
            yield str(made)


READERS: dict[str, Callable[[Record, str], Iterator[Made]]] = {
    "rewardbench": _rewardbench, "rewardbench2": _rewardbench2, "rmbench": _rmbench,
    "judgebench": _judgebench, "llmbar": _llmbar, "helpsteer2-preference": _preference,
    "helpsteer3": _preference, "ratings": _rated, "arena": _arena, "pairs": _pairs,
}  # fmt: skip


# --- parts ---------------------------------------------------------------------------------------


def _of_pair(pair: Pair, subset: str) -> Made:
    if pair.chosen == pair.rejected:
        return "same text twice"
    texts = (pair.chosen, pair.rejected)
    return Item(pair.prompt, texts, pair.group, subset=subset, strength=pair.strength)


def _made(
    record: Record, texts: Sequence[str], right: int, subset: str, key: str, group: str = ""
) -> Item:
    prompt = prompt_of(record)
    return Item(prompt, tuple(texts), group or group_of(prompt), right, subset, key)


def _answers(record: Record, name: str) -> list[str]:
    value = record[name]
    found = [value] if isinstance(value, str) else [text_of(text) for text in value]
    if not found:
        raise ValueError(f"{name} is empty")
    return found


def _texts(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, str) for v in value)
