"""A Hub on loopback, for tests: answers what huggingface_hub asks of the real one when it pushes.

It keeps datasets in memory, takes large files by LFS and small ones in the commit, checks every
digest, and refuses a commit on another parent than the last one.

Source: huggingface_hub 2.4, hf_api.py (whoami, dataset_info, create_repo, create_commit),
_commit_api.py (preupload, commit), lfs.py (batch, verify).
"""

from __future__ import annotations

import base64
import json
from hashlib import sha1, sha256
from typing import Any
from urllib.parse import urlsplit

from loopback import Handler, Loopback

TOKEN = "hf_loopbackSecret1234"
LFS_FROM = 4_000  # bytes


class _Handler(Handler):
    owner: Hub

    def do_GET(self) -> None:  # noqa: N802 - as http.server calls it
        if not self._may():
            return None
        path = urlsplit(self.path).path
        if path == "/api/whoami-v2":
            return self._json({"name": "me", "type": "user"})
        repo = path.removeprefix("/api/datasets/")
        found = self.owner.datasets.get(repo)
        if found is None:
            return self._json({"error": "Repository not found"}, 404, "RepoNotFound")
        siblings = [{"rfilename": name} for name in found["files"]]
        return self._json(
            {"id": repo, "sha": found["sha"], "private": found["private"], "siblings": siblings}
        )

    def do_PUT(self) -> None:  # noqa: N802 - as http.server calls it
        if not self._may(token=False):
            return None
        data = self._body()
        oid = self.path.rpartition("/")[2]
        if sha256(data).hexdigest() != oid:
            return self._json({"error": "not what was announced"}, 400)
        self.owner.large[oid] = data
        return self._json({})

    def do_POST(self) -> None:  # noqa: N802 - as http.server calls it
        if not self._may():
            return None
        path = urlsplit(self.path).path
        body = self._body()
        if path.endswith("/commit/main"):
            return self._commit(
                path.removeprefix("/api/datasets/").removesuffix("/commit/main"), body
            )
        asked = json.loads(body)
        if path == "/api/repos/create":
            repo = f"{asked['organization'] or 'me'}/{asked['name']}"
            if repo in self.owner.datasets:
                return self._json({"error": "You already created this dataset repo"}, 409)
            self.owner.make(repo, asked["visibility"] == "private")
            return self._json({"url": f"{self.owner.url}/datasets/{repo}"})
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if "/preupload/" in path:
            return self._json({"files": [self._mode(file) for file in asked["files"]]})
        if path.endswith("/info/lfs/objects/batch"):
            objects = [self._large(one) for one in asked["objects"]]
            return self._json({"transfer": "basic", "objects": objects})
        if path == "/verify":
            held = self.owner.large.get(asked["oid"], b"")
            return self._json({}, 200 if len(held) == asked["size"] else 400)
        return self._json({"error": f"no {path}"}, 404)

    def _mode(self, file: dict[str, Any]) -> dict[str, Any]:
        mode = "lfs" if file["size"] >= LFS_FROM else "regular"
        return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}

    def _large(self, one: dict[str, Any]) -> dict[str, Any]:
        if one["oid"] in self.owner.large:
            return one
        upload = {"href": f"{self.owner.url}/large/{one['oid']}"}
        return {
            **one,
            "actions": {"upload": upload, "verify": {"href": f"{self.owner.url}/verify"}},
        }

    def _commit(self, repo: str, body: bytes) -> None:
        lines = [json.loads(line) for line in body.splitlines()]
        header = lines[0]["value"]
        found = self.owner.datasets[repo]
        if header.get("parentCommit", found["sha"]) != found["sha"]:
            return self._json({"error": "The branch has moved"}, 412)
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                found["files"][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                found["files"][value["path"]] = self.owner.large[value["oid"]]
            else:
                del found["files"][value["path"]]
        found["sha"] = _sha(found["sha"] + body.decode())
        self.owner.commits.append({"repo": repo, **header})
        url = f"{self.owner.url}/datasets/{repo}/commit/{found['sha']}"
        return self._json({"success": True, "commitUrl": url, "commitOid": found["sha"]})

    # --- the wire ------------------------------------------------------------------------------

    def _may(self, token: bool = True) -> bool:
        self.owner.asked.append(f"{self.command} {self.path}")
        for path, status in self.owner.faults.items():
            if self.path.startswith(path):
                self._body()
                self._json({"error": self.owner.says}, status)
                return False
        if token and self.headers.get("authorization") != f"Bearer {TOKEN}":
            self._body()
            self._json({"error": "Invalid credentials"}, 401)
            return False
        return True

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def _json(self, value: Any, status: int = 200, code: str = "") -> None:
        headers = {"content_type": "application/json", **({"x_error_code": code} if code else {})}
        self.reply(status, json.dumps(value).encode(), **headers)


class Hub(Loopback):
    """`with Hub() as hub: hub.url, hub.datasets`. `faults` maps the beginning of a path to a status
    that it is answered with."""

    handler = _Handler

    def __init__(self) -> None:
        super().__init__()
        self.datasets: dict[str, dict[str, Any]] = {}
        self.large: dict[str, bytes] = {}
        self.commits: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.faults: dict[str, int] = {}
        self.says: str = "no"

    def make(self, repo: str, private: bool, files: dict[str, bytes] | None = None) -> None:
        files = dict(files or {})
        self.datasets[repo] = {"private": private, "files": files, "sha": _sha(repo)}


def _sha(text: str) -> str:
    return sha1(text.encode()).hexdigest()
