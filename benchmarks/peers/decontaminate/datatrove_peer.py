"""datatrove's NGramsDecontFilter over a file of documents, for curation_decontaminate.py.

python datatrove_peer.py CORPUS.jsonl ITEMS.jsonl OUT N ROWS

Its indexer wants lighteval for the tasks; `compute_hashes`, which is its own, is all we need of it.
"""

import json
import sys
import tempfile
from itertools import islice
from pathlib import Path

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.decont import NGramsDecontConfig, NGramsDecontFilter, NGramsDecontIndexer

corpus, items, out, n, rows = sys.argv[1:]
config = NGramsDecontConfig(n_grams=int(n))
folder = tempfile.mkdtemp()
indexer = object.__new__(NGramsDecontIndexer)
indexer.config = config
step = NGramsDecontFilter(folder, config=config)
indexer.tokenizer, indexer.hash_func = step.tokenizer, step.hash_func
hashes = set()
for line in Path(items).read_text().splitlines():
    hashes.update(indexer.compute_hashes(json.loads(line)["question"]))
found = np.array(list(hashes), dtype=config.hash_config.np_descr)
found.tofile(str(Path(folder) / "items.index.hashes"))
with Path(out).open("w") as file, Path(corpus).open() as lines:
    for line in islice(lines, int(rows)):
        row = json.loads(line)
        if step.filter(Document(row["text"], row["id"])) is not True:
            print(row["id"], file=file)
