"""distilabel: a pipeline of one TextGeneration task on its OpenAI client.

python distilabel_peer.py BASE_URL PROMPTS.jsonl FOLDER WIDTH: the rows go to FOLDER/rows.jsonl.

input_batch_size is how many prompts a task asks at once ("Steps", its documentation), so it is set
to the width; its default is 50. The cache is on, as by default: a pipeline started again goes on
from the batches that are done. Retries are its default, 6.
"""

import json
import sys
from pathlib import Path

from distilabel.models.llms import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import TextGeneration

if __name__ == "__main__":
    base, prompts, folder, width = sys.argv[1:]
    rows = [json.loads(line) for line in Path(prompts).read_text().splitlines()]
    with Pipeline("peers", cache_dir=Path(folder) / "cache") as pipeline:
        load = LoadDataFromDicts(
            data=[{"instruction": row["prompt"]} for row in rows], batch_size=int(width)
        )
        ask = TextGeneration(
            llm=OpenAILLM(model="loop", base_url=base, api_key="none"),
            input_batch_size=int(width),
            add_raw_input=False,
            add_raw_output=False,
        )
        load >> ask
    found = pipeline.run(use_cache=True)["default"]["train"]
    with (Path(folder) / "rows.jsonl").open("w") as out:
        for row in found:
            record = {"prompt": row["instruction"], "response": row["generation"]}
            out.write(json.dumps(record) + "\n")
