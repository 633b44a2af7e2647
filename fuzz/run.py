"""Runs one target under atheris for some seconds: `python fuzz/run.py TARGET --seconds 60`.

Tells on standard output, as one line of JSON, how many inputs it ran, how many branches they
reached, and which inputs broke a promise; the traceback goes to standard error. The exit status is
1 where there is such an input, which is kept in the folder `--finds` names.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[0] = str(HERE.parent)

from fuzz.targets import TARGETS, dictionary, seeds  # noqa: E402

MEMORY_MB = 2048
_STATE = re.compile(r"#\d+\s.*\bcov: (\d+) ft: (\d+) corp: (\d+)")
_RUN = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_PEAK = re.compile(r"stat::peak_rss_mb:\s*(\d+)")


def main() -> int:
    """The exit status."""
    asked = argparse.ArgumentParser(description="Fuzz one target with atheris.")
    asked.add_argument("target", choices=[*TARGETS])
    asked.add_argument("--seconds", type=int, default=60)
    asked.add_argument("--finds", type=Path, default=Path("finds"), help="folder for such inputs")
    asked.add_argument("--corpus", type=Path, help="folder of inputs to go on from and add to")
    asked.add_argument("--timeout", type=int, default=60, help="seconds of one input, by the clock")
    asked.add_argument("--seed", type=int, default=0, help="of libFuzzer; 0: another each time")
    options = asked.parse_args()
    with tempfile.TemporaryDirectory() as made:
        corpus = options.corpus or Path(made) / "corpus"
        corpus.mkdir(parents=True, exist_ok=True)
        options.finds.mkdir(parents=True, exist_ok=True)
        for name, data in seeds(options.target):
            (corpus / f"seed-{name}").write_bytes(data)
        words = Path(made) / "words.dict"
        words.write_text(dictionary(TARGETS[options.target]), encoding="utf-8")
        before = set(options.finds.iterdir())
        told = _fuzzed(options, corpus, words)
        made_now = set(options.finds.iterdir()) - before
        found = sorted(str(path) for path in made_now if not path.name.startswith("slow-unit"))
    sys.stdout.write(json.dumps({"target": options.target, **told, "finds": found}) + "\n")
    return int(bool(found) or told["status"] != 0)


def _fuzzed(options: argparse.Namespace, corpus: Path, words: Path) -> dict[str, int]:
    """What libFuzzer says of itself at the end."""
    target = TARGETS[options.target]
    command = [
        sys.executable, str(HERE / f"fuzz_{options.target}.py"), str(corpus),
        f"-max_total_time={options.seconds}", f"-max_len={target.most}", f"-dict={words}",
        f"-timeout={options.timeout}", f"-rss_limit_mb={MEMORY_MB}", f"-seed={options.seed}",
        f"-artifact_prefix={options.finds}/", "-print_final_stats=1",
    ]  # fmt: skip
    ended = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    said = ended.stderr + ended.stdout
    if ended.returncode:
        sys.stderr.write(said[-8000:])
    states = _STATE.findall(said) or [("0", "0", "0")]
    executions, peak = (pattern.findall(said) or ["0"] for pattern in (_RUN, _PEAK))
    return {
        "status": ended.returncode, "seconds": options.seconds, "executions": int(executions[-1]),
        "coverage": int(states[-1][0]), "features": int(states[-1][1]),
        "corpus": int(states[-1][2]), "peak_rss_mb": int(peak[-1]),
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
