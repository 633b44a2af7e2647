"""NVIDIA NeMo Curator: its synthetic stage on its asynchronous OpenAI client, in a pipeline on Ray.

python nemo_curator_peer.py BASE_URL PROMPTS.jsonl FOLDER WIDTH: the rows go to FOLDER/rows.jsonl.

max_concurrent_requests is the width (default 5), and all prompts are one batch, since the width
holds within a batch. RayDataExecutor is one of its three executors; the default, Xenna, scales
stages over machines with many cores. Retries: the OpenAI client beneath it has 6 instead of 2.
Tasks given in memory cannot be resumed: its checkpoints are of files.
"""

import json
import sys
from pathlib import Path

import pandas as pd
import ray
from nemo_curator.backends.ray_data import RayDataExecutor
from nemo_curator.models.client.llm_client import GenerationConfig
from nemo_curator.models.client.openai_client import AsyncOpenAIClient
from nemo_curator.pipeline import Pipeline
from nemo_curator.stages.synthetic.nemotron_cc.base import BaseSyntheticStage
from nemo_curator.tasks import DocumentBatch


class Client(AsyncOpenAIClient):
    """max_retries of the class is of its own loop, which takes up only limits and connections."""

    def setup(self) -> None:
        self.openai_kwargs["max_retries"] = 6
        super().setup()


if __name__ == "__main__":
    base, prompts, folder, width = sys.argv[1:]
    rows = [json.loads(line) for line in Path(prompts).read_text().splitlines()]
    ray.init("local", include_dashboard=False, _node_ip_address="127.0.0.1")
    try:
        stage = BaseSyntheticStage(
            prompt="{document}",
            input_field="prompt",
            output_field="response",
            client=Client(max_concurrent_requests=int(width), base_url=base, api_key="none"),
            model_name="loop",
            generation_config=GenerationConfig(),
        )
        batch = DocumentBatch(data=pd.DataFrame(rows), dataset_name="peers")
        found = Pipeline("peers", stages=[stage]).run(RayDataExecutor(), initial_tasks=[batch])
    finally:
        ray.shutdown()
    with (Path(folder) / "rows.jsonl").open("w") as out:
        for done in found or []:
            for row in done.to_pandas().to_dict("records"):
                record = {"prompt": row["prompt"], "response": row["response"]}
                out.write(json.dumps(record) + "\n")
