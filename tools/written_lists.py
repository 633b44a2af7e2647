"""Has the embedded model answer every list prompt, for the parser's regression test.

    python tools/written_lists.py 48 >> unread.jsonl

Each line is {"kind", "text", "finish_reason"}, the kind a template of recipes/prompts. A person
then reads each text and adds "items": what one who had asked for the list would take from it. Lines
that were read go into tests/curation/lists_written.jsonl; never let the parser fill them in.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from functools import cache
from pathlib import Path

import karat
from karat.context import PROMPTS
from karat.steps._variety import axes, draw, shipped
from karat.steps.read import read
from karat.steps.respond import respond
from karat.table import SCHEMA, from_batch
from karat.templates import render, turns

ROOT = Path(__file__).parents[1]
ABOUT = (
    "tides", "bicycle repair", "the Roman Empire", "sleep", "personal budgets", "chess openings",
    "volcanoes", "job interviews", "bread baking", "photosynthesis", "jazz", "home insulation",
    "first aid", "black holes", "school lunches", "earthquakes", "learning Spanish", "bees",
    "train travel", "the stock market", "house plants", "vaccines", "wedding speeches", "glaciers",
    "electric cars", "Greek myths", "remote work", "dog training", "the periodic table", "football",
    "coral reefs", "landlords and tenants", "coffee", "optical illusions", "city planning", "yoga",
)  # fmt: skip


def asked(kind: str, number: int) -> list[dict[str, str]]:
    """The messages of one list prompt, as the steps ask them."""
    rng = random.Random(f"{kind} {number}")
    keywords = {"prompts_math": "math", "prompts_coding": "python"}.get(kind)
    names = (PROMPTS / f"keywords_{keywords}.txt").read_text().splitlines() if keywords else ABOUT
    topic, n = rng.choice(names), rng.choice([3, 4, 5])
    if kind == "closed_qa_questions":
        # Paragraphs of karat's own documents: prose on subjects the model never saw.
        text = render(PROMPTS / f"{kind}.md", n=n, passage=rng.choice(_paragraphs()))
        return [{"role": m.role, "content": m.content} for m in turns(text)]
    if kind == "self_instruct":
        examples = rng.sample(_written(), 8)
        text = render(PROMPTS / f"{kind}.md", n=n, examples=examples)
        return [{"role": m.role, "content": m.content} for m in turns(text)]
    if kind in ("topics", "subtopics"):
        avoid = rng.sample(ABOUT, rng.choice([0, 0, 3]))
        about = topic if kind == "subtopics" or number % 3 else None
        text = render(PROMPTS / f"{kind}.md", n=n + 2, about=about, topic=topic, avoid=avoid)
        return [{"role": m.role, "content": m.content} for m in turns(text)]
    options = axes("default", "prompts")
    task = kind.removeprefix("prompts_")
    options |= {"difficulty": shipped()["levels"][task]} if task in shipped()["levels"] else {}
    options |= {"kind": shipped()["documents"]} if task == "writing" else {}
    told = {"kind": "", **dict.fromkeys(shipped()["prompts"], ""), **draw(rng, options)}
    messages = turns(render(PROMPTS / f"{kind}.md", topic=topic, n=n, avoid=[], **told))
    system = {"role": "system", "content": render(PROMPTS / "prompts_system.md", **told)}
    return [system, *({"role": m.role, "content": m.content} for m in messages)]


@cache
def _paragraphs() -> list[str]:
    parts = [
        " ".join(part.split())
        for file in [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]
        for part in file.read_text(encoding="utf-8").split("\n\n")
    ]
    return [part for part in parts if 40 < len(part.split()) < 160 and part[0].isalpha()]


@cache
def _written() -> list[str]:
    lines = (ROOT / "tests/curation/lists_written.jsonl").read_text(encoding="utf-8").splitlines()
    found = [
        line
        for line in map(json.loads, lines)
        if line["kind"] in ("prompts_open_qa", "prompts_writing")
    ]
    return sorted({item for line in found for item in line["items"] if len(item.split()) > 4})


def main() -> None:
    count = int(sys.argv[1])
    kinds = sys.argv[2:] or [
        "topics", "subtopics", "prompts_open_qa", "prompts_writing", "prompts_closed_qa",
        "prompts_coding", "prompts_math", "closed_qa_questions", "self_instruct",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "asked.jsonl"
        lines = [
            {"kind": kind, "number": i, "messages": asked(kind, i)}
            for kind in kinds
            for i in range(count)
        ]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        recipe = karat.Recipe(
            [
                read(path=str(file)),
                respond(models=["embedded/smollm2-135m"], temperature=1.0, max_tokens=220),
            ],
            name="written-lists",
            export=[],
        )
        run = karat.run(recipe, Path(folder) / "run")
        for batch in run.accepted.select(SCHEMA.names).to_batches():
            for row in from_batch(batch):
                answer = row.responses[0]
                told = {"kind": row.meta["kind"], "text": answer.content}
                print(json.dumps({**told, "finish_reason": answer.finish_reason}))


if __name__ == "__main__":
    main()
