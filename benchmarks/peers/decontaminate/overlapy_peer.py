"""overlapy, the library of GPT-3's recipe, over a file of documents; for curation_decontaminate.py.

python overlapy_peer.py CORPUS.parquet ITEMS.jsonl OUT N ROWS

It takes tokens: lower case, without punctuation, split at white space, as in that recipe.
"""

import json
import re
import sys
from pathlib import Path

import pyarrow.parquet as pq
from overlapy import OverlapyNgramMatcher, OverlapyTestSet

corpus, items, out, n, rows = sys.argv[1:]
word = re.compile(r"\w+")


def tokens(text):
    return word.findall(text.lower())


questions = [json.loads(line)["question"] for line in Path(items).read_text().splitlines()]
held = OverlapyTestSet("items", int(n), int(n), 5, [tokens(text) for text in questions])
match = OverlapyNgramMatcher({tuple(gram) for gram in held.ngrams()})
with Path(out).open("w") as file:
    done = 0
    for batch in pq.ParquetFile(corpus).iter_batches(1024, columns=["id", "text"]):
        for row in batch.to_pylist():
            if done >= int(rows):
                break
            done += 1
            if match([tokens(row["text"])]):
                print(row["id"], file=file)
