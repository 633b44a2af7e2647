"""code: whether a response's Python passes the row's tests, run in a process that is locked in.

Which code: the last fenced Python block that defines a name the tests use, else the last that
parses; a response without a fence is taken whole, and after the prompt's code where it completes
that (HumanEval). Even the parsing happens in the sandbox, which is one process per check and per
input, with the standard library and nothing else.

What the sandbox keeps from the code, on Linux 5.13 or newer (x86-64 and ARM):
    files       nothing is written but in a scratch folder in memory (64 MB; where the kernel grants
                no user namespace, nothing at all), nothing read but the standard library, shared
                libraries and time zones; no home, no environment, no arguments
    network     no sockets at all; `socketpair`, which asyncio needs, works
    processes   none started, none signalled, none traced; threads are bounded by memory
    time        CPU seconds, and the clock for what sleeps; then it is killed, and all it started
    memory      its address space, the size of its files, what it prints (1 MB)
    privileges  none, were it root that ran it
On other systems only time, memory and the environment are kept from it, and `verify` refuses unless
told `unsafe: true`.

What it does not keep from it. The kernel: a hole in Linux is a hole here, so for code that is out
to harm use a machine of its own around all of this. What can be learnt by looking: names, sizes and
owners of files (`stat`) are not hidden, the clock and the machine's load neither. Other tenants of
the CPU: as many checks run as are asked for. And the tests themselves: code under test shares a
process with asserts, so an answer written against this harness can find them, change what they call
or return objects equal to everything, and say that it passed. It cannot do so by printing, exiting,
or patching the builtins as it loads. Tests of standard input and output have no such hole: what is
expected is compared outside, and never enters the process.

Source: HumanEval, arXiv 2107.03374 §2.3; MBPP, arXiv 2108.07732; APPS, arXiv 2105.09938.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from karat.verifiers import _sandbox
from karat.verifiers._fences import best_first
from karat.verifiers._sandbox import Outcome
from karat.verifiers.base import Item, Seconds, Verdict

NEEDS: tuple[str, ...] = ()  # one of several fields: see `verify`
EXTRA = ""
DECIDES = True
SHARES = True

Megabytes = Annotated[int, msgspec.Meta(ge=64, le=65536)]
LONGEST = 200_000  # characters of a response
PIECES = 16  # fenced blocks that are looked at, from the last on
KILLED = "the sandbox was killed from outside"
PYTHON = ("python", "py", "python3", "py3")


class Tests(msgspec.Struct, frozen=True):
    """What a row tests by: pieces of Python, or what a program reads and should print."""

    asserts: tuple[str, ...] = ()
    entry: str = ""
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


def verify(
    item: Item, *, seconds: Seconds = 5, memory_mb: Megabytes = 512, unsafe: bool = False
) -> Verdict:
    """True where every test of the row passes; `share` is the part of them that does.

    Tests are one of: `meta["tests"]`, a list of asserts, a script, or a list of {"input", "output"}
    (likewise {"inputs": […], "outputs": […]}) for a program that reads and prints; HumanEval's
    `test` with `entry_point`; MBPP's `test_list`, with `test_setup_code` before each. No verdict
    where a row brings none that can be read. What programs print is compared line by line, without
    spaces at ends. `seconds` are CPU time, for all asserts together and for each input.
    Raises: RunError where this machine cannot lock code in and `unsafe` is not set.
    """
    tests = read_tests(item.meta)
    if tests is None:
        return Verdict(None, "the row brings no tests that can be read")
    if not item.response.strip():
        return Verdict(False, "no code in the response", 0.0)
    if len(item.response) > LONGEST:
        return Verdict(None, f"over {LONGEST} characters")
    pieces, fenced = pieces_of(item.response)
    if tests.asserts:
        asked = next((m.content for m in reversed(item.prompt) if m.role == "user"), "")
        outcomes = _sandbox.run(
            pieces,
            tests=tests.asserts,
            entry=tests.entry,
            context=[*pieces_of(asked)[0], asked],
            completion=not fenced,
            seconds=seconds,
            memory_mb=memory_mb,
            weaker=unsafe,
        )
        return _asserted(outcomes, len(tests.asserts), seconds)
    outcomes = _sandbox.run(
        pieces,
        inputs=[text.encode("utf-8", "replace") for text in tests.inputs],
        seconds=seconds,
        memory_mb=memory_mb,
        weaker=unsafe,
    )
    return _printed(outcomes, tests.outputs, seconds)


def read_tests(meta: Mapping[str, Any]) -> Tests | None:
    """The tests of a row; None where there are none, or none of a known form."""
    entry = meta.get("entry_point", "")
    tests = meta.get("tests", meta.get("test_list", meta.get("test")))
    if isinstance(tests, str) and tests.strip() and isinstance(entry, str):
        # A script for an entry point defines `check`, as HumanEval's do; any other runs by itself.
        checks = bool(entry) and re.search(r"^def check\b", tests, re.MULTILINE) is not None
        return Tests((tests,), entry if checks else "")
    if isinstance(tests, Mapping):
        inputs, outputs = tests.get("inputs"), tests.get("outputs")
    elif isinstance(tests, list) and tests and all(isinstance(one, str) for one in tests):
        setup = meta.get("test_setup_code") or ""
        return Tests(tuple(f"{setup}\n{one}" if setup else one for one in tests))
    elif isinstance(tests, list) and tests and all(isinstance(one, Mapping) for one in tests):
        inputs = [one.get("input") for one in tests]
        outputs = [one.get("output") for one in tests]
    else:
        return None
    read, printed = _texts(inputs), _texts(outputs)
    if not read or len(read) != len(printed):
        return None
    return Tests(inputs=read, outputs=printed)


def _texts(value: Any) -> tuple[str, ...]:
    """A list of texts; nothing where it is anything else."""
    good = isinstance(value, list) and all(isinstance(one, str) for one in value)
    return tuple(value) if good else ()


def pieces_of(text: str) -> tuple[list[str], bool]:
    """What in a text may be its code, best first, and whether it was fenced."""
    pieces = best_first(text, PYTHON)[:PIECES]
    return (pieces, True) if pieces else ([text], False)


def _asserted(outcomes: Sequence[Outcome], count: int, seconds: int) -> Verdict:
    if not outcomes:
        return Verdict(None, KILLED)
    (outcome,) = outcomes
    flags = outcome.passed
    if len(flags) != count or set(flags) - set(b"01"):
        return Verdict(False, _ending(outcome, seconds), 0.0)
    passed = flags.count(b"1")
    return Verdict(passed == count, outcome.note, passed / count)


def _printed(outcomes: Sequence[Outcome], expected: Sequence[str], seconds: int) -> Verdict:
    """A program's verdict; inputs that it was not run on, after one took too long, failed."""
    if not outcomes:
        return Verdict(None, KILLED)
    passed, reason = 0, ""
    for number, (outcome, wanted) in enumerate(zip(outcomes, expected, strict=False), 1):
        if outcome.ended != "exit":
            problem = _ending(outcome, seconds)
        elif _lines(outcome.printed.decode("utf-8", "replace")) != _lines(wanted):
            problem = "printed something else"
        else:
            passed += 1
            continue
        reason = reason or f"input {number}: {problem}"
    return Verdict(passed == len(expected), reason, passed / len(expected))


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]


def _ending(outcome: Outcome, seconds: int) -> str:
    """Why a process did not come to its end, in words."""
    if outcome.ended == "time":
        return f"still running after {seconds} s of CPU time, or asleep for several times as long"
    if outcome.ended == "output":
        return "printed over 1 MB"
    if outcome.note:
        return outcome.note
    if outcome.ended == "signal":
        return f"ended by signal {-outcome.code}"
    return f"left with exit code {outcome.code} before the tests were over"
