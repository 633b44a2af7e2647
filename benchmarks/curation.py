"""Curation at full size, every part of it in one command.

    python benchmarks/curation.py [dedupe decontaminate filters select collapse] [--corpus DIR]
        [--peers DIR]

Without a name all parts run, one after another, each in a process of its own; each is a file that
can be run alone and says in its first lines what it measures. `--corpus` names a folder with
corpus.jsonl and truth.jsonl (see curation_dedupe.py); without it the texts are made here. `--peers`
names a folder of environments, one a tool: near (peers/requirements/curation.txt), and those that
curation_decontaminate.py and curation_filters.py name. A tool without an environment is left out.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PARTS = ("dedupe", "decontaminate", "filters", "select", "collapse")
TAKES_CORPUS = ("dedupe", "decontaminate", "filters")


def command(part: str, corpus: Path | None, peers: Path | None) -> list[str]:
    """How one part is run."""
    name = "collapse.py" if part == "collapse" else f"curation_{part}.py"
    made = [sys.executable, str(HERE / name)]
    if corpus is not None and part in TAKES_CORPUS:
        made += ["--corpus", str(corpus)]
    if peers is not None and part == "dedupe":
        python = peers / "near" / "bin" / "python"
        made += ["--peers", str(python)] if python.exists() else []
    elif peers is not None and part in TAKES_CORPUS:
        made += ["--peers", str(peers)]
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--peers", type=Path)
    given = parser.parse_args()
    unknown = set(given.parts) - set(PARTS)
    if unknown:
        parser.error(f"no part {', '.join(sorted(unknown))}; there is: {', '.join(PARTS)}")
    failed = []
    for part in given.parts or PARTS:
        print(f"\n== {part}", flush=True)
        if subprocess.run(command(part, given.corpus, given.peers), check=False).returncode:
            failed.append(part)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
