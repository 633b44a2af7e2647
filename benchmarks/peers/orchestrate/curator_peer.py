"""Bespoke Curator: curator.LLM over a data set, on its OpenAI backend.

python curator_peer.py BASE_URL PROMPTS.jsonl FOLDER WIDTH: the rows go to FOLDER/rows.jsonl.

max_concurrent_requests is the width, and the limits per minute are so high that they hold nothing
back: its defaults are for a hosted service. Retries are its default, 10; rows that fail for good
are left out instead of ending the run (require_all_responses), which can only deliver more. Its
cache lies in the folder: the same call in the same folder goes on from the answers on disk.
tiktoken would fetch its vocabulary from the network; litellm, which it needs anyway, has it too.
"""

import importlib.util
import json
import os
import sys
from pathlib import Path

litellm = Path(importlib.util.find_spec("litellm").origin).parent
os.environ["TIKTOKEN_CACHE_DIR"] = str(litellm / "litellm_core_utils" / "tokenizers")

from bespokelabs import curator  # noqa: E402
from datasets import Dataset  # noqa: E402


class Ask(curator.LLM):
    def prompt(self, input: dict) -> str:  # noqa: A002 - the name it calls it by
        return input["prompt"]

    def parse(self, input: dict, response: str) -> dict:  # noqa: A002
        return {"prompt": input["prompt"], "response": response}


if __name__ == "__main__":
    base, prompts, folder, width = sys.argv[1:]
    rows = [json.loads(line) for line in Path(prompts).read_text().splitlines()]
    ask = Ask(
        model_name="loop",
        backend="openai",
        backend_params={
            "base_url": base,
            "api_key": "none",
            "max_concurrent_requests": int(width),
            "max_requests_per_minute": 10_000_000,
            "max_tokens_per_minute": 100_000_000_000,
            "require_all_responses": False,
        },
    )
    found = ask(Dataset.from_list(rows), working_dir=str(Path(folder) / "cache")).dataset
    with (Path(folder) / "rows.jsonl").open("w") as out:
        for row in found:
            out.write(json.dumps({"prompt": row["prompt"], "response": row["response"]}) + "\n")
