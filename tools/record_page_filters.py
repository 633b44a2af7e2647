"""Records what datatrove's filters say of synthetic texts, for tests/curation/test_quality.py.

datatrove brings spaCy, NLTK and pandas along (425 MB), too much for the test environment. So its
verdicts are recorded once, by this script in an environment of its own, and committed. Its words
(spaCy's tokens), its sentences (NLTK's) and its list of punctuation are replaced by karat's, which
are another choice on purpose; what is compared is everything else. With --data it also says how
often verdicts with its own words agree on real texts.

    python -m venv peers/datatrove
    peers/datatrove/bin/pip install datatrove==0.10.1 nltk spacy numpy
    peers/datatrove/bin/python -P tools/record_page_filters.py [--data FILE.jsonl]
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "curation"))
TEXTS = 600
OUT = ROOT / "tests" / "curation" / "page_filters.json"


def verdict(kind, text: str) -> str:
    """Why a filter drops a text; empty where it keeps it, "none" where it cannot take it."""
    from datatrove.data import Document

    try:
        found = kind.filter(Document(text=text, id="0"))
    except (ZeroDivisionError, FloatingPointError):
        return "none"
    return found[1] if isinstance(found, tuple) else "" if found else "dropped"


class NoWords:
    """What karat counts as no word: characters without letter and digit."""

    def __contains__(self, character: str) -> bool:
        return not character.isalnum()


def sentences(line: str, _language: str = "") -> list[str]:
    ends = [bool(re.search(r"[.!?]+[\"')\]]*$", word)) for word in line.split()]
    return [""] * (sum(ends) + (not ends[-1] if ends else 0))


def filters() -> dict[str, object]:
    from datatrove.pipeline.filters import c4_filters as c4
    from datatrove.pipeline.filters import fineweb_quality_filter as fineweb
    from datatrove.pipeline.filters import gopher_quality_filter as gopher
    from datatrove.pipeline.filters import gopher_repetition_filter as repetition

    kinds = {
        "gopher": gopher.GopherQualityFilter(),
        "gopher_repetition": repetition.GopherRepetitionFilter(),
        "c4": c4.C4QualityFilter(),
        "fineweb": fineweb.FineWebQualityFilter(),
    }
    return {"kinds": kinds, "modules": (gopher, repetition, fineweb), "c4": c4, "gopher": gopher}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="JSON lines with a `response` or a `text`")
    options = parser.parse_args()
    found = filters()
    if options.data:
        rows = [json.loads(line) for line in options.data.open(encoding="utf-8")]
        texts = [row.get("response", row.get("text", "")) for row in rows]
        for name, kind in found["kinds"].items():
            if name != "c4":  # needs a model of NLTK's that is downloaded
                start = time.process_time()
                said = [verdict(kind, text) for text in texts]
                rate = len(texts) / (time.process_time() - start)
                report = {"filter": name, "per_cpu_s": round(rate), "verdicts": said}
                sys.stdout.write(f"{json.dumps(report)}\n")
        return
    for module in found["modules"]:
        module.split_into_words = lambda text, _language="": text.split()
    found["c4"].split_into_sentences = sentences
    found["gopher"].PUNCTUATION_SET = NoWords()
    from pages_written import written

    table = [
        {name: verdict(kind, text) for name, kind in found["kinds"].items()}
        for text in written(TEXTS)
    ]
    lines = ",\n".join(json.dumps(row) for row in table)
    OUT.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
