"""NVIDIA NeMo Curator: FuzzyDeduplicationWorkflow, which needs cuDF, and so a GPU.

python nemo_curator_peer.py CORPUS.jsonl FOLDER usual|short: ids that stay to FOLDER/kept.txt.

`usual` are its defaults: 24 characters, 20 bands of 13. `short` has 10 characters and 25 bands of
10. Without the extra deduplication_cuda12 the import fails: then the table says so. It has no
form of fuzzy or exact deduplication for CPUs.
"""

import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
import ray
from nemo_curator.stages.deduplication.fuzzy.workflow import FuzzyDeduplicationWorkflow

if __name__ == "__main__":
    corpus, home = Path(sys.argv[1]), Path(sys.argv[2])
    short = {"char_ngrams": 10, "num_bands": 25, "minhashes_per_band": 10}
    ray.init("local", include_dashboard=False, _node_ip_address="127.0.0.1")
    try:
        FuzzyDeduplicationWorkflow(
            cache_path=str(home / "cache"),
            output_path=str(home / "out"),
            input_path=str(corpus),
            input_filetype="jsonl",
            text_field="text",
            **(short if sys.argv[3] == "short" else {}),
        ).run()
    finally:
        ray.shutdown()
    found = [pq.read_table(path) for path in sorted((home / "out").rglob("*.parquet"))]
    gone = {place for table in found for place in table.column(0).to_pylist()}
    with (home / "kept.txt").open("w") as out, corpus.open() as lines:
        for place, line in enumerate(lines):
            if place not in gone:
                out.write(f"{json.loads(line)['id']}\n")
