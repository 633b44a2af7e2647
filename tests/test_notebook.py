"""A real notebook: a kernel of its own, cells in its event loop, interrupts, live output."""

from __future__ import annotations

import json
import time

import nbclient
import nbformat
import pytest
from conftest import journaled
from jupyter_client.manager import start_new_kernel
from server import Server

import karat

TIMEOUT_S = 60


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """Jupyter's folders where it will have them anyway, without a warning."""
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")


def carried_out(folder, *cells):
    """The outputs of each cell of a notebook that is run from top to bottom in `folder`."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    client = nbclient.NotebookClient(
        book,
        timeout=TIMEOUT_S,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    return [cell.outputs for cell in book.cells]


def html_of(outputs):
    (output,) = outputs
    return output["data"]["text/html"], output["data"]["text/plain"]


def test_a_notebook_from_top_to_bottom(make_recipe, tmp_path):
    """The model is a server on loopback; the reward is the embedded one."""
    steps = [
        {"read": {"path": "prompts.jsonl"}}, {"respond": {"models": ["teacher"], "n": 2}},
        {"grade": {"reward": "embedded/helpsteer2"}},
        {"reject": {"by": "embedded/helpsteer2.reward", "best": 1}},
    ]  # fmt: skip
    with Server(latency_s=0.02) as server:
        model = server.model(price={"input": 1, "output": 1})
        make_recipe(model, 12, steps)
        ran, shown, rows, row, planned, awaited, silent, graded, frame, wrong = carried_out(
            tmp_path,
            "import karat\nrun = karat.run('recipe.yaml', 'out')",
            "run",
            "run.accepted",
            "run.accepted[0]",
            "karat.plan('recipe.yaml', 'elsewhere')",
            "import asyncio\nawait asyncio.sleep(0)\n"
            "again = karat.run('recipe.yaml', 'out')\nprint(again.report['this_run']['calls'])",
            "karat.run('recipe.yaml', 'out', progress=False)\nNone",
            "karat.grade('Why is the sky blue?', ['Air scatters blue light.', 'sky sky sky'])",
            "run.accepted.to_pandas(flat=True)",
            "try:\n    karat.run('recipe.yaml', ouptut='x')\nexcept TypeError as error:\n"
            "    print(error)",
        )
        assert len(server.requests) == 12
    html, plain = html_of(ran)
    assert "<b>respond</b>" in html or "<td>respond</td>" in html
    assert "12 calls, 168 tokens, 0 retries, $0.000288" in html
    assert "12 in, 12 out" in plain
    html, plain = html_of(shown)
    assert "12 accepted, 0 dropped" in html
    assert plain == "<run out>"
    html, plain = html_of(rows)
    assert "What is number 0?" in html
    assert plain.startswith("<12 accepted rows in ")
    assert "embedded/helpsteer2.reward" in html_of(row)[0]
    assert "12 calls" in html_of(planned)[1]
    assert [one["text"] for one in awaited if one["output_type"] == "stream"] == ["0\n"]
    assert silent == []
    html, plain = html_of(graded)
    assert html.index("Air scatters") < html.index("sky sky sky")
    assert plain.startswith("<grades of 2 responses by embedded/helpsteer2")
    assert "embedded/helpsteer2.reward" in html_of(frame)[0]
    assert "did you mean 'out'" in wrong[0]["text"]
    assert karat.Run.open(tmp_path / "out").accepted.num_rows == 12


@pytest.fixture
def kernel(tmp_path):
    """(manager, client) of a kernel in `tmp_path`."""
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(tmp_path))
    try:
        yield manager, client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


def messages(client, code):
    """The kernel's messages about a cell as they come; the last is its reply."""
    asked = client.execute(code, allow_stdin=False)
    end = time.monotonic() + TIMEOUT_S
    while True:
        assert time.monotonic() < end, "the cell never ended"
        message = client.get_iopub_msg(timeout=TIMEOUT_S)
        if message["parent_header"].get("msg_id") != asked:
            continue
        state = message["content"].get("execution_state")
        if message["msg_type"] == "status" and state == "idle":
            while (reply := client.get_shell_msg(timeout=TIMEOUT_S))["parent_header"][
                "msg_id"
            ] != asked:
                pass
            yield reply
            return
        yield message


def test_a_cell_is_drawn_while_it_runs_and_an_interrupt_ends_it_in_order(
    make_recipe, tmp_path, kernel
):
    """In a plain cell, and in one that awaits, whose interrupts Jupyter takes for its own loop."""
    manager, client = kernel
    with Server(latency_s=0.05) as server:
        make_recipe(server.model(concurrency=2, price={"input": 1, "output": 1}), 400)
        list(messages(client, "import asyncio, karat"))
        bought = 0
        for head in ("", "await asyncio.sleep(0)\n"):
            drawn, said, ended = [], "", None
            for message in messages(client, f"{head}run = karat.run('recipe.yaml', 'out')"):
                kind, content = message["msg_type"], message["content"]
                if kind in ("display_data", "update_display_data"):
                    drawn.append(content["data"]["text/html"])
                    if len(drawn) == 4:
                        manager.interrupt_kernel()
                        interrupted = time.monotonic()
                elif kind == "stream":
                    said += content["text"]
                elif kind == "execute_reply":
                    ended = content
            assert ended["status"] == "error"
            assert ended["ename"] == "KeyboardInterrupt"
            assert time.monotonic() - interrupted < 10
            assert "calls under way may finish" in said
            assert len(set(drawn)) >= 3  # it moves
            answered = sum(server.served.values())
            assert bought < answered < 400
            assert journaled(tmp_path / "out") == answered  # what was paid for is kept
            assert json.loads((tmp_path / "out" / "live.json").read_bytes())["state"] == "stopped"
            bought = answered
        make_recipe(server.model(concurrency=200, price={"input": 1, "output": 1}), 400)
        *_, ended = messages(client, "run = karat.run('recipe.yaml', 'out')")
        assert ended["content"]["status"] == "ok"
        assert sum(server.served.values()) == 400  # and nothing is paid for twice
        *_, ended = messages(client, "assert len(run.accepted) == 400")
        assert ended["content"]["status"] == "ok"
