"""code: right answers pass, wrong ones do not, and what is out to harm stays inside."""

from __future__ import annotations

import json
import marshal
import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import mostly_slow

from karat.errors import RecipeError, RunError
from karat.row import Message
from karat.verifiers import _sandbox, code
from karat.verifiers.base import Item, Verdict, accepted, find
from karat.verifiers.code import Tests, pieces_of, read_tests

HUMAN_EVAL = Path(__file__).parents[3] / "shared/data/prompts/human-eval.jsonl"
LOCKED = not _sandbox.missing()
needs_locks = pytest.mark.skipif(not LOCKED, reason="this machine cannot lock code in")
pytestmark = needs_locks
EACH = "import os\nfor fd in range(3, 99):\n    try: {}\n    except OSError: pass"
ADD = {"tests": ["assert add(1, 2) == 3", "assert add(-1, 1) == 0"]}


def check(response, meta=ADD, prompt="Write it.", **options):
    item = Item((Message("user", prompt),), response, "stop", meta)
    return code.verify(item, **options)


def works(body, **options):
    """Whether a piece of Python ran without an exception; the reason where it did not."""
    return check(body, {"tests": ["pass"]}, **options)


def human_eval():
    with HUMAN_EVAL.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.mark.skipif(not HUMAN_EVAL.exists(), reason="shared data is not here")
@pytest.mark.parametrize(("shape", "stride"), mostly_slow([("completion", 3), ("fenced", 8)], 2))
def test_every_canonical_solution_of_human_eval_passes_and_a_stub_fails(shape, stride):
    def verdicts(row):
        meta = {"test": row["test"], "entry_point": row["entry_point"]}
        right, stub = row["canonical_solution"], "    return NotImplemented\n"
        if shape == "fenced":
            right = (
                f"Here it is.\n\n```python\n{row['prompt']}{right}```\n\n```python\nprint()\n```"
            )
        # Models repeat the function and leave out the imports above it.
        return check(right, meta, row["prompt"]), check(stub, meta, row["prompt"])

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(verdicts, human_eval()[::stride]))
    assert [right for right, _ in found] == [Verdict(True, "", 1.0)] * len(found)
    assert [stub.passed for _, stub in found] == [False] * len(found)
    assert len(found) == len(range(0, 164, stride))


def test_a_share_of_the_tests_and_what_the_first_that_failed_raised():
    assert check("def add(a, b): return a + b") == Verdict(True, "", 1.0)
    assert check("def add(a, b): return abs(a) + b") == Verdict(
        False, "test 2: AssertionError", 0.5
    )
    assert check("def add(a): return a").reason.startswith("test 1: TypeError: add() takes 1")
    assert check("def add(a, b):\n  return a +") == Verdict(
        False, "does not parse: SyntaxError: invalid syntax (<answer>, line 2)", 0.0
    )
    assert check("I cannot do that.").passed is False
    assert check("  \n") == Verdict(False, "no code in the response", 0.0)
    assert check("import nothing_there").reason.startswith("ModuleNotFoundError")


def test_which_block_is_taken():
    right, wrong = "def add(a, b): return a + b", "def add(a, b): return 0"
    block = "```python\n{}\n```\n"
    assert check(block.format(wrong) + "Better:\n" + block.format(right)).passed
    assert check(block.format(right) + "So:\n" + block.format("print(add(1, 2))")).passed
    assert check("```\n3\n```\n" + block.format(right) + "Prints:\n```\n3\n```").passed
    assert check("```text\nno\n```\n~~~py\n" + right + "\n~~~").passed
    assert check("```python\n" + right).passed  # cut off before the fence
    assert check(f"```bash\npip install add\n```\n{block.format(right)}").passed
    assert pieces_of("a\n```js\nlet a\n```\nb") == (["a\n```js\nlet a\n```\nb"], False)
    assert pieces_of("````python\n'''\n```\n'''\n````") == (["'''\n```\n'''"], True)


def test_a_prompt_s_own_code_stands_before_the_answer():
    prompt = (
        "Complete this:\n```python\nfrom math import pi\n\ndef area(r):\n    '''of a disc'''\n```"
    )
    meta = {"tests": ["assert abs(area(1) - 3.14159) < 1e-4"]}
    assert check("```python\ndef area(r):\n    return pi * r * r\n```", meta, prompt).passed
    assert check("    return pi * r ** 2", meta, prompt).passed
    assert check("    return pi * r ** 2\n\nThat's the area.", meta, prompt).passed
    assert not check("    return 3", meta, prompt).passed
    assert not check("It multiplies.", meta, prompt).passed


def test_the_forms_that_tests_come_in():
    script = "def check(candidate):\n    assert candidate(1) == 1"
    assert read_tests({"test": script, "entry_point": "f"}) == Tests((script,), "f")
    assert read_tests({"tests": "assert f(1)", "entry_point": "f"}) == Tests(("assert f(1)",))
    setup = {"test_list": ["assert f(1)"], "test_setup_code": "import math"}
    assert read_tests(setup) == Tests(("import math\nassert f(1)",))
    pairs = Tests(inputs=("1\n",), outputs=("2\n",))
    assert read_tests({"tests": [{"input": "1\n", "output": "2\n"}]}) == pairs
    assert read_tests({"tests": {"inputs": ["1\n"], "outputs": ["2\n"]}}) == pairs
    for broken in ([], "", {}, None, 3, [1], ["a", {}], [{"input": 1}], {"inputs": ["1"]}):
        assert read_tests({"tests": broken}) is None
    assert check("x = 1", {}) == Verdict(None, "the row brings no tests that can be read")


def test_programs_are_judged_by_what_they_print():
    double = "import sys\nfor line in sys.stdin:\n    print(int(line) * 2)"
    cases = [{"input": "1\n2\n", "output": "2\n4"}, {"input": "5", "output": "10 \n\n"}]
    assert check(double, {"tests": cases}) == Verdict(True, "", 1.0)
    main = "def main():\n    print(int(input()) * 2)\n\nif __name__ == '__main__':\n    main()"
    assert check(main, {"tests": cases}) == Verdict(False, "input 1: printed something else", 0.5)
    assert check("print(2)\nprint(4)\nraise SystemExit", {"tests": cases}).share == 0.5
    assert check("1/0", {"tests": cases}).reason == "input 1: ZeroDivisionError: division by zero"
    assert check("import sys; sys.exit(3)", {"tests": cases[:1]}).reason.startswith("input 1: left")
    large = {"tests": [{"input": "x" * 300_000, "output": "300000"}]}
    assert check("print(len(input()))", large).passed
    assert check("print('ä→' + input())", {"tests": [{"input": "ß", "output": "ä→ß"}]}).passed


@pytest.mark.parametrize(
    "trick",
    [
        "import sys; sys.exit(0)",
        "import os; os._exit(0)",
        "def add(a, b):\n    import os; os._exit(0)",
        "def add(a, b): raise SystemExit(0)",
        "def add(a, b):\n    print('passed', flush=True); quit()",
        "import atexit, os; atexit.register(os._exit, 0); raise SystemExit",
        EACH.format("os.write(fd, b'11')"),
        EACH.format("os.close(fd)"),
        "import builtins; builtins.exec = builtins.compile = lambda *a, **k: None",
        "import builtins; builtins.AssertionError = ValueError; __debug__x = 1",
        "import sys; sys.modules['trial'] = None; sys.settrace(lambda *a: None)",
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "import os; os.write(3, b'missing\\n'); os.write(4, b'missing\\n'); os._exit(0)",
    ],
)
def test_leaving_early_or_writing_about_is_not_passing(trick):
    assert check(trick).passed is False


def test_a_patched_builtin_is_put_back_before_the_tests():
    patch = "import builtins\nbuiltins.sorted = lambda x: [1, 2]\ndef f(x): return x"
    assert check(patch, {"tests": ["assert sorted(f([2, 3])) == [1, 2]"]}).passed is False


def test_builtins_of_its_own_are_not_those_of_the_tests():
    own = "import builtins\n__builtins__ = dict(vars(builtins), abs=lambda x: -1.0)"
    answer = f"{own}\ndef f(x): return 0"
    assert check(answer, {"tests": ["assert abs(f(2) - 4) < 1e-6"]}).passed is False


def test_the_kernel_sends_no_signal_for_it():
    """F_SETOWN and F_SETSIG send any signal to any process of the user when a socket is read."""
    for command in ("F_SETOWN, os.getppid()", "F_SETSIG, 9", "F_SETLEASE, fcntl.F_RDLCK"):
        body = f"import fcntl, os\nfcntl.fcntl(0, fcntl.{command})"
        assert "PermissionError" in works(body.replace("fcntl.F_SETSIG", "10")).reason, command
    body = "import fcntl, os, struct\nfcntl.ioctl(0, 0x8901, struct.pack('i', os.getppid()))"
    assert "PermissionError" in works(body).reason
    assert works("import fcntl\nfcntl.fcntl(0, fcntl.F_GETFL)").passed


def test_time_runs_out():
    start = time.monotonic()
    verdict = check("def add(a, b):\n    while True: pass", seconds=1)
    assert verdict.passed is False
    assert verdict.reason.startswith("still running after 1 s")
    caught = "import signal\nsignal.signal(signal.SIGXCPU, lambda *a: None)\nwhile True: pass"
    assert check(caught, seconds=1).reason.startswith("still running")
    assert check("import time\ntime.sleep(999)", seconds=1).reason.startswith("still running")
    assert time.monotonic() - start < 60
    cases = {"tests": [{"input": "", "output": ""}] * 50}
    assert check("while True: pass", cases, seconds=1).share == 0.0  # not 50 times a second


def test_memory_is_bounded():
    assert "MemoryError" in works("x = bytearray(2 ** 31)").reason
    assert "MemoryError" in works("x = 'a'\nwhile True: x += x").reason
    assert works("x = bytearray(2 ** 28)").passed
    assert works("x = 1", memory_mb=64).passed
    with pytest.raises(RunError, match="the sandbox does not start"):
        _sandbox.run(["x = 1"], tests=["pass"], memory_mb="much")
    threads = "import threading, time\nfor _ in range(10_000):\n    threading.Thread("
    threads += "target=time.sleep, args=(99,), daemon=True).start()"
    assert "can't start new thread" in works(threads).reason
    deep = "(" * 100_000 + ")" * 100_000
    assert works(deep).passed is False
    assert works("-" * 100_000 + "1").passed is False
    assert works("import sys\nsys.setrecursionlimit(10**9)\ndef f(): f()\nf()").passed is False


def test_no_process_is_made():
    for start in (
        "os.fork()",
        "subprocess.run(['true'])",
        "os.execv('/bin/true', ['true'])",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "assert os.system('true') == 0",
    ):
        assert works(f"import os, subprocess\n{start}").passed is False, start
    bomb = "import os\nwhile True:\n    try: os.fork()\n    except OSError: break"
    assert works(bomb).passed
    assert works("import threading\nt = threading.Thread(target=print)\nt.start(); t.join()").passed
    assert works("import asyncio\nasyncio.run(asyncio.sleep(0))").passed


def test_nothing_outlives_a_check():
    assert _ours() == []
    works("import time, threading\nthreading.Thread(target=time.sleep, args=(99,)).start()")
    check("import time\ntime.sleep(99)", seconds=1)
    assert _ours() == []


def _ours():
    """Processes of a sandbox that are this process's own, or nobody's."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent in (1, os.getpid()) and b"import launch" in (folder / "cmdline").read_bytes():
                found.append(folder.name)
    return found


def test_no_network():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for attempt in (
            f"socket.create_connection(('127.0.0.1', {port}), 2)",
            "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
            "socket.socket(socket.AF_UNIX)",
            "socket.getaddrinfo('localhost', 80)",
        ):
            assert works(f"import socket\n{attempt}").passed is False, attempt
        server.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.accept()
    assert "PermissionError" in works("import socket\nsocket.socket()").reason


def test_no_file_outside_is_read_or_written(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("key")
    mode = secret.stat().st_mode
    for attempt in (
        f"open({str(secret)!r})",
        f"open({str(tmp_path / 'new')!r}, 'w')",
        f"os.listdir({str(Path.home())!r})",
        f"os.listdir({str(tmp_path)!r})",
        "open('/etc/passwd')",
        "open('/proc/self/environ')",
        f"open('/proc/{os.getppid()}/environ')",
        f"open({__file__!r})",
        f"open({_sandbox.__file__!r})",
        f"os.remove({str(secret)!r})",
        f"os.chmod({str(secret)!r}, 0)",
        f"os.truncate({str(secret)!r}, 0)",
        f"os.utime({str(secret)!r}, (0, 0))",
        f"os.rename({str(secret)!r}, 'mine')",
        f"os.link({str(secret)!r}, 'mine')",
        f"os.symlink({str(secret)!r}, 'mine'); open('mine')",
        "os.mkdir('/tmp/karat-was-here')",
        "open('/dev/sda'); open('/dev/mem')",
    ):
        assert works(f"import os\n{attempt}").passed is False, attempt
    assert secret.read_text() == "key"
    assert secret.stat().st_mode == mode
    assert list(tmp_path.iterdir()) == [secret]


@pytest.mark.skipif(os.__file__.startswith("/usr/lib"), reason="shared libraries are there too")
def test_installed_packages_of_the_interpreter_are_not_read():
    folder = Path(os.__file__).parent / "site-packages"
    file = next(folder.rglob("*.py"), None)
    if file is None:
        pytest.skip("nothing is installed beside the standard library")
    assert "PermissionError" in works(f"open({str(file)!r})").reason
    body = f"import sys\nsys.path.append({str(folder)!r})\nimport pip"
    assert works(body).passed is False
    every = "import asyncio, bz2, ctypes, decimal, hashlib, json, sqlite3, ssl, unittest, zoneinfo"
    assert works(f"{every}\nimport encodings.idna, xml.dom.minidom, concurrent.futures").passed


def test_the_environment_says_nothing(monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "s3cret")
    body = "import os, sys\nassert 's3cret' not in str(os.environ), 'seen'\n"
    body += "assert os.environ['HOME'] == os.getcwd()\n"
    body += "assert not any('site-packages' in path for path in sys.path)"
    assert works(body) == Verdict(True, "", 1.0)


def test_the_scratch_folder_is_small_and_gone_afterwards(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert works("open('a', 'w').write('x')\nassert open('a').read() == 'x'").passed
    assert works("import os\nassert os.listdir('.') == []").passed
    assert works("open('a', 'wb').write(bytes(2 ** 25))").passed is False  # 16 MB a file
    many = "for n in range(99):\n    open(str(n), 'wb').write(bytes(2 ** 23))"
    assert "No space left" in works(many).reason
    assert list(tmp_path.iterdir()) == []


def test_without_a_scratch_disk_nothing_is_written():
    job = {"scratch": "/nowhere", "cases": [b""], "kind": "tests", "entry": "", "tests": ["pass"],
           "context": [], "completion": False, "seconds": 5, "memory_mb": 512, "weaker": False,
           "output_bytes": 9}  # fmt: skip
    pieces = {"ok": "x = 1", "write": "import os\nopen(os.environ['HOME'] + '/a', 'w')"}
    script = "import marshal, sys\nscratch = sys.argv[2]\n" + _sandbox.BOOT
    ended = {}
    for name, piece in pieces.items():
        done = subprocess.run(
            [sys.executable, *_sandbox.FLAGS, "-c", script, str(_sandbox.JAIL), "x"],
            input=marshal.dumps(job | {"pieces": [piece]}),
            env={"HOME": "/tmp"},
            capture_output=True,
            check=True,
        )
        (ended[name],) = marshal.loads(done.stdout)
    assert ended["ok"]["passed"] == b"1"
    assert "PermissionError" in ended["write"]["note"]


def test_an_output_flood_ends_it():
    flood = "while True: print('x' * 100_000)"
    verdict = check(flood, {"tests": [{"input": "", "output": ""}]})
    assert verdict == Verdict(False, "input 1: printed over 1 MB", 0.0)
    assert check(f"def add(a, b):\n    {flood}", seconds=1).passed is False


def test_set_order_and_verdicts_are_the_same_every_time():
    body = "print(list({'a', 'b', 'c', 'd', 'e', 'f'}))"
    outcomes = {_sandbox.run([body], inputs=[b""])[0].printed for _ in range(5)}
    assert len(outcomes) == 1


def test_threads_may_ask_at_once_and_a_check_is_cheap():
    start = resource.getrusage(resource.RUSAGE_CHILDREN)
    with ThreadPoolExecutor(8) as pool:
        answers = ["def add(a, b): return a + b", "def add(a, b): return a"] * 16
        found = [verdict.passed for verdict in pool.map(check, answers)]
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert found == [True, False] * 16
    cpu = end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime
    assert cpu / 32 < 0.2  # a bound for busy machines; 0.02 where it was measured
    assert threading.active_count() < 20


def test_options_are_checked():
    assert find("code") is code
    assert accepted("code", {"seconds": 2}) == {"seconds": 2, "memory_mb": 512, "unsafe": False}
    with pytest.raises(RecipeError, match="no option 'second'; did you mean 'seconds'"):
        accepted("code", {"second": 2})
    with pytest.raises(RecipeError, match="option 'memory_mb'"):
        accepted("code", {"memory_mb": 1})
