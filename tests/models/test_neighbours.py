"""Processes that share an endpoint: found by files, fair within seconds, alone when in trouble."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from conftest import slow
from test_limits import run_fast
from test_limits_pace import Bucket

from karat.models.limits import Limiter
from karat.models.neighbours import FileMailbox, Neighbour, start_of

ADDRESS = "https://service.example/v1 secret-key"


def published(folder, **says):
    one = FileMailbox(ADDRESS, folder)
    one.publish(Neighbour(**says))
    return one


def test_neighbours_of_one_endpoint_find_each_other(tmp_path):
    first = published(tmp_path, rate=5.0, used=4.0, demand=True)
    second = published(tmp_path)
    FileMailbox("another", tmp_path).publish(Neighbour())
    (found,) = second.read().values()
    assert (found.rate, found.used, found.demand, found.pid) == (5.0, 4.0, True, os.getpid())
    assert len(first.read()) == 1
    first.leave()
    assert second.read() == {}


def test_a_file_says_nothing_of_the_endpoint_and_is_removed(tmp_path):
    one = published(tmp_path, rate=5.0)
    (file,) = tmp_path.iterdir()
    for part in ("service", "example", "secret"):
        assert part not in file.name + file.read_text()
    assert file.stat().st_size < 200
    one.leave()
    assert list(tmp_path.iterdir()) == []


def test_who_is_dead_stale_or_garbled_is_ignored(tmp_path):
    reader = FileMailbox(ADDRESS, tmp_path)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    published(tmp_path, rate=1.0)
    (file,) = tmp_path.iterdir()
    theirs = file.read_text().replace(f'"pid":{os.getpid()}', f'"pid":{child.pid}')
    theirs = theirs.replace(str(start_of(os.getpid())), str(start_of(child.pid)))
    file.write_text(theirs)
    assert len(reader.read()) == 1
    child.communicate(b"\n")
    assert reader.read() == {}
    published(tmp_path)
    for path in tmp_path.iterdir():
        os.utime(path, (time.time() - 60, time.time() - 60))
    assert reader.read() == {}
    for text in ("", "{", "[]", '{"rate": "x"}', '{"rate": -1}', '{"rate": 1e300}', "\udce9"):
        file.write_text(text, errors="surrogateescape")
        assert reader.read() == {}


@pytest.mark.parametrize("trouble", ["a file in its place", "gone", "no folder at all"])
def test_no_trouble_with_the_folder_fails_a_run(tmp_path, trouble, monkeypatch):
    folder = tmp_path / "neighbours"
    if trouble == "a file in its place":
        folder.write_text("")
    elif trouble == "no folder at all":
        monkeypatch.setenv("KARAT_CACHE", "/proc/no/such/place")
        folder = None

    async def main():
        limiter = Limiter(4, rpm=600, neighbours=FileMailbox(ADDRESS, folder))
        for _ in range(30):
            began = await limiter.acquire()
            if trouble == "gone" and folder.exists():
                for file in folder.iterdir():
                    file.unlink()
                folder.rmdir()
            await asyncio.sleep(0.1)
            limiter.delivered(began)
            limiter.release()
        limiter.close()

    run_fast(main())


class Run:
    """One process of a simulation: calls without end, counted by second."""

    def __init__(self, bucket, folder, callers=64, pause_s=0.0, **limits):
        self.limiter = Limiter(64, neighbours=FileMailbox(ADDRESS, folder), **limits)
        self.bucket, self.pause_s, self.ends = bucket, pause_s, []
        self.tasks = [asyncio.ensure_future(self.calls(i)) for i in range(callers)]

    async def calls(self, number):
        loop, dice = asyncio.get_running_loop(), random.Random(number)
        while True:
            began = await self.limiter.acquire()
            await asyncio.sleep(0.1 * dice.uniform(0.7, 1.3))
            self.limiter.release()
            if self.bucket.take():
                self.limiter.delivered(began)
                self.ends.append(loop.time())
                await asyncio.sleep(self.pause_s)
            else:
                await asyncio.sleep(self.limiter.refused(began, 1.0))

    def rate(self, seconds):
        now = asyncio.get_running_loop().time()
        return sum(end > now - seconds for end in self.ends) / seconds

    async def stop(self):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.limiter.close()


@pytest.mark.parametrize("stated", [False, True], ids=["found by refusals", "stated"])
def test_a_newcomer_gets_its_share_and_leaves_it_again(tmp_path, stated):
    async def main():
        bucket = Bucket(1e6, 1e6, 1.0) if stated else Bucket(100, 20, 1.0)
        limits = {"rpm": 6000} if stated else {}
        first = Run(bucket, tmp_path, **limits)
        await asyncio.sleep(20)
        assert first.rate(5) >= 95
        second = Run(bucket, tmp_path, **limits)
        await asyncio.sleep(20)
        for run in (first, second):
            assert 40 <= run.rate(5) <= 60
        assert first.rate(5) + second.rate(5) >= 93
        await second.stop()
        await asyncio.sleep(8)
        assert first.rate(5) >= 90
        await first.stop()
        assert list(tmp_path.iterdir()) == []

    run_fast(main())


@pytest.mark.parametrize("stated", [False, True], ids=["found by refusals", "stated"])
def test_who_needs_little_leaves_the_rest_to_the_others(tmp_path, stated):
    async def main():
        bucket = Bucket(1e6, 1e6, 1.0) if stated else Bucket(100, 20, 1.0)
        limits = {"rpm": 6000} if stated else {}
        modest = Run(bucket, tmp_path, callers=1, pause_s=0.1, **limits)
        busy = Run(bucket, tmp_path, **limits)
        await asyncio.sleep(40)
        assert modest.rate(10) >= 3.5
        assert busy.rate(10) >= 88
        await modest.stop()
        await busy.stop()

    run_fast(main())


PROCESS = """
    import asyncio, sys, time
    from pathlib import Path
    from karat.models.limits import Limiter
    from karat.models.neighbours import FileMailbox

    async def main(folder, seconds):
        limiter = Limiter(16, rpm=6000, neighbours=FileMailbox("one", Path(folder)))
        count, ends = 0, time.monotonic() + seconds
        async def calls():
            nonlocal count
            while time.monotonic() < ends:
                began = await limiter.acquire()
                await asyncio.sleep(0.01)
                limiter.delivered(began)
                limiter.release()
                count += ends - 2 < time.monotonic() < ends
        await asyncio.gather(*(calls() for _ in range(16)))
        limiter.close()
        print(count / 2)

    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
"""


@slow
def test_two_real_processes_halve_a_stated_limit(tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(PROCESS), str(tmp_path), "7"]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    rates = [float(child.communicate()[0]) for child in children]
    assert all(35 <= rate <= 65 for rate in rates), rates
    assert sum(rates) <= 108
    assert list(Path(tmp_path).iterdir()) == []
