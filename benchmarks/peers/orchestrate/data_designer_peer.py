"""NVIDIA NeMo Data Designer: one LLM text column over a seed data set.

python data_designer_peer.py BASE_URL PROMPTS.jsonl FOLDER WIDTH: the rows go to FOLDER/rows.jsonl.

max_parallel_requests is the width (default 4). buffer_size, the rows after which it writes what it
has, is the width too (default 1,000): three such groups are under way at once, so the width stays
full, and a run that is killed can go on from smaller groups (ResumeMode.IF_POSSIBLE). The health
check, one more request, is off. native is its faster template engine, for templates one trusts.
"""

import json
import sys
from pathlib import Path

import data_designer.config as dd
import pandas as pd
from data_designer.interface import DataDesigner

if __name__ == "__main__":
    base, prompts, folder, width = sys.argv[1:]
    home = Path(folder)
    rows = [json.loads(line) for line in Path(prompts).read_text().splitlines()]
    seeds = home / "seeds.parquet"
    if not seeds.exists():
        pd.DataFrame({"question": [row["prompt"] for row in rows]}).to_parquet(seeds)
    model = dd.ModelConfig(
        alias="m",
        model="loop",
        provider="loop",
        inference_parameters=dd.ChatCompletionInferenceParams(max_parallel_requests=int(width)),
        skip_health_check=True,
    )
    config = dd.DataDesignerConfigBuilder(model_configs=[model])
    config.with_seed_dataset(dd.LocalFileSeedSource(path=str(seeds)))
    config.add_column(
        dd.LLMTextColumnConfig(name="response", prompt="{{ question }}", model_alias="m")
    )
    designer = DataDesigner(
        artifact_path=home / "artifacts",
        model_providers=[dd.ModelProvider(name="loop", endpoint=base, api_key="none")],
    )
    designer.set_run_config(
        dd.RunConfig(
            buffer_size=int(width),
            jinja_rendering_engine=dd.JinjaRenderingEngine.NATIVE,
            otel_metrics_port=None,
        )
    )
    made = designer.create(
        config, num_records=len(rows), dataset_name="peers", resume=dd.ResumeMode.IF_POSSIBLE
    )
    found = made.load_dataset()
    with (home / "rows.jsonl").open("w") as out:
        for prompt, response in zip(found["question"], found["response"], strict=True):
            out.write(json.dumps({"prompt": prompt, "response": response}) + "\n")
