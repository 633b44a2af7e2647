"""Data-Juicer: dj-process with document_minhash_deduplicator, from JSON lines to JSON lines.

python data_juicer_peer.py CORPUS.jsonl FOLDER usual|short: the ids that stay go to FOLDER/kept.txt.

`usual` are its defaults: word 5-grams, 256 permutations, similar from .7 on, bands it works out
itself. `short` is the same with single words, which suits documents of a hundred words: an edited
word spoils one shingle then, not five. As many processes as the machine has cores.
"""

import json
import os
import sys
from pathlib import Path

from data_juicer.config import init_configs
from data_juicer.core import DefaultExecutor

if __name__ == "__main__":
    corpus, home = Path(sys.argv[1]), Path(sys.argv[2])
    window = 1 if sys.argv[3] == "short" else 5
    settings = home / "process.yaml"
    settings.write_text(f"""
project_name: peers
dataset_path: "{corpus}"
export_path: "{home}/kept/kept.jsonl"
np: {os.cpu_count()}
ds_cache_dir: "{home}/cache"
process:
  - document_minhash_deduplicator: {{tokenization: space, window_size: {window}}}
""")
    DefaultExecutor(init_configs(["--config", str(settings)])).run()
    (exported,) = (home / "kept").rglob("kept.jsonl")
    with (home / "kept.txt").open("w") as out, exported.open() as lines:
        for line in lines:
            out.write(f"{json.loads(line)['id']}\n")
