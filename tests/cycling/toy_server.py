"""A chat server of an afternoon: its answers tell the weights it was started with, and the prompt.

`python toy_server.py MODEL PORT [how]`: how is `slow` (it answers after a second), `broken` (it
says why and ends), `silent` (it never listens), `odd` or `cut` (it says what is no answer),
`stubborn` (it ends by force alone) or `parent` (its child serves, as vLLM's do).
"""

from __future__ import annotations

import hashlib
import json
import signal
import socket
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

WORDS = [
    "tide",
    "moon",
    "water",
    "time",
    "light",
    "energy",
    "city",
    "river",
    "hill",
    "method",
    "stone",
    "cloud",
    "bread",
    "paper",
]


def main(model: str, port: int, how: str = "") -> None:
    if how == "broken":
        print("loading weights …\nValueError: no GPU found")
        sys.exit(3)
    if how == "parent":
        subprocess.run([sys.executable, __file__, model, str(port)], check=False)
        return
    if how in ("odd", "cut"):
        odd(port, how)
    if how == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if how in ("slow", "silent"):
        time.sleep(1 if how == "slow" else 600)
    weights = hashlib.sha256()
    for file in sorted(Path(model).glob("*.safetensors")):
        weights.update(file.read_bytes())
    Handler.said = weights.hexdigest()[:6]
    Handler.model = model
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


def odd(port: int, how: str) -> None:
    """No HTTP, or less of an answer than it says."""
    words = b"HELLO\r\n\r\n" if how == "odd" else b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{"
    with socket.create_server(("127.0.0.1", port)) as listening:
        while True:
            one, _ = listening.accept()
            with one:
                one.recv(1000)
                one.sendall(words)


class Handler(BaseHTTPRequestHandler):
    said, model = "", ""
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._send({"object": "list", "data": [{"id": self.model, "object": "model"}]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        choices = [
            {
                "index": index,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": self._text(asked, index)},
            }
            for index in range(asked.get("n") or 1)
        ]
        usage = {"prompt_tokens": 5, "completion_tokens": 8 * len(choices), "total_tokens": 13}
        self._send({"id": "x", "object": "chat.completion", "created": 0, "model": self.model,
                    "choices": choices, "usage": usage})  # fmt: skip

    def _text(self, asked: dict[str, Any], index: int) -> str:
        known = json.dumps([asked["messages"], asked.get("seed"), index, self.said])
        lot = hashlib.sha256(known.encode()).digest()
        return f"{self.said}: " + " ".join(WORDS[byte % len(WORDS)] for byte in lot[:8]) + "."

    def _send(self, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Says nothing."""


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
