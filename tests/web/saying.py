"""What tests of the page Review share: a reviewer without a browser."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any


def get(address: str) -> Any:
    with urllib.request.urlopen(address, timeout=10) as reply:
        return json.loads(reply.read())


def send(base: str, path: str, kind_: str = "application/json", **word: Any) -> tuple[int, str]:
    body = json.dumps(word).encode()
    asked = urllib.request.Request(
        f"{base}/review/mine/{path}", body, {"content-type": kind_, "origin": base}
    )
    try:
        with urllib.request.urlopen(asked, timeout=10) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
