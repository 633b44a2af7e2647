"""A coroutine inside a running loop, as in a notebook: results, errors, one to three interrupts."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest
from conftest import environment

from karat.driving import STOPPING, drive

HEAD = """
import asyncio, os, signal, threading, time
from karat import driving
from karat.driving import drive

def interrupt(count=1):
    for _ in range(count):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)

def later(count=1):
    threading.Thread(target=interrupt, args=(count,)).start()

async def cell(work):
    before = signal.getsignal(signal.SIGINT)
    try:
        print("gave", drive(work()))
    except KeyboardInterrupt:
        print("interrupted")
    assert signal.getsignal(signal.SIGINT) is before
    assert threading.active_count() <= 2
"""
ORDER = """
async def work():
    later()
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.3)
        print("in order")
"""
AT_ONCE = """
async def work():
    later(2)
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(60)
        print("in order")
"""
STUBBORN = """
async def work():
    later(3)
    while True:
        time.sleep(0.01)
"""
EARLY = """
begin = driving._on_fresh_loop
def late(work):
    interrupt()
    return begin(work)
driving._on_fresh_loop = late
async def work():
    await asyncio.sleep(60)
"""
SWALLOWED = """
async def work():
    later()
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        return 3
"""


@pytest.mark.parametrize(
    ("body", "said"),
    [(ORDER, ["in order", "interrupted"]), (AT_ONCE, ["interrupted"]), (STUBBORN, ["interrupted"]),
     (EARLY, ["interrupted"]), (SWALLOWED, ["interrupted"])],
    ids=["order", "at once", "stubborn", "early", "swallowed"],
)  # fmt: skip
def test_an_interrupt_ends_the_work(body, said):
    code = f"{HEAD}{body}\nasyncio.run(cell(work))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=environment(), capture_output=True,
        text=True, timeout=30,
    )  # fmt: skip
    assert done.stdout.splitlines() == said, done.stderr
    assert done.stderr.count(STOPPING.strip()) == 1
    assert "Traceback" not in done.stderr


def test_results_and_errors_come_through():
    async def three():
        return threading.current_thread().name, 3

    async def fails():
        raise ValueError("mine")

    async def cell():
        assert drive(three()) == ("karat", 3)
        with pytest.raises(ValueError, match="mine"):
            drive(fails())

    asyncio.run(cell())
    assert drive(three())[1] == 3


def test_a_loop_on_another_thread_has_no_signals_to_listen_to():
    async def three():
        return 3

    async def cell():
        return drive(three())

    found = []
    thread = threading.Thread(target=lambda: found.append(asyncio.run(cell())))
    thread.start()
    thread.join(10)
    assert found == [3]
