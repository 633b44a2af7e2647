"""datatrove: its four stages of MinHash, as its example minhash_deduplication.py has them.

python datatrove_peer.py CORPUS.jsonl FOLDER usual|short: the ids that stay go to FOLDER/kept.txt.

`usual` are its defaults: word 5-grams, 14 buckets of 8 hashes (similar from about .72 on), xxhash.
`short` has single words, which suits documents of a hundred words: an edited word spoils one
shingle then, not five; and 25 buckets of 10, which Data-Juicer works out for .7, since 14 of 8 take
too many texts for the same by chance. One task and one process: no worker has to start, which is
the least CPU; words come from its English tokenizer, spaCy's.
"""

import sys
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
)
from datatrove.pipeline.readers import JsonlReader
from datatrove.utils.typeshelper import Languages


class KeptIds:
    """The last step of a pipeline: writes the id of each document that comes through."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, data, rank=0, world_size=1):
        with self.path.open("w") as out:
            for document in data:
                out.write(f"{document.id}\n")
                yield document


if __name__ == "__main__":
    corpus, home = Path(sys.argv[1]), Path(sys.argv[2])
    short = {"n_grams": 1, "num_buckets": 25, "hashes_per_bucket": 10}
    config = MinhashConfig(**(short if sys.argv[3] == "short" else {}))

    def documents() -> JsonlReader:
        return JsonlReader(str(corpus.parent), glob_pattern=corpus.name)

    signatures, buckets, removals = (str(home / name) for name in ("sigs", "buckets", "removals"))
    stages = [
        [documents(), MinhashDedupSignature(signatures, config, language=Languages.english)],
        [MinhashDedupBuckets(signatures, buckets, config=config)],
        [MinhashDedupCluster(buckets, removals, config=config)],
        [documents(), MinhashDedupFilter(removals), KeptIds(home / "kept.txt")],
    ]
    for number, steps in enumerate(stages):
        tasks = config.num_buckets if number == 1 else 1  # a task is a bucket there
        LocalPipelineExecutor(
            steps, tasks=tasks, workers=1, logging_dir=str(home / f"logs{number}")
        ).run()
