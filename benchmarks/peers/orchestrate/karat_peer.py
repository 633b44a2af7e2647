"""karat: `karat run` of read and respond, as a user writes it; journal, prices and limits on.

python karat_peer.py BASE_URL PROMPTS.jsonl FOLDER WIDTH: the rows go to FOLDER/rows.jsonl. Started
again in the same folder it goes on: that is what `karat run` does.
"""

import json
import subprocess
import sys
from pathlib import Path

base, prompts, folder, width = sys.argv[1:]
home = Path(folder)
recipe = home / "recipe.yaml"
recipe.write_text(f"""
name: peers
models:
  m:
    model: openai/loop
    base_url: "{base}"
    concurrency: {width}
    price: {{input: 0.2, output: 0.6}}
steps:
  - read: {{path: "{prompts}"}}
  - respond: {{models: [m]}}
export: [jsonl]
""")
command = [sys.executable, "-m", "karat", "run", str(recipe), "--out", str(home / "run")]
subprocess.run(command, check=True)
with (home / "rows.jsonl").open("w") as out, (home / "run/export/data.jsonl").open() as lines:
    for line in lines:
        row = json.loads(line)
        record = {"prompt": row["messages"][-1]["content"], "response": row["response"]}
        out.write(json.dumps(record) + "\n")
