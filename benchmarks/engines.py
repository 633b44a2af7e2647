"""Which engine moves units and keys: Ray's actors and tasks, Ray Data, Daft on Ray, or one process.

python benchmarks/engines.py [--units 200] [--keys 2000000]
Units: each waits 50 ms on one of 4 actors with 4 under way. Keys: how many of so many 64-bit keys
occur twice, from 8 Parquet files: split by key, grouped by sorting. CPU seconds are those of all
processes. Ray Data needs `ray[data]`, Daft `daft`; what is not installed is left out. Daft runs in
a process of its own, since it wants Ray for itself.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from karat.executors.ray.tasks import Tasks
from karat.spread import Here

FILES, ACTORS, AT_ONCE, WAIT_S = 8, 4, 4, 0.05


_SEEN: dict[int, float] = {}  # CPU seconds by process, of those too that have ended since


def cpu() -> float:
    """CPU seconds of this process and of all it started that were there at a look."""
    me = psutil.Process()
    for process in [me, *me.children(recursive=True)]:
        with suppress(psutil.Error):
            times = process.cpu_times()
            _SEEN[process.pid] = times.user + times.system
    return sum(_SEEN.values())


@contextmanager
def measured(name: str) -> Iterator[None]:
    before, began = cpu(), time.perf_counter()
    yield
    wall = time.perf_counter() - began
    print(f"{name}: {cpu() - before:.2f} CPU s, {wall:.2f} s wall", flush=True)


# --- units ---------------------------------------------------------------------------------------


class Waiting:
    async def turn(self, unit: int) -> int:
        await asyncio.sleep(WAIT_S)
        return unit

    async def __call__(self, batch: dict[str, Any]) -> Any:
        await asyncio.sleep(WAIT_S)
        yield batch


def units_by_actors(ray: Any, units: int) -> None:
    actor = ray.remote(Waiting).options(num_cpus=1, max_concurrency=AT_ONCE)
    workers = [actor.remote() for _ in range(ACTORS)]
    ray.get([worker.turn.remote(0) for worker in workers])

    async def slot(worker: Any, left: Iterator[int]) -> None:
        for unit in left:
            await worker.turn.remote(unit)

    async def all_of() -> None:
        left = iter(range(units))
        await asyncio.gather(*(slot(w, left) for w in workers for _ in range(AT_ONCE)))

    with measured(f"{units} units, actors that are there"):
        asyncio.run(all_of())
    for worker in workers:
        ray.kill(worker)


def units_by_ray_data(ray: Any, units: int) -> None:
    import ray.data

    with measured(f"{units} units, Ray Data"):
        data = ray.data.from_items([{"unit": n} for n in range(units)], override_num_blocks=units)
        data = data.map_batches(
            Waiting, batch_size=1, compute=ray.data.ActorPoolStrategy(size=ACTORS), num_cpus=1,
            max_concurrency=AT_ONCE,
        )  # fmt: skip
        assert sum(1 for _ in data.iter_batches(batch_size=1, prefetch_batches=0)) == units


# --- keys ----------------------------------------------------------------------------------------


def make_keys(folder: Path, keys: int) -> list[Path]:
    rng = np.random.default_rng(0)
    files = []
    for n in range(FILES):
        key = rng.integers(0, keys, keys // FILES).astype(np.uint64)
        key *= np.uint64(0x9E3779B97F4A7C15)
        files.append(folder / f"{n}.parquet")
        pq.write_table(pa.table({"key": key, "at": np.arange(len(key))}), files[-1])
    return files


def split(file: Path, ways: int) -> list[Any]:
    table = pq.read_table(file)
    key = table["key"].to_numpy()
    way = (key >> np.uint64(32)) % np.uint64(ways)
    order = np.argsort(way, kind="stable")
    ends = np.searchsorted(way[order], np.arange(1, ways))
    return np.split(key[order], ends) if ways > 1 else [key]


def twice(bundles: list[Any]) -> int:
    key = np.sort(np.concatenate(bundles))
    return int((key[1:] == key[:-1]).sum())


def keys_by(spread: Any, files: list[Path]) -> int:
    return sum(spread.exchange(split, twice, files))


def keys_by_ray_data(ray: Any, files: list[Path]) -> int:
    import ray.data

    found = ray.data.read_parquet([str(file) for file in files]).groupby("key").count()
    return int(found.sum("count()")) - int(found.count())


DAFT = """
import sys, time, logging, ray, daft
sys.path.insert(0, {here!r})
from engines import measured
ray.init("local", num_cpus={cpus}, include_dashboard=False, logging_level=logging.ERROR)
daft.set_runner_ray()
def run():
    found = daft.read_parquet({files!r}).groupby("key").agg(daft.col("at").count().alias("n"))
    return int(found.agg((daft.col("n") - 1).sum()).to_pydict()["n"][0])
for again in ("", ", again"):
    with measured("{keys} keys, Daft on Ray" + again):
        assert run() == {expected}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=200)
    parser.add_argument("--keys", type=int, default=2_000_000)
    given = parser.parse_args()
    import ray

    ray.init("local", num_cpus=ACTORS, include_dashboard=False, logging_level=logging.ERROR,
             log_to_driver=False)  # fmt: skip
    data = find_spec("pandas") is not None
    units_by_actors(ray, given.units)
    if data:
        ray.data.DataContext.get_current().enable_progress_bars = False
        units_by_ray_data(ray, given.units)
    with tempfile.TemporaryDirectory() as folder:
        files = make_keys(Path(folder), given.keys)
        ways: list[tuple[str, Callable[[], int]]] = [
            ("one process", lambda: keys_by(Here(), files)),
            ("Ray tasks", lambda: keys_by(Tasks(ray, ACTORS), files)),
            ("Ray tasks, again", lambda: keys_by(Tasks(ray, ACTORS), files)),
        ]
        if data:
            ways.append(("Ray Data", lambda: keys_by_ray_data(ray, files)))
        found = set()
        for name, run in ways:
            with measured(f"{given.keys} keys, {name}"):
                found.add(run())
        assert len(found) == 1, found
        ray.shutdown()
        if find_spec("daft") is not None:
            text = DAFT.format(
                here=str(Path(__file__).parent), cpus=ACTORS, keys=given.keys,
                files=[str(file) for file in files], expected=found.pop(),
            )  # fmt: skip
            subprocess.run([sys.executable, "-c", text], check=True)


if __name__ == "__main__":
    main()
