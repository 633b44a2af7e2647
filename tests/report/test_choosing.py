"""What a terminal shows of select and split, on the report of a run."""

from __future__ import annotations

from pathlib import Path

import orjson
from rich.console import Console

import karat
from karat.report.choosing import choosing_lines

TOPICS = ("bread", "tides", "tax forms", "violins", "volcanoes", "chess", "rust", "goats")


def shown(report: dict[str, object]) -> str:
    console = Console(width=120, record=True, color_system=None)
    with console.capture() as caught:
        for line in choosing_lines(report):
            console.print(line)
    return caught.get()


def test_arms_and_parts_of_a_run(make_recipe, tmp_path: Path) -> None:
    steps = [
        {"read": {"path": "topics.jsonl"}},
        {"select": {"n": 60, "method": "k_center"}},
        {"split": {"train": 0.5, "validation": 0.0, "test": 0.5}},
    ]
    recipe = make_recipe(steps=steps, export=["jsonl"])
    lines = [
        orjson.dumps({
            "prompt": f"What is new about {TOPICS[i % 8]} in {1900 + i}?", "response": f"It is {i}."
        }) for i in range(120)
    ]  # fmt: skip
    (tmp_path / "topics.jsonl").write_bytes(b"\n".join(lines))
    run = karat.run(recipe, tmp_path / "out")
    report = orjson.loads(run.report_file.read_bytes())
    text = shown(report)
    assert "select: 60 kept" in text
    for word in ("random", "95% of it", "longest", "k_center", "Vendi score", "▲"):
        assert word in text
    assert "mean score" not in text
    assert "test in train: a row shares at most" in text or "train in test: a row" in text
    files = {path.name for path in (tmp_path / "out/export").iterdir()}
    assert files == {"data.train.jsonl", "data.test.jsonl"}
    counts = [
        len((tmp_path / f"out/export/{name}").read_text(encoding="utf-8").splitlines())
        for name in sorted(files)
    ]
    assert sum(counts) == 60


def test_nothing_where_nothing_was_chosen() -> None:
    assert shown({"funnel": [{"label": "read"}, {"label": "grade", "notes": {"counts": {}}}]}) == ""
