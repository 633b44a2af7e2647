"""What tools/smoke.py runs in a clean environment: a recipe with a model on loopback.

It needs karat and what karat brings along, and writes where it is started. It prints the version.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import karat

ROWS = 5
RECIPE = """\
name: smoke
models:
  m: {{model: openai/loop, base_url: "{base}", key_env: NO_KEY}}
rewards:
  helpsteer2: embedded/helpsteer2
steps:
  - read:    {{path: prompts.jsonl}}
  - respond: {{models: [m]}}
  - grade:   {{reward: helpsteer2}}
  - dedupe:  {{on: prompt}}
export: [jsonl, trl-sft]
"""


class Model(BaseHTTPRequestHandler):
    """Says yes."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        said = {"role": "assistant", "content": "Yes, as two does not divide it."}
        choice = {"index": 0, "finish_reason": "stop", "message": said}
        usage = {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}
        body = json.dumps({"choices": [choice], "model": "loop", "usage": usage}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    lines = [json.dumps({"prompt": f"Is {n * 7} an odd number?"}) for n in range(ROWS)]
    Path("prompts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    base = f"http://127.0.0.1:{server.server_port}/v1"
    Path("recipe.yaml").write_text(RECIPE.format(base=base), encoding="utf-8")
    run = karat.run("recipe.yaml", "out")
    rows = run.report["rows"]
    assert rows["accepted"] + rows["dropped"] == ROWS, rows
    answers = [answer for row in run.accepted["responses"].to_pylist() for answer in row]
    assert answers
    assert all(answer["scores"] for answer in answers)
    assert (run.path / "export").is_dir()
    print(karat.__version__)


if __name__ == "__main__":
    main()
