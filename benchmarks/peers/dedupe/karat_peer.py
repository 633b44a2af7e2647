"""karat: `karat run` of read and dedupe, from a file of documents to the results.

python karat_peer.py CORPUS.jsonl FOLDER usual|short: the ids that stay go to FOLDER/kept.txt, a
line each. Both settings are the step's defaults, whose threshold follows the length of the text.
"""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq

corpus, folder, _ = sys.argv[1:]
home = Path(folder)
recipe = home / "recipe.yaml"
recipe.write_text(f"""
name: peers
steps:
  - read: {{path: "{corpus}", prompt: text}}
  - dedupe: {{on: prompt}}
""")
command = [sys.executable, "-m", "karat", "run", str(recipe), "--out", str(home / "run")]
subprocess.run(command, check=True)
with (home / "kept.txt").open("w") as out:
    for meta in pq.read_table(home / "run/accepted.parquet", columns=["meta"])["meta"].to_pylist():
        out.write(str(json.loads(meta)["id"]) + "\n")
