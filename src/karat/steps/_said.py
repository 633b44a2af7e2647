"""What is compared of a row, and which row of those that say the same is the best one."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from karat.columns import best_texts, score_values

Floats = NDArray[np.float64]


class Said(msgspec.Struct, frozen=True):
    """Which text of a row is compared; by what the best row is chosen."""

    on: Literal["prompt", "question", "response", "conversation"] = "prompt"
    keep: Literal["first", "longest", "best"] = "first"
    by: str | None = None

    @property
    def columns(self) -> list[str]:
        """What must be read of a table."""
        needed = {"response": [], "question": ["meta"]}.get(self.on, ["messages"])
        if self.on in ("response", "conversation") or self.by is not None:
            names = ("content", "scores", "kept")
            needed += [f"responses.list.element.{name}" for name in names]
        return needed

    def texts(self, batch: pa.RecordBatch) -> pa.Array:
        """What is compared of each row; empty where it has no such text."""
        if self.on == "prompt":
            return turns(batch.column("messages"))
        if self.on == "question":
            held = batch.column("meta").to_pylist()
            asked = [orjson.loads(meta).get("question") for meta in held]
            texts = [text if isinstance(text, str) else "" for text in asked]
            return pa.array(texts, pa.string())
        answers = pc.fill_null(best_texts(batch.column("responses")), "")
        if self.on == "response":
            return answers
        return pc.binary_join_element_wise(turns(batch.column("messages")), answers, "\n")

    def ranks(self, batch: pa.RecordBatch, texts: pa.Array) -> Floats:
        """rank_P: the lower, the rather a row stays."""
        if self.keep == "longest":
            lengths = pc.utf8_length(texts).to_numpy(zero_copy_only=False)
            return -np.asarray(lengths, np.float64)
        rank_P = np.zeros(batch.num_rows)
        if self.by is not None:
            responses = batch.column("responses")
            flat = responses.flatten()
            score_R = score_values(flat.field("scores"), self.by)
            owner_R = np.repeat(np.arange(batch.num_rows), np.diff(responses.offsets.to_numpy()))
            open_R = pc.fill_null(flat.field("kept"), True).to_numpy(zero_copy_only=False)
            graded = np.isfinite(score_R) & open_R.astype(np.bool_)
            rank_P[:] = np.inf
            np.minimum.at(rank_P, owner_R[graded], -score_R[graded])
        return rank_P


def turns(messages: pa.ListArray) -> pa.Array:
    """All turns of each conversation but the system's, joined by line ends."""
    flat = messages.flatten()
    spoken = pc.not_equal(flat.field("role"), "system")
    counts = np.concatenate([[0], np.cumsum(spoken.to_numpy(zero_copy_only=False))])
    offsets = messages.offsets.to_numpy()
    ends = pa.array(counts[offsets - offsets[0]], pa.int32())
    contents = flat.field("content").filter(spoken)
    return pc.binary_join(pa.ListArray.from_arrays(ends, contents), "\n")
