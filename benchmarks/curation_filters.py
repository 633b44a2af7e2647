"""Filters, measured: documents per CPU second of each rule and of all, beside datatrove's.

Each rule runs in a process of its own, on batches of 1,024 texts as the step has them, and pays for
what it needs of them (words, lines); `published` are the four published ones together, which share
it; `default` is the whole step with the rules a recipe gets that names none, from a stage file to a
decision. Start-up is not counted. A peer is a Python with the package installed; where there is
none it is left out.

    python benchmarks/curation_filters.py [RULE …] [--corpus DIR] [--texts N] [--peers DIR]

DIR of --corpus has corpus.jsonl with `text`; without it HelpSteer2's answers are used if they are
at hand, else texts made up of a few hundred words. --peers has one environment per peer, as
DIR/datatrove/bin/python.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command line has it

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

BATCH = 1024
PUBLISHED = ("gopher", "gopher_repetition", "c4", "fineweb")
DATA = Path(__file__).parents[1] / "../shared/data/helpsteer2/ratings.jsonl"
PEER = """
import json, sys, time
from datatrove.data import Document
from datatrove.pipeline.filters.{module} import {kind}
texts = json.load(open(sys.argv[1], encoding="utf-8"))
made = {kind}()
def run(some):
    for text in some:
        try:
            made.filter(Document(text=text, id="0"))
        except ZeroDivisionError:
            pass
run(texts[:5])
start = time.process_time()
run(texts)
sys.stdout.write(str(time.process_time() - start))
"""
PEERS = {
    "gopher": ("gopher_quality_filter", "GopherQualityFilter"),
    "gopher_repetition": ("gopher_repetition_filter", "GopherRepetitionFilter"),
    "fineweb": ("fineweb_quality_filter", "FineWebQualityFilter"),
}
PEER_TEXTS = 1000


def read(corpus: Path | None, count: int) -> tuple[list[str], str]:
    """`count` texts, and where they are from."""
    if corpus is not None:
        with (corpus / "corpus.jsonl").open(encoding="utf-8") as lines:
            return [json.loads(line)["text"] for line in islice(lines, count)], str(corpus)
    if DATA.is_file():
        answers = [json.loads(line)["response"] for line in DATA.read_text("utf-8").splitlines()]
        return (answers * (count // len(answers) + 1))[:count], "HelpSteer2's answers, repeated"
    draw = random.Random(7)
    words = ["".join(draw.choices("etaoinshrdlu", k=draw.randint(2, 9))) for _ in range(5000)]
    return [made_up(draw, words) for _ in range(count)], "made up"


def made_up(draw: random.Random, words: list[str]) -> str:
    lines = [" ".join(draw.choices(words, k=draw.randint(5, 60))) for _ in range(6)]
    return ".\n".join(lines) + "."


def cpu_seconds(name: str, texts: list[str]) -> float:
    """Of one rule, of the published ones, or of the whole step."""
    from karat.steps._filter_rules import RULES

    if name == "default":
        return of_step(texts)
    names = PUBLISHED if name == "published" else (name,)
    rules = [(RULES[one].statistics, RULES[one].presets["published"]) for one in names]
    run(rules, texts[:50])  # whatever loads at first use
    start = time.process_time()
    run(rules, texts)
    return time.process_time() - start


def run(rules, texts: list[str]) -> None:
    from karat.curation.pages import Lexicon, Pages
    from karat.row import Message
    from karat.steps._answer_rules import Judged

    lexicon, asked = Lexicon(), (Message("user", "Could you tell me more about this, please?"),)
    for start in range(0, len(texts), BATCH):
        some = texts[start : start + BATCH]
        judged = Judged(Pages(some, lexicon), some, [asked] * len(some))
        for statistics, limits in rules:
            for one in statistics(judged, limits):
                one.fails()


def of_step(texts: list[str]) -> float:
    from karat.columns import Table
    from karat.row import Message, Response, Row
    from karat.stage import StageWriter
    from karat.steps.filters import filters

    with tempfile.TemporaryDirectory() as folder:
        writer = StageWriter(Path(folder) / "stage.parquet")
        asked = [Message("user", "Could you tell me more about this, please?")]
        for start in range(0, len(texts), BATCH):
            some = enumerate(texts[start : start + BATCH], start)
            writer.add([Row(f"{place:016x}", asked, [Response(text)]) for place, text in some])
        writer.close({})
        begin, table = time.process_time(), Table(writer.path)
        decision = filters.function(table, None, **filters.check({}))  # type: ignore[arg-type]
        decision.each(table)
        return time.process_time() - begin


def alone(name: str, options: argparse.Namespace) -> float:
    """CPU seconds in a process of its own."""
    command = [sys.executable, __file__, "--one", name, "--texts", str(options.texts)]
    command += ["--corpus", str(options.corpus)] if options.corpus else []
    return float(subprocess.run(command, check=True, text=True, capture_output=True).stdout)


def peer(name: str, texts: list[str], folder: Path) -> float | None:
    """CPU seconds per text of datatrove's filter; None where it is not installed."""
    python = folder / "datatrove" / "bin" / "python"
    if name not in PEERS or not python.is_file():
        return None
    some = texts[:PEER_TEXTS]
    module, kind = PEERS[name]
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(some, file)
        file.flush()
        command = [python, "-W", "ignore", "-c", PEER.format(module=module, kind=kind), file.name]
        done = subprocess.run(command, check=True, text=True, capture_output=True)
    return float(done.stdout.splitlines()[-1]) / len(some)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("rules", nargs="*")
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--peers", type=Path, default=Path("peers"))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    texts, source = read(options.corpus, options.texts)
    if options.one:
        print(cpu_seconds(options.one, texts))
        return
    from karat.steps._filter_rules import RULES

    characters = sum(map(len, texts)) / len(texts)
    print(f"{len(texts):,} texts of {characters:,.0f} characters: {source}")
    print(f"{'':20}{'CPU µs a text':>14}{'texts per CPU s':>17}{'datatrove':>12}{'ratio':>8}")
    for name in options.rules or [*RULES, "published", "default"]:
        spent = alone(name, options) / len(texts)
        theirs = peer(name, texts, options.peers)
        beside = f"{1 / theirs:>12,.0f}{theirs / spent:>8.0f}" if theirs else ""
        print(f"{name:20}{spent * 1e6:>14,.1f}{1 / spent:>17,.0f}{beside}", flush=True)


if __name__ == "__main__":
    main()
