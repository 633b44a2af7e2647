"""A server against those who mean it ill: run folders that came from anybody, and raw connections
that never come to an end."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from urllib.parse import quote

import orjson
import pytest
from raw import ask, read, rest, send
from rows_made import make_rows, write_run
from serving import Serving
from wired import Upstream, Wired

from karat.web.rows.files import holding
from karat.web.rows.index import FILE, FOLDER, build
from karat.web.shelf import Shelf
from karat.web.tables import as_csv

DEEP = b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
HUGE = orjson.dumps({"rows": {"in": 1, "accepted": 1, "dropped": 1}, "cost_usd": 1e308})
LATE = b'{"state": "failed", "updated": 1e308}'
MANY = b'{"state": "failed", "steps": [{"label": "a", "rows_in": 1' + b"0" * 40 + b"}]}"
JSON = {"content_type": "application/json"}


def started(folder: Path) -> Path:
    """A folder that a page takes for a run, with nothing in it yet."""
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text("name: x\nsteps: []\n")
    return folder


def test_no_run_takes_the_others_from_view(tmp_path: Path) -> None:
    (started(tmp_path / "good") / "live.json").write_bytes(b'{"state": "failed"}')
    for number, said in enumerate((DEEP, HUGE)):
        (started(tmp_path / f"report-{number}") / "report.json").write_bytes(said)
    for number, said in enumerate((DEEP, LATE, MANY)):
        (started(tmp_path / f"live-{number}") / "live.json").write_bytes(said)
    odd = os.fsencode(tmp_path) + b"/\xff-name"
    (started(Path(os.fsdecode(odd))) / "live.json").write_bytes(b"{}")
    with Serving(tmp_path) as server:
        assert ask(server.port, "/runs", accept="text/html").status == 200
        assert ask(server.port, "/runs.parquet").status == 200
        lines = {line["name"]: line for line in orjson.loads(ask(server.port, "/runs.json").body)}
    assert lines["good"]["status"] == "failed"
    assert "\ufffd-name" in lines
    for name in ("report-0", "report-1", "live-1", "live-2"):
        assert lines[name]["status"] == "damaged", name
    assert lines["live-0"]["status"] == "stopped"  # as of one that is cut off


def test_a_folder_whose_files_are_links_or_pipes_is_no_run(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("of the server's user alone")
    root = tmp_path / "runs"
    for name in ("recipe.yaml", "live.json", "report.json"):
        folder = started(root / f"link-{name}")
        (folder / "live.json").write_text("{}")
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(secret)
    for name in ("live.json", "report.json", "journal.sqlite", "dropped.parquet"):
        folder = started(root / f"pipe-{name}")
        (folder / "accepted.parquet").write_bytes(b"")
        os.mkfifo(folder / name)
    assert Shelf(root).places() == []


def test_links_that_lead_in_a_ring_are_walked_once(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        (started(tmp_path / name) / "live.json").write_text("{}")
    for name in ("a", "b", "c", "d"):
        for number in range(12):
            (tmp_path / name / f"l{number}").symlink_to(tmp_path)
            (tmp_path / name / f"m{number}").symlink_to(tmp_path / "abcd"[number % 4])
    (tmp_path / "latest").symlink_to(tmp_path / "c")
    slugs = [place.slug for place in Shelf(tmp_path).places()]
    assert set("abcd") <= set(slugs)
    assert len(slugs) <= 8


def test_an_index_is_not_written_through_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KARAT_CACHE", str(tmp_path / "cache"))
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / FILE).write_text("precious")
    run = write_run(tmp_path / "run", make_rows(20))
    (run.path / FOLDER).symlink_to(theirs)
    made, _ = build(run, holding(run))
    assert made.is_relative_to(tmp_path / "cache")
    (run.path / FOLDER).unlink()
    (run.path / FOLDER).mkdir()
    beside = run.path / FOLDER / f".{FILE}.{os.getpid()}.tmp"  # whose name can be guessed
    beside.symlink_to(theirs / FILE)
    assert build(run, holding(run))[0] == run.path / FOLDER / FILE
    assert (theirs / FILE).read_text() == "precious"


def test_a_stage_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", make_rows(5))
    run.accepted_file.unlink()
    os.mkfifo(run.stages / "09-last.parquet")
    assert holding(run).parts[0].path.name == "01-reject.parquet"


def test_a_recipe_of_aliases_is_not_written_out(tmp_path: Path) -> None:
    """A few hundred bytes that stand for some 10^9 words."""
    run = write_run(tmp_path / "bomb", make_rows(5))
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x]\n"
    bomb += "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]\n" for n in range(1, 10)
    )  # fmt: skip
    bomb += "models: {m: *a9, n: {model: openai/x, extra: {a: *a9}}, o: [*a9]}\n"
    run.recipe.write_text(f"name: x\n{bomb}rewards:\n  r: {{reward: *a9}}\nsteps: []\n")
    identity = holding(run).read([0], ["id"]).to_pylist()[0]["id"]
    with Serving(tmp_path) as server:
        assert ask(server.port, f"/run/bomb/row/{quote(identity, safe='')}").status == 200


def test_no_heading_and_no_cell_of_a_csv_is_a_formula() -> None:
    made = as_csv([{"=cmd|' /C calc'!A0": "\uff1d1+1", "@x": "\n=1", "plain": 1.5}])
    assert made.splitlines()[0] == "'=cmd|' /C calc'!A0,'@x,plain"
    assert "'\uff1d1+1" in made
    assert "'\n=1" in made


def test_what_comes_after_a_body_is_no_header(tmp_path: Path) -> None:
    token = "t" * 40
    with Serving(tmp_path, token=token) as server:
        head = f"POST /logout HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        head += "Content-Type: application/json\r\nConnection: close\r\n"
        head += "Transfer-Encoding: chunked\r\n"
        body = "\r\n2\r\n{}\r\n0\r\n"
        bearer = f"Authorization: Bearer {token}\r\n"
        assert read(send(server.port, f"{head}{bearer}{body}\r\n".encode())).status == 303
        assert read(send(server.port, f"{head}{body}{bearer}\r\n".encode())).status == 401


@pytest.mark.parametrize("frame", ["2\r\n{}\r\n0\r\nx: ", "2;"], ids=["trailer", "extension"])
def test_what_frames_a_body_has_a_limit(tmp_path: Path, frame: str) -> None:
    with Serving(tmp_path) as server:
        head = f"POST /logout HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        head += "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as made:
            made.sendall(f"{head}{frame}".encode())
            try:
                for _ in range(1000):
                    made.sendall(b"y" * 100_000)
            except OSError:
                return
            said = rest(made)
        pytest.fail(f"100 MB were taken: {said[:80]!r}")


def test_a_small_chunk_at_a_time_is_as_good_as_any(tmp_path: Path) -> None:
    """What frames a body is counted between two pieces of it, not over all of them."""
    count = 3000
    with Serving(tmp_path, token="t" * 40) as server:
        head = f"POST /login HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nConnection: close\r\n"
        head += f"Origin: {server.url}\r\nTransfer-Encoding: chunked\r\n\r\n"
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as made:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.sendall(head.encode())
            for _ in range(count):
                made.sendall(b"1;" + b"e" * 40 + b"\r\n")
                made.sendall(b" \r\n")
            made.sendall(b"0\r\n\r\n")
            assert read(rest(made)).status == 401


def test_a_long_name_of_a_model_is_not_said_back(tmp_path: Path) -> None:
    with Upstream() as upstream, Wired(tmp_path, {"teacher": upstream.model()}) as wired:
        for path, more in (
            ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}),
            ("/v1/rewards", {"prompt": "x", "responses": ["a", "b"]}),
        ):
            body = orjson.dumps({"model": "teacher " * 100_000, **more})
            reply = ask(wired.port, path, "POST", body, **JSON)
            assert reply.status == 404
            assert len(reply.body) < 2000
