"""A real S3 server on loopback for tests, and how many bytes were fetched from it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest

from karat import places

KEYS = {
    "AWS_ACCESS_KEY_ID": "loopback", "AWS_SECRET_ACCESS_KEY": "loopback-secret",
    "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
}  # fmt: skip


@contextmanager
def s3_server() -> Iterator[str]:
    """The URL of a bucket; the environment says where it is, and with which keys."""
    server_module = pytest.importorskip("moto.server")
    s3fs = pytest.importorskip("s3fs")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = server_module.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    bucket = f"bucket-{uuid4().hex[:8]}"
    with pytest.MonkeyPatch.context() as patch:
        for key, value in {**KEYS, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}.items():
            patch.setenv(key, value)
        try:
            s3fs.S3FileSystem.clear_instance_cache()
            places.store(places.place(f"s3://{bucket}")).mkdir(bucket)
            yield f"s3://{bucket}"
        finally:
            s3fs.S3FileSystem.clear_instance_cache()
            server.stop()


class Fetched:
    """Bytes that were fetched from stores while it was looked at."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.bytes = 0
        real = places._Asked.read

        def read(file: places._Asked, size: int | None = -1) -> bytes:
            found = real(file, size)
            self.bytes += len(found)
            return found

        def readinto(file: places._Asked, into: memoryview) -> int:
            found = read(file, len(into))
            into[: len(found)] = found
            return len(found)

        patch.setattr(places._Asked, "read", read)
        patch.setattr(places._Asked, "readinto", readinto)
