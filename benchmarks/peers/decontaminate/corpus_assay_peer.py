"""corpus-assay, a scanner in Rust, over a file of documents; for curation_decontaminate.py.

python corpus_assay_peer.py CORPUS.parquet ITEMS.jsonl OUT N ROWS

One hit is enough, as for the others, and every document it flags is asked for.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq

corpus, items, out, n, rows = sys.argv[1:]
folder = Path(tempfile.mkdtemp())
(folder / "data").mkdir()
# A shard reports at most 500 documents of those it flags.
table = pq.read_table(corpus, columns=["id", "text"]).slice(0, int(rows))
for start in range(0, table.num_rows, 500):
    pq.write_table(table.slice(start, 500), folder / "data" / f"{start:07}.parquet")
config = {
    "benchmarks": [{"name": "items", "dataset": "json", "data_files": {"test": str(Path(items))},
                    "splits": ["test"], "fields": ["question"]}],
    "ngram": int(n), "min_hits": 1, "min_coverage": 0.0,
}  # fmt: skip
(folder / "config.yaml").write_text(json.dumps(config))
tool = str(Path(sys.executable).with_name("corpus-assay"))
index = str(folder / "items.native")
common = ["--config", str(folder / "config.yaml")]
subprocess.run([tool, "-q", "build-index", *common, "--out-index", index, "--allow-unpinned"],
               check=True, stdout=subprocess.DEVNULL)  # fmt: skip
subprocess.run([tool, "-q", "scan", *common, "--index", index, "--input", str(folder / "data"),
                "--id-key", "id", "--out-dir", str(folder / "out"), "--workers", "1"],
               check=True, stdout=subprocess.DEVNULL)  # fmt: skip
with Path(out).open("w") as file:
    for part in sorted((folder / "out" / "contaminated_docs").glob("*.ndjson")):
        for line in part.read_text().splitlines():
            print(json.loads(line)["doc_id"].partition("-part")[0].removeprefix("doc"), file=file)
shutil.rmtree(folder)
