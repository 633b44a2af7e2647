"""Exact duplicates by a peer: python exact.py daft|polars|floor PARQUET OUT.

Text that is equal after lower case and folded white space; `floor` only reads, and hashes bytes.
OUT gets one line of JSON: CPU seconds beyond start-up, memory in MB and how many texts stay.
"""

import json
import sys
import time
from hashlib import blake2b
from pathlib import Path

import pyarrow.parquet as pq


def daft(source: str) -> int:
    import daft
    import daft.functions

    folded = daft.functions.regexp_replace(daft.col("text").lower(), r"\s+", " ")
    text = daft.functions.strip(folded)
    table = daft.read_parquet(source).select(text.hash().alias("h"))
    return table.distinct().count_rows()


def polars(source: str) -> int:
    import polars as pl

    text = pl.col("text").str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()
    return pl.scan_parquet(source).select(text.hash().n_unique()).collect().item()


def floor(source: str) -> int:
    found = set()
    for batch in pq.ParquetFile(source).iter_batches(1024, columns=["text"]):
        for text in batch.column("text").to_pylist():
            found.add(blake2b(text.encode(), digest_size=8).digest())
    return len(found)


def peak_kb() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


peer, source, out = sys.argv[1:]
finder = {"daft": daft, "polars": polars, "floor": floor}[peer]
small = Path(out).with_suffix(".warm.parquet")
pq.write_table(pq.read_table(source).slice(0, 100), small)
finder(str(small))
memory = peak_kb()
start = time.process_time()
stay = finder(source)
cpu = time.process_time() - start
mb = (peak_kb() - memory) / 1024
Path(out).write_text(json.dumps({"cpu": cpu, "mb": mb, "stay": stay}))
