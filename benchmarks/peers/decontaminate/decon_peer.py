"""decon (Ai2), Rust with Python bindings, over a file of documents; for curation_decontaminate.py.

python decon_peer.py CORPUS.parquet ITEMS.jsonl OUT N ROWS

With its own defaults: it does not look for runs of N words but scores how much of a question a
document has, so parts of one are none of its business.
"""

import gzip
import json
import shutil
import sys
import tempfile
from pathlib import Path

import decon
import pyarrow.parquet as pq

corpus, items, out, _, rows = sys.argv[1:]
folder = Path(tempfile.mkdtemp())
for name in ("data", "evals", "report"):
    (folder / name).mkdir()
table = pq.read_table(corpus, columns=["id", "text"]).slice(0, int(rows))
with (folder / "data" / "corpus.jsonl").open("w") as file:
    for row in table.to_pylist():
        file.write(json.dumps(row) + "\n")
with gzip.open(folder / "evals" / "items-1.jsonl.gz", "wt") as file:
    for number, line in enumerate(Path(items).read_text().splitlines()):
        item = {
            "eval_key": "items", "eval_instance_index": number, "doc_id": number,
            "split": "test", "question": json.loads(line)["question"], "answer": "",
            "passage": "", "fingerprint": str(number), "is_correct": True,
        }  # fmt: skip
        file.write(json.dumps(item) + "\n")
decon.detect(decon.Config(str(folder / "data"), str(folder / "evals"), str(folder / "report"),
                          worker_threads=1))  # fmt: skip
ids = table.column("id").to_pylist()
flagged = set()
for part in (folder / "report").rglob("*.jsonl"):
    for line in part.read_text().splitlines():
        found = json.loads(line)
        flagged.add(int(found.get("training_line", found.get("line", -1))))
with Path(out).open("w") as file:
    for line in sorted(flagged):
        print(ids[line], file=file)
shutil.rmtree(folder)
