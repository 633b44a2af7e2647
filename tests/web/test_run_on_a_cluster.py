"""The pages of a run on a cluster while its workers are at work; and of one that is on none."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import pytest
import requests
from conftest import mostly_slow
from seen_run import EVIL
from standing import copied

from karat.live import MOST_WORKERS, State, StepState, _host
from karat.rundir import CLUSTER_LOG, Run, write_atomic
from karat.walk import WorkerState
from karat.web.runs.files import LOG_BYTES, LOG_LINES, log_end
from karat.workers import crew_of, notable

SHOTS = os.environ.get("KARAT_SCREENSHOTS", "")
JS = {"accept": "text/html"}
LOG = "2026-11-30T14:59:49+0000 worker w0 begins on node-1/3e84ed, process 9906\n"


def crew(count=4, rows=100):
    """A lost worker, a silent one, one that was replaced, and others that are well."""
    found = [
        WorkerState(
            f"w{n}", f"node-{n % 2 + 1}/3e84ed", 9900 + n, 2, rows + n, 12.5 + n, 16,
            state="working",
        )
        for n in range(count)
    ]  # fmt: skip
    found[0].restarts = 2
    found[1].state, found[1].in_flight, found[1].seen_s = "silent", 0, 34.0
    found[2].state, found[2].rate = "lost", 0.0
    return found


def says(run, workers, **more):
    """Makes the run one that this process is at work on, by default on a cluster."""
    run.report_file.unlink(missing_ok=True)
    steps = [StepState("read", 900, 900), StepState("respond", 400, 300, 64, {"respond: low": 4},
             current=True, rate=40.0, eta_s=12.0)]  # fmt: skip
    of = {"executor": "ray", "workers": notable(workers, MOST_WORKERS), "crew": crew_of(workers)}
    now = time.time()
    told = {
        "pid": os.getpid(),
        "host": _host(),
        "started": now - 90,
        "updated": now,
        "steps": steps,
    }
    write_atomic(run.live_file, msgspec.json.encode(State(**{**told, **of, **more})))


@pytest.fixture
def root(done, tmp_path):
    """A run on a cluster and one on this machine, both at work."""
    runs = [copied(done, tmp_path / "runs" / name) for name in ("there", "here")]
    held = [os.open(run.path / ".lock", os.O_RDWR | os.O_CREAT) for run in runs]
    (runs[0].path / CLUSTER_LOG).write_text(LOG * 3, "utf-8")
    says(runs[0], crew())
    says(runs[1], [], executor="local", crew=None)
    yield tmp_path / "runs"
    for one in held:
        os.close(one)


def get(url, **more):
    found = requests.get(url, timeout=30, headers={**JS, **more})
    assert found.status_code == 200, found.text[:500]
    return found


@pytest.mark.parametrize(("width", "dark"), mostly_slow([(1280, False), (400, True)], 2))
def test_workers_are_seen_while_they_work(served, page, axe, root, width, dark):
    site, run = served(root), Run(root / "there")
    opened = page(f"{site}/run/there", width=width, dark=dark)
    table = opened.locator(".workers")
    row = opened.locator(".workers tbody tr", has_text="w1")
    assert row.locator(".pill").inner_text() == "silent 0:34"
    assert table.locator("tbody tr", has_text="w2").locator(".pill").inner_text() == "lost"
    assert "4 in all" in table.locator("tfoot").inner_text()
    assert "406" in table.locator("tfoot").inner_text()
    assert opened.locator(".log").inner_text().count("begins on node-1/3e84ed") == 3
    assert opened.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    axe(opened)
    if SHOTS:
        table.scroll_into_view_if_needed()
        opened.screenshot(path=Path(SHOTS) / f"cluster-{width}-{dark}.png", full_page=True)
    scroll = opened.locator("[aria-label=Workers]")
    scroll.evaluate("it => { it.scrollLeft = 40 }")
    before = scroll.evaluate("it => it.scrollLeft")
    with (run.path / CLUSTER_LOG).open("a") as log:
        log.write(f"worker w9 was lost {EVIL}\n")
    says(run, crew(5, 1000))
    opened.locator(".workers tfoot", has_text="5,010").wait_for()
    assert scroll.evaluate("it => it.scrollLeft") == before
    assert "worker w9 was lost </div><script>" in opened.locator(".log").inner_text()
    assert "⟨U+202E⟩" in opened.locator(".log").inner_text()


def test_the_list_says_where_and_by_how_many(served, page, root):
    opened = page(f"{served(root)}/runs")
    pace = opened.locator("[data-slug=there] [data-cell=pace]")
    assert pace.inner_text().startswith("ray, 4 workers · 40.0/s")
    assert "ray" not in opened.locator("[data-slug=here] [data-cell=pace]").inner_text()
    says(Run(root / "there"), crew(3))
    opened.locator("[data-slug=there] [data-cell=pace]", has_text="ray, 3 workers").wait_for()


def test_of_a_run_on_this_machine_there_is_nothing(served, page, root):
    (root / "here" / CLUSTER_LOG).write_text(LOG)
    site = served(root)
    text = get(f"{site}/run/here").text
    assert "begins on" not in text
    assert '<table class="workers"' not in text
    assert get(f"{site}/run/here/workers.json").json() == []
    opened = page(f"{site}/run/here")
    opened.locator("[data-part=flow] svg").first.wait_for()
    assert opened.locator("#workers").is_hidden()
    says(Run(root / "here"), crew())  # it turns out to be on a cluster
    opened.locator(".workers").wait_for()


def test_a_thousand_workers_make_no_large_page(served, root):
    site, run = served(root), Run(root / "there")
    small = len(get(f"{site}/run/there").text)
    says(run, crew(1000))
    text = get(f"{site}/run/there").text
    assert len(text) < small + 15_000
    assert "950 of them are not listed" in text
    for name in ("w0", "w1", "w2"):  # what went wrong
        assert f'<th scope="row">{name}<small>' in text
    assert len(get(f"{site}/run/there/workers.json").json()) == MOST_WORKERS
    assert get(f"{site}/runs.json").json()[0]["workers"] == 1000


def test_the_end_of_a_log_is_read_and_nothing_else(tmp_path):
    run = Run(tmp_path / "run")
    run.path.mkdir()
    log = run.path / CLUSTER_LOG
    assert log_end(run) == []
    log.write_bytes(b"")
    assert log_end(run) == []
    log.write_text("a\nb\n")
    assert log_end(run) == ["a", "b"]
    lines = [f"{n} {'é' * 100}" for n in range(400)]
    log.write_text("\n".join(lines), "utf-8")
    assert log_end(run) == lines[-LOG_LINES:]
    log.write_bytes(b"\xff" * (3 * LOG_BYTES))  # no line of it is whole
    assert log_end(run) == []
    log.unlink()
    (tmp_path / "secret").write_text("word")
    log.symlink_to(tmp_path / "secret")
    assert log_end(run) == []
    log.unlink()
    os.mkfifo(log)
    began = time.monotonic()
    assert log_end(run) == []
    assert time.monotonic() - began < 1
